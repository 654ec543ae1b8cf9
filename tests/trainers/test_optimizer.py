import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from trainers.optimizer import Adam, clipped
from trainers.penalty import penalty


def products_in(result: tf.Tensor) -> list[tuple[int, ...]]:
    """The shapes of the matrix products of a graph that a tensor in it needs."""
    behind, seen = [result.op], set()
    while behind:
        operation = behind.pop()
        if operation not in seen:
            seen.add(operation)
            behind += [tensor.op for tensor in operation.inputs]
    return sorted(tuple(operation.outputs[0].shape) for operation in seen if operation.type == "MatMul")


def gradients(x: np.ndarray, d: np.ndarray, norm: float) -> tuple[np.ndarray, np.ndarray]:
    """The gradient of a kernel by which x [B, N] is multiplied, where d [B, M] comes back, and the same clipped."""
    kernel = tf.Variable(tf.zeros([x.shape[1], d.shape[1]]))

    @tf.function
    def step() -> tuple[tf.Tensor, tf.Tensor]:
        with tf.GradientTape() as tape:
            total = tf.reduce_sum(tf.matmul(x, kernel) * d)
        gradient = tape.gradient(total, kernel)
        return gradient, clipped(gradient, norm)

    return tuple(result.numpy() for result in step())


@settings(max_examples=20)
@given(
    sizes=st.tuples(*[st.integers(1, 40)] * 3),
    size=st.floats(1e-6, 1e6),
    norm=st.sampled_from([1e-3, 1.0, 1e3]),
    seed=st.integers(0, 2**32 - 1),
)
def test_a_kernels_gradient_is_clipped_to_the_norm_whether_it_is_read_for_it_or_not(sizes, size, norm, seed):
    rng, (batch, rows, columns) = np.random.default_rng(seed), sizes
    x, d = rng.normal(size=(batch, rows)).astype(np.float32), (size * rng.normal(size=(batch, columns))).astype(np.float32)
    plain, found = gradients(x, d, norm)
    exact = x.T.astype(np.float64) @ d.astype(np.float64)
    expected = exact * min(1, norm / np.linalg.norm(exact))
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())
    assert np.linalg.norm(found.astype(np.float64)) <= norm * 1.001
    np.testing.assert_allclose(plain, exact, rtol=1e-3, atol=1e-4 * np.abs(exact).max())


def test_examples_that_cancel_out_leave_no_gradient_and_no_nan():
    x = np.repeat(np.random.default_rng(0).normal(size=(1, 50)), 2, axis=0).astype(np.float32)
    _, found = gradients(x, np.array([[1.0] * 30, [-1.0] * 30], np.float32), 1.0)
    assert not found.any()


def test_of_a_large_kernel_the_product_is_made_once_and_of_scaled_factors():
    kernel = tf.Variable(tf.zeros([60, 50]))

    @tf.function
    def step(x, d):
        with tf.GradientTape() as tape:
            total = tf.reduce_sum(tf.matmul(x, kernel.read_value()) * d)
        return clipped(tape.gradient(total, kernel), 1.0)

    def used(batch):
        return products_in(step.get_concrete_function(tf.zeros([batch, 60]), tf.zeros([batch, 50])).graph.outputs[0])

    assert used(4) == [(4, 4), (4, 4), (60, 50)]
    assert used(100) == [(60, 50)]


@pytest.mark.parametrize("build", [lambda w, x: tf.reduce_sum(tf.matmul(x, w) ** 2) + tf.nn.l2_loss(w), lambda w, x: tf.reduce_sum(w * 3)])
def test_a_gradient_that_is_no_lone_product_is_clipped_as_it_is(build):
    w, x = tf.Variable(tf.random.stateless_normal([30, 20], [1, 2])), tf.random.stateless_normal([2, 30], [3, 4])

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            total = build(w, x)
        gradient = tape.gradient(total, w)
        return gradient, clipped(gradient, 0.5)

    whole, found = step()
    np.testing.assert_allclose(found, whole * (0.5 / np.linalg.norm(whole)), rtol=1e-4)


def test_in_bfloat16_the_norm_is_kept_too():
    layer = keras.layers.Dense(40, dtype="mixed_bfloat16")
    layer.build((None, 50))
    x = tf.random.stateless_normal([4, 50], [5, 6])

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            total = tf.reduce_sum(tf.cast(layer(x), tf.float32) ** 2)
        return clipped(tape.gradient(total, layer.trainable_variables)[0], 0.25)

    assert float(tf.norm(tf.cast(step(), tf.float32))) == pytest.approx(0.25, rel=1e-2)


@pytest.mark.parametrize("clipnorm", [None, 0.5])
@pytest.mark.parametrize("in_place", [True, False])
def test_penalties_are_minimised_with_the_loss(in_place, clipnorm):
    """Ten steps in a graph equal those of Keras's optimiser on a sum that holds the penalties; a weight without one has none."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(4, 30)).astype(np.float32), rng.normal(size=(4, 20)).astype(np.float32)
    start = rng.normal(size=(30, 20)).astype(np.float32)
    found = {}
    for optimizer in (Adam(0.01, clipnorm=clipnorm, in_place=in_place), keras.optimizers.Adam(0.01, clipnorm=clipnorm)):
        layer = keras.layers.Dense(20, kernel_regularizer=penalty(0.5))
        layer.build((None, 30))
        layer.kernel.assign(start)
        optimizer.build(layer.trainable_variables)
        ours = isinstance(optimizer, Adam)

        @tf.function
        def step(layer=layer, optimizer=optimizer, ours=ours):
            with tf.GradientTape() as tape:
                total = tf.reduce_sum((layer(x) - y) ** 2) + (0 if ours else tf.add_n(layer.losses))
            optimizer.apply(tape.gradient(total, layer.trainable_variables), layer.trainable_variables)

        for _ in range(10):
            step()
        found[ours] = [weight.numpy() for weight in layer.trainable_variables]
    for one, other in zip(found[True], found[False], strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)
    assert np.abs(found[True][0] - start).max() > 0.05
