"""Pools of made videos, plans, and synthetic videos of given bases and methods, for the tests of synthesis."""

import numpy as np
import pyarrow as pa

from yt8m_data import deltas, recipes, sampling, synthesis
from yt8m_data.recipes import InBatch
from yt8m_data.sampling import Settings
from yt8m_data.schema import Feature, Schema
from yt8m_data.synthesis import Synthetics

SCHEMA = Schema("video", "id", "labels", (Feature("rgb", 4), Feature("audio", 2)), 3)


def plan_of(neighbors: list[int], counts: list[int] | None = None, copies: float = np.nan, **options: object) -> sampling.Plan:
    """A plan with the given K for each label, all over-sampled."""
    size = len(neighbors)
    counts = np.array(counts or [100] * size)
    regime = np.full(size, sampling.OVER, np.uint8)
    return sampling.Plan(
        Settings(**options), 10_000.0, counts, counts * 1.0, regime, np.ones(size), np.array(neighbors), np.full(size, copies)
    )


def pool(count: int = 5, labels: list[list[int]] | None = None, seed: int = 0) -> pa.RecordBatch:
    random = np.random.default_rng(seed)
    columns = [pa.array([b"id%d" % i for i in range(count)], pa.binary()), pa.array(labels or [[0]] * count, pa.list_(pa.int32()))]
    for feature in SCHEMA.features:
        values = random.standard_normal(count * feature.size).astype(np.float32)
        columns.append(pa.FixedSizeListArray.from_arrays(pa.array(values), feature.size))
    return pa.RecordBatch.from_arrays(columns, schema=SCHEMA.arrow)


def matrix(batch: pa.RecordBatch, name: str) -> np.ndarray:
    return np.array(batch.column(name).to_pylist(), np.float32).reshape(batch.num_rows, -1)


def synthetics(base: list[int], neighbor: list[int], method: list[str], factor: float = 0.5) -> Synthetics:
    factors = np.where(np.array(method) == "noise", np.nan, factor).astype(np.float32)
    places = np.array([sampling.METHODS.index(name) for name in method], np.int8)
    return Synthetics(np.array(base), np.array(neighbor), places, factors, np.arange(len(base)) + 1, np.zeros(len(base), bool))


def make(
    videos: pa.RecordBatch, chosen: Synthetics, plan: sampling.Plan, near: np.ndarray | None = None, bank: deltas.Deltas | None = None
) -> pa.RecordBatch:
    """Make synthetic videos by their recipes."""
    ids = synthesis.synthetic_ids(videos.column("id"), chosen)
    how = synthesis.recipes(videos, ids, chosen, plan, SCHEMA, near, bank)
    return recipes.Made(how, InBatch(videos, SCHEMA), SCHEMA, plan.settings, bank).whole()
