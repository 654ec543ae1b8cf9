import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainers.losses.cross_entropy import CrossEntropy


def test_sums_over_classes_and_averages_over_the_batch():
    y = np.array([[1, 0, 0], [0, 1, 1]], np.float32)
    p = np.array([[0.9, 0.2, 0.1], [0.3, 0.4, 0.5]], np.float32)
    expected = -np.mean([np.log(0.9 * 0.8 * 0.9), np.log(0.7 * 0.4 * 0.5)])
    assert float(CrossEntropy()(y, p)) == pytest.approx(expected, abs=1e-4)
    np.testing.assert_allclose(CrossEntropy().call(y, p), [-np.log(0.9 * 0.8 * 0.9), -np.log(0.7 * 0.4 * 0.5)], atol=1e-3)


def test_the_epsilon():
    truth = np.array([[1, 0, 0, 0]], np.float32)
    assert float(CrossEntropy()(truth, truth)) == pytest.approx(-4e-5, rel=0.02)
    assert float(CrossEntropy()(truth, 1 - truth)) == pytest.approx(-4 * np.log(1e-5), rel=0.02)


@settings(max_examples=30)
@given(seed=st.integers(0, 10**6))
def test_logits_form_agrees_with_keras_and_with_probabilities(seed):
    rng = np.random.default_rng(seed)
    z, y = rng.normal(size=(4, 6)).astype(np.float32) * 2, rng.random((4, 6)).astype(np.float32)  # soft labels
    exact = float(CrossEntropy(from_logits=True)(y, z))
    assert exact == pytest.approx(6 * float(keras.losses.BinaryCrossentropy(from_logits=True)(y, z)), rel=1e-4)
    assert exact == pytest.approx(float(CrossEntropy()(y, 1 / (1 + np.exp(-z)))), rel=5e-3)


def test_logits_form_survives_saturation():
    y, z = np.array([[1.0, 0.0]], np.float32), np.array([[-200.0, 200.0]], np.float32)
    assert float(CrossEntropy(from_logits=True)(y, z)) == pytest.approx(400)


def test_config_round_trip():
    config = CrossEntropy(from_logits=True).get_config()
    assert CrossEntropy.from_config(config).get_config() == config
