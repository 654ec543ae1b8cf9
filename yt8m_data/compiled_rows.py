"""Video-level records made by their recipes in one compiled pass over each: gathered, moved, summed up, framed and given their checksums.

So a feature is read once and written once, while it is in the cache. The bytes and the sums are those of `making.Plain`: the same
operations on float32 in the same order, none of them fused. Videos with noise or a delta on them, which are few, are made in the plain way
first.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from yt8m_data import sums
from yt8m_data.compiled import copy, finds_checksum, machine_code, masked_crc, put_number
from yt8m_data.compiled_heads import beside_vectors
from yt8m_data.recipes import Made, Rows
from yt8m_data.sums import Sums
from yt8m_data.synthesis import BLOCK_ROWS, MOVES
from yt8m_data.tfrecord import CRC_BYTES, FRAME_BYTES, HEADER_BYTES, Framed

_PIECE = sums.ROWS  # rows of each lane of a piece
_AT_ONCE = 4 * BLOCK_ROWS  # rows that are made by one call
_TOGETHER = 32  # rows that are added up together, while they are in the cache


def serves(videos: Made) -> bool:
    """Whether the compiled pass can make these: C's checksum is found, and NumPy does not add up a lone column in an order of its own."""
    return finds_checksum() and all(feature.size > 1 for feature in videos.schema.features)


class Room:
    """Bytes to lay records in, made once: fresh pages cost more than what is done with them."""

    def __init__(self) -> None:
        self._octets = np.empty(0, np.uint8)

    def of(self, size: int) -> np.ndarray:
        """Return uint8 [size], the same for all that ask."""
        if len(self._octets) < size:
            self._octets = np.empty(size, np.uint8)
        return self._octets[:size]


class Compiled:
    """Makes videos as `making.Plain` does; records lie in the room, and are gone when the next are asked for.

    Raises:
      ValueError: it does not serve these videos.
    """

    def __init__(self, videos: Made, room: Room) -> None:
        if not serves(videos):
            raise ValueError("these videos are to be made in the plain way")
        self._videos, self._room = videos, room
        self._sizes = [feature.size for feature in videos.schema.features]
        self._lanes = _Lanes(self._sizes, videos.recipes.num_rows)

    def records(self) -> Iterator[Framed]:
        """Encode the videos, some at a time, with their headers and checksums."""
        videos, width = self._videos, sum(self._sizes)
        octets, bounds, order = beside_vectors(videos.heads, videos.schema)
        lengths = (bounds[:, 1:] - bounds[:, :-1]).sum(axis=0) + 4 * width
        held = np.array([feature.name in videos.settings.hold for feature in videos.schema.features])
        base, other, part, noise, delta = (videos.recipes.column(name).to_numpy(zero_copy_only=False) for name in MOVES.names)
        lanes, odd = self._lanes.arrays, np.flatnonzero(noise | (delta >= 0))
        ready = np.concatenate([np.empty((0, width), np.float32), *map(np.hstack, videos.only(odd).vectors())])
        step = _AT_ONCE if videos.rows.lying(base[:0]) is None else max(len(base), 1)  # what is copied is, some at a time
        for begin in range(0, len(base), step):
            some = slice(begin, begin + step)
            vectors = _Lying(videos.rows, base[some], other[some], self._sizes)
            first, last = np.searchsorted(odd, [begin, begin + step]).tolist()
            vectors.replace(odd[first:last] - begin, ready[first:last])
            for at in range(begin, min(begin + step, len(base)), _AT_ONCE):
                rows, here = slice(at, at + _AT_ONCE), slice(at - begin, at - begin + _AT_ONCE)
                ends = np.cumsum(lengths[rows] + FRAME_BYTES) - CRC_BYTES
                framed = Framed(self._room.of(int(ends[-1]) + CRC_BYTES), ends - lengths[rows], ends, sealed=True)
                lying = vectors.base[here], vectors.other[here], part[rows]
                places = held, order, octets, bounds, framed.data, framed.starts, framed.ends
                _make(at, *lying, *places, *lanes)
                yield framed

    def sums(self) -> dict[str, Sums] | None:
        """Return the sums of the vectors that were made, as `sums.Passing` does."""
        found = self._lanes.sums()
        return sums.trusted({feature.name: each for feature, each in zip(self._videos.schema.features, found, strict=True)})


