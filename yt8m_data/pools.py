"""Which videos meet in which pool, and the work on one partition of pools.

A label's pool is all videos that carry it. Pools are packed into partitions, so that a video that is in several of them travels once, and
labels with equal counts share a partition, so that the videos which may use one another's pairs always meet. A pool of more videos than
are wanted in one is dealt into sub-pools by a hash of the id, each a partition of its own.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from yt8m_data import synthesis
from yt8m_data.deltas import Deltas
from yt8m_data.neighbors import TILE_SCORES, Pool, search
from yt8m_data.sampling import OVER, Plan
from yt8m_data.schema import Schema
from yt8m_data.shards import stable_hash
from yt8m_data.statistics import distinct_labels

MAKE_ROWS = 1 << 16  # synthetic videos whose recipes are made at a time
BINS_PER_OCTAVE = 4  # of the histogram of distances

# What the work on a partition takes of memory, measured: of each video beside its vector, of each of its neighbours, and of each score.
_VIDEO_BYTES, _NEIGHBOR_BYTES, _SCORE_BYTES = 512, 64, 12


@dataclass(frozen=True)
class Pools:
    """Where each label's pool is.

    Attributes:
      partition: int64 [num_classes], -1 for labels that over-sample nothing; of a label with sub-pools the first of theirs.
      needed: bool [num_classes], whether neighbours are sought in the label's pool.
      salts: int64 [num_classes], the number of sub-pools, 1 for most labels.
      count: the number of partitions.
      seed: of the hash that deals videos to sub-pools.
    """

    partition: np.ndarray
    needed: np.ndarray
    salts: np.ndarray
    count: int
    seed: int

    def place(self, labels: np.ndarray, ids: list[bytes]) -> np.ndarray:
        """Return the partition of each video (ids [N]) in the pool of a label (int64 [N], of over-sampled videos), int64 [N]."""
        partitions: np.ndarray = self.partition[labels]
        salted = np.flatnonzero(self.salts[labels] > 1)
        hashes = stable_hash(self.seed, [ids[row] for row in salted.tolist()], "pool")
        partitions[salted] += (hashes % self.salts[labels[salted]].astype(np.uint64)).astype(np.int64)
        return partitions

    def videos(self, counts: np.ndarray) -> np.ndarray:
        """Tell about how many videos each partition has at most, int64 [count], of those of each label, int64 [num_classes]."""
        most = np.zeros(self.count, np.int64)
        for label in np.flatnonzero(self.partition >= 0).tolist():
            most[self.partition[label] : self.partition[label] + self.salts[label]] += -(-counts[label] // self.salts[label])
        return most


class Made(NamedTuple):
    """How to make synthetic videos of a partition; the arrays are [rows].

    Attributes:
      recipes: see `synthesis.recipes`; they speak of rows of the partition.
      apart: float64, the squared distance from base to neighbour, NaN where there is none.
      deciding: int64, the deciding labels of their bases.
      filler: bool, whether the pool was too small for what the policy asks for.
    """

    recipes: pa.RecordBatch
    apart: np.ndarray
    deciding: np.ndarray
    filler: np.ndarray


def pack(plan: Plan, video_bytes: int, partition_bytes: int, pool_videos: int | None = None) -> Pools:
    """Pack the pools into partitions of about `partition_bytes`, rarest labels first; deal those above `pool_videos` into sub-pools."""
    labels = np.flatnonzero(plan.regime == OVER)  # with those that the plan counted no video of: older counts may lack a label
    labels = labels[np.argsort(plan.counts[labels], kind="stable")]
    counts = plan.counts[labels]
    first_of_count = np.searchsorted(counts, counts)
    before = np.concatenate(([0], np.cumsum(counts)))[first_of_count] * video_bytes
    parts = np.maximum(-(-counts // pool_videos), 1) if pool_videos else np.ones(len(labels), np.int64)
    whole = parts == 1
    _, packed = np.unique(before[whole] // partition_bytes, return_inverse=True)
    count = int(packed.max(initial=-1)) + 1
    partition, salts = np.full(len(plan.counts), -1), np.ones(len(plan.counts), np.int64)
    partition[labels[whole]] = packed
    partition[labels[~whole]] = count + np.cumsum(parts[~whole]) - parts[~whole]
    salts[labels] = parts
    needed = np.zeros(len(plan.counts), bool)
    needed[plan.pool_labels] = True
    return Pools(partition, needed, salts, max(count + int(parts[~whole].sum()), 1), plan.settings.seed)


def memory(plan: Plan, videos: int, size: int, threads: int) -> int:
    """Tell about how many bytes the work on a partition of so many videos takes at its worst, with vectors of `size` values."""
    pool = min(videos, int(plan.counts[plan.regime == OVER].max(initial=0)))  # each thread copies one, and takes its scores
    neighbors = int(plan.neighbors.max(initial=0))
    shared = videos * (4 * size + _VIDEO_BYTES + _NEIGHBOR_BYTES * neighbors)
    return shared + threads * (4 * size * pool + _SCORE_BYTES * min(TILE_SCORES, pool * pool))


def route(plan: Plan, pools: Pools, batch: pa.RecordBatch) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Decide what happens to each video of a batch.

    Returns:
      as_is: int64, the rows that are kept and make nothing.
      over: int64, the rows that are kept and over-sampled; they are written by the partition of their deciding label.
      rows, partitions: int64, the (row, partition) pairs to send: an over-sampled row goes to its own partition, and any row to those
        of its labels' needed pools.
    """
    deciding = plan.decide(batch.column("labels"))
    regime = np.where(deciding < 0, 0, plan.regime[deciding])
    ids = batch.column("id").to_pylist()
    lucky = plan.kept(ids, batch.column("labels"), deciding)
    rows, labels = distinct_labels(batch.column("labels"))
    sent = (pools.needed[labels] | ((labels == deciding[rows]) & (regime[rows] == OVER))) & (pools.partition[labels] >= 0)
    rows, labels = rows[sent], labels[sent]
    pairs = np.unique(rows << 32 | pools.place(labels, [ids[row] for row in rows.tolist()]))
    return np.flatnonzero((regime != OVER) & lucky), np.flatnonzero(regime == OVER), pairs >> 32, pairs & 0xFFFFFFFF


