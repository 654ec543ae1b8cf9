import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from trainers.encoders.context_gating import ContextGating
from yt8m_data.errors import DataError


def made(seed=0, scale=1.0, width=5, **options) -> ContextGating:
    gate = ContextGating(**options)
    gate.build((None, width))
    rng = np.random.default_rng(seed)
    for weight in gate.weights:
        values = rng.normal(size=weight.shape) * scale
        weight.assign(np.abs(values) + 0.3 if weight.name == "moving_variance" else values)
    return gate


def reference(gate: ContextGating, x: np.ndarray) -> np.ndarray:
    """One feature at a time."""
    kernel, y = np.array(gate.kernel, np.float64), np.zeros(x.shape)
    for b, row in enumerate(x.astype(np.float64)):
        for j in range(len(row)):
            z = sum(row[i] * kernel[i, j] for i in range(len(row)) if not (gate.remove_diagonal and i == j))
            if gate.use_bias:
                z += float(np.array(gate.bias)[j])
            else:
                gamma, beta, mean, variance = (float(np.array(w)[j]) for w in gate.norm.weights)
                z = gamma * (z - mean) / np.sqrt(variance + 1e-3) + beta
            y[b, j] = row[j] / (1 + np.exp(-z))
    return y


@pytest.mark.parametrize("remove_diagonal", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_equals_the_definition(bias, remove_diagonal):
    gate = made(bias=bias, remove_diagonal=remove_diagonal)
    x = np.random.default_rng(1).normal(size=(4, 5)).astype(np.float32)
    np.testing.assert_allclose(gate(x), reference(gate, x), rtol=1e-4, atol=1e-5)


@settings(max_examples=20)
@given(seed=st.integers(0, 10**6), scale=st.sampled_from([0.1, 1.0, 20.0]), diagonal=st.booleans())
def test_shrinks_and_keeps_the_sign(seed, scale, diagonal):
    x = np.random.default_rng(seed).normal(size=(3, 5)).astype(np.float32)
    y = np.array(made(seed, scale, remove_diagonal=diagonal)(x))
    assert (np.abs(y) <= np.abs(x)).all()
    assert (y * x >= 0).all()


@pytest.mark.parametrize("bias", [False, True])
def test_zero_kernel_halves(bias):
    gate = ContextGating(bias=bias)
    gate.build((None, 5))
    gate.kernel.assign(np.zeros((5, 5)))
    x = np.random.default_rng(2).normal(size=(3, 5)).astype(np.float32)
    np.testing.assert_allclose(gate(x), x / 2, rtol=1e-6)


def test_without_its_diagonal_a_diagonal_kernel_gates_nothing():
    gate = made(remove_diagonal=True)
    x = np.random.default_rng(3).normal(size=(3, 5)).astype(np.float32)
    gate.kernel.assign(np.diag([3.0, -2.0, 5.0, 1.0, -4.0]))
    gamma, beta, mean, variance = (np.array(w) for w in gate.norm.weights)
    at_zero = 1 / (1 + np.exp(-(beta - gamma * mean / np.sqrt(variance + 1e-3))))
    np.testing.assert_allclose(gate(x), at_zero * x, rtol=1e-4)


@pytest.mark.parametrize("bias", [False, True])
def test_gradients_and_start(bias):
    gate = ContextGating(bias=bias, remove_diagonal=True)
    gate.build((None, 400))
    assert np.array(gate.kernel).std() == pytest.approx(400**-0.5, rel=0.02)
    x = np.random.default_rng(4).normal(size=(6, 400)).astype(np.float32)
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(gate(x, training=True) ** 2)
    gradients = tape.gradient(total, [w.value for w in gate.trainable_weights])
    assert len(gradients) == (2 if bias else 3)
    assert all(np.abs(g).max() > 1e-6 for g in gradients)
    np.testing.assert_array_equal(np.diag(gradients[0]), 0)


def test_momentum():
    gate = ContextGating(momentum=0.75)
    gate.build((None, 5))
    x = np.random.default_rng(5).normal(size=(50, 5)).astype(np.float32)
    gate(x, training=True)
    z = x @ np.array(gate.kernel)
    np.testing.assert_allclose(gate.norm.moving_mean, z.mean(axis=0) / 4, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(gate.norm.moving_variance, 0.75 + z.var(axis=0) / 4, rtol=1e-3)


def test_config_and_wrong_options():
    config = ContextGating(bias=True, remove_diagonal=True, momentum=0.5).get_config()
    assert ContextGating.from_config(config).get_config() == config
    with pytest.raises(DataError, match="bias of context_gating is 1: choose true or false"):
        ContextGating(bias=1)
    with pytest.raises(DataError, match="momentum of context_gating is None: set it to a number of at least 0 and below 1"):
        ContextGating(momentum=None)
