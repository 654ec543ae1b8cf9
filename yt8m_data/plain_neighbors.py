"""The loops of a search for neighbours in NumPy; `compiled_neighbors` has the same ones for much work, which give the same bits.

So the order in which a squared distance is added up is fixed: in LANES interleaved lanes, each from first to last, and the lanes then in
halves, the second added to the first until one is left.
"""

import numpy as np

LANES = 32  # a power of two
STRIPS, _STRIPS_FROM = 16, 1024  # a longer row is cut into strips to select from
_EXACT_ROWS = 80  # candidates whose float64 differences are taken at a time: few, to stay in a cache


def norms(vectors: np.ndarray) -> np.ndarray:
    """Take the squared norms of float32 [N, D] in float64 [N], in any order: they are for bounds."""
    squared: np.ndarray = np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64)
    return squared


def smallest(scores: np.ndarray, rows: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Find the `width` smallest of some rows, in any order: columns int64 [t, width], and the smallest of the rest, float32 [t].

    Long rows are laid in strips: the columns of strips with the smallest minima hold all that is sought, in a sixteenth of the scores.

    Args:
      scores: float32 [q, n], n a multiple of STRIPS.
      rows: int64 [t].
      width: less than n.
    """
    scores = scores[rows]
    length = scores.shape[1] // STRIPS
    if scores.shape[1] < _STRIPS_FROM or width >= length:
        columns = np.argpartition(scores, width, axis=1)[:, : width + 1]
        return columns[:, :-1], np.take_along_axis(scores, columns[:, -1:], axis=1)[:, 0]
    strips = scores.reshape(-1, STRIPS, length)
    promising = np.argpartition(strips.min(axis=1), width, axis=1)[:, : width + 1]
    values = np.take_along_axis(strips, promising[:, None], axis=2).reshape(len(rows), -1)
    places = np.argpartition(values, width, axis=1)[:, : width + 1]
    columns = places // (width + 1) * length + np.take_along_axis(promising, places % (width + 1), axis=1)
    return columns[:, :-1], np.take_along_axis(values, places[:, -1:], axis=1)[:, 0]


def nearest(vectors: np.ndarray, rank: np.ndarray, queries: np.ndarray, near: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Order candidates by (distance, rank, row) and take k: rows int64 [t, k], and squared distances float64 [t, k].

    Those of the query's own rank do not count, nor those whose distance is not finite. Where there are fewer, rows are -1 and distances
    infinite.

    Args:
      vectors: float32 [n, D].
      rank: int64 [n].
      queries: int64 [t], rows.
      near: int64 [t, w], rows, each once.
      k: at least 1.
    """
    near = np.sort(near, axis=1)
    squared = _squared(vectors, queries, near)
    squared[(rank[near] == rank[queries][:, None]) | ~np.isfinite(squared)] = np.inf
    order = np.lexsort((rank[near], squared), axis=1)[:, :k]
    rows, distances = np.full((len(near), k), -1), np.full((len(near), k), np.inf)
    distances[:, : order.shape[1]] = np.take_along_axis(squared, order, axis=1)
    rows[:, : order.shape[1]] = np.take_along_axis(near, order, axis=1)
    rows[np.isinf(distances)] = -1
    return rows, distances


def _squared(vectors: np.ndarray, queries: np.ndarray, near: np.ndarray) -> np.ndarray:
    """Take the squared distances of candidates, float64 [t, w]: differences and sums in float64."""
    squared = np.empty(near.shape)
    step = max(1, _EXACT_ROWS // near.shape[1])
    room = np.empty((step, near.shape[1], vectors.shape[1]))
    for at in range(0, len(near), step):
        part = near[at : at + step]
        difference = room[: len(part)]
        difference[...] = vectors[part]
        difference -= vectors[queries[at : at + step], None]
        np.multiply(difference, difference, out=difference)
        squared[at : at + step] = _added(difference)
    return squared


def _added(terms: np.ndarray) -> np.ndarray:
    """Add up the last axis of float64 [t, w, D] in the order of this file."""
    size = terms.shape[2]
    whole = size // LANES * LANES
    lanes = np.einsum("twbl->twl", terms[:, :, :whole].reshape(*terms.shape[:2], -1, LANES))  # twice as fast as np.sum
    lanes[:, :, : size - whole] += terms[:, :, whole:]
    while lanes.shape[2] > 1:
        half = lanes.shape[2] // 2
        lanes = lanes[:, :, :half] + lanes[:, :, half:]
    return lanes[:, :, 0]
