"""`yt8m-data pool`: frame-level shards -> video-level ones, a shard for a shard, in the same order."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from functools import partial
from typing import Any, NamedTuple

import apache_beam as beam

from beam_jobs import runners
from beam_jobs.inputs import Input
from beam_jobs.once import MAIN, Once, Resumed, Unit, resumption
from beam_jobs.progress import Counter
from yt8m_data import codec, shards, storage, tfrecord
from yt8m_data.errors import BadRecord, DataError, bad_lines
from yt8m_data.frame_pooling import pool, pooled_schema
from yt8m_data.schema import Schema
from yt8m_data.shard_file import TFRECORD, is_whole, open_shard
from yt8m_data.work import open_work, versions


class Pooled(NamedTuple):
    """What came of one file: its manifest entry and the bad records."""

    number: int
    entry: dict[str, Any]
    bad: list[BadRecord]


def run(source: Input, out: str, moments: tuple[str, ...], name: str, engine: runners.Engine, overwrite: bool) -> Resumed:
    """Write a video-level shard for each file, and last `manifest.json`; return that, and what was found of a killed run.

    A worker holds a block of a file at a time. The same command resumes where it was killed.

    Args:
      moments: "mean" first, and others of `frame_pooling.MOMENTS`.
      name: start of the shards' names.

    Raises:
      DataError: the records are not frame-level ones, the output folder is wrong, or the books do not balance.
    """
    engine.check_reach(source.files[0], out)
    schema = pooled_schema(source.schema, moments)
    plan = {
        "job": "pool",
        "inputs": [storage.identity(path) for path in source.files],
        "moments": list(moments),
        "name": name,
        "num_classes": schema.num_classes,
        "versions": versions(),
    }
    work = open_work(out, plan, overwrite)
    paths = [os.path.join(out, shards.shard_name(name, number, len(source.files))) for number in range(len(source.files))]

    def build(pipeline: beam.Pipeline, counter: Counter) -> Any:
        named = [(f"file-{number:06d}", (number, path)) for number, path in enumerate(source.files)]
        files = pipeline | "Files" >> beam.Create(named, reshuffle=False) | "Spread" >> beam.Reshuffle()
        pool_once = Once(_PoolFile(source, moments, schema, paths, counter), work, {}, partial(_is_whole, paths))
        return files | "Pool" >> beam.ParDo(pool_once) | "Gather" >> beam.combiners.ToList()

    def fresh(units: list[Unit]) -> int:
        return sum(part.entry["records"] for unit in units if not unit.found for part in unit.outputs[MAIN])

    units = runners.run(engine, "pool", source.bytes, source.estimated_records, build, fresh)
    parts = sorted(part for unit in units for part in unit.outputs[MAIN])
    bad = [record for part in parts for record in part.bad]
    written = sum(part.entry["records"] for part in parts)
    source.check_bad(bad, written)
    if [part.number for part in parts] != list(range(len(source.files))):
        raise DataError(f"the books do not balance: {len(parts)} shards were written of {len(source.files)} files; run it again")
    if bad:
        with shards.atomic_write(storage.to_path(out) / "bad_records.jsonl") as stream:
            stream.write(bad_lines(bad))
    manifest = {
        "job": "pool",
        "totals": {"read": written + len(bad), "kept": written, "dropped": 0, "bad": len(bad), "written": written},
        "num_classes": schema.num_classes,
        "schema": asdict(schema),
        "versions": versions(),
        "inputs": [{"path": path, "bytes": storage.size(path)} for path in source.files],
        "shards": [part.entry for part in parts],
    }
    shards.write_json(storage.to_path(out) / shards.MANIFEST, manifest)
    work.remove()
    return Resumed(manifest, resumption({"files": [unit.found for unit in units]}) if work.resumed else "")


def _is_whole(paths: list[str], outputs: Mapping[str, list[Pooled]]) -> bool:
    return all(is_whole(paths[part.number], part.entry) for part in outputs[MAIN])


class _PoolFile(beam.DoFn):
    """(number, path) -> Pooled."""

    def __init__(self, source: Input, moments: tuple[str, ...], schema: Schema, paths: list[str], counter: Counter) -> None:
        self.read_schema, self.skip_bad = source.schema, source.skip_bad
        self.moments, self.schema, self.paths, self.counter = moments, schema, paths, counter

    def process(self, element: tuple[int, str]) -> Iterator[Pooled]:
        number, path = element
        bad: list[BadRecord] = []
        with (
            storage.open_read(path) as stream,
            open_shard(self.paths[number], self.schema, self.schema.arrow, TFRECORD) as writer,
        ):
            for block in tfrecord.read(stream, path):
                decoded = codec.decode(block, self.read_schema)
                if decoded.bad and not self.skip_bad:
                    raise DataError(f"{decoded.bad[0]} (--on-bad-record skip leaves such records out)")
                bad += decoded.bad
                writer.write(pool(decoded.batch, self.read_schema, self.moments))
                self.counter.add(decoded.batch.num_rows)
        yield Pooled(number, writer.entry, bad)
