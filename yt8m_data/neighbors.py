"""Exact nearest neighbours by L2 distance, in pools of any size.

A float32 product gives every pair of a pool a lower bound of its distance, and the pairs with the smallest bounds are candidates. Their
distances are then taken in float64. A query whose k-th distance is not below the bounds of all others looks further. So the result is that
of brute force in float64, whatever the number of threads, the blocking of the product and its rounding, and with compiled loops or without.

Products run on one thread each and side by side: OpenBLAS's own threads are slower for pools of any size that YouTube-8M has.
"""

import contextlib
import functools
import importlib.util
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, Protocol

import numpy as np

from yt8m_data import blas, cores, gpu, plain_neighbors

TILE_SCORES = 1 << 24  # scores that a thread holds: all pairs of a pool of 4,096
TILE_QUERIES = 128  # at least; with fewer the product is bound by memory
GPU_POOL = 4096  # from this size on a pool is worth its way to a GPU
COMPILED_WORK = 1 << 19  # neighbours to find, of which compiled loops save the 0.8 s that it takes a process to load them
_SPARE, _GPU_SPARE = 1, 16  # candidates of a GPU beyond k: looked at first, and asked for
_UNIT = 2.0**-24  # unit roundoff of float32
_TINY, _HUGE = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max) / 8


class Pool(NamedTuple):
    """One search, for the `k` (at least 1) nearest of `members` (int64 [n], rows of a matrix) to those at `queries` (int64 [q], places)."""

    members: np.ndarray
    queries: np.ndarray
    k: int


class Found(NamedTuple):
    """Places in `members` (int64 [q, k], nearest first, -1 where there are fewer), and squared distances (float64, infinite there)."""

    rows: np.ndarray
    distances: np.ndarray


def nearest(vectors: np.ndarray, ids: np.ndarray, queries: np.ndarray, k: int, threads: int | None = None) -> Found:
    """Find the k nearest vectors of each query, ties in distance by id; no vector with the query's own id counts.

    Args:
      vectors: float32 [N, D].
      ids: [N], sortable (bytes, as an object array).
      queries: int64 [Q], rows of `vectors`.
      k: at least 1.
      threads: all cores by default.
    """
    _, rank = np.unique(ids, return_inverse=True)
    (found,) = search(vectors, rank, [Pool(np.arange(len(vectors)), queries, k)], threads)
    return found


def search(vectors: np.ndarray, rank: np.ndarray, pools: Sequence[Pool], threads: int | None = None, compiled: bool = False) -> list[Found]:
    """Search many pools of one matrix, as `nearest` does each; `rank` (int64 [N]) orders the ids and is equal where they are.

    Small pools are searched whole, one on each thread. Large ones come one after the other, each in tiles on all threads, or on a GPU.
    Compiled loops search where there is much to find here, or, as `compiled` says, elsewhere in this process.
    """
    vectors, loops = np.ascontiguousarray(vectors, np.float32), _loops(pools, compiled)
    norms = loops.norms(vectors)
    found = [Found(np.full((len(p.queries), p.k), -1), np.full((len(p.queries), p.k), np.inf)) for p in pools]

    def prepare(number: int) -> "_Prepared":
        pool = pools[number]
        return _Prepared(_take(vectors, pool.members), norms[pool.members], rank[pool.members], pool, found[number], loops)

    def whole(number: int) -> None:
        prepared = prepare(number)
        prepared.tile(slice(0, len(pools[number].queries)))

    threads = threads or cores.available()
    large = {n for n, pool in enumerate(pools) if len(pool.queries) and (len(list(_tiles(pool))) > 1 or len(pool.members) >= GPU_POOL)}
    small = sorted(set(range(len(pools))) - large, key=lambda number: -len(pools[number].members))
    with blas.one_thread(), _mapping(threads) as each:
        done = each(whole, small)  # threads begin at once
        for number in sorted(large):
            prepared = prepare(number)
            candidates = prepared.from_gpu()
            if candidates is None:
                list(each(prepared.tile, _tiles(pools[number], threads)))
            else:
                list(each(functools.partial(prepared.confirm, *candidates), _cut(len(pools[number].queries), TILE_QUERIES)))
        list(done)
    return found


