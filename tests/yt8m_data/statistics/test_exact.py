"""Exact sums: math.fsum's to the last bit, in any order, and quotients that lose nothing."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from yt8m_data.errors import DataError
from yt8m_data.statistics import exact

# Whole numbers of 2^-96, of which the sums keep every bit.
FLOATS = st.builds(lambda mantissa, exponent: math.ldexp(mantissa, exponent), st.integers(-(2**53), 2**53), st.integers(-96, 20))


def value(digits):
    return [float(Fraction(whole, 2**96)) for whole in exact.integers(digits)]


@given(st.lists(FLOATS, max_size=30), st.randoms(), st.integers(1, 5))
def test_a_sum_is_fsum_in_any_order_and_grouping(values, random, group):
    digits = set()
    for _ in range(3):
        random.shuffle(values)
        total = exact.zeros(1)
        for at in range(0, len(values), group):
            total = exact.add(total, np.array(values[at : at + group])[:, None])
        assert value(total) == [math.fsum(values)]
        digits.add(total.tobytes())
    assert len(digits) == 1, "equal sums have equal digits"


@given(st.lists(st.lists(FLOATS, min_size=1, max_size=6), max_size=5))
def test_merged_sums_are_the_sum_of_all(parts):
    merged, whole = exact.zeros(1), exact.zeros(1)
    for part in parts:
        column = np.array(part)[:, None]
        merged, whole = exact.merge(merged, exact.add(exact.zeros(1), column)), exact.add(whole, column)
    assert merged.tobytes() == whole.tobytes()


def test_cancellation_leaves_what_is_left():
    values = np.array([1e16, 1.0, -1e16, 2.0**-40, 1e16, -1e16, 3.0])
    assert value(exact.add(exact.zeros(2), np.stack([values, -values], axis=1))) == [4 + 2.0**-40, -4 - 2.0**-40]


def test_the_arguments_are_left_alone():
    digits, values = exact.add(exact.zeros(1), np.array([[-1.5]])), np.array([[2.25], [-0.125]])
    kept = digits.copy(), values.copy()
    assert value(exact.add(digits, values)) == [0.625]
    assert value(exact.merge(digits, digits)) == [-3.0]
    np.testing.assert_array_equal(digits, kept[0])
    np.testing.assert_array_equal(values, kept[1])


@pytest.mark.parametrize("huge", [1e29, -1e29, math.inf, math.nan])
def test_a_value_that_does_not_fit_is_refused(huge):
    with pytest.raises(DataError, match="scale the features down"):
        exact.add(exact.zeros(2), np.array([[1.0, huge]]))


@given(st.lists(st.floats(-1e6, 1e6, allow_subnormal=False).filter(lambda x: x == 0 or abs(x) > 1e-10), min_size=1, max_size=12))
def test_moments_are_rounded_once(values):
    """Mean and variance of values whose sum of squares is known exactly."""
    values = [float(np.float32(value)) for value in values]  # squares of float32 are exact in float64
    column = np.array(values)[:, None]
    mean, variance = exact.moments(np.array([len(values)]), exact.add(exact.zeros(1), column), exact.add(exact.zeros(1), column**2))
    fractions = [Fraction(value) for value in values]
    true_mean = sum(fractions) / len(values)
    true_variance = sum((value - true_mean) ** 2 for value in fractions) / len(values)
    assert mean[0] == pytest.approx(float(true_mean), rel=1e-15, abs=1e-25)
    assert variance[0] == pytest.approx(float(true_variance), rel=1e-15, abs=1e-25)


def test_moments_of_nothing_are_zero():
    mean, variance = exact.moments(np.zeros(2, np.int64), exact.zeros(2), exact.zeros(2))
    assert mean.tolist() == variance.tolist() == [0.0, 0.0]
