import keras
import numpy as np
import pytest
import tensorflow as tf

from trainers.encoders.residual_cnn import ResidualCNN, ResidualStage
from yt8m_data.errors import DataError


def random_weights(layer: keras.layers.Layer, seed: int = 0) -> keras.layers.Layer:
    """He's size for kernels, so that no ReLU dies or explodes; batch norm's statistics are not those at the start."""
    rng = np.random.default_rng(seed)
    for weight in layer.weights:
        values = rng.normal(size=weight.shape)
        if weight.name == "kernel":
            values *= np.sqrt(2 / np.prod(weight.shape[:-1]))
        weight.assign(np.abs(values) + 0.5 if weight.name == "moving_variance" else values)
    return layer


def conv(layer: keras.layers.Layer, x: np.ndarray) -> np.ndarray:
    """ReLU of the dilated convolution of signals [B, X, channels], zeros beyond the ends, one tap at a time."""
    kernel, bias, dilation = np.array(layer.kernel, np.float64), np.array(layer.bias, np.float64), layer.dilation_rate[0]
    reach = dilation * (len(kernel) - 1) // 2
    padded = np.pad(x, [(0, 0), (reach, reach), (0, 0)])
    taps = [padded[:, k * dilation : k * dilation + x.shape[1]] @ kernel[k] for k in range(len(kernel))]
    return np.maximum(sum(taps) + bias, 0)


def batch_norm(layer: keras.layers.Layer, x: np.ndarray) -> np.ndarray:
    shift, mean, variance = (np.array(w, np.float64) for w in (layer.beta, layer.moving_mean, layer.moving_variance))
    return (x - mean) / np.sqrt(variance + 1e-3) + shift


def stage(layer: ResidualStage, x: np.ndarray) -> np.ndarray:
    x = batch_norm(layer.entry_norm, conv(layer.entry, x))
    y = x
    for module_conv in layer.convs:
        y = conv(module_conv, y)
    return batch_norm(layer.norm, x + y) if layer.norm is not None else x + y


def reference(layer: ResidualCNN, x: np.ndarray) -> np.ndarray:
    kernel, bias = (np.array(w, np.float64) for w in layer.fc.weights)
    vector = x.astype(np.float64) @ kernel + bias
    if layer.fc_activation == "relu":
        vector = np.maximum(vector, 0)
    signal = vector[:, :, None]
    for one in layer.stages:
        signal = stage(one, signal)
    pooled = signal.max(axis=1) if layer.pool == "max" else signal.mean(axis=1)
    return pooled + vector if layer.global_skip else pooled


