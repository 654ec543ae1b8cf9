"""Quality gates: where synthetic videos lie among real ones, and whether they give held-out videos away."""

from typing import NamedTuple

import numpy as np
import pyarrow as pa

from yt8m_data import blas
from yt8m_data.shards import stable_hash
from yt8m_data.statistics.hashing import mix

CHECKED = 512  # synthetic videos, or a few more, of which the distances are taken: they tell a share to 2 %
_CHECK = np.uint64(0x636865636B)  # parts this choice from others by the same hash
SCALED = 256  # real videos of each label whose nearest neighbours give its scale
_QUERIES, _CANDIDATES = 512, 4
_BLOCK = 8192  # real videos compared at a time


class Distances(NamedTuple):
    """Squared distances of M synthetic videos, float64 [M]: to the base, to the neighbour (NaN without), and to the nearest `other`.

    That is the nearest real video at hand which another label decides for; infinite where there is none.
    """

    base: np.ndarray
    neighbor: np.ndarray
    other: np.ndarray


def checked(hashes: np.ndarray, number: int) -> np.ndarray:
    """Choose `number` of the synthetic videos of a partition to look at, by the hashes of their ids (uint64 [M]); rows, int64."""
    if number >= len(hashes):
        return np.arange(len(hashes))
    return np.argpartition(mix(hashes + _CHECK), number - 1)[:number]


def distances(
    made: np.ndarray, base: np.ndarray, neighbor: np.ndarray, label: np.ndarray, real: np.ndarray, deciding: np.ndarray
) -> Distances:
    """Measure synthetic videos against the real ones at hand.

    Args:
      made: float32 [M, D]; `label` int64 [M], their deciding labels.
      base, neighbor: int64 [M], rows of `real`; neighbor -1 where there is none.
      real: float32 [N, D]; `deciding` int64 [N], theirs.
    """
    to_base, to_neighbor = _squared(made, real[base]), _squared(made, real[neighbor])
    to_neighbor[neighbor < 0] = np.nan
    _, to_other = closest(made, real, label[:, None] == deciding)
    return Distances(to_base, to_neighbor, to_other)


def closest(queries: np.ndarray, real: np.ndarray, excluded: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Find the nearest of `real` to each query: its row, int64 [Q], -1 where there is none, and its squared distance, float64 [Q].

    Candidates come from float32 products; their distances are taken again in float64.

    Args:
      queries: float32 [Q, D].
      real: float32 [N, D].
      excluded: bool [Q, N], pairs that do not count.
    """
    best, squared = np.full(len(queries), -1), np.full(len(queries), np.inf)
    for start in range(0, len(real), _BLOCK):
        block = real[start : start + _BLOCK]
        norms = np.einsum("ij,ij->i", block, block)
        for at in range(0, len(queries), _QUERIES):
            some = slice(at, at + _QUERIES)
            with blas.one_thread():
                score = norms - 2 * (queries[some] @ block.T)
            if excluded is not None:
                score[excluded[some, start : start + _BLOCK]] = np.inf
            width = min(_CANDIDATES, len(block))
            near = np.sort(np.argpartition(score, width - 1, axis=1)[:, :width], axis=1)
            exact = _squared(queries[some][:, None], block[near])
            exact[np.isinf(np.take_along_axis(score, near, axis=1))] = np.inf
            first = exact.argmin(axis=1)[:, None]
            found, row = (np.take_along_axis(x, first, axis=1)[:, 0] for x in (exact, near))
            nearer = np.flatnonzero(found < squared[some])
            squared[at + nearer], best[at + nearer] = found[nearer], start + row[nearer]
    return best, squared


class Duplicates(NamedTuple):
    """Synthetic videos that are nearly held-out ones: `rows` int64 [P] of them, the nearest held-out rows, and the squared distances."""

    rows: np.ndarray
    held_out: np.ndarray
    squared: np.ndarray


def scale(vectors: np.ndarray, rows: np.ndarray, ids: list[bytes], seed: int) -> float:
    """How far apart the videos of a label lie: the median squared distance to the nearest other, over SCALED of them; 0 for a lone one."""
    if len(rows) < 2:
        return 0.0
    hashes = stable_hash(seed, [ids[row] for row in rows.tolist()], "scale")
    chosen, members = np.argsort(hashes, kind="stable")[:SCALED], vectors[rows]
    _, apart = closest(members[chosen], members, chosen[:, None] == np.arange(len(rows)))
    return float(np.median(apart))


def near_duplicates(made: np.ndarray, held_out: np.ndarray, rows: np.ndarray, limit: float) -> Duplicates:
    """Find those of synthetic videos, float32 [M, D], whose nearest of `held_out[rows]` is within `limit`, a squared distance."""
    best, squared = closest(made, held_out[rows])
    near = np.flatnonzero(squared <= limit)
    return Duplicates(near, rows[best[near]], squared[near])


def matrix(batch: pa.RecordBatch, feature: str, size: int) -> np.ndarray:
    """View a video-level feature as float32 [N, size]."""
    return batch.column(feature).flatten().to_numpy().reshape(-1, size)


def _squared(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    difference = a.astype(np.float64) - b
    return np.einsum("...d,...d->...", difference, difference)