class _Lying:
    """Where vectors of N videos lie in memory, int64 [N, F]: `base`, what they begin with; `other`, what they move to, 0 for nothing."""

    def __init__(self, rows: Rows, base: np.ndarray, other: np.ndarray, sizes: Sequence[int]) -> None:
        self._before, self._kept = 4 * (np.cumsum(sizes) - sizes), list[np.ndarray]()
        self.base, self.other = (self._found(rows, keys) for keys in (base, np.where(other < 0, base, other)))
        self.other[other < 0] = 0

    def replace(self, rows: np.ndarray, made: np.ndarray) -> None:
        """Let some of them be what is made of them already, float32 [M, width]."""
        self.base[rows], self.other[rows] = self._copied(made), 0

    def _found(self, rows: Rows, keys: np.ndarray) -> np.ndarray:
        lying = rows.lying(keys)
        return self._copied(rows.vectors(keys)) if lying is None else lying

    def _copied(self, vectors: np.ndarray) -> np.ndarray:
        self._kept.append(vectors)
        return vectors.ctypes.data + vectors.strides[0] * np.arange(len(vectors))[:, None] + self._before


class _Lanes:
    """Sums in float32 as `sums.Passing` makes them: each piece of a feature's rows has lanes, and a row is added to one of them.

    What is left of the last piece, less than a row for each lane, has a lane of its own behind all others.
    """

    def __init__(self, sizes: Sequence[int], rows: int) -> None:
        self._sizes, self._rows = sizes, rows
        self._folds = [sums.piece_rows(size) // sums.ROWS for size in sizes]
        lanes = [-(-rows // (sums.ROWS * fold)) * fold + 1 for fold in self._folds]
        self._begins = np.cumsum([0, *(size * number for size, number in zip(sizes, lanes, strict=True))])
        self._edges = np.cumsum([0, *sizes])
        self._total, self._squares = (np.zeros(self._begins[-1], np.float32) for _ in range(2))
        self._low, self._high = (np.full(self._edges[-1], end, np.float32) for end in (np.inf, -np.inf))
        self._zeros = np.zeros(self._edges[-1], np.int32)

    @property
    def arrays(self) -> tuple[Any, ...]:
        """What `_make` takes of them."""
        folds = np.array(self._folds)
        return self._rows, self._edges, folds, self._begins, self._total, self._squares, self._low, self._high, self._zeros

    def sums(self) -> list[Sums]:
        """Return the sums of each feature."""
        found = []
        for number, size in enumerate(self._sizes):
            lanes, columns = slice(*self._begins[number : number + 2]), slice(*self._edges[number : number + 2])
            total, squares = (each[lanes].reshape(-1, size) for each in (self._total, self._squares))
            found.append(sums.added(self._rows, total, squares, *(each[None, columns] for each in (self._zeros, self._low, self._high))))
        return found


@machine_code
def _make(  # type: ignore[no-untyped-def]
    first, base, other, part, held, order, octets, bounds, data, starts, ends, rows, edges, folds, begins, total, squares, low, high, zeros
):
    """Lay each video's record into `data`, and add its vectors to the sums; `first` is the place of the first among all `rows`."""
    width, to = edges[-1], data.ctypes.data
    together, there = np.empty((_TOGETHER, width), np.float32), np.empty(width, np.float32)
    for at in range(len(base)):
        made = together[at % _TOGETHER]
        for feature in range(len(folds)):
            some = slice(edges[feature], edges[feature + 1])
            copy(made.ctypes.data + 4 * some.start, base[at, feature], 4 * (some.stop - some.start))
            if other[at, feature] != 0 and not held[feature]:
                copy(there.ctypes.data + 4 * some.start, other[at, feature], 4 * (some.stop - some.start))
                _move(made[some], there[some], part[at])
        end = starts[at]
        for piece in range(len(bounds)):
            begin, size = bounds[piece, first + at], bounds[piece, first + at + 1] - bounds[piece, first + at]
            copy(to + end, octets.ctypes.data + begin, size)
            end += size
            if piece < len(order):
                begin, size = edges[order[piece]], edges[order[piece] + 1] - edges[order[piece]]
                copy(to + end, made.ctypes.data + 4 * begin, 4 * size)
                end += 4 * size
        put_number(data, starts[at] - HEADER_BYTES, ends[at] - starts[at], 8)
        put_number(data, starts[at] - CRC_BYTES, masked_crc(to + starts[at] - HEADER_BYTES, 8), CRC_BYTES)
        put_number(data, ends[at], masked_crc(to + starts[at], ends[at] - starts[at]), CRC_BYTES)
        if (at + 1) % _TOGETHER == 0 or at + 1 == len(base):
            count = at % _TOGETHER + 1
            begin = first + at + 1 - count
            for feature in range(len(folds)):
                some, lanes = slice(edges[feature], edges[feature + 1]), slice(begins[feature], begins[feature + 1])
                sums = total[lanes], squares[lanes], low[some], high[some], zeros[some]
                _add_up(together, edges[feature], count, begin, rows, folds[feature], *sums)


@machine_code
def _move(made, there, part):  # type: ignore[no-untyped-def]
    for at in range(len(made)):
        made[at] = (there[at] - made[at]) * part + made[at]


@machine_code
def _add_up(made, left, count, first, rows, fold, total, squares, low, high, zeros):  # type: ignore[no-untyped-def]
    """Add a feature, from the column `left` on, of `count` rows to their lanes, in their order.

    Four of a lane are added at a time where so many are there, which spares three reads of the sums.
    """
    size, at = len(low), 0
    lanes, some = len(total) // size, slice(left, left + size)
    while at < count:
        lane = _lane(first + at, rows, fold, lanes)
        last = at + 4 * fold - 1
        if (
            last < count
            and lane == _lane(first + at + 3 * fold, rows, fold, lanes)
            and _lane(first + at + fold - 1, rows, fold, lanes) == _lane(first + last, rows, fold, lanes)
        ):
            for one in range(at, at + fold):
                here = _lane(first + one, rows, fold, lanes) * size
                four = made[one][some], made[one + fold][some], made[one + 2 * fold][some], made[one + 3 * fold][some]
                _add_four(*four, total[here : here + size], squares[here : here + size], low, high, zeros)
            at = last + 1
        else:
            _add(made[at][some], total[lane * size : (lane + 1) * size], squares[lane * size : (lane + 1) * size], low, high, zeros)
            at += 1


@machine_code
def _lane(row, rows, fold, lanes):  # type: ignore[no-untyped-def]
    """The lane to which a row of all `rows` is added."""
    piece, within = divmod(row, _PIECE * fold)
    whole = min(_PIECE * fold, rows - piece * _PIECE * fold) // fold * fold
    return piece * fold + within % fold if within < whole else lanes - 1


@machine_code
def _add_four(a, b, c, d, total, squares, low, high, zeros):  # type: ignore[no-untyped-def]
    for at in range(len(a)):  # a loop for each: LLVM takes eight values at a time where it has few arrays to tell apart
        total[at] = (((total[at] + a[at]) + b[at]) + c[at]) + d[at]
    for at in range(len(a)):
        squares[at] = (((squares[at] + a[at] * a[at]) + b[at] * b[at]) + c[at] * c[at]) + d[at] * d[at]
    for at in range(len(a)):
        low[at] = _less(_less(_less(_less(low[at], a[at]), b[at]), c[at]), d[at])
    for at in range(len(a)):
        high[at] = _more(_more(_more(_more(high[at], a[at]), b[at]), c[at]), d[at])
    for at in range(len(a)):
        zeros[at] += np.int32(a[at] == 0) + np.int32(b[at] == 0) + np.int32(c[at] == 0) + np.int32(d[at] == 0)


@machine_code
def _add(made, total, squares, low, high, zeros):  # type: ignore[no-untyped-def]
    for at in range(len(made)):
        total[at] += made[at]
        squares[at] += made[at] * made[at]
    for at in range(len(made)):
        low[at] = _less(low[at], made[at])
        high[at] = _more(high[at], made[at])
    for at in range(len(made)):
        zeros[at] += np.int32(made[at] == 0)


@machine_code
def _less(bound, value):  # type: ignore[no-untyped-def]
    return value if value < bound else bound


@machine_code
def _more(bound, value):  # type: ignore[no-untyped-def]
    return value if value > bound else bound
