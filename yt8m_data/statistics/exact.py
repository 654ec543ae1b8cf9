"""Sums of floats that come out the same in whatever order they are added, to the last bit.

A float64 is a whole number of 2^-96, up to what lies below that. So a sum is kept as one large integer per value, in four digits of 48
bits: integers add up exactly, and the order of adding does not show.
"""

import numpy as np

from yt8m_data.errors import DataError

_DIGITS, _BITS, _FRACTION = 4, 48, 96  # digits, bits of each, and bits behind the point
_LIMIT = 2.0 ** (_DIGITS * _BITS - _FRACTION - 4)  # room for the sum of many


def zeros(size: int) -> np.ndarray:
    """Return sums of nothing: int64 [4, size], the lowest digit first."""
    return np.zeros((_DIGITS, size), np.int64)


def add(digits: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return the sums with the rows of `values`, float64 [N, size] (N up to a thousand), added to them.

    What a value has below 2^-96 is cut off, from each for itself: so that the order still does not show.

    Raises:
      DataError: a value is beyond 1e27, or not finite.
    """
    largest = np.abs(values).max(initial=0)
    if not largest < _LIMIT:
        raise DataError(f"a sum of features or of their squares is beyond {_LIMIT:.0e}: scale the features down")
    total, rest = digits.copy(), values
    for place in reversed(range(_DIGITS)):
        unit = 2.0 ** (place * _BITS - _FRACTION)
        if largest >= unit:
            digit = np.trunc(rest * (1 / unit))  # a power of two: nothing is rounded, and what is left is shorter than before
            total[place] += digit.astype(np.int64).sum(axis=0)
            rest = rest - digit * unit
            largest = np.abs(rest).max(initial=0)
    return _carried(total)


def merge(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the sums of both."""
    return _carried(a + b)


def integers(digits: np.ndarray) -> list[int]:
    """Return each sum as a whole number of 2^-96."""
    places = digits.tolist()
    return [sum(digit << place * _BITS for place, digit in enumerate(column)) for column in zip(*places, strict=True)]


def moments(count: np.ndarray, total: np.ndarray, squares: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and (population) variance, float64 [size] each, of `count` values with these sums; 0 where there are none.

    Nothing is lost to cancellation here: the quotients are of integers, rounded once.
    """
    mean, variance = np.zeros(len(count)), np.zeros(len(count))
    one = 1 << _FRACTION
    for i, (n, s, q) in enumerate(zip(count.tolist(), integers(total), integers(squares), strict=True)):
        if n:
            mean[i] = s / (n * one)
            variance[i] = max(n * q * one - s * s, 0) / (n * n * one * one)
    return mean, variance


def _carried(digits: np.ndarray) -> np.ndarray:
    """Bring all digits but the highest, which has the sign, to 0 .. 2^48 - 1: equal sums have equal digits."""
    for place in range(_DIGITS - 1):
        digits[place + 1] += digits[place] >> _BITS
        digits[place] &= (1 << _BITS) - 1
    return digits
