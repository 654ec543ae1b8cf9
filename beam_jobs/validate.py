"""`yt8m-data validate`: read every record, find the bad ones and the ids that come twice."""

import itertools
import os
import tempfile
from collections import Counter as Tally
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import Any, NamedTuple

import apache_beam as beam
import numpy as np
import pyarrow as pa

from beam_jobs import runners
from beam_jobs.group import PAIR, GroupBatches
from beam_jobs.inputs import Input
from beam_jobs.progress import Counter
from beam_jobs.transforms import BAD, ReadShards, split_batch
from yt8m_data import storage
from yt8m_data.errors import BadRecord
from yt8m_data.schema import ORDER, Schema
from yt8m_data.shards import stable_hash

_PARTITIONS = 16  # of the ids, so that no worker holds them all


class _Long(NamedTuple):
    """A record with too many frames."""

    place: int  # file << 32 | index
    id: bytes
    frames: int


def run(source: Input, engine: runners.Engine, max_frames: int = 300) -> dict[str, Any]:
    """Check every record: checksums, keys, sizes, finite values, labels in range, equal numbers of frames, 1 to `max_frames` of them, and
    that no id comes twice.

    Returns:
      `ok`, `num_files`, `num_records` (the good ones), `schema`, `found` (how often what was found), `bad_records` (all of them),
      `duplicates` (each id with the places of its records), `too_long` (the records with more frames) and `empty_files`.
    """
    with tempfile.TemporaryDirectory(prefix="yt8m-ids-") as folder:
        spill = os.path.join(folder, "ids") if engine.runner == "local" else None

        def build(pipeline: beam.Pipeline, counter: Counter) -> Any:
            read = pipeline | ReadShards(source.files, source.schema, skip_bad=True, counter=counter, augmentable=True)
            ids = (read.batches | "Ids" >> beam.FlatMap(_places).with_output_types(PAIR),) | "Meet" >> GroupBatches(spill)
            duplicates = ids | "Twice" >> beam.FlatMap(_duplicates)
            long = read.batches | "Long" >> beam.FlatMap(_too_long, source.schema, max_frames)
            count = read.batches | "Count" >> beam.Map(lambda batch: batch.num_rows) | "Add up" >> beam.CombineGlobally(sum)
            sides = beam.pvalue.AsList(read[BAD]), beam.pvalue.AsList(duplicates), beam.pvalue.AsList(long)
            return count | "Summarize" >> beam.Map(_summarize, *sides, source)

        return runners.run(engine, "validate", source.bytes, source.estimated_records, build, lambda result: result["num_records"])


def _places(batch: pa.RecordBatch) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Split the ids of a batch, with their places in the input, by partition."""
    ids = batch.column("id").to_pylist()
    partitions = (stable_hash(0, ids, "validate") % np.uint64(_PARTITIONS)).astype(np.int64)
    yield from split_batch(batch.select(["id", ORDER]), partitions)


def _duplicates(element: tuple[int, Iterable[pa.RecordBatch]]) -> Iterator[tuple[bytes, list[int]]]:
    """Find the ids that come twice, each with the places of its records."""
    everything = pa.concat_batches(list(element[1]))
    ids, places = everything.column("id").to_pylist(), everything.column(ORDER).to_numpy()
    order = np.lexsort((places, np.array(ids, object)))
    for i, rows in itertools.groupby(order.tolist(), key=lambda row: ids[row]):
        found = list(rows)
        if len(found) > 1:
            yield i, places[found].tolist()


def _too_long(batch: pa.RecordBatch, schema: Schema, max_frames: int) -> Iterator[_Long]:
    if schema.kind == "frame":
        lengths = batch.column(schema.features[0].name).value_lengths().to_numpy()
        for row in np.flatnonzero(lengths > max_frames).tolist():
            yield _Long(batch.column(ORDER)[row].as_py(), batch.column("id")[row].as_py(), int(lengths[row]))


def _summarize(
    count: int, bad: list[BadRecord], duplicates: list[tuple[bytes, list[int]]], long: list[_Long], source: Input
) -> dict[str, Any]:
    empty = [path for path in source.files if not storage.size(path)]
    twice = [
        {"id": _text(i), "records": [{"file": source.files[place >> 32], "index": place & 0xFFFFFFFF} for place in found]}
        for i, found in sorted(duplicates)
    ]
    too_long = [
        {"file": source.files[record.place >> 32], "index": record.place & 0xFFFFFFFF, "id": _text(record.id), "frames": record.frames}
        for record in sorted(long)
    ]
    found = dict(sorted(Tally(record.kind for record in bad).items()))
    found |= {"duplicate id": len(twice), "too many frames": len(too_long), "empty file": len(empty)}
    return {
        "ok": not any(found.values()),
        "num_files": len(source.files),
        "num_records": count,
        "schema": str(source.schema),
        "found": {what: times for what, times in found.items() if times},
        "bad_records": [asdict(record) for record in sorted(bad)],
        "duplicates": twice,
        "too_long": too_long,
        "empty_files": empty,
    }


def _text(i: bytes) -> str:
    return i.decode(errors="backslashreplace")
