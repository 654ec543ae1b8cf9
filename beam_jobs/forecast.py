"""What a plan will give, added up over the videos of the input."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa

from beam_jobs import runners
from beam_jobs.inputs import Input
from beam_jobs.progress import Counter
from beam_jobs.transforms import ReadShards
from yt8m_data import sampling
from yt8m_data.statistics import distinct_labels


def foresee(source: Input, plan: sampling.Plan, engine: runners.Engine) -> np.ndarray:
    """Add up the expected label counts over all videos, then the expected records, and the records read. Reads labels only."""
    labels_only = replace(source.schema, features=(), extras=())

    def build(pipeline: beam.Pipeline, counter: Counter) -> Any:
        read = pipeline | ReadShards(source.files, labels_only, source.skip_bad, counter)
        return read.batches | "Weigh" >> beam.Map(expected_counts, plan) | "Add up" >> beam.CombineGlobally(total)

    return runners.run(engine, "forecast", source.bytes, source.estimated_records, build, lambda result: int(result[-1]))


def expected_counts(batch: pa.RecordBatch, plan: sampling.Plan) -> np.ndarray:
    """The forecast of a batch: videos with each label, videos in all, and how many were read."""
    column = batch.column("labels")
    factor = sampling.forecast(plan, batch.column("id").to_pylist(), column)
    rows, labels = distinct_labels(column)
    counts = np.bincount(labels, factor[rows], len(plan.counts))
    parted = plan.decoupled(column) & (factor > 0)
    return np.append(counts, [factor.sum() + parted.sum(), len(factor)])


def total(vectors: Iterable[np.ndarray]) -> Any:
    """Add up vectors."""
    return sum(vectors, 0.0)
