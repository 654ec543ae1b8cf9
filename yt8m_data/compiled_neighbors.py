"""The loops of `plain_neighbors` compiled, with the same bits: each pass over a row or a vector takes it from the cache once.

A sum in float64 has the order that is fixed there, and none of its operations are fused. The inner loops are over as many elements as the
compiler needs to make vector instructions of them.
"""

import numpy as np

from yt8m_data import plain_neighbors
from yt8m_data.compiled import machine_code

_LANES = plain_neighbors.LANES
_INSERTED = 64  # from this width on, to keep the smallest in order by insertion costs more than to partition
_BLOCK = 32  # scores that are compared with the largest of the smallest at once


def smallest(scores: np.ndarray, rows: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
    """As `plain_neighbors.smallest`; of equal scores others may be taken."""
    if width >= _INSERTED:
        return plain_neighbors.smallest(scores, rows, width)
    columns, values = np.empty((len(rows), width + 1), np.int64), np.empty((len(rows), width + 1), np.float32)
    _smallest(scores, rows, columns, values)
    return columns[:, :-1], values[:, -1]


def nearest(vectors: np.ndarray, rank: np.ndarray, queries: np.ndarray, near: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """As `plain_neighbors.nearest`."""
    rows, distances = np.full((len(near), k), -1), np.full((len(near), k), np.inf)
    _nearest(vectors, rank, queries, np.ascontiguousarray(near), rows, distances)
    return rows, distances


@machine_code
def norms(vectors):  # type: ignore[no-untyped-def]
    """As `plain_neighbors.norms`."""
    squared, origin, lanes = np.empty(len(vectors)), np.zeros(vectors.shape[1], np.float32), np.empty(_LANES)
    for row in range(len(vectors)):
        squared[row] = _squared(vectors[row], origin, lanes)
    return squared


@machine_code
def _smallest(scores, rows, columns, values):  # type: ignore[no-untyped-def]
    """Fill `columns` and `values` (float32 [t, w]) with the w smallest of each row, in ascending order."""
    width, count = columns.shape[1], scores.shape[1]
    for at in range(len(rows)):
        row, chosen, taken = scores[rows[at]], columns[at], values[at]
        for column in range(width):
            _insert_score(taken, chosen, column, row[column], column)
        for begin in range(width, count, _BLOCK):
            block = row[begin : begin + _BLOCK]
            if _any_below(block, taken[-1]):
                for offset in range(len(block)):
                    if block[offset] < taken[-1]:
                        _insert_score(taken, chosen, width - 1, block[offset], begin + offset)


@machine_code
def _any_below(block, limit):  # type: ignore[no-untyped-def]
    below = np.int32(0)
    for offset in range(len(block)):
        below |= np.int32(block[offset] < limit)
    return below != 0


@machine_code
def _insert_score(values, columns, last, value, column):  # type: ignore[no-untyped-def]
    """Put a score where it belongs among those before `last`, which ascend; the one at `last` is lost."""
    place = last
    while place > 0 and value < values[place - 1]:
        values[place], columns[place] = values[place - 1], columns[place - 1]
        place -= 1
    values[place], columns[place] = value, column


@machine_code
def _nearest(vectors, rank, queries, near, rows, distances):  # type: ignore[no-untyped-def]
    """Fill `rows` and `distances`, which hold -1 and infinity."""
    k, lanes = rows.shape[1], np.empty(_LANES)
    for at in range(len(queries)):
        query, chosen, squared = queries[at], rows[at], distances[at]
        vector = vectors[query]
        for row in near[at]:
            if rank[row] != rank[query]:
                value = _squared(vector, vectors[row], lanes)
                if value < np.inf and _before(value, rank, row, squared[-1], chosen[-1]):
                    place = k - 1
                    while place > 0 and _before(value, rank, row, squared[place - 1], chosen[place - 1]):
                        squared[place], chosen[place] = squared[place - 1], chosen[place - 1]
                        place -= 1
                    squared[place], chosen[place] = value, row


@machine_code
def _before(value, rank, row, other, taken):  # type: ignore[no-untyped-def]
    """Whether a row at a finite distance comes before one that is taken."""
    return value < other or (value == other and (rank[row] < rank[taken] or (rank[row] == rank[taken] and row < taken)))


@machine_code
def _squared(vector, other, lanes):  # type: ignore[no-untyped-def]
    """The squared distance of float32 [D] and [D], float64."""
    whole = len(vector) // _LANES * _LANES
    lanes[:] = 0
    for begin in range(0, whole, _LANES):
        left, right = vector[begin : begin + _LANES], other[begin : begin + _LANES]  # a loop that becomes vector instructions
        for lane in range(_LANES):
            difference = np.float64(left[lane]) - np.float64(right[lane])
            lanes[lane] += difference * difference
    for lane in range(len(vector) - whole):
        difference = np.float64(vector[whole + lane]) - np.float64(other[whole + lane])
        lanes[lane] += difference * difference
    half = _LANES // 2
    while half:
        for lane in range(half):
            lanes[lane] += lanes[half + lane]
        half //= 2
    return lanes[0]
