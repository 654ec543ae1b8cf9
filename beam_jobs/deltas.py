"""Deltas of frequent labels, in one pass: read -> donors, by label -> pairs and their differences."""

import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import apache_beam as beam
import pyarrow as pa

from beam_jobs import runners
from beam_jobs.group import GroupBatches
from beam_jobs.inputs import Input
from beam_jobs.progress import Counter
from beam_jobs.transforms import READING, ReadShards
from yt8m_data import deltas
from yt8m_data.schema import Schema
from yt8m_data.statistics import Reading


def collect(source: Input, selection: deltas.Selection, engine: runners.Engine, folder: Path) -> pa.RecordBatch:
    """Collect the deltas of a selection, those that `deltas.select` would of all videos; `folder` holds what is spilled meanwhile.

    Raises:
      DataError: the input is bad, or no two donors share a label.
    """
    schema, threads = source.schema, max(1, (os.cpu_count() or 1) // engine.processes(source.bytes))

    def build(pipeline: beam.Pipeline, counter: Counter) -> Any:
        read = pipeline | ReadShards(source.files, schema, source.skip_bad, counter)
        donors = read.batches | "Donors" >> beam.FlatMap(_donors, selection)
        grouped = (donors,) | "Labels" >> GroupBatches(spill if engine.runner == "local" else None)
        made = grouped | "Pairs" >> beam.ParDo(_Pairs(selection, schema, threads)) | "Gather" >> beam.combiners.ToList()
        return made | "Add what was read" >> beam.Map(_with_records, beam.pvalue.AsList(read[READING]))

    with tempfile.TemporaryDirectory(prefix=".spill-", suffix=".tmp", dir=folder) as spill:
        made, _ = runners.run(engine, "deltas", source.bytes, source.estimated_records, build, lambda result: result[1])
    return deltas.gather(made, schema)


def _donors(batch: pa.RecordBatch, selection: deltas.Selection) -> Iterator[tuple[int, pa.RecordBatch]]:
    return deltas.donors(selection, batch)


def _with_records(made: list[pa.RecordBatch], readings: list[Reading]) -> tuple[list[pa.RecordBatch], int]:
    return made, sum(reading.num_records for reading in readings)


class _Pairs(beam.DoFn):
    """(label, batches of its donors) -> the deltas of their pairs."""

    def __init__(self, selection: deltas.Selection, schema: Schema, threads: int) -> None:
        self.selection, self.schema, self.threads = selection, schema, threads

    def process(self, element: tuple[int, Iterable[pa.RecordBatch]]) -> Iterator[pa.RecordBatch]:
        label, batches = element
        donors = pa.concat_batches(list(batches))
        pairs = deltas.pairs(self.selection, label, donors, self.schema, self.threads)
        yield deltas.subtract(label, donors, *pairs, self.schema)
