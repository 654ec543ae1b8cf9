"""`yt8m-data validate`: read every record, find the bad ones and the ids that come twice."""

from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa

from beam_jobs import runners
from beam_jobs.inputs import Input
from beam_jobs.progress import Counter
from beam_jobs.transforms import BAD, ORDER, ReadShards
from yt8m_data.errors import BadRecord
from yt8m_data.shards import stable_hash

_PARTITIONS = 256  # of the ids, so that no worker holds them all


def run(source: Input, engine: runners.Engine) -> dict[str, Any]:
    """Check every record: checksums, keys, sizes, finite values, labels in range, and that no id comes twice.

    Returns:
      `ok`, `num_records` (the good ones), `bad_records` (all of them) and `duplicates` (each id with the places of its records).
    """

    def build(pipeline: beam.Pipeline, counter: Counter) -> Any:
        read = pipeline | ReadShards(source.files, source.schema, skip_bad=True, counter=counter, augmentable=True)
        ids = read.batches | "Ids" >> beam.FlatMap(_places) | "Meet" >> beam.GroupByKey()
        duplicates = ids | "Twice" >> beam.FlatMap(_duplicates)
        count = read.batches | "Count" >> beam.Map(lambda batch: batch.num_rows) | "Add up" >> beam.CombineGlobally(sum)
        return count | "Summarize" >> beam.Map(_summarize, beam.pvalue.AsList(read[BAD]), beam.pvalue.AsList(duplicates), source.files)

    return runners.run(engine, "validate", source.bytes, source.estimated_records, build, lambda result: result["num_records"])


def _places(batch: pa.RecordBatch) -> Iterator[tuple[int, tuple[list[bytes], list[int]]]]:
    """Split the ids of a batch, with their places in the input, by partition."""
    ids = batch.column("id").to_pylist()
    order = batch.column(ORDER).to_numpy()
    partitions = (stable_hash(0, ids, "validate") % np.uint64(_PARTITIONS)).astype(np.int64)
    for partition in np.unique(partitions).tolist():
        rows = np.flatnonzero(partitions == partition).tolist()
        yield partition, ([ids[row] for row in rows], order[rows].tolist())


def _duplicates(element: tuple[int, Iterable[tuple[list[bytes], list[int]]]]) -> Iterator[tuple[bytes, list[int]]]:
    places: dict[bytes, list[int]] = {}
    for ids, order in element[1]:
        for i, place in zip(ids, order, strict=True):
            places.setdefault(i, []).append(place)
    yield from ((i, sorted(found)) for i, found in places.items() if len(found) > 1)


def _summarize(count: int, bad: list[BadRecord], duplicates: list[tuple[bytes, list[int]]], files: list[str]) -> dict[str, Any]:
    twice = [
        {
            "id": i.decode(errors="backslashreplace"),
            "records": [{"file": files[place >> 32], "index": place & 0xFFFFFFFF} for place in found],
        }
        for i, found in sorted(duplicates)
    ]
    return {
        "ok": not bad and not twice,
        "num_files": len(files),
        "num_records": count,
        "bad_records": [asdict(record) for record in sorted(bad)],
        "duplicates": twice,
    }
