"""Sums over the rows of matrices of floats, piece by piece: all that is done to a piece is done while it is in a core's cache."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

# Rows summed at a time. Their sums are made in float32, whose rounding errors (at most 2^-17 of a sum, and as often up as down) average
# out over the pieces: a mean or variance of some thousand rows is right to eight digits. 128 rows of 1,024 values stay in the cache.
ROWS, _WIDTH = 128, 1024
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
    return ROWS * _fold(size)


def of_pieces(pieces: Callable[[], Iterable[np.ndarray]], size: int) -> Sums | None:
    """Sum up a matrix that is given in pieces, float32 [`piece_rows`, size] (the last may have fewer rows), once or twice over.

    Returns None where not all values are finite, or only their sum is not.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        found = _sums(pieces(), size, np.float32)
    if not np.isfinite(found.total).all():
        return None
    return _sums(pieces(), size, np.float64) if _is_far(found) else found


class Passing:
    """The sums of matrices whose rows pass by: float32 [N, size], of these sizes by name."""

    def __init__(self, sizes: Mapping[str, int]) -> None:
        self._adding = {name: _Adding(size, np.float32) for name, size in sizes.items()}

    def watch(self, blocks: Iterable[Sequence[np.ndarray]]) -> Iterator[Sequence[np.ndarray]]:
        """Give blocks of some rows on, and add them up; each has the rows of all matrices, at most 128."""
        for block in blocks:
            with np.errstate(invalid="ignore", over="ignore"):
                for rows, adding in zip(block, self._adding.values(), strict=True):
                    adding.add(rows)
            yield block

    def sums(self) -> dict[str, Sums] | None:
        """Return what `of_matrix` gives of each; None where it would go over one of them once more."""
        with np.errstate(invalid="ignore", over="ignore"):
            return trusted({name: adding.sums() for name, adding in self._adding.items()})


def trusted(found: dict[str, Sums]) -> dict[str, Sums] | None:
    """Give sums by float32 back, or None where not all will do: values are not finite, or a mean lies too far from zero."""
    with np.errstate(invalid="ignore", over="ignore"):
        good = all(np.isfinite(each.total).all() and not _is_far(each) for each in found.values())
    return found if good else None


def added(rows: int, total: np.ndarray, squares: np.ndarray, zeros: np.ndarray, low: np.ndarray, high: np.ndarray) -> Sums:
    """Add up the sums of parts, [parts, size] each, of `rows` rows in all, none of whose values is not finite."""
    return Sums(
        rows=rows,
        total=total.sum(axis=0, dtype=np.float64),
        squares=squares.sum(axis=0, dtype=np.float64),
        zeros=zeros.sum(axis=0, dtype=np.int64),
        low=low.min(axis=0) + np.float32(0),  # -0.0 and 0.0 are equal: whichever came first is not to show
        high=high.max(axis=0) + np.float32(0),
        nan=np.zeros(total.shape[1], np.int64),
    )


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


class _Adding:
    """Adds up pieces, each in `dtype`, and all in float64."""

    def __init__(self, size: int, dtype: type[np.floating]) -> None:
        self._size, self._dtype, self._fold, self._rows = size, dtype, _fold(size), 0
        self._zero = np.empty(piece_rows(size) * size, bool)  # made once: fresh pages would cost more than what is done with them
        self._zeros = [np.zeros((1, size), np.int64)]
        self._found: list[tuple[np.ndarray, ...]] = []
        self._held, self._number = np.empty((piece_rows(size), size), np.float32), 0  # rows that are not yet a piece, and how many

    def add(self, rows: np.ndarray) -> None:
        """Add some more rows, float32 [M, size]; M divides `piece_rows`, but for the last ones."""
        if len(rows) == len(self._held):
            self._add(rows)
            return
        self._held[self._number : self._number + len(rows)] = rows
        self._number += len(rows)
        if self._number == len(self._held):
            self._add_held()

    def _add_held(self) -> None:
        self._add(self._held[: self._number])
        self._number = 0

    def _add(self, piece: np.ndarray) -> None:
        size, dtype, cut = self._size, self._dtype, len(piece) // self._fold * self._fold
        self._rows += len(piece)
        for rows in (piece[:cut].reshape(-1, self._fold * size), piece[cut:]):
            if not len(rows):
                continue
            total = np.add.reduce(rows, axis=0, dtype=dtype), np.einsum("ij,ij->j", rows, rows, dtype=dtype)
            ends = np.minimum.reduce(rows, axis=0), np.maximum.reduce(rows, axis=0)
            self._found.append(tuple(each.reshape(-1, size) for each in (*total, *ends)))
            is_zero = np.equal(rows, 0, out=self._zero[: rows.size].reshape(rows.shape))
            if is_zero.any():
                self._zeros.append(count(is_zero).reshape(-1, size))

    def sums(self) -> Sums:
        """Return the sums of all that was added, one row or more."""
        self._add_held()
        total, squares, low, high = map(np.concatenate, zip(*self._found, strict=True))
        return added(self._rows, total, squares, np.concatenate(self._zeros), low, high)


def _sums(pieces: Iterable[np.ndarray], size: int, dtype: type[np.floating]) -> Sums:
    adding = _Adding(size, dtype)
    for piece in pieces:
        adding.add(piece)
    return adding.sums()


def _is_far(found: Sums) -> bool:
    """Whether some mean is too far from zero for the sums that float32 gives."""
    return bool((found.total**2 > _FAR * (found.rows * found.squares - found.total**2)).any())
