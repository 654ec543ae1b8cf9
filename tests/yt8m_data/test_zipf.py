"""Rank-frequency fits: exact laws, the true counts of 2018, and input that has no law."""

import csv
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from yt8m_data.errors import DataError
from yt8m_data.zipf import Line, fit

counts_of_labels = arrays.arrays(np.int64, st.integers(2, 300), elements=st.integers(0, 10**6))


def power_law(num_classes: int, exponent: float, head: float = 1e12) -> np.ndarray:
    return np.rint(head * np.arange(1, num_classes + 1) ** -exponent).astype(np.int64)


# --- Laws -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("exponent", [0.5, 1.0, 1.4])
def test_an_exact_power_law_is_recovered_by_every_line_and_by_likelihood(exponent):
    result = fit(power_law(3862, exponent))
    assert [(line.first_rank, line.last_rank) for line in result.lines] == [(1, 3862), (1, 100), (10, 1000), (100, 3862)]
    for line in result.lines:
        assert line.slope == pytest.approx(-exponent, abs=1e-4)
        assert line.intercept == pytest.approx(12, abs=1e-3)
        assert line.r_squared == pytest.approx(1, abs=1e-6)
    assert result.exponent == pytest.approx(exponent, abs=1e-6)


@given(counts_of_labels, st.integers(2, 50))
def test_scaling_all_counts_moves_the_line_up_and_leaves_its_slope(counts, factor):
    one, many = fit(counts), fit(counts * factor)
    for before, after in zip(one.lines, many.lines, strict=True):
        assert after.slope == pytest.approx(before.slope, abs=1e-9)
        assert after.intercept == pytest.approx(before.intercept + np.log10(factor), abs=1e-9)
    if one.exponent is not None:
        assert many.exponent == pytest.approx(one.exponent, abs=1e-9)
        assert many.exponent_error == pytest.approx(one.exponent_error / np.sqrt(factor))
    assert many.top_10_share == pytest.approx(one.top_10_share)


@given(counts_of_labels, st.randoms(use_true_random=False))
def test_the_order_of_labels_does_not_matter(counts, random):
    shuffled = counts.copy()
    random.shuffle(shuffled)
    assert fit(shuffled) == fit(counts)


@given(counts_of_labels)
def test_lines_are_least_squares(counts):
    """NumPy's own polynomial fit is the oracle."""
    ranked = np.sort(counts[counts > 0])[::-1]
    for line in fit(counts).lines:
        ranks = np.arange(line.first_rank, line.last_rank + 1)
        x, y = np.log10(ranks), np.log10(ranked[ranks - 1])
        slope, intercept = np.polyfit(x, y, 1)
        assert line.slope == pytest.approx(slope, abs=1e-6)
        assert line.intercept == pytest.approx(intercept, abs=1e-6)
        if np.ptp(y) > 1e-3:
            assert line.r_squared == pytest.approx(np.corrcoef(x, y)[0, 1] ** 2, abs=1e-6)


@given(counts_of_labels)
def test_the_exponent_is_the_likeliest(counts):
    result = fit(counts)
    if result.exponent is None:
        assert (counts > 0).sum() < 2
        return
    log_rank = np.log(np.arange(1, len(counts) + 1))
    ranked = np.sort(counts)[::-1]

    def log_likelihood(exponent: float) -> float:
        return ranked @ (-exponent * log_rank - np.log(np.exp(-exponent * log_rank).sum()))

    best = log_likelihood(result.exponent)
    for step in (1e-3, 0.1):
        assert log_likelihood(result.exponent + step) < best
        assert log_likelihood(result.exponent - step) < best


@pytest.mark.parametrize("exponent", [0.8, 1.1, 1.5])
def test_a_sampled_law_is_recovered_within_the_stated_error(exponent):
    """Over 40 samples, the error in units of the stated one has mean about 0 and deviation about 1."""
    random = np.random.default_rng(1)
    law = np.arange(1, 31) ** -exponent
    fits = [fit(random.multinomial(200_000, law / law.sum())) for _ in range(40)]
    scores = np.array([(each.exponent - exponent) / each.exponent_error for each in fits])
    assert abs(scores.mean()) < 3 / np.sqrt(40)
    assert 0.7 < scores.std() < 1.4


def test_the_interval_of_the_exponent_covers_it_and_widens_with_the_scatter():
    random = np.random.default_rng(2)
    law = np.arange(1, 101) ** -1.0
    law /= law.sum()
    inside = sum(low <= 1 <= high for low, high in (fit(random.multinomial(100_000, law)).exponent_interval for _ in range(40)))
    assert inside >= 34
    smooth, rough = fit(random.multinomial(10**6, law)), fit(random.poisson(10**6 * law * random.lognormal(0, 0.3, 100)))
    width = [np.diff(each.exponent_interval)[0] for each in (smooth, rough)]
    assert width[1] > 3 * width[0]
    assert smooth.exponent_interval[0] < smooth.exponent < smooth.exponent_interval[1]


