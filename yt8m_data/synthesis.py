"""Synthetic videos: which pairs of neighbours are used, and what is made of them.

The operators are those of Cho et al. 2018, equations 2 to 4, on raw video-level features (before any L2 normalisation):
noise x + Z, interpolation x + l (y - x), extrapolation x + l (x - y), where y is a neighbour of x and Z is Gaussian. Beside them stand
copies, x, and deltas, x + l (p - q), where p and q are neighbours that share a frequent label (`deltas`).
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from yt8m_data import deltas, shards
from yt8m_data.deltas import Deltas
from yt8m_data.sampling import METHODS, PAIRED, Plan, Settings
from yt8m_data.schema import OTHER, PROVENANCE, Feature, Schema
from yt8m_data.synthetic_labels import synthetic_labels

NOISE, DELTA, EXTRAPOLATE = "noise", "delta", "extrapolate"

# What the features of a video are made of. They are those of `move_base`, moved by `move_part` of the way to those of `move_other` (-1: to
# nowhere), or of the delta at row `move_delta` of the bank (-1: by none), with noise on them if there is `move_noise`.
MOVES = pa.schema(
    [
        ("move_base", pa.int64()),
        ("move_other", pa.int64()),
        ("move_part", pa.float32()),
        ("move_noise", pa.bool_()),
        ("move_delta", pa.int32()),
    ]
)

BLOCK_ROWS = 128  # made at a time: what one operation leaves the next finds in the cache


class Synthetics(NamedTuple):
    """The synthetic videos to make, in the order in which they are numbered; every array is [M].

    Attributes:
      base, neighbor: int64, rows of the pool; neighbor -1 where the method needs none.
      method: int8, the place of its method among `sampling.METHODS`.
      factor: float32, lambda; NaN for noise and copies.
      number: int64, from 1 within each base.
      filler: bool, whether it stands in for one that the pool is too small for.
    """

    base: np.ndarray
    neighbor: np.ndarray
    method: np.ndarray
    factor: np.ndarray
    number: np.ndarray
    filler: np.ndarray


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


def choose(
    plan: Plan, ids: pa.BinaryArray, deciding: np.ndarray, neighbors: np.ndarray, order: np.ndarray, quotas: np.ndarray | None = None
) -> Synthetics:
    """List the synthetic videos of a pool's bases.

    A base has K slots, one for each neighbour, nearest first. With the published policies each method makes one video in each slot whose
    pair is unused (only interpolation and extrapolation need a pair), and a base that gave none gives one more. With quotas a base gives
    so many videos, from as many slots in turn as that takes, whether or not a pair is used at its other end too. What the pool is too small
    for becomes deltas, where these are among the methods, and else noisy copies.

    Args:
      plan: the plan.
      ids: the ids of the pool's rows [N].
      deciding: int64 [N], the deciding label of the rows that are bases, -1 for the others.
      neighbors: int64 [N, K], -1 where there is none.
      order: int64 [N], the place of each row in the input.
      quotas: int64 [N], from `Plan.quotas`; None with the published policies.
    """
    settings, methods = plan.settings, np.array([METHODS.index(method) for method in plan.settings.methods], np.int8)
    bases = np.flatnonzero(deciding >= 0)
    per_base = plan.neighbors[deciding[bases]] if quotas is None else -(-quotas[bases] // len(methods))
    slots = np.arange(max(neighbors.shape[1], int(per_base.max(initial=0)), 1))
    near = np.full((len(bases), len(slots)), -1)
    near[:, : neighbors.shape[1]] = neighbors[bases]
    planned = slots < per_base[:, None]
    usable = near >= 0
    if quotas is None:
        usable[:, : neighbors.shape[1]] = unused_pairs(neighbors, order)[bases]

    wanted = np.stack([planned & usable if method in PAIRED else planned for method in settings.methods], axis=2)
    wanted = wanted.reshape(len(bases), len(slots) * len(methods))
    if quotas is None:
        quota = np.maximum(wanted.sum(axis=1), 1)
    else:
        quota = quotas[bases]
        wanted &= np.cumsum(wanted, axis=1) <= quota[:, None]
    missing = quota - wanted.sum(axis=1)  # these are made without a pair, behind the others
    extra = np.arange(int(missing.max(initial=0))) < missing[:, None]

    where, place = np.nonzero(np.hstack([wanted, extra]))
    slot, kind = np.divmod(place, len(methods))
    filler = place >= wanted.shape[1]
    method = np.where(filler, np.int8(METHODS.index(DELTA if DELTA in settings.methods else NOISE)), methods[kind])
    number = np.arange(len(where)) - np.searchsorted(where, where) + 1
    neighbor = np.where(_among(method, PAIRED), near[where, np.minimum(slot, len(slots) - 1)], -1)
    chosen = Synthetics(bases[where], neighbor, method, np.empty(0), number, filler)
    moved = _among(method, (*PAIRED, DELTA))
    return chosen._replace(factor=np.where(moved, _factors(plan, ids, chosen), np.nan).astype(np.float32))


def synthetic_ids(ids: pa.BinaryArray, chosen: Synthetics) -> pa.BinaryArray:
    """Name synthetic videos after their bases: `ID_o01`, `ID_o02` and so on, as the authors did."""
    suffixes = pa.array([b"_o%02d" % number for number in range(int(chosen.number.max(initial=0)) + 1)], pa.binary())
    nothing = pa.scalar(b"", pa.binary())
    return pc.binary_join_element_wise(ids.take(pa.array(chosen.base)), suffixes.take(pa.array(chosen.number)), nothing)


def vectors(
    recipes: pa.RecordBatch,
    take: Callable[[np.ndarray], np.ndarray],
    features: Sequence[Feature],
    settings: Settings,
    bank: Deltas | None = None,
) -> Iterator[list[np.ndarray]]:
    """Make features of videos, BLOCK_ROWS at a time while they are in the cache: a float32 [rows, size] of each feature.

    Args:
      recipes: with the columns of MOVES.
      take: copies the vectors of some videos, by their keys: float32 [N, D], that of each feature behind that of the one before.
      features: which, in that order; the last ones may be missing.
      settings: for the features to hold, and the noise.
      bank: where recipes move by deltas.
    """
    base, other, part, noise, delta = (recipes.column(name).to_numpy(zero_copy_only=False) for name in MOVES.names)
    ids, ends = recipes.column("id"), np.cumsum([feature.size for feature in features]).tolist()
    columns = {feature.name: slice(end - feature.size, end) for feature, end in zip(features, ends, strict=True)}
    held = [columns[name] for name in settings.hold if name in columns]
    for at in range(0, len(base), BLOCK_ROWS):
        rows = slice(at, at + BLOCK_ROWS)
        x, alone = take(base[rows]), other[rows] < 0
        made = take(np.where(alone, base[rows], other[rows]))  # what goes nowhere meets itself: one pass over all is faster than two copies
        made -= x
        made *= part[rows, None]
        made += x
        made[alone] = x[alone]  # -0.0 and itself would give 0.0
        for some in held:
            made[:, some] = x[:, some]
        noisy, by_delta = np.flatnonzero(noise[rows]), np.flatnonzero(delta[rows] >= 0)
        for feature in features:
            if feature.name in settings.hold:
                continue
            matrix = made[:, columns[feature.name]]
            for row in noisy.tolist():
                matrix[row] += gaussian(settings.seed, ids[at + row].as_py(), feature.name, feature.size, settings.sigma)
            if len(by_delta):
                assert bank is not None
                matrix[by_delta] += part[rows][by_delta, None] * bank.vectors[feature.name][delta[rows][by_delta]]
        yield [made[:, columns[feature.name]] for feature in features]


def moves(chosen: Synthetics) -> tuple[np.ndarray, np.ndarray]:
    """Tell how each synthetic video moves: to which row (int64 [M]) by what part of the way (float32 [M]).

    Those that no neighbour has a part in move to themselves, by 0.
    """
    paired = _among(chosen.method, PAIRED)
    part = np.where(_among(chosen.method, [EXTRAPOLATE]), -chosen.factor, chosen.factor)
    part[~paired] = 0
    return np.where(paired, chosen.neighbor, chosen.base), part


def recipes(
    pool: pa.RecordBatch,
    ids: pa.BinaryArray,
    chosen: Synthetics,
    plan: Plan,
    schema: Schema,
    neighbors: np.ndarray | None = None,
    bank: Deltas | None = None,
) -> pa.RecordBatch:
    """Say how to make synthetic videos: columns as of `schema.arrow` but for the features, those of `PROVENANCE`, and MOVES.

    Args:
      pool: the columns beside the features of the pool.
      ids: from `synthetic_ids`.
      chosen: which to make.
      plan: the plan.
      schema: of the records.
      neighbors: int64 [N, K], all neighbours of each row of the pool, which vote where the labels are by ranking.
      bank: where the method delta is among those chosen.
    """
    extras = [schema.arrow.field(name) for name in schema.extras]
    base, neighbor = pa.array(chosen.base, pa.int64()), pa.array(chosen.neighbor, pa.int64(), mask=chosen.neighbor < 0)
    other, part = moves(chosen)
    weighted = synthetic_labels(pool.column("labels"), chosen.base, other, plan.settings.labels, part, neighbors)
    by_delta, drawn = np.flatnonzero(_among(chosen.method, [DELTA])), np.full(len(ids), -1)
    to, origin = pool.column("id").take(neighbor), pa.nulls(len(ids), pa.binary())
    if bank is not None and len(by_delta):
        labels = pool.column("labels").take(pa.array(chosen.base[by_delta]))
        drawn[by_delta] = deltas.draw(bank, plan.settings.seed, labels, ids.take(pa.array(by_delta)).to_pylist())
        part = np.where(drawn >= 0, chosen.factor, part)
        rows = drawn[by_delta].tolist()
        to = _put(to, by_delta, [bank.plus[row] for row in rows])
        origin = _put(origin, by_delta, [bank.minus[row] for row in rows])
    columns = [
        ids,
        weighted.labels,
        *(pa.nulls(len(base), pa.binary()) if extra.name == OTHER else pool.column(extra.name).take(base) for extra in extras),
        pa.array(METHODS).cast(pa.binary()).take(pa.array(chosen.method)),
        pool.column("id").take(base),
        to,
        pa.array(chosen.factor, mask=np.isnan(chosen.factor)),
        origin,
        weighted.weights,
        base,
        pa.array(np.where(_among(chosen.method, PAIRED), other, -1)),
        pa.array(part, pa.float32()),
        pa.array(_among(chosen.method, [NOISE])),
        pa.array(drawn, pa.int32()),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=pa.schema([*list(schema.arrow)[:2], *extras, *PROVENANCE, *MOVES]))


def _put(column: pa.Array, rows: np.ndarray, ids: list[bytes]) -> pa.Array:
    """Replace some rows of a column of ids."""
    mask = np.zeros(len(column), bool)
    mask[rows] = True
    return pc.replace_with_mask(column, pa.array(mask), pa.array(ids, pa.binary()))


def gaussian(seed: int, video_id: bytes, feature: str, size: int, sigma: float) -> np.ndarray:
    """Draw the noise of a synthetic video, float32 [size], from its id alone."""
    key = int(shards.stable_hash(seed, [video_id + b"\0" + feature.encode()], "noise")[0])
    return sigma * np.random.Generator(np.random.Philox(key=key)).standard_normal(size, np.float32)


def _among(method: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Tell which of some methods, by their places, are among those named: bool [M]."""
    return np.isin(METHODS, names)[method]


def _factors(plan: Plan, ids: pa.BinaryArray, chosen: Synthetics) -> np.ndarray:
    low, high = plan.settings.lambdas
    if low == high:
        return np.full(len(chosen.base), low)
    drawn = shards.unit_interval(shards.stable_hash(plan.settings.seed, synthetic_ids(ids, chosen).to_pylist(), "lambda"))
    return low + (high - low) * drawn
