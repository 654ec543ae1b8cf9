import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from trainers.encoders._fourier_conv import FourierConv1D, fourier_conv, transforms


def direct(x: np.ndarray, kernel: np.ndarray, dilation: int) -> np.ndarray:
    """The convolution by its definition in float64, zeros beyond the ends."""
    taps, length = len(kernel), x.shape[1]
    reach = dilation * (taps - 1) // 2
    padded = np.pad(x.astype(np.float64), [(0, 0), (reach, reach), (0, 0)])
    return sum(padded[:, k * dilation : k * dilation + length] @ kernel[k].astype(np.float64) for k in range(taps))


@settings(max_examples=40)
@given(
    length=st.integers(1, 150),
    taps=st.sampled_from([1, 3, 9]),
    dilation=st.sampled_from([1, 2, 3, 5]),
    batch=st.integers(1, 3),
    seed=st.integers(0, 10**6),
)
def test_equals_the_direct_sum(length, taps, dilation, batch, seed):
    rng = np.random.default_rng(seed)
    x, kernel = rng.normal(size=(batch, length, 3)).astype(np.float32), rng.normal(size=(taps, 3, 2)).astype(np.float32)
    expected = direct(x, kernel, dilation)
    np.testing.assert_allclose(fourier_conv(tf.constant(x), tf.constant(kernel), dilation), expected, atol=2e-6 * taps * 3)


@settings(max_examples=30)
@given(taps=st.sampled_from([3, 5, 9, 49]), outputs=st.integers(1, 30).map(lambda half: 2 * half), seed=st.integers(0, 10**6))
def test_the_matrices_correlate(taps, outputs, seed):
    rng = np.random.default_rng(seed)
    x, w = rng.normal(size=outputs + taps - 1), rng.normal(size=taps)
    into, of_kernel, back = transforms(taps, outputs)
    assert len(into) == 3 * len(x) // 2 - 1
    np.testing.assert_allclose(back @ ((into @ x) * (of_kernel @ w)), np.correlate(x, w, "valid"), atol=1e-5 * taps)


def twins(dilation: int, dtype: str = "float32") -> tuple[FourierConv1D, keras.layers.Conv1D]:
    """Our layer and Keras' with the same random weights, for signals of 4 channels."""
    options = {"padding": "same", "activation": "relu", "dilation_rate": dilation, "dtype": dtype}
    ours, theirs = FourierConv1D(6, 9, **options), keras.layers.Conv1D(6, 9, **options)
    rng = np.random.default_rng(2)
    for layer in (ours, theirs):
        layer.build((None, 70, 4))
    ours.set_weights([rng.normal(size=w.shape) for w in ours.get_weights()])
    theirs.set_weights(ours.get_weights())
    return ours, theirs


@pytest.mark.parametrize("dilation", [1, 3, 5])
def test_the_layer_and_its_gradients_are_those_of_keras(dilation):
    ours, theirs = twins(dilation)
    x = tf.constant(np.random.default_rng(3).normal(size=(5, 70, 4)), tf.float32)
    weights = np.random.default_rng(4).normal(size=(5, 70, 6)).astype(np.float32)

    @tf.function(input_signature=[tf.TensorSpec((None, 70, 4))])  # a batch of any size, as in training
    def ours_in_a_graph(signal):
        return steps(ours, signal)

    def steps(layer, signal):
        with tf.GradientTape() as tape:
            tape.watch(signal)
            y = layer(signal)
            total = tf.reduce_sum(y * weights)
        return [y, *tape.gradient(total, [signal, *layer.trainable_variables])]

    for expected, eager, graph in zip(steps(theirs, x), steps(ours, x), ours_in_a_graph(x), strict=True):
        size = np.abs(expected).max()
        np.testing.assert_allclose(eager, expected, atol=2e-6 * size)
        np.testing.assert_allclose(graph, expected, atol=2e-6 * size)


def test_half_precision_and_gpus_take_the_direct_way(monkeypatch):
    x = np.random.default_rng(5).normal(size=(2, 70, 4)).astype(np.float32)
    ours, theirs = twins(3, dtype="mixed_bfloat16")
    np.testing.assert_array_equal(tf.cast(ours(x), tf.float32), tf.cast(theirs(x), tf.float32))
    ours, theirs = twins(3)
    assert np.any(np.array(ours(x)) != np.array(theirs(x)))
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: [kind])
    np.testing.assert_array_equal(ours(x), theirs(x))
