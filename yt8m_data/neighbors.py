"""Exact nearest neighbours by L2 distance, on FAISS.

FAISS finds candidates in float32; their distances are then taken again in float64. So the result does not depend on the number of
threads, on how FAISS blocks its products, or on the rounding of its |x|^2 - 2xy + |y|^2, which hides close neighbours.
"""

import os

import numpy as np

from yt8m_data.errors import DataError

try:
    import faiss
except ModuleNotFoundError:
    raise DataError("FAISS is not installed: pip install 'yt8m-data[cpu]', or 'yt8m-data[gpu]' where there is a GPU") from None

FAISS_VERSION: str = faiss.__version__

SMALL_POOL = 512  # below this, starting a team of threads costs more than it saves
_SPARE = 8  # candidates beyond k, so that rounding in float32 rarely matters
_ERROR = 2e-5  # bound of FAISS's error, relative to the squared norms: some 100 float32 roundings in a dot product of 1,024 terms
_CHUNK_BYTES = 4 << 20


def nearest(vectors: np.ndarray, ids: np.ndarray, queries: np.ndarray, k: int, threads: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Find the k nearest vectors of each query, ties in distance by id; no vector with the query's own id counts.

    Args:
      vectors: float32 [N, D].
      ids: [N], sortable (bytes, as an object array).
      queries: int64 [Q], rows of `vectors`.
      k: at least 1.
      threads: for pools of SMALL_POOL vectors and more; all cores by default.

    Returns:
      rows int64 [Q, k], nearest first, -1 where there are fewer, and squared distances float64 [Q, k], infinite there.
    """
    vectors = np.ascontiguousarray(vectors, np.float32)
    _, rank = np.unique(ids, return_inverse=True)
    rows = np.full((len(queries), k), -1, np.int64)
    distances = np.full((len(queries), k), np.inf)
    faiss.omp_set_num_threads(1 if len(vectors) < SMALL_POOL else threads or os.cpu_count() or 1)

    todo, width = np.arange(len(queries)), k + 1 + _SPARE
    while todo.size:
        candidates, beyond = _candidates(vectors, queries[todo], width)
        rows[todo], distances[todo] = _exact(vectors, rank, queries[todo], candidates, k)
        todo = todo[~(distances[todo, -1] < beyond)]  # a vector that is no candidate may be as near: look further
        width *= 4
        if len(candidates[0]) == len(vectors):
            break
    return rows, distances


def _candidates(vectors: np.ndarray, queries: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Find `width` likely neighbours: rows int64 [Q, width], and a lower bound on the squared distance of all others, float64 [Q]."""
    if width >= len(vectors):
        everything = np.broadcast_to(np.arange(len(vectors)), (len(queries), len(vectors)))
        return everything, np.full(len(queries), np.inf)
    distances, rows = faiss.knn(vectors[queries], vectors, width)
    norms = np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64)
    return rows, distances[:, -1] - _ERROR * (norms[queries] + norms.max())


def _exact(vectors: np.ndarray, rank: np.ndarray, queries: np.ndarray, candidates: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Order candidates by (float64 distance, id) and take k."""
    width = candidates.shape[1]
    rows = np.full((len(queries), k), -1, np.int64)
    distances = np.full((len(queries), k), np.inf)
    step = max(1, _CHUNK_BYTES // (8 * vectors.shape[1] * width))
    for at in range(0, len(queries), step):
        query, near = queries[at : at + step], candidates[at : at + step]
        difference = vectors[near].astype(np.float64)
        difference -= vectors[query][:, None]
        squared = np.einsum("qkd,qkd->qk", difference, difference)
        squared[rank[near] == rank[query][:, None]] = np.inf
        order = np.lexsort((rank[near], squared), axis=1)[:, :k]
        taken = np.take_along_axis(squared, order, axis=1)
        found = np.isfinite(taken)
        rows[at : at + step, : order.shape[1]] = np.where(found, np.take_along_axis(near, order, axis=1), -1)
        distances[at : at + step, : order.shape[1]] = taken
    return rows, distances