@pytest.mark.parametrize("options", [{"last_batch_norm": True}, {"last_batch_norm": False}], ids=str)
@pytest.mark.parametrize("channels", [(5, 3), (5, 6, 4)])
def test_a_stage_equals_the_definition(channels, options):
    layer = ResidualStage(7, channels, 0.999, **options)
    layer.build((None, 20, 2))
    x = np.random.default_rng(1).normal(size=(3, 20, 2))
    np.testing.assert_allclose(random_weights(layer)(x.astype(np.float32)), stage(layer, x), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    "options",
    [{}, {"pool": "mean"}, {"global_skip": False}, {"last_batch_norm": False}, {"fc_activation": None}],
    ids=str,
)
def test_equals_the_definition(options):
    layer = ResidualCNN(5, **options)
    layer.build((None, 6))
    x = np.random.default_rng(1).normal(size=(3, 6))
    expected = reference(random_weights(layer), x)
    np.testing.assert_allclose(layer(x.astype(np.float32)), expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize(("size", "total"), [(320, 8_276_928), (512, 10_317_312), (1024, 15_758_336)])
def test_parameters_of_the_published_sizes(size, total):
    """Trainable weights on vectors of 1152, batch norms left out, whether or not the last one is there."""
    for last_batch_norm in (True, False):
        with tf.Graph().as_default():
            layer = ResidualCNN(size, last_batch_norm=last_batch_norm)
            layer.build((None, 1152))
        shifts = [w for w in layer.trainable_weights if w.name == "beta"]
        assert layer.count_params() - 3 * sum(w.shape[0] for w in shifts) == total
        assert [w.shape[0] for w in shifts] == [64, 64, 128, 128, 256, 256, *[size] * (1 + last_batch_norm)]
        assert not [w for w in layer.weights if w.name == "gamma"]  # they shift, but do not scale


@pytest.mark.parametrize("size", [7, 12])
def test_the_rows_of_the_table(size):
    layer = ResidualCNN(size)
    assert layer(np.zeros((2, 6), np.float32)).shape == (2, size)
    table = [(1, 49, 64, [128, 192, 64]), (64, 1, 128, [256, 512, 128]), (128, 1, 256, [512, 256]), (256, 1, size, [512, size])]
    signal = np.zeros((2, size, 1), np.float32)
    for one, (channels, taps, width, module) in zip(layer.stages, table, strict=True):
        assert one.entry.kernel.shape == (taps, channels, width)
        for i, (kernel, filters) in enumerate(zip(one.convs, module, strict=True)):
            assert kernel.kernel.shape == (9, ([width, *module])[i], filters)
            assert kernel.dilation_rate == (2 * i + 1,)
        signal = one(signal)
        assert signal.shape == (2, size, width)


def test_zero_convolutions_leave_the_fully_connected_layer():
    """With the skip around all of them, in training and in inference; without it nothing is left."""
    x = np.random.default_rng(2).normal(size=(4, 6)).astype(np.float32)
    for global_skip in (True, False):
        layer = ResidualCNN(8, global_skip=global_skip)
        layer.build((None, 6))
        for one in layer.stages:
            for kernel in (one.entry, *one.convs):
                kernel.kernel.assign(np.zeros(kernel.kernel.shape))
        for training in (False, True):
            np.testing.assert_allclose(layer(x, training=training), layer.fc(x) * global_skip, atol=1e-6)


def test_a_shift_of_the_signal_shifts_the_outputs_but_at_the_ends():
    """A module of dilations 1 and 3 reaches 16 values to each side."""
    layer = ResidualStage(1, (4, 3), 0.999, True)
    layer.build((None, 64, 2))
    random_weights(layer)
    signal = np.random.default_rng(3).normal(size=(1, 69, 2)).astype(np.float32)
    one, shifted = np.array(layer(signal[:, 5:])), np.array(layer(signal[:, :-5]))
    np.testing.assert_allclose(shifted[:, 21:48], one[:, 16:43], rtol=1e-4, atol=1e-4)
    assert np.abs(shifted[:, 5:10] - one[:, :5]).max() > 0.01


def test_batch_norms_learn_their_statistics_in_training():
    """With the momentum given, and from the whole batch and all positions."""
    layer = ResidualStage(3, (4, 3), 0.9, True)
    layer.build((None, 20, 2))
    random_weights(layer)
    before = np.array(layer.norm.moving_mean)
    x = np.random.default_rng(4).normal(size=(6, 20, 2)).astype(np.float32)
    y = np.array(layer(x, training=True))
    np.testing.assert_allclose(y.mean(axis=(0, 1)), layer.norm.beta, atol=1e-5)
    assert layer.norm.momentum == layer.entry_norm.momentum == 0.9
    entry = conv(layer.entry, x)
    entry = (entry - entry.mean(axis=(0, 1))) / np.sqrt(entry.var(axis=(0, 1)) + 1e-3) + np.array(layer.entry_norm.beta)
    module = conv(layer.convs[1], conv(layer.convs[0], entry))
    np.testing.assert_allclose(layer.norm.moving_mean, 0.9 * before + 0.1 * (entry + module).mean(axis=(0, 1)), rtol=1e-3, atol=1e-4)


def test_penalty_is_on_the_fully_connected_layer():
    layer = ResidualCNN(8, l2=0.01)
    layer.build((None, 6))
    assert float(sum(layer.losses)) == pytest.approx(0.005 * (np.array(layer.fc.kernel) ** 2).sum(), rel=1e-5)
    assert not ResidualCNN(8).losses


def test_gradients_reach_every_weight():
    layer = ResidualCNN(8)
    x = np.random.default_rng(5).normal(size=(16, 6)).astype(np.float32)
    layer.build(x.shape)
    with tf.GradientTape() as tape:
        y = layer(x, training=True)
        total = tf.reduce_sum(y * np.random.default_rng(6).normal(size=y.shape).astype(np.float32))
    gradients = tape.gradient(total, layer.trainable_variables)
    assert len(gradients) == 2 + 2 * 4 + 2 * 10 + 8
    assert all(np.abs(g).max() > 0 for g in gradients)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"size": 0}, "size of residual_cnn is 0"),
        ({"pool": "sum"}, "pool of residual_cnn is 'sum': choose one of max, mean"),
        ({"fc_activation": "tanh"}, "fc_activation of residual_cnn is 'tanh': choose one of relu, null"),
        ({"global_skip": None}, "global_skip of residual_cnn is None"),
        ({"l2": -1}, "l2 of residual_cnn is -1"),
        ({"momentum": 1}, "momentum of residual_cnn is 1"),
    ],
    ids=str,
)
def test_refuses(options, sentence):
    with pytest.raises(DataError, match=sentence):
        ResidualCNN(**options)
