"""The law with one break: laws are recovered, the likelihood is the largest, the curve is the one that is told."""

import csv

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yt8m_data.two_regimes import FEWEST_RANKS, dispersion, fit


def law(num_ranks, at, first, second):
    rank = np.arange(1, num_ranks + 1)
    values = np.where(rank <= at, rank**-first, at ** (second - first) * rank**-second)
    return values / values.sum()


def curve(found, num_ranks):
    """Counts by the formula of the attributes."""
    rank = np.arange(1, num_ranks + 1)
    first, second = found.exponents
    return 10**found.log10_scale * rank**-first * np.where(rank > found.break_rank, (rank / found.break_rank) ** (first - second), 1)


@pytest.mark.parametrize(("first", "second", "at"), [(0.7, 1.6, 100), (1.2, 0.5, 40), (0.0, 2.0, 15)])
def test_an_exact_law_is_recovered(first, second, at):
    counts = np.rint(1e10 * law(800, at, first, second)).astype(np.int64)
    found = fit(counts)
    assert found.break_rank == pytest.approx(at, rel=0.05)  # breaks are tried on a grid
    assert found.exponents == pytest.approx((first, second), abs=0.02)
    np.testing.assert_allclose(curve(found, 800), counts, rtol=0.08)
    assert curve(found, 800).sum() == pytest.approx(counts.sum(), rel=1e-6)
    assert found.aic_gain > 100


def test_sampled_laws_lie_within_the_stated_intervals():
    random, truth, inside = np.random.default_rng(1), law(300, 30, 0.6, 1.5), 0
    for _ in range(40):
        found = fit(np.sort(random.multinomial(100_000, truth))[::-1])
        inside += all(low <= true <= high for (low, high), true in zip(found.intervals, (0.6, 1.5), strict=True))
    assert inside >= 28  # 0.9 of 40 for two intervals, less what the unknown break costs


def test_counts_that_keep_to_no_such_law_have_wider_intervals():
    rank, truth = np.arange(1, 301), law(300, 30, 0.6, 1.5)
    curved = rank**-0.5 * np.exp(-rank / 60)
    kept, left = (fit(np.rint(1e6 * shares / shares.sum()).astype(np.int64)) for shares in (truth, curved))
    for narrow, wide in zip(kept.intervals, left.intervals, strict=True):
        assert wide[1] - wide[0] > 3 * (narrow[1] - narrow[0])


def test_one_exponent_needs_no_second():
    found = fit(np.random.default_rng(3).multinomial(50_000, law(200, 50, 1.0, 1.0)))
    assert found.aic_gain < 8
    assert found.exponents == pytest.approx((1, 1), abs=0.15)


@settings(max_examples=20)
@given(st.lists(st.integers(1, 10_000), min_size=2 * FEWEST_RANKS, max_size=80))
def test_the_exponents_are_the_likeliest(counts):
    counts = np.sort(counts)[::-1]
    found = fit(counts)
    assert FEWEST_RANKS <= found.break_rank <= len(counts) - FEWEST_RANKS

    def log_likelihood(first, second):
        return counts @ np.log(law(len(counts), found.break_rank, first, second))

    best = log_likelihood(*found.exponents)
    for step in ((1e-3, 0), (-1e-3, 0), (0, 1e-3), (0, -1e-3), (0.2, -0.2)):
        assert log_likelihood(*(np.array(found.exponents) + step)) <= best + 1e-6


@pytest.mark.parametrize("counts", [[], [5] * 19, [5] * 19 + [0] * 50])
def test_too_few_labels_have_no_regimes(counts):
    assert fit(np.array(counts, np.int64)) is None


def test_labels_without_videos_change_nothing():
    counts = np.rint(1e6 * law(60, 20, 0.5, 1.5)).astype(np.int64)
    assert fit(np.concatenate([counts, np.zeros(500, np.int64)])) == fit(counts)


def test_dispersion_of_independent_counts_is_one():
    random, expected = np.random.default_rng(4), np.full(2000, 30.0)
    assert dispersion(random.poisson(expected), expected, 2) == pytest.approx(1, abs=0.15)
    assert dispersion(30 + 2 * (random.poisson(expected) - 30), expected, 2) == pytest.approx(4, rel=0.15)
    assert dispersion(expected, expected, 2) == 1


@pytest.mark.shared_data
def test_the_true_counts_of_2018_fall_faster_in_the_tail(shared_data):
    with open(shared_data / "vocabulary-2018.csv", newline="", encoding="utf-8") as file:
        counts = np.sort([int(row["TrainVideoCount"]) for row in csv.DictReader(file)])[::-1]
    found = fit(counts)
    assert found.exponents[0] < 0.934 < 1.124 < found.exponents[1]  # the least-squares slopes of ranks 1-100 and 10-1000
    assert found.aic_gain > 1000
    assert np.abs(np.log10(curve(found, len(counts)) / counts)).max() < 0.3
