import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from trainers.losses.huber import Huber
from yt8m_data.errors import DataError


def entropies(y, p) -> np.ndarray:
    """Cross-entropy of each class, float64."""
    y, p = y.astype(np.float64), p.astype(np.float64)
    return -(y * np.log(p + 1e-5) + (1 - y) * np.log(1 - p + 1e-5))


def probability_of(entropy) -> np.ndarray:
    """The p of a positive label whose cross-entropy this is, [1, 1]."""
    return np.array([[np.exp(-entropy) - 1e-5]], np.float32)


ONE = np.ones((1, 1), np.float32)


@pytest.mark.parametrize("per_class", [True, False])
@pytest.mark.parametrize("delta", [0.5, 1.0, 2.0, 3.0])
def test_equals_the_definition(delta, per_class):
    rng = np.random.default_rng(0)
    y, p = (rng.random((4, 7)) < 0.3).astype(np.float32), rng.random((4, 7)).astype(np.float32)

    def huber(loss):
        return delta**2 * (np.sqrt(1 + (loss / delta) ** 2) - 1)

    expected = huber(entropies(y, p)).sum(axis=1) if per_class else huber(entropies(y, p).sum(axis=1))
    loss = Huber(delta, per_class)
    np.testing.assert_allclose(loss.call(y, p), expected, rtol=1e-4)
    assert float(loss(y, p)) == pytest.approx(expected.mean(), rel=1e-4)


@pytest.mark.parametrize("per_class", [True, False])
def test_limits(per_class):
    """Half the square where the cross-entropy is small, a line of slope delta where it is large."""
    small, large = 1e-3, 9.0
    p = probability_of(small)
    exact = entropies(ONE, p).item()  # as float32 p has it
    assert Huber(0.5, per_class).call(ONE, p).numpy().item() == pytest.approx(exact**2 / 2, rel=1e-2)
    assert Huber(0.1, per_class).call(ONE, probability_of(large)).numpy().item() == pytest.approx(0.1 * large - 0.1**2, rel=1e-2)


def test_many_small_terms_keep_their_digits():
    """3862 classes of p about 1e-4: written as the formula stands, float32 would give 0."""
    y, p = np.zeros((1, 3862), np.float32), np.full((1, 3862), 1e-4, np.float32)
    expected = 3862 * np.sum(entropies(y, p)[0, 0]) ** 2 / 2
    assert Huber(0.5).call(y, p).numpy().item() == pytest.approx(expected, rel=1e-2)


@settings(max_examples=40)
@given(delta=st.sampled_from([0.1, 0.5, 3.0]), low=st.floats(0.01, 9), more=st.floats(0.05, 2))
def test_is_monotone_and_its_slope_is_at_most_delta(delta, low, more):
    loss = Huber(delta)
    first, second = (float(loss(ONE, probability_of(entropy))) for entropy in (low, low + more))
    assert first < second
    p = tf.Variable(probability_of(low))
    with tf.GradientTape() as tape:
        value = loss(ONE, p)
    slope = -float(tape.gradient(value, p)[0, 0]) * (p.numpy().item() + 1e-5)  # d value / d entropy
    assert 0 < slope < delta * 1.0001
    assert slope == pytest.approx(low / np.sqrt(1 + (low / delta) ** 2), rel=1e-2)


def test_config_round_trip_and_wrong_use():
    config = Huber(2.0, per_class=False).get_config()
    assert Huber.from_config(config).get_config() == config
    with pytest.raises(DataError, match="delta of huber is 0: set it to a number above 0"):
        Huber(0)