def test_the_other_fits_stand_beside():
    counts = np.random.default_rng(3).permutation(power_law(500, 1.0, head=1e6))
    result = fit(counts, num_simulations=5)
    assert result.power_law.num_simulations == 5
    assert fit(counts).power_law.p_value is None
    assert result.power_law.rank_exponent == pytest.approx(1, abs=0.05)
    assert result.two_regimes.exponents == pytest.approx((1, 1), abs=0.01)


def test_shares_and_median_by_hand():
    result = fit(np.array([0, 4, 10, 1, 5]))
    assert (result.num_classes, result.num_empty, result.num_labels, result.median) == (5, 1, 20, 4)
    assert result.bottom_half_share == pytest.approx(1 / 20)  # the counts 1 and 0
    assert result.top_10_share == result.top_100_share == 1
    assert fit(np.arange(1, 1001)).top_100_share == pytest.approx(sum(range(901, 1001)) / 500_500)
    assert fit(np.arange(1, 1001)).top_10_share == pytest.approx(sum(range(991, 1001)) / 500_500)


# --- The true counts --------------------------------------------------------------------------------------------------------


@pytest.mark.shared_data
def test_the_true_counts_of_2018(shared_data):
    with open(shared_data / "vocabulary-2018.csv", newline="", encoding="utf-8") as file:
        result = fit(np.array([int(row["TrainVideoCount"]) for row in csv.DictReader(file)]))
    slopes = {(line.first_rank, line.last_rank): round(line.slope, 3) for line in result.lines[1:]}
    assert slopes == {(1, 100): -0.934, (10, 1000): -1.124, (100, 3862): -1.377}
    assert (result.num_classes, result.num_empty, result.num_labels, result.median) == (3862, 0, 11_711_620, 440.5)
    assert round(result.top_10_share, 3) == 0.289
    assert round(result.top_100_share, 3) == 0.613
    assert round(result.bottom_half_share, 3) == 0.041
    assert 0.9 < result.exponent < 1.2


# --- No law ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("counts", [[], [0], [0, 0, 0], [7], [7, 0, 0]])
def test_fewer_than_two_labels_with_videos_have_no_lines_and_no_exponent(counts):
    result = fit(np.array(counts, np.int64))
    assert result.lines == ()
    assert result.exponent is None
    assert result.exponent_error is None
    assert (result.exponent_interval, result.power_law, result.two_regimes) == (None, None, None)
    assert result.num_classes == len(counts)
    assert result.num_empty == counts.count(0)
    assert result.top_10_share == (1 if sum(counts) else 0)


def test_equal_counts_are_a_flat_line():
    result = fit(np.full(50, 9))
    assert result.lines[0] == Line(1, 50, 0.0, pytest.approx(np.log10(9)), 1.0)
    assert result.exponent == pytest.approx(0, abs=1e-9)
    assert result.bottom_half_share == 0.5


def test_regimes_are_cut_to_the_labels_with_videos():
    def ranges(num_classes: int, num_empty: int = 0) -> list[tuple[int, int]]:
        counts = np.concatenate([power_law(num_classes, 1.0), np.zeros(num_empty, np.int64)])
        return [(line.first_rank, line.last_rank) for line in fit(counts).lines]

    assert ranges(5) == [(1, 5)]
    assert ranges(18, num_empty=500) == [(1, 18)]
    assert ranges(19, num_empty=500) == [(1, 19), (10, 19)]
    assert ranges(100) == [(1, 100), (10, 100)]
    assert ranges(527) == [(1, 527), (1, 100), (10, 527), (100, 527)]


def test_labels_without_videos_leave_the_lines_and_steepen_the_likelihood():
    full, padded = power_law(40, 1.0, head=1e6), np.concatenate([power_law(40, 1.0, head=1e6), np.zeros(60, np.int64)])
    assert fit(padded).lines == fit(full).lines
    assert fit(padded).num_empty == 60
    assert fit(padded).exponent > fit(full).exponent + 0.1


def test_a_negative_count_is_refused():
    with pytest.raises(DataError, match="label count -3 is negative"):
        fit(np.array([5, -3]))


def test_the_dictionary_is_plain_json():
    for counts in ([], [3, 1, 0], list(range(200))):
        result = fit(np.array(counts, np.int64)).to_dict()
        assert json.loads(json.dumps(result, allow_nan=False)) == result
