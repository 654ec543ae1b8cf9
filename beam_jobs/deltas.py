"""Deltas of frequent labels: a pass that counts, and one that reads -> donors, by label -> pairs and their differences."""

import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import asdict, replace
from typing import Any, NamedTuple

import apache_beam as beam
import numpy as np
import pyarrow as pa

from beam_jobs import runners, stats
from beam_jobs.group import PAIR, GroupBatches
from beam_jobs.inputs import Input
from beam_jobs.progress import Counter
from beam_jobs.transforms import BAD, READING, ReadShards
from yt8m_data import deltas, shards, storage
from yt8m_data.errors import BadRecord, DataError, bad_lines
from yt8m_data.sampling import FULL_RECORDS, FULL_THRESHOLD
from yt8m_data.schema import Schema
from yt8m_data.statistics import Reading


def run(
    source: Input, out: str, most: int, engine: runners.Engine, threshold: float | None = None, seed: int = 0, overwrite: bool = False
) -> dict[str, Any]:
    """Write `deltas.arrow`, and last `manifest.json`; return that.

    Args:
      source: video-level shards.
      out: a folder, empty, or made.
      most: deltas at most.
      engine: where to run.
      threshold: labels with more videos give deltas; None scales the 10,000 of the policy `paper` with the number of records.
      seed: of the choice of pairs.
      overwrite: replace an earlier output.

    Raises:
      DataError: the input or the folder is wrong, no label is frequent, or no two of its videos are donors.
    """
    if source.schema.kind != "video":
        raise DataError(f"{source.files[0]} has {source.schema.kind}-level records: deltas are made of video-level ones")
    engine.check_reach(source.files[0])
    shards.check_output(out, overwrite)
    counted = stats.compute(source, engine, stats.Request(features=False))
    counts, records = counted.label_counts, counted.num_records
    frequent = FULL_THRESHOLD * records / FULL_RECORDS if threshold is None else threshold
    selection = deltas.plan(counts, frequent, most, seed)
    folder = shards.prepare_output(out, overwrite)
    made, read, bad = collect(source, selection, engine, storage.disk_for(folder))
    deltas.write(str(folder / deltas.FILE), made)
    labels, numbers = np.unique(made.column("label").to_numpy(), return_counts=True)
    if bad:
        with shards.atomic_write(folder / "bad_records.jsonl") as stream:
            stream.write(bad_lines(bad))
    manifest = {
        "job": "deltas",
        "totals": {"read": read + len(bad), "bad": len(bad)},
        "deltas": made.num_rows,
        "by_label": dict(zip(labels.tolist(), numbers.tolist(), strict=True)),
        "threshold": round(frequent, 3),
        "neighbors": selection.neighbors,
        "seed": seed,
        "records": read,
        "schema": asdict(source.schema),
        "inputs": [{"path": path, "bytes": storage.size(path)} for path in source.files],
    }
    shards.write_json(folder / shards.MANIFEST, manifest)
    return manifest


class Collected(NamedTuple):
    """The deltas, the number of good records read for them, and the bad ones."""

    deltas: pa.RecordBatch
    read: int
    bad: list[BadRecord]


def collect(source: Input, selection: deltas.Selection, engine: runners.Engine, disk: str) -> Collected:
    """Collect the deltas of a selection, those that `deltas.select` would of all videos; the folder `disk` holds what is spilled meanwhile.

    Raises:
      DataError: the input is bad, or no two donors share a label.
    """
    schema, threads = replace(source.schema, extras=()), engine.threads(source.bytes)

    def build(pipeline: beam.Pipeline, counter: Counter) -> Any:
        read = pipeline | ReadShards(source.files, schema, source.skip_bad, counter)
        donors = read.batches | "Donors" >> beam.FlatMap(_donors, selection).with_output_types(PAIR)
        grouped = (donors,) | "Labels" >> GroupBatches(spill if engine.runner == "local" else None)
        made = grouped | "Pairs" >> engine.seeking(beam.ParDo(_Pairs(selection, schema, threads))) | "Gather" >> beam.combiners.ToList()
        return made | "Add what was read" >> beam.Map(_with_records, beam.pvalue.AsList(read[READING]), beam.pvalue.AsList(read[BAD]))

    with tempfile.TemporaryDirectory(prefix=".spill-", suffix=".tmp", dir=disk) as spill:
        made, records, bad = runners.run(engine, "deltas", source.bytes, source.estimated_records, build, lambda result: result[1])
    source.check_bad(bad, records)
    return Collected(deltas.gather(made, schema), records, bad)


def _donors(batch: pa.RecordBatch, selection: deltas.Selection) -> Iterator[tuple[int, pa.RecordBatch]]:
    return deltas.donors(selection, batch)


def _with_records(
    made: list[pa.RecordBatch], readings: list[Reading], bad: list[BadRecord]
) -> tuple[list[pa.RecordBatch], int, list[BadRecord]]:
    return made, sum(reading.num_records for reading in readings), sorted(bad)


class _Pairs(beam.DoFn):
    """(label, batches of its donors) -> the deltas of their pairs."""

    def __init__(self, selection: deltas.Selection, schema: Schema, threads: int) -> None:
        self.selection, self.schema, self.threads = selection, schema, threads

    def process(self, element: tuple[int, Iterable[pa.RecordBatch]]) -> Iterator[pa.RecordBatch]:
        label, batches = element
        donors = pa.concat_batches(list(batches))
        pairs = deltas.pairs(self.selection, label, donors, self.schema, self.threads)
        yield deltas.subtract(label, donors, *pairs, self.schema)