@contextlib.contextmanager
def _mapping(threads: int) -> Iterator[Callable[..., Iterator[Any]]]:
    """Give what maps a function on so many threads: on one it is `map`, as to hand a small pool over takes as long as to search it."""
    if threads == 1:
        yield map
        return
    with ThreadPoolExecutor(threads) as executor:
        yield executor.map


class _Loops(Protocol):
    """Either module of loops; `plain_neighbors` says what they do."""

    def norms(self, vectors: np.ndarray, /) -> np.ndarray: ...

    def smallest(self, scores: np.ndarray, rows: np.ndarray, width: int, /) -> tuple[np.ndarray, np.ndarray]: ...

    def nearest(
        self, vectors: np.ndarray, rank: np.ndarray, queries: np.ndarray, near: np.ndarray, k: int, /
    ) -> tuple[np.ndarray, np.ndarray]: ...


def _loops(pools: Sequence[Pool], compiled: bool) -> _Loops:
    compiled = compiled or sum(len(pool.queries) * pool.k for pool in pools) >= COMPILED_WORK
    if not compiled or importlib.util.find_spec("numba") is None:
        return plain_neighbors
    from yt8m_data import compiled_neighbors

    return compiled_neighbors


def _tiles(pool: Pool, parts: int = 1) -> Iterator[slice]:
    """Cut the queries so that the scores of a tile fit its budget, in so many parts at least where that leaves no small ones."""
    step = min(TILE_SCORES // max(len(pool.members), 1), -(-len(pool.queries) // parts))
    return _cut(len(pool.queries), max(TILE_QUERIES, step))


def _cut(count: int, step: int) -> Iterator[slice]:
    return (slice(at, at + step) for at in range(0, count, step))


_thread = threading.local()


def _room(size: int) -> np.ndarray:
    """Return float32 [size] of this thread's, for one tile after the other: fresh memory would cost as much as a pass over it."""
    if not hasattr(_thread, "room") or len(_thread.room) < size:
        _thread.room = np.empty(size, np.float32)
    room: np.ndarray = _thread.room[:size]
    return room


def _take(vectors: np.ndarray, members: np.ndarray) -> np.ndarray:
    everything = len(members) == len(vectors) and (members == np.arange(len(vectors))).all()
    return vectors if everything else vectors.take(members, axis=0)


class _Prepared(NamedTuple):
    """A pool with its vectors (float32 [n, D]), their squared norms (float64 [n]), the ranks of their ids, arrays to fill, and loops."""

    vectors: np.ndarray
    norms: np.ndarray
    rank: np.ndarray
    pool: Pool
    found: Found
    loops: _Loops

    def tile(self, part: slice) -> None:
        """Search for some of the queries."""
        queries, k = self.pool.queries[part], self.pool.k
        width, todo = k, np.arange(len(queries))
        scores, rows = self._scores(queries) if self._selects(width + 1) else (np.empty(0), todo)
        while todo.size:
            if self._selects(width + 1):
                near, next_score = self.loops.smallest(scores, rows[todo], width)
                bound = 2 * next_score.astype(np.float64) + (1 - self._error()) * self.norms[queries[todo]]
            else:
                near, bound = self._everything(len(todo)), np.full(len(todo), np.inf)
            todo = todo[~self._settle(part, todo, near, bound)]
            width *= 4

    def _selects(self, width: int) -> bool:
        """Tell whether some of the pool are to be chosen, and products in float32 can tell which."""
        return width < len(self.vectors) and self.norms.max() < _HUGE

    def from_gpu(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Take candidates for all queries from a GPU, if there is one that can; the query itself is among them."""
        width = min(self.pool.k + 1 + _GPU_SPARE, len(self.vectors) - 1)
        if not (width > self.pool.k + _SPARE and self._selects(width) and gpu.ready(width)):
            return None
        return gpu.candidates(self.vectors, _take(self.vectors, self.pool.queries), width)

    def confirm(self, near: np.ndarray, distances: np.ndarray, part: slice) -> None:
        """Order a GPU's candidates for some of the queries, and search for those of which they may lack one."""
        queries, near, distances = self.pool.queries[part], near[part], distances[part]
        todo = np.arange(len(queries))
        for width in (self.pool.k + 1 + _SPARE, near.shape[1]):
            bound = self._beyond(queries[todo], distances[todo, width - 1])
            bound[(near[todo, :width] < 0).any(axis=1)] = -np.inf  # FAISS gives none for what is no number
            todo = todo[~self._settle(part, todo, near[todo, :width], bound)]
        if todo.size:
            rest = Found(*(array[part][todo] for array in self.found))
            self._replace(pool=self.pool._replace(queries=queries[todo]), found=rest).tile(slice(None))
            for array, filled in zip(self.found, rest, strict=True):
                array[part][todo] = filled

    def _beyond(self, queries: np.ndarray, distances: np.ndarray) -> np.ndarray:
        """Bound the squared distance of all vectors behind candidates from below: float64 [q].

        FAISS takes |x|^2 - 2xy + |y|^2 in float32, norms and product off by as much, and by this order one behind is as far as the last,
        but for rounding in proportion to |x|^2 + |y|^2. If it is nearer all the same, |y| is at most |x| and the distance of the last.

        Args:
          distances: float32 [q], squared, of the last candidates.
        """
        last = np.maximum(distances.astype(np.float64), 0)
        squares = self.norms[queries] + (np.sqrt(self.norms[queries]) + np.sqrt(last)) ** 2
        return last - 2 * self._error() * squares - 4 * _TINY * self.vectors.shape[1]

    def _scores(self, queries: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Bound half the squared distance of each pair from below, less half the query's squared norm: float32 [at least q, n, padded].

        A query's own place and the padding are infinite.

        Returns:
          The scores, and the row of each query in them, int64 [q].
        """
        count = len(self.vectors)
        padded = -(-count // plain_neighbors.STRIPS) * plain_neighbors.STRIPS
        half = ((1 - self._error()) * self.norms / 2 - _TINY * self.vectors.shape[1]).astype(np.float32)
        square = 2 * len(queries) > count and count**2 <= TILE_SCORES  # a product of a matrix with itself takes half the time
        rows = queries if square else np.arange(len(queries))
        asking = self.vectors if square else self.vectors.take(queries, axis=0)
        scores = _room(len(asking) * padded).reshape(len(asking), padded)
        scores[:, count:] = np.inf
        product = scores[:, :count]
        np.matmul(asking, self.vectors.T, out=product)
        np.subtract(half, product, out=product)
        scores[rows, queries] = np.inf
        return scores, rows

    def _error(self) -> float:
        """Bound the error of a score, doubled, relative to the two squared norms.

        A dot product of D terms is off by at most D u / (1 - D u) |x| |y| in any order (Higham, "Accuracy and Stability of Numerical
        Algorithms", section 3.1), and |x| |y| is at most the mean of the squares; the norm and the subtraction round once more each.
        """
        terms = self.vectors.shape[1] * _UNIT
        return terms / (1 - terms) + 4 * _UNIT

    def _everything(self, count: int) -> np.ndarray:
        return np.broadcast_to(np.arange(len(self.vectors)), (count, len(self.vectors)))

    def _settle(self, part: slice, todo: np.ndarray, near: np.ndarray, bound: np.ndarray) -> np.ndarray:
        """Order the candidates `near` (int64 [t, w]) of the queries `todo` of a part by (distance, id), and store k of them.

        Returns:
          bool [t], whether no other vector, whose squared distance is at least `bound`, can be as near.
        """
        rows, distances = self.loops.nearest(self.vectors, self.rank, self.pool.queries[part][todo], near, self.pool.k)
        self.found.rows[part][todo], self.found.distances[part][todo] = rows, distances
        settled: np.ndarray = distances[:, -1] < bound
        return settled | (near.shape[1] == len(self.vectors))
