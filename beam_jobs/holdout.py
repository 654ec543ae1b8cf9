"""Held-out videos beside the pools: which synthetic videos come near one."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from beam_jobs.inputs import Input
from beam_jobs.transforms import split_batch
from yt8m_data import pools, quality, sampling
from yt8m_data.errors import DataError
from yt8m_data.schema import ORDER, Schema
from yt8m_data.statistics import distinct_labels

LISTED = 1000  # near-duplicates that the manifest lists, the nearest ones


@dataclass(frozen=True)
class HoldOut:
    """Videos that training must not see.

    Attributes:
      source: their shards.
      near: a synthetic video is a near-duplicate of one within this share of the distance that is usual in its label, the median distance
        of a real video to the nearest other.
    """

    source: Input
    near: float = 0.25

    def check(self, schema: Schema) -> None:
        """Refuse what cannot be compared.

        Raises:
          DataError: the features are others, or the share is none.
        """
        if not 0 <= self.near < math.inf:
            raise DataError(f"{self.near:g} is no share of a distance: give a number from 0 up, such as 0.25")
        if (self.source.schema.kind, self.source.schema.features) != (schema.kind, schema.features):
            raise DataError(f"{self.source.files[0]} has {self.source.schema}, which cannot be held against {schema}")
        if schema.kind == "frame":
            raise DataError("held-out videos are looked for among video-level ones, and these have frames: leave --holdout out")


def route_held_out(
    batch: pa.RecordBatch, packed: pools.Pools, chunks: int, put: Callable[[pa.RecordBatch, np.ndarray], pa.RecordBatch] | None
) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Send held-out videos to the partitions of their labels' pools, in all chunks of files; their place in the input, ORDER, is -1.

    Their features are put by a function where `Route` puts those of others; on a service, where that is None, they move along.
    """
    rows, labels = distinct_labels(batch.column("labels"))
    known = labels < len(packed.partition)
    known[known] = packed.partition[labels[known]] >= 0
    rows, labels = rows[known], labels[known]
    parts = packed.salts[labels]  # a video is held against all sub-pools
    within = np.arange(parts.sum()) - np.repeat(np.cumsum(parts) - parts, parts)
    pairs = np.unique(np.repeat(rows, parts) << 32 | np.repeat(packed.partition[labels], parts) + within)
    if put is not None:
        batch = put(batch, np.unique(rows))
    place = batch.schema.get_field_index(ORDER)
    batch = batch.set_column(place, batch.schema.field(place), pa.array(np.full(batch.num_rows, -1)))
    for chunk in range(chunks):
        yield from split_batch(batch, chunk * packed.count + (pairs & 0xFFFFFFFF), pairs >> 32)


class Watch:
    """Looks for near-duplicates among the synthetic videos of a partition.

    Args:
      near: of `HoldOut`.
      videos: those of the partition, the first of which are held out.
      vectors: float32 [N, D], those by which distances are taken.
      held_out: how many are.
      plan: for its seed.
    """

    def __init__(self, near: float, videos: pa.RecordBatch, vectors: np.ndarray, held_out: int, plan: sampling.Plan) -> None:
        real = videos.slice(held_out)
        self.near, self.seed = near, plan.settings.seed
        self.real, self.held_out = vectors[held_out:], vectors[:held_out]
        self.ids, self.held_out_ids = real.column("id").to_pylist(), videos.slice(0, held_out).column("id").to_pylist()
        self.members, self.held_out_members = (distinct_labels(part.column("labels")) for part in (real, videos.slice(0, held_out)))
        self.limits: dict[int, float] = {}

    def look(
        self, recipes: pa.RecordBatch, deciding: np.ndarray, make: Callable[[pa.RecordBatch], np.ndarray]
    ) -> Iterator[tuple[float, str, str, int]]:
        """Yield (distance, id of the synthetic video, id of the held-out one, deciding label) of each near-duplicate.

        Args:
          recipes: of synthetic videos.
          deciding: int64 [M], their deciding labels.
          make: makes their vectors, float32 [M, D].
        """
        for label in np.unique(deciding).tolist():
            rows, held_out = np.flatnonzero(deciding == label), _carrying(self.held_out_members, label)
            if not len(held_out):
                continue
            some = recipes.take(pa.array(rows))
            found = quality.near_duplicates(make(some), self.held_out, held_out, self._limit(label))
            for row, other, squared in zip(found.rows.tolist(), found.held_out.tolist(), found.squared.tolist(), strict=True):
                names = (some.column("id")[row].as_py(), self.held_out_ids[other])
                synthetic, real = (name.decode(errors="backslashreplace") for name in names)
                yield squared**0.5, synthetic, real, label

    def _limit(self, label: int) -> float:
        """The squared distance within which a video of the label is a near-duplicate."""
        if label not in self.limits:
            self.limits[label] = self.near**2 * quality.scale(self.real, _carrying(self.members, label), self.ids, self.seed)
        return self.limits[label]


def summarize(holdout: HoldOut, found: list[tuple[float, str, str, int]], total: int, bad: int) -> dict[str, Any]:
    """Lay out the near-duplicates as the manifest holds them; `found` lists the nearest at least, `total` counts all.

    `bad` is how many held-out records were left out.
    """
    listed = [
        {"id": synthetic, "held_out": real, "label": label, "distance": float(f"{distance:.6g}")}
        for distance, synthetic, real, label in sorted(found)[:LISTED]
    ]
    return {"files": holdout.source.files, "bad": bad, "near": holdout.near, "near_duplicates": total, "nearest": listed}


def _carrying(members: tuple[np.ndarray, np.ndarray], label: int) -> np.ndarray:
    rows, labels = members
    return rows[labels == label]
