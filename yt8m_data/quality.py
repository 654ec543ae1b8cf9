"""Quality gates: where synthetic videos lie among real ones, and whether they give held-out videos away."""

from typing import NamedTuple

import numpy as np
import pyarrow as pa

from yt8m_data.shards import stable_hash

CHECKED = 32  # synthetic videos of each deciding label of which the distances are taken
SCALED = 256  # real videos of each label whose nearest neighbours give its scale
_QUERIES, _CANDIDATES = 512, 4
_SCORES = 1 << 24  # of synthetic against real videos, at a time
_BLOCK = 8192  # real videos compared at a time


class Distances(NamedTuple):
    """Squared distances of M synthetic videos, float64 [M]: to the base, to the neighbour (NaN without), and to the nearest `other`.

    That is the nearest real video at hand which another label decides for; infinite where there is none.
    """

    base: np.ndarray
    neighbor: np.ndarray
    other: np.ndarray


def checked(ids: list[bytes], deciding: np.ndarray, seed: int) -> np.ndarray:
    """Choose the synthetic videos to look at: CHECKED of each label at most, by a hash of their ids; rows, int64, ascending."""
    hashes = stable_hash(seed, ids, "check")
    order = np.lexsort((hashes, deciding))
    place = np.arange(len(order)) - np.searchsorted(deciding[order], deciding[order])
    return np.sort(order[place < CHECKED])


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
    to_other = np.full(len(made), np.inf)
    norms = np.einsum("ij,ij->i", real, real) if len(made) else np.zeros(0)
    step, width = max(1, _SCORES // max(len(real), 1)), min(_CANDIDATES, len(real))
    for at in range(0, len(made), step):  # one product for all labels, from which a video's own is left out
        query = made[at : at + step]
        score = norms - 2 * (query @ real.T)
        score[label[at : at + step, None] == deciding] = np.inf
        near = np.argpartition(score, width - 1, axis=1)[:, :width]
        exact = _squared(query[:, None], real[near])
        exact[np.isinf(np.take_along_axis(score, near, axis=1))] = np.inf
        to_other[at : at + step] = exact.min(axis=1)
    return Distances(to_base, to_neighbor, to_other)


def closest(queries: np.ndarray, real: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find the nearest of `real[rows]` to each query: its row, int64 [Q], -1 where there is none, and its squared distance, float64 [Q].

    Candidates come from float32 products; their distances are taken again in float64. Ties go to the first row.
    """
    best, squared = np.full(len(queries), -1), np.full(len(queries), np.inf)
    for start in range(0, len(rows), _BLOCK):
        part = rows[start : start + _BLOCK]
        block = real[part]
        norms = np.einsum("ij,ij->i", block, block)
        for at in range(0, len(queries), _QUERIES):
            query = queries[at : at + _QUERIES]
            score = norms - 2 * (query @ block.T)
            width = min(_CANDIDATES, len(part))
            near = np.sort(np.argpartition(score, width - 1, axis=1)[:, :width], axis=1)
            exact = _squared(query[:, None], block[near])
            first = exact.argmin(axis=1)
            found, row = exact[np.arange(len(query)), first], part[near[np.arange(len(query)), first]]
            nearer = found < squared[at : at + _QUERIES]
            squared[at : at + _QUERIES][nearer] = found[nearer]
            best[at : at + _QUERIES][nearer] = row[nearer]
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
    chosen = rows[np.argsort(stable_hash(seed, [ids[row] for row in rows.tolist()], "scale"), kind="stable")[:SCALED]]
    apart = [closest(vectors[row : row + 1], vectors, rows[rows != row])[1][0] for row in chosen.tolist()]
    return float(np.median(apart))


def near_duplicates(made: np.ndarray, held_out: np.ndarray, rows: np.ndarray, limit: float) -> Duplicates:
    """Find those of synthetic videos, float32 [M, D], whose nearest of `held_out[rows]` is within `limit`, a squared distance."""
    best, squared = closest(made, held_out, rows)
    near = np.flatnonzero((best >= 0) & (squared <= limit))
    return Duplicates(near, best[near], squared[near])


def matrix(batch: pa.RecordBatch, feature: str, size: int) -> np.ndarray:
    """View a video-level feature as float32 [N, size]."""
    return batch.column(feature).flatten().to_numpy().reshape(-1, size)


def _squared(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    difference = a.astype(np.float64) - b
    return np.einsum("...d,...d->...", difference, difference)