def bases(plan: Plan, pools: Pools, partition: int, batch: pa.RecordBatch) -> np.ndarray:
    """Return the deciding label of the rows that a partition over-samples, int64 [N]; -1 for those that are only neighbours there."""
    deciding = plan.decide(batch.column("labels"))
    here = (deciding >= 0) & (plan.regime[deciding] == OVER)
    here[here] = pools.place(deciding[here], batch.column("id").filter(pa.array(here)).to_pylist()) == partition
    return np.where(here, deciding, -1)


def find_neighbors(
    plan: Plan, batch: pa.RecordBatch, deciding: np.ndarray, vectors: np.ndarray, threads: int, compiled: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Find the neighbours of every base, by its vector (float32 [N, D]), within the pool of its deciding label.

    Returns:
      Rows of `batch`, int64 [N, K], -1 where there is none, and squared distances, float64 [N, K], infinite there.
    """
    most = int(plan.neighbors[deciding[deciding >= 0]].max(initial=0))
    neighbors, distances = np.full((batch.num_rows, most), -1), np.full((batch.num_rows, most), np.inf)
    _, rank = np.unique(np.array(batch.column("id").to_pylist(), object), return_inverse=True)
    rows, labels = distinct_labels(batch.column("labels"))
    by_label = np.argsort(labels, kind="stable")
    rows, labels = rows[by_label], labels[by_label]
    sought = []
    for label in np.intersect1d(deciding, plan.pool_labels).tolist():
        members = rows[np.searchsorted(labels, label) : np.searchsorted(labels, label, side="right")]
        sought.append(Pool(members, np.flatnonzero(deciding[members] == label), int(plan.neighbors[label])))
    for (members, queries, k), (found, squared) in zip(sought, search(vectors, rank, sought, threads, compiled), strict=True):
        neighbors[members[queries], :k] = np.where(found < 0, -1, members[found])
        distances[members[queries], :k] = squared
    return neighbors, distances


def synthesize(
    plan: Plan,
    heads: pa.RecordBatch,
    vectors: np.ndarray,
    deciding: np.ndarray,
    order: np.ndarray,
    schema: Schema,
    threads: int,
    bank: Deltas | None = None,
    compiled: bool = False,
) -> Iterator[Made]:
    """Say how to make the synthetic videos of a partition, some at a time.

    Args:
      plan: the plan.
      heads: the videos of the partition, in the order of the input: what stands beside their features.
      vectors: float32 [N, D], those by which neighbours are sought: the first feature, at frame level the mean of its frames.
      deciding: from `bases`.
      order: int64 [N], ascending, the place of each row in the input.
      schema: of the records.
      threads: for large pools.
      bank: for the method delta, at video level.
      compiled: of `neighbors.search`.
    """
    neighbors, distances = find_neighbors(plan, heads, deciding, vectors, threads, compiled)
    ids = heads.column("id")
    chosen = synthesis.choose(plan, ids, deciding, neighbors, order, plan.quotas(ids.to_pylist(), heads.column("labels"), deciding))
    for at in range(0, len(chosen.base), MAKE_ROWS):
        part = synthesis.Synthetics(*(column[at : at + MAKE_ROWS] for column in chosen))
        recipes = synthesis.recipes(heads, synthesis.synthetic_ids(ids, part), part, plan, schema, neighbors, bank)
        slots = neighbors[part.base] == part.neighbor[:, None]
        apart = np.where(part.neighbor < 0, np.nan, np.where(slots, distances[part.base], 0).sum(axis=1))
        yield Made(recipes, apart, deciding[part.base], part.filler)


def distance_bins(squared: np.ndarray) -> list[int | None]:
    """Put distances, given squared, into logarithmic bins floor(BINS_PER_OCTAVE * log2 distance).

    None is the bin of 0; what is not finite has none.
    """
    squared = squared[np.isfinite(squared)]
    apart = squared > 0
    bins = np.zeros(len(squared), np.int64)
    bins[apart] = np.floor(np.log2(squared[apart]) * (BINS_PER_OCTAVE / 2))
    return [number if away else None for number, away in zip(bins.tolist(), apart.tolist(), strict=True)]


def distance_histogram(feature: str, counts: Mapping[int | None, int]) -> dict[str, Any]:
    """Lay out counts by `distance_bins` as the manifest holds them: bin i spans 2 ** ((first_bin + i + [0, 1]) / bins_per_octave)."""
    bins = sorted(number for number in counts if number is not None)
    filled = range(bins[0], bins[-1] + 1) if bins else range(0)
    return {
        "feature": feature,
        "identical": counts.get(None, 0),
        "bins_per_octave": BINS_PER_OCTAVE,
        "first_bin": filled.start,
        "counts": [counts.get(number, 0) for number in filled],
    }
