import keras
import numpy as np
import pytest
import tensorflow as tf

from trainers.pooling import _norm
from trainers.pooling._norm import FrameNorm, column_sums


@pytest.fixture(params=[False, True], ids=["cpu", "as on a GPU"])
def sums(request, monkeypatch):
    """Both ways to sum columns; that of GPUs is an addition of products on whatever there is."""
    monkeypatch.setattr(_norm.tf.config, "list_physical_devices", lambda kind: ["a GPU"] * request.param)


@pytest.fixture
def pair(clips):
    """Our layer and Keras' own with the same random variables."""
    layers = FrameNorm(momentum=0.9), keras.layers.BatchNormalization(momentum=0.9)
    rng = np.random.default_rng(3)
    values = rng.normal(size=6), rng.normal(size=6), rng.normal(size=6), rng.uniform(0.3, 2, 6)
    for layer in layers:
        layer.build(clips.frames.shape)
        for variable, value in zip((layer.gamma, layer.beta, layer.moving_mean, layer.moving_variance), values, strict=True):
            variable.assign(value)
    return layers


def outcome(layer, x, mask, training):
    """What a layer gives, the gradients of a sum that no symmetry makes 0, and its variables afterwards."""
    x = tf.constant(x)
    real = 1.0 if mask is None else tf.cast(mask, tf.float32)[..., None]
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layer(x, mask=mask, training=training)
        total = tf.reduce_sum(tf.sin(y + tf.range(6.0)) * real)
    return [y, *tape.gradient(total, [x, layer.gamma.value, layer.beta.value]), *layer.variables]


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_values_gradients_and_averages_are_those_of_keras(clips, pair, sums, masked, training):
    mask = clips.mask if masked else None
    found, expected = (outcome(layer, clips.frames, mask, training) for layer in pair)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_gradients_are_the_slopes_of_the_definition(clips, sums):
    gamma, beta, real = np.linspace(0.5, 2, 6), np.linspace(-1, 1, 6), clips.mask[:, :, None]

    def total(x):
        mean = x[clips.mask].mean(axis=0)
        y = (x - mean) / np.sqrt(x[clips.mask].var(axis=0) + 1e-3) * gamma + beta
        return (np.sin(y + np.arange(6)) * real).sum()

    layer = FrameNorm()
    layer.build(clips.frames.shape)
    layer.gamma.assign(gamma)
    layer.beta.assign(beta)
    gradient = outcome(layer, clips.frames, clips.mask, True)[1].numpy()
    x, rng = clips.frames.astype(np.float64), np.random.default_rng(5)
    for _ in range(5):
        direction = rng.normal(size=x.shape)
        slope = (total(x + 1e-5 * direction) - total(x - 1e-5 * direction)) / 2e-5
        assert (gradient * direction).sum() == pytest.approx(slope, rel=1e-3)


def test_without_a_real_frame_all_is_finite(clips, pair):
    assert all(np.isfinite(result).all() for result in outcome(pair[0], clips.frames, np.zeros_like(clips.mask), True))


def test_a_layer_that_is_frozen_keeps_its_averages(clips, pair):
    ours, _ = pair
    ours.trainable = False
    before = ours.get_weights()
    y = ours(clips.frames, mask=clips.mask, training=True)
    np.testing.assert_allclose(y, ours(clips.frames, training=False), rtol=1e-6)
    for one, other in zip(before, ours.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_bfloat16_comes_out_as_it_went_in(clips):
    layer = FrameNorm(dtype="mixed_bfloat16")
    y = layer(tf.cast(clips.frames, tf.bfloat16), mask=clips.mask, training=True)
    assert y.dtype == tf.bfloat16
    assert layer.moving_mean.dtype == "float32"


def test_column_sums_are_weighted(sums):
    x, weights = np.arange(12, dtype=np.float32).reshape(4, 3), np.array([1, 0, 2, 0], np.float32)
    np.testing.assert_array_equal(column_sums(tf.constant(x), tf.constant(weights)), [12, 15, 18])
