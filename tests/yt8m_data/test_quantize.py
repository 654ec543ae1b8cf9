"""The 8-bit code: exact arithmetic is the oracle, and the published end values are the goldens."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from yt8m_data.quantize import MAXIMUM, MINIMUM, dequantize, quantize

EVERY_BYTE = np.arange(256, dtype=np.uint8)


def exact(value: float) -> int:
    """Round half to even of (clip(x, -2, 2) + 2) * 255 / 4, in rational numbers."""
    clipped = min(max(Fraction(value), Fraction(-2)), Fraction(2))
    return round((clipped + 2) * 255 / 4)


# --- Quantise -------------------------------------------------------------------------------------------------------------


@given(st.lists(st.floats(width=16, allow_nan=False, allow_infinity=False)))
def test_quantize_is_exact(values):
    assert quantize(np.array(values, np.float32)).tolist() == [exact(v) for v in values]


@pytest.mark.parametrize("code", range(0, 255, 2))
def test_codes_change_in_the_middle_between_them(code):
    middle = (2 * code + 1) * 4 / 510 - 2
    below, above = quantize(np.array([middle - 1e-6, middle + 1e-6]))
    assert (below, above) == (code, code + 1)


def test_zero_lies_between_two_codes_and_takes_the_even_one():
    assert exact(0.0) == 128
    assert quantize(np.zeros(3)).tolist() == [128, 128, 128]


def test_values_outside_the_range_are_clipped():
    assert quantize(np.array([-np.inf, -2.1, MINIMUM, MAXIMUM, 2.1, np.inf])).tolist() == [0, 0, 0, 255, 255, 255]


# --- Dequantise -----------------------------------------------------------------------------------------------------------


def test_end_values_are_those_of_the_published_code():
    assert dequantize(np.array([0, 255], np.uint8)).tolist() == [np.float32(-1.9921875), np.float32(2.0078125)]


def test_every_value_is_the_formula_rounded_once():
    exact_values = [Fraction(4 * code, 255) - Fraction(19921875, 10**7) for code in range(256)]
    assert dequantize(EVERY_BYTE).tolist() == [float(np.float32(float(value))) for value in exact_values]


def test_dequantize_rises_by_one_step_per_code():
    np.testing.assert_allclose(np.diff(dequantize(EVERY_BYTE)), 4 / 255, atol=3e-7)


# --- Round trips ----------------------------------------------------------------------------------------------------------


def test_every_byte_comes_back():
    np.testing.assert_array_equal(quantize(dequantize(EVERY_BYTE)), EVERY_BYTE)


@given(arrays.arrays(np.float32, st.integers(1, 50), elements=st.floats(-2, 2, width=32)))
def test_a_round_trip_is_off_by_no_more_than_documented(values):
    error = dequantize(quantize(values)).astype(np.float64) - values
    assert error.min() >= -0.00004
    assert error.max() <= 0.01567


def test_a_round_trip_is_off_by_half_a_bin_on_average():
    values = np.linspace(-2, 2, 100_001)
    error = dequantize(quantize(values)) - values
    assert error.mean() == pytest.approx(4 / 512, abs=1e-5)
    assert error.min() == pytest.approx(-0.00003, abs=1e-5)
    assert error.max() == pytest.approx(0.01566, abs=1e-5)


@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 5), (2, 0, 4)])
def test_shapes_are_kept(shape):
    codes = quantize(np.zeros(shape, np.float32))
    values = dequantize(codes)
    assert (codes.shape, codes.dtype) == (shape, np.uint8)
    assert (values.shape, values.dtype) == (shape, np.float32)
