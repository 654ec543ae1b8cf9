"""Sums over the rows of matrices of floats, piece by piece: all that is done to a piece is done while it is in a core's cache."""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np

# Rows summed at a time. Their sums are made in float32, whose rounding errors (at most 2^-17 of a sum, and as often up as down) average
# out over the pieces: a mean or variance of some thousand rows is right to eight digits. 128 rows of 1,024 values stay in the cache.
_ROWS, _WIDTH = 128, 1024
_FAR = 8.0  # a mean of so many standard deviations, squared, is too far from zero for squares in float32


class Sums(NamedTuple):
    """Of `rows` rows and each column: the sum and that of the squares, float64; the zeros, int64; the smallest and the largest value,
    float32; and the values that are not finite, int64, which count for nothing else."""

    rows: int
    total: np.ndarray
    squares: np.ndarray
    zeros: np.ndarray
    low: np.ndarray
    high: np.ndarray
    nan: np.ndarray


def piece_rows(size: int) -> int:
    """How many rows of `size` values a piece has."""
    return _ROWS * _fold(size)


def of_pieces(pieces: Callable[[], Iterable[np.ndarray]], size: int) -> Sums | None:
    """Sum up a matrix that is given in pieces, float32 [`piece_rows`, size] (the last may have fewer rows), once or twice over.

    Returns None where not all values are finite, or only their sum is not.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        found = _sums(pieces(), size, np.float32)
    if not np.isfinite(found.total).all():
        return None
    if (found.total**2 > _FAR * (found.rows * found.squares - found.total**2)).any():
        return _sums(pieces(), size, np.float64)
    return found


def of_matrix(matrix: np.ndarray) -> Sums:
    """Sum up float32 [N, size], N > 0."""
    size = matrix.shape[1]
    found = of_pieces(lambda: _cut(matrix), size)
    if found is not None:
        return found
    wrong = ~np.isfinite(matrix)
    found = _sums(_cut(np.where(wrong, np.float32(0), matrix)), size, np.float64)
    nan = wrong.sum(axis=0)
    low, high = np.where(wrong, np.inf, matrix).min(axis=0), np.where(wrong, -np.inf, matrix).max(axis=0)
    return found._replace(zeros=found.zeros - nan, low=low, high=high, nan=nan)


def of_places(source: np.ndarray, places: np.ndarray) -> Sums | None:
    """Sum up float vectors where they lie: `source[places]`, of uint8 [M, bytes] and int64 [N], N > 0. None as `of_pieces`."""
    size = source.shape[1] // 4
    rows = piece_rows(size)
    return of_pieces(lambda: (source[places[at : at + rows]].view("<f4") for at in range(0, len(places), rows)), size)


def count(mask: np.ndarray) -> np.ndarray:
    """Count what is true in each column of up to 255 rows, uint8 [size]; a wider sum would take three times as long."""
    return np.add.reduce(mask.view(np.uint8), axis=0, dtype=np.uint8)


def _fold(size: int) -> int:
    """How many rows to join to one: a pass over a row has a fixed cost, which narrow ones are not worth."""
    return max(1, _WIDTH // size)


def _cut(matrix: np.ndarray) -> Iterator[np.ndarray]:
    rows = piece_rows(matrix.shape[1])
    for at in range(0, len(matrix), rows):
        yield matrix[at : at + rows]


def _sums(pieces: Iterable[np.ndarray], size: int, dtype: type[np.floating]) -> Sums:
    """Sum up the pieces, each in `dtype`, and all in float64."""
    number, fold = 0, _fold(size)
    zero = np.empty(piece_rows(size) * size, bool)  # made once: fresh pages would cost more than what is done with them
    total, squares, zeros, low, high = [], [], [np.zeros((1, size), np.int64)], [], []
    for piece in pieces:
        number += len(piece)
        cut = len(piece) // fold * fold
        for rows in (piece[:cut].reshape(-1, fold * size), piece[cut:]):
            if not len(rows):
                continue
            total.append(np.add.reduce(rows, axis=0, dtype=dtype).reshape(-1, size))
            squares.append(np.einsum("ij,ij->j", rows, rows, dtype=dtype).reshape(-1, size))
            low.append(np.minimum.reduce(rows, axis=0).reshape(-1, size))
            high.append(np.maximum.reduce(rows, axis=0).reshape(-1, size))
            is_zero = np.equal(rows, 0, out=zero[: rows.size].reshape(rows.shape))
            if is_zero.any():
                zeros.append(count(is_zero).reshape(-1, size))
    return Sums(
        rows=number,
        total=np.concatenate(total).sum(axis=0, dtype=np.float64),
        squares=np.concatenate(squares).sum(axis=0, dtype=np.float64),
        zeros=np.concatenate(zeros).sum(axis=0, dtype=np.int64),
        low=np.concatenate(low).min(axis=0),
        high=np.concatenate(high).max(axis=0),
        nan=np.zeros(size, np.int64),
    )
