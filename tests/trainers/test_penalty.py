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


def test_a_penalty_of_0_is_none():
    assert penalty(0) is None


def test_is_saved_with_its_size():
    restored = keras.regularizers.deserialize(keras.regularizers.serialize(penalty(0.25)))
    assert isinstance(restored, HalfSquares)
    assert restored.l2 == 0.25
