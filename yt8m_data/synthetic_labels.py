"""What synthetic videos are labelled with, and the parting of rare labels from common ones."""

from collections import Counter
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from yt8m_data.sampling import DECOUPLE, LabelRule, Plan
from yt8m_data.schema import LABEL_WEIGHTS, PROVENANCE


class Labelled(NamedTuple):
    """Label lists [M], and how much each label counts; null where all count in full."""

    labels: pa.ListArray
    weights: pa.ListArray


def synthetic_labels(
    column: pa.ListArray, base: np.ndarray, other: np.ndarray, rule: LabelRule, sign: np.ndarray, neighbors: np.ndarray | None = None
) -> Labelled:
    """Label synthetic videos, made of a base and another, which is the base itself where no neighbour has a part in it.

    - `base`: the labels of the base, in their order; the other rules give them ascending.
    - `intersection`, `union`, `ranking`: those of MLSMOTE (Charte et al., Knowledge-Based Systems 89, 2015, section 3.3): the labels that
      both have, that either has, or that at least half of the base and all its neighbours have.
    - `soft`: mixup's (Zhang et al., ICLR 2018): the labels of both, weighted as the features are, 1 - l for the base's and l for the
      neighbour's. Extrapolation, of -l, leaves the base's whole and takes none of the neighbour's.

    Args:
      column: the labels of the pool.
      base, other: int64 [M], rows of the pool.
      sign: float [M], the part of the other: lambda, or -lambda for extrapolation.
      neighbors: int64 [N, K], for `ranking`.
    """
    whole = pa.nulls(len(base), PROVENANCE.field(LABEL_WEIGHTS).type)
    if rule == "base":
        return Labelled(column.take(pa.array(base)), whole)
    sets = [set(labels) for labels in column.to_pylist()]
    rows = zip(base.tolist(), other.tolist(), strict=True)
    if rule == "soft":
        found = [_mixed(sets[a], sets[b], part) for (a, b), part in zip(rows, sign.tolist(), strict=True)]
        weights = [list(weighted.values()) if min(weighted.values(), default=1) < 1 else None for weighted in found]
        return Labelled(pa.array([list(weighted) for weighted in found], column.type), pa.array(weights, whole.type))
    if rule == "ranking":
        assert neighbors is not None
        voted = {row: _voted([sets[at] for at in (row, *neighbors[row].tolist()) if at >= 0]) for row in np.unique(base).tolist()}
        return Labelled(pa.array([voted[row] for row in base.tolist()], column.type), whole)
    combine = set.intersection if rule == "intersection" else set.union
    return Labelled(pa.array([sorted(combine(sets[a], sets[b])) for a, b in rows], column.type), whole)


def _mixed(base: set[int], other: set[int], part: float) -> dict[int, float]:
    """The labels of both, ascending, and their weights; those of weight 0 are left out."""
    weights = {label: min(max((1 - part) * (label in base) + part * (label in other), 0.0), 1.0) for label in sorted(base | other)}
    return {label: weight for label, weight in weights.items() if weight > 0}


def _voted(sets: list[set[int]]) -> list[int]:
    votes = Counter(label for labels in sets for label in labels)
    return sorted(label for label, count in votes.items() if 2 * count >= len(sets))


def decouple(batch: pa.RecordBatch, plan: Plan) -> tuple[pa.RecordBatch, pa.RecordBatch]:
    """Part the videos that `Plan.decoupled` tells of: all videos, these with their rare labels alone, and their copies with the others.

    The batch has the columns of `PROVENANCE`; a copy's id is its base's with `_c01` behind it.
    """
    column = batch.column("labels")
    parted = np.flatnonzero(plan.decoupled(column))
    if plan.rare is None or not len(parted):
        return batch, batch.slice(0, 0)
    lists = column.to_pylist()
    copies, ids = batch.take(pa.array(parted)), [batch.column("id")[row].as_py() for row in parted.tolist()]
    common = [[label for label in lists[row] if not plan.rare[label]] for row in parted.tolist()]
    for row in parted.tolist():
        lists[row] = [label for label in lists[row] if plan.rare[label]]
    replaced = {
        "id": [i + b"_c01" for i in ids],
        "labels": common,
        **dict.fromkeys(PROVENANCE.names),
        "aug_method": [DECOUPLE.encode()] * len(ids),
        "aug_base": ids,
    }
    for name, values in replaced.items():
        at = copies.schema.get_field_index(name)
        copies = copies.set_column(at, copies.schema.field(at), pa.array(values or [None] * len(ids), copies.schema.field(at).type))
    at = batch.schema.get_field_index("labels")
    return batch.set_column(at, batch.schema.field(at), pa.array(lists, column.type)), copies
