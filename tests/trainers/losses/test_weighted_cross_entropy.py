import numpy as np
import pytest

from trainers.losses.cross_entropy import CrossEntropy
from trainers.losses.weighted_cross_entropy import WeightedCrossEntropy
from yt8m_data.errors import DataError


def batch(seed=0):
    """Hard and soft labels, and probabilities."""
    rng = np.random.default_rng(seed)
    y = np.concatenate([rng.random((3, 6)) < 0.3, rng.random((2, 6))]).astype(np.float32)
    return y, rng.random((5, 6)).astype(np.float32)


@pytest.mark.parametrize(("form", "alpha"), [("positive", 2.0), ("positive", 0.3), ("balanced", 0.7), ("balanced", 0.1)])
def test_equals_the_definition(form, alpha):
    y, p = batch()
    expected = np.zeros(5)
    for b in range(5):
        for c in range(6):
            yes, no = y[b, c] * np.log(p[b, c] + 1e-5), (1 - y[b, c]) * np.log(1 - p[b, c] + 1e-5)
            expected[b] -= alpha * yes + no if form == "positive" else 2 * (alpha * yes + (1 - alpha) * no)
    loss = WeightedCrossEntropy(alpha, form)
    np.testing.assert_allclose(loss.call(y, p), expected, rtol=1e-4)
    assert float(loss(y, p)) == pytest.approx(expected.mean(), rel=1e-4)


@pytest.mark.parametrize(("form", "alpha"), [("positive", 1.0), ("balanced", 0.5)])
def test_even_weights_are_the_cross_entropy(form, alpha):
    np.testing.assert_allclose(WeightedCrossEntropy(alpha, form).call(*batch()), CrossEntropy().call(*batch()), rtol=1e-6)


def test_config_round_trip():
    config = WeightedCrossEntropy(0.7, "balanced").get_config()
    assert WeightedCrossEntropy.from_config(config).get_config() == config


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alpha": 2.0, "form": "both"}, "form of weighted_cross_entropy is 'both': choose one of positive, balanced"),
        ({"alpha": 0.0}, "alpha of weighted_cross_entropy is 0.0: set it to a number above 0"),
        (
            {"alpha": 1.0, "form": "balanced"},
            "alpha of weighted_cross_entropy with form=balanced is 1.0: set it to a number of at least 0 and below 1",
        ),
    ],
)
def test_wrong_use(options, message):
    with pytest.raises(DataError, match=message):
        WeightedCrossEntropy(**options)
