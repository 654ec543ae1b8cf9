import keras
import numpy as np
import pytest
import tensorflow as tf

from trainers.penalty import HalfSquares, penalty


@pytest.mark.parametrize("shape", [(5,), (3, 4), (2, 3, 4)])
def test_value_and_gradient_are_those_of_half_the_squares(shape):
    weights = tf.Variable(np.random.default_rng(0).normal(size=shape).astype(np.float32))
    with tf.GradientTape() as tape:
        value = penalty(0.3)(weights)
    assert float(value) == pytest.approx(0.15 * (weights.numpy().astype(np.float64) ** 2).sum(), rel=1e-5)
    np.testing.assert_allclose(tape.gradient(value, weights), 0.3 * weights.numpy(), rtol=1e-6)


@pytest.mark.parametrize("way", ["eager", "graph", "in place", "in place, eager", "xla"])
def test_its_gradient_is_added_to_the_losss(way):
    """In whichever way; what else uses the loss's gradient sees it as it was, and the weights stay as they are."""
    rng = np.random.default_rng(1)
    weights, x, d = tf.Variable(rng.normal(size=(40, 30)).astype(np.float32)), rng.normal(size=(3, 40)), rng.normal(size=(3, 30))
    before = weights.numpy()

    def both() -> tuple[tf.Tensor, tf.Tensor]:
        gradient = tf.matmul(tf.constant(x, tf.float32), tf.constant(d, tf.float32), transpose_a=True)
        return penalty(0.3).add_gradient(gradient, weights, "in place" in way), gradient

    found, gradient = (both if "eager" in way else tf.function(both, jit_compile=way == "xla"))()
    np.testing.assert_allclose(gradient, x.T @ d, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found, x.T @ d + 0.3 * before, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(weights, before)


def test_in_place_no_other_array_is_made():
    """Of the operations in the graph none but the product's gives an array of the size of the weights."""
    weights = tf.Variable(np.ones((40, 30), np.float32))

    @tf.function
    def added(x: tf.Tensor, d: tf.Tensor) -> tf.Tensor:
        return penalty(0.3).add_gradient(tf.matmul(x, d, transpose_a=True), weights, in_place=True)

    graph = added.get_concrete_function(tf.TensorSpec((3, 40)), tf.TensorSpec((3, 30))).graph
    made = {op.type for op in graph.get_operations() if any(output.shape == (40, 30) for output in op.outputs)}
    assert made <= {"MatMul", "ReadVariableOp", "Identity"}  # what is read is not copied


def test_a_penalty_of_0_is_none():
    assert penalty(0) is None


def test_is_saved_with_its_size():
    restored = keras.regularizers.deserialize(keras.regularizers.serialize(penalty(0.25)))
    assert isinstance(restored, HalfSquares)
    assert restored.l2 == 0.25
