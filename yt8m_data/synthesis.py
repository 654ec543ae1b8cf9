"""Synthetic videos: which pairs of neighbours are used, and what is made of them.

The operators are those of Cho et al. 2018, equations 2 to 4, on raw video-level features (before any L2 normalisation):
noise x + Z, interpolation x + l (y - x), extrapolation x + l (x - y), where y is a neighbour of x and Z is Gaussian.
"""

from typing import NamedTuple

import numpy as np
import pyarrow as pa

from yt8m_data import shards
from yt8m_data.sampling import LabelRule, Plan
from yt8m_data.schema import OTHER, PROVENANCE, Schema

NOISE = "noise"


class Synthetics(NamedTuple):
    """The synthetic videos to make, in the order in which they are numbered; every array is [M].

    Attributes:
      base, neighbor: int64, rows of the pool; neighbor -1 for noise.
      method: str, one of `sampling.METHODS`.
      factor: float32, lambda; NaN for noise.
      number: int64, from 1 within each base.
    """

    base: np.ndarray
    neighbor: np.ndarray
    method: np.ndarray
    factor: np.ndarray
    number: np.ndarray


def unused_pairs(neighbors: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Tell which pairs each video expands, given the neighbours of all: bool [N, K].

    A pair of videos is used once, by the one of the two that comes first in `order` (int64 [N], distinct). So x expands its neighbour y
    unless y comes before x and has x among its own neighbours, which equals visiting the videos in order and remembering the used
    pairs (SYSTEMS 8.4). Rows that have no neighbours, or are no bases, hold -1.
    """
    present = neighbors >= 0
    other = np.where(present, neighbors, 0)
    mutual = (neighbors[other] == np.arange(len(neighbors))[:, None, None]).any(axis=2)
    return present & ~((order[other] < order[:, None]) & mutual)


def choose(plan: Plan, ids: list[bytes], deciding: np.ndarray, neighbors: np.ndarray, order: np.ndarray) -> Synthetics:
    """List the synthetic videos of a pool's bases.

    A base has K slots, one for each neighbour, nearest first. With the published policies each method makes one video in each slot whose
    pair is unused (noise needs no pair), and a base that gave none gives one noisy copy. With explicit targets a base gives the number
    of videos that its label's target asks for, from all its slots in turn, and noisy copies where the pool is too small.

    Args:
      plan: the plan.
      ids: the ids of the pool's rows [N].
      deciding: int64 [N], the deciding label of the rows that are bases, -1 for the others.
      neighbors: int64 [N, K], -1 where there is none.
      order: int64 [N], the place of each row in the input.
    """
    settings = plan.settings
    bases = np.flatnonzero(deciding >= 0)
    slots = np.arange(max(neighbors.shape[1], int(plan.neighbors[deciding[bases]].max(initial=0)), 1))
    near = np.full((len(bases), len(slots)), -1)
    near[:, : neighbors.shape[1]] = neighbors[bases]
    planned = slots < plan.neighbors[deciding[bases]][:, None]
    exact = settings.policy == "target"
    usable = near >= 0
    if not exact:
        usable[:, : neighbors.shape[1]] = unused_pairs(neighbors, order)[bases]

    per_method = [planned if method == NOISE else planned & usable for method in settings.methods]
    wanted = np.stack(per_method, axis=2).reshape(len(bases), len(slots) * len(per_method))
    if exact:
        share = shards.unit_interval(shards.stable_hash(settings.seed, [ids[row] for row in bases], "copies"))
        quota = np.floor(plan.copies[deciding[bases]] + share).astype(np.int64)
        wanted &= np.cumsum(wanted, axis=1) <= quota[:, None]
    else:
        quota = np.maximum(wanted.sum(axis=1), 1)
    missing = quota - wanted.sum(axis=1)  # these become noisy copies, behind the others
    extra = np.arange(int(missing.max(initial=0))) < missing[:, None]

    where, place = np.nonzero(np.hstack([wanted, extra]))
    slot, kind = np.divmod(place, len(settings.methods))
    methods = np.array([*settings.methods, NOISE])
    method = methods[np.where(place < wanted.shape[1], kind, len(settings.methods))]
    noise = method == NOISE
    number = np.arange(len(where)) - np.searchsorted(where, where) + 1
    chosen = Synthetics(bases[where], np.where(noise, -1, near[where, np.minimum(slot, len(slots) - 1)]), method, np.empty(0), number)
    return chosen._replace(factor=np.where(noise, np.nan, _factors(plan, ids, chosen)).astype(np.float32))


def synthetic_ids(ids: list[bytes], chosen: Synthetics) -> list[bytes]:
    """Name synthetic videos after their bases: `ID_o01`, `ID_o02` and so on, as the authors did."""
    return [b"%b_o%02d" % (ids[row], number) for row, number in zip(chosen.base.tolist(), chosen.number.tolist(), strict=True)]


def make(pool: pa.RecordBatch, chosen: Synthetics, plan: Plan, schema: Schema) -> pa.RecordBatch:
    """Make synthetic videos: a batch with the columns of `schema.arrow` and `PROVENANCE`.

    All features move with the same neighbour and lambda, but those of `Settings.hold`, which are the base's.
    """
    settings = plan.settings
    batch = heads(pool, chosen, plan, schema)
    new_ids = batch.column("id").to_pylist()
    other, part = moves(chosen)
    for place, feature in enumerate(schema.features):
        values = pool.column(feature.name).flatten().to_numpy().reshape(-1, feature.size)
        made = values[chosen.base]
        if feature.name not in settings.hold:
            made += part[:, None] * (values[other] - made)
            for row in np.flatnonzero(chosen.method == NOISE).tolist():
                made[row] += gaussian(settings.seed, new_ids[row], feature.name, feature.size, settings.sigma)
        column = pa.FixedSizeListArray.from_arrays(pa.array(made.reshape(-1)), feature.size)
        batch = batch.add_column(2 + place, schema.arrow.field(feature.name), column)
    return batch


def moves(chosen: Synthetics) -> tuple[np.ndarray, np.ndarray]:
    """Tell how each synthetic video moves: to which row (int64 [M]) by what part of the way (float32 [M]); by 0 to itself for noise."""
    noise = chosen.method == NOISE
    part = np.where(chosen.method == "extrapolate", -chosen.factor, chosen.factor)
    part[noise] = 0
    return np.where(noise, chosen.base, chosen.neighbor), part


def heads(pool: pa.RecordBatch, chosen: Synthetics, plan: Plan, schema: Schema) -> pa.RecordBatch:
    """Make what stands beside the features of synthetic videos: ids, labels, their bases' segments, and the columns of `PROVENANCE`."""
    extras = [schema.arrow.field(name) for name in schema.extras]
    base, neighbor = pa.array(chosen.base, pa.int64()), pa.array(chosen.neighbor, pa.int64(), mask=chosen.neighbor < 0)
    base_ids = pool.column("id").take(base)
    columns = [
        pa.array(synthetic_ids(base_ids.to_pylist(), chosen._replace(base=np.arange(len(base)))), pa.binary()),
        synthetic_labels(pool.column("labels"), chosen.base, moves(chosen)[0], plan.settings.labels),
        *(pa.nulls(len(base), pa.binary()) if extra.name == OTHER else pool.column(extra.name).take(base) for extra in extras),
        pa.array(chosen.method).cast(pa.binary()),
        base_ids,
        pool.column("id").take(neighbor),
        pa.array(chosen.factor, mask=chosen.method == NOISE),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=pa.schema([*list(schema.arrow)[:2], *extras, *PROVENANCE]))


def synthetic_labels(column: pa.ListArray, base: np.ndarray, other: np.ndarray, rule: LabelRule) -> pa.ListArray:
    """Label synthetic videos with the base's labels, or with what it shares with the neighbour, or with those of both (ascending)."""
    if rule == "base":
        return column.take(pa.array(base))
    lists = column.to_pylist()
    combine = set.intersection if rule == "intersection" else set.union
    made = [sorted(combine(set(lists[a]), set(lists[b]))) for a, b in zip(base.tolist(), other.tolist(), strict=True)]
    return pa.array(made, column.type)


def gaussian(seed: int, video_id: bytes, feature: str, size: int, sigma: float) -> np.ndarray:
    """Draw the noise of a synthetic video, float32 [size], from its id alone."""
    key = int(shards.stable_hash(seed, [video_id + b"\0" + feature.encode()], "noise")[0])
    return sigma * np.random.Generator(np.random.Philox(key=key)).standard_normal(size, np.float32)


def _factors(plan: Plan, ids: list[bytes], chosen: Synthetics) -> np.ndarray:
    low, high = plan.settings.lambdas
    if low == high:
        return np.full(len(chosen.base), low)
    drawn = shards.unit_interval(shards.stable_hash(plan.settings.seed, synthetic_ids(ids, chosen), "lambda"))
    return low + (high - low) * drawn
