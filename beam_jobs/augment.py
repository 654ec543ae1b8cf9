"""`yt8m-data augment`: over-sample the videos of rare labels by their neighbours, sub-sample those of common ones, write shuffled shards.

read -> route -+-> videos to keep as they are --------------------------+-> write
               +-> pools of the rare labels: neighbours, synthesis -----+
"""

import os
import platform
import shutil
import tempfile
from collections import Counter as Tally
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib import metadata
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa

from beam_jobs import runners, stats
from beam_jobs.group import GroupBatches
from beam_jobs.inputs import Input
from beam_jobs.progress import Counter
from beam_jobs.transforms import BAD, ORDER, Layout, MergeStatistics, ReadShards, WriteShards, split_batch
from yt8m_data import frame_synthesis, pools, sampling, shards, storage
from yt8m_data.errors import BadRecord, DataError, bad_lines
from yt8m_data.schema import PROVENANCE, Schema
from yt8m_data.statistics import Statistics, distinct_labels

PARTITION_BYTES = OUTPUT_BYTES = 128 << 20  # features in one partition of the pools, and of the output

KEPT, BOOKS = "kept", "books"
DISTANCE, LABEL = "distance", "label"  # entries of the books: (DISTANCE, bin) and (LABEL, label) of synthetic videos


@dataclass(frozen=True)
class Output:
    """What to write.

    Attributes:
      folder: empty, or made.
      name: of the shards, as in `NAME-00000-of-00070.tfrecord`.
      num_shards: 0 for as many as there are input files.
      chunk_shards: neighbours are sought within runs of so many input files (the paper's section 3.1 has 256); None for the whole input.
      pool_bytes: features that one pool may have in memory; a larger one is dealt into sub-pools, of which the manifest tells.
    """

    folder: str
    name: str = "train"
    num_shards: int = 0
    chunk_shards: int | None = None
    overwrite: bool = False
    pool_bytes: int = 1 << 30


def run(source: Input, settings: sampling.Settings, output: Output, engine: runners.Engine, counts: str | None = None) -> dict[str, Any]:
    """Write augmented shards, `stats_before.json`, `stats_after.json`, and last `manifest.json`; return that.

    Args:
      source: the input.
      settings: the policy and its parameters.
      output: what to write.
      engine: where to run.
      counts: a `stats.json` to plan with; by default a first pass counts the input.

    Raises:
      DataError: a setting, the input or the output folder is wrong, the disk is too small, or the books do not balance.
    """
    _check(source, settings)
    shards.check_output(output.folder, output.overwrite)
    before = _counted(source, engine, counts)
    plan = make_plan(source, settings, before)
    folder = shards.prepare_output(output.folder, output.overwrite)
    layout = _layout(source, plan, output)

    packed = pools.pack(plan, _pooled_bytes(source, engine), PARTITION_BYTES, output.pool_bytes)
    disk = None if storage.is_remote(folder) else output.folder
    with tempfile.TemporaryDirectory(prefix=".spill-", suffix=".tmp", dir=disk) as spill:
        entries, statistics, books, bad = _run_pipeline(source, plan, packed, layout, output, engine, spill)
    source.check_bad(bad, books.get("read", 0))
    totals = _totals(books, bad, entries)
    if counts is None and totals["read"] != before["num_records"] + before["bad_records"]["total"]:
        raise DataError(f"{totals['read']} records were read, but {before['num_records']} a moment before: the input changes, run it again")
    after = statistics.to_dict()
    if bad:
        with shards.atomic_write(folder / "bad_records.jsonl") as stream:
            stream.write(bad_lines(bad))
    shards.write_json(folder / "stats_before.json", before)
    shards.write_json(folder / "stats_after.json", after)
    manifest = {
        "job": "augment",
        "totals": totals,
        "num_classes": source.schema.num_classes,
        "schema": asdict(source.schema),
        "pool": "global" if output.chunk_shards is None else f"chunks of {output.chunk_shards} files",
        "sub_pools": {str(label): int(packed.salts[label]) for label in np.flatnonzero(packed.salts > 1).tolist()},
        "versions": versions(),
        "inputs": [{"path": path, "bytes": storage.size(path)} for path in source.files],
        "shards": entries,
        "neighbors": pools.distance_histogram(source.schema.features[0].name, _part(books, DISTANCE)),
        "synthetic_label_counts": dict(sorted(_part(books, LABEL).items())),
        "plan": plan.to_dict(),
    }
    shards.write_json(folder / shards.MANIFEST, manifest)
    return manifest


def dry_run(
    source: Input, settings: sampling.Settings, engine: runners.Engine, counts: str | None = None
) -> tuple[sampling.Plan, np.ndarray, float]:
    """Make the plan and foresee the label counts (float64 [num_classes]) and the number of records; writes nothing.

    For the published policies both are upper bounds; see `Plan.expected`.
    """
    _check(source, settings)
    before = _counted(source, engine, counts)
    plan = make_plan(source, settings, before)
    expected = _foresee(source, plan, engine)
    return plan, expected[:-2], float(expected[-2])


def make_plan(source: Input, settings: sampling.Settings, counted: dict[str, Any]) -> sampling.Plan:
    """Make the plan from what `stats.json` holds.

    Raises:
      DataError: the counts are of another number of classes, there are none, or a setting is wrong.
    """
    counts = np.array(counted["label_counts"], np.int64)
    if len(counts) != source.schema.num_classes:
        raise DataError(
            f"the counts are of {len(counts)} classes and the shards have {source.schema.num_classes}: say which with --num-classes"
        )
    return sampling.plan(counts, counted["num_records"], settings)


def versions() -> dict[str, str]:
    """Return the versions that the output depends on."""
    packages = ("yt8m-data", "apache-beam", "numpy", "pyarrow", "protobuf")
    return {"python": platform.python_version(), **{name: metadata.version(name) for name in packages}}


def _check(source: Input, settings: sampling.Settings) -> None:
    for name in settings.hold:
        if name not in (names := [feature.name for feature in source.schema.features]):
            raise DataError(f"there is no feature {name!r} to hold: the records have {', '.join(names)}")


def _counted(source: Input, engine: runners.Engine, counts: str | None) -> dict[str, Any]:
    if counts is None:
        return stats.compute(source, engine).to_dict()
    found = shards.read_json(counts)
    if not isinstance(found, dict) or not {"num_records", "label_counts"} <= found.keys():
        raise DataError(f"{counts} is no stats.json of yt8m-data stats: it lacks 'num_records' or 'label_counts'")
    return found


def _layout(source: Input, plan: sampling.Plan, output: Output) -> Layout:
    """Choose the number of shards and partitions, and check that the output fits on the disk, once spilled and once written."""
    share = plan.counts / plan.counts.sum()
    growth = max(float(share @ plan.expected()), 1.0)  # a bound: most labels of a video are commoner than its deciding one
    size = int(source.bytes * growth)
    disk = tempfile.gettempdir() if storage.is_remote(output.folder) else output.folder
    needed, free = 2 * (size + source.bytes), shutil.disk_usage(disk).free
    if needed > free:
        space = f"up to {needed / 1e9:,.1f} GB, and {disk} has {free / 1e9:,.1f} GB free"
        raise DataError(f"the job takes {space}: make room, or aim at fewer videos")
    num_shards = output.num_shards or len(source.files)
    return Layout(output.folder, output.name, num_shards, min(num_shards, size // OUTPUT_BYTES + 1), plan.settings.seed)


def _pooled_bytes(source: Input, engine: runners.Engine) -> int:
    """Return what a video takes of a pool's memory. Frames that were spilled to a disk stay there, and their means are in memory."""
    if source.schema.kind == "frame" and engine.runner != "local":
        return source.bytes // max(source.estimated_records or 1, 1)
    return sum(4 * feature.size for feature in source.schema.features)


def _run_pipeline(
    source: Input, plan: sampling.Plan, packed: pools.Pools, layout: Layout, output: Output, engine: runners.Engine, spill: str
) -> Any:
    """Run the pipeline; return what `_summarize` does."""
    schema = source.schema
    threads = max(1, (os.cpu_count() or 1) // engine.processes(source.bytes))
    route = _Route(plan, packed, layout, output.chunk_shards)
    columns = pa.schema([*schema.arrow, *PROVENANCE])
    pool_spill, output_spill = (os.path.join(spill, part) if engine.runner == "local" else None for part in ("pools", "output"))

    def build(pipeline: beam.Pipeline, counter: Counter) -> Any:
        read = pipeline | ReadShards(source.files, schema, source.skip_bad, counter, augmentable=True)
        routed = read.batches | "Route" >> beam.ParDo(route).with_outputs(KEPT, BOOKS, main="pools")
        synthesize = _Synthesize(plan, packed, layout, schema, threads, counter.of("made"))
        grouped = (routed.pools,) | "Pools" >> GroupBatches(pool_spill)
        made = grouped | "Synthesize" >> beam.ParDo(synthesize).with_outputs(BOOKS, main="batches")
        written = (routed[KEPT], made.batches) | WriteShards(layout, schema, columns, counter.of("written"), output_spill)
        entries = written | "Entries" >> beam.Map(lambda pair: pair[0]) | "Gather" >> beam.combiners.ToList()
        statistics = written | "Statistics" >> beam.Map(lambda pair: pair[1]) | "Merge" >> beam.CombineGlobally(MergeStatistics(schema))
        books = (routed[BOOKS], made[BOOKS]) | "Books" >> beam.Flatten() | "Add up" >> beam.CombinePerKey(sum)
        sides = beam.pvalue.AsSingleton(statistics), beam.pvalue.AsDict(books), beam.pvalue.AsList(read[BAD])
        return entries | "Summarize" >> beam.Map(_summarize, *sides)

    return runners.run(engine, "augment", source.bytes, source.estimated_records, build, lambda result: result[2].get("read", 0))


class _Route(beam.DoFn):
    """Batches -> (partition of pools, batch); output `kept`: (partition of the output, batch); output `books`: (entry, count)."""

    def __init__(self, plan: sampling.Plan, packed: pools.Pools, layout: Layout, chunk_shards: int | None) -> None:
        self.plan, self.packed, self.layout, self.chunk_shards = plan, packed, layout, chunk_shards

    def process(self, batch: pa.RecordBatch) -> Iterator[Any]:
        as_is, over, rows, partitions = pools.route(self.plan, self.packed, batch)
        for entry, count in (
            ("read", batch.num_rows),
            ("kept", len(as_is) + len(over)),
            ("dropped", batch.num_rows - len(as_is) - len(over)),
        ):
            yield beam.pvalue.TaggedOutput(BOOKS, (entry, count))
        kept = _originals(batch.take(pa.array(as_is)), self.plan, b"_s00")
        for pair in split_batch(kept, self.layout.partition(kept.column("id").to_pylist())):
            yield beam.pvalue.TaggedOutput(KEPT, pair)
        if self.chunk_shards is not None:  # each chunk has partitions of its own
            chunk = (batch.column(ORDER).to_numpy()[rows] >> 32) // self.chunk_shards
            partitions = chunk * self.packed.count + partitions
        yield from split_batch(batch, partitions, rows)


class _Synthesize(beam.DoFn):
    """(partition of pools, batches) -> (partition of the output, batch) of its over-sampled videos and of what is made of them."""

    def __init__(self, plan: sampling.Plan, packed: pools.Pools, layout: Layout, schema: Schema, threads: int, counter: Counter) -> None:
        self.plan, self.packed, self.layout, self.schema = plan, packed, layout, schema
        self.threads, self.counter = threads, counter

    def process(self, element: tuple[int, Iterable[pa.RecordBatch]]) -> Iterator[Any]:
        partition, batches = element
        batch: pa.RecordBatch | frame_synthesis.Videos
        if self.schema.kind == "frame":
            batch = frame_synthesis.Videos(batches, self.schema)
            heads, take = batch.heads, batch.take
        else:
            whole = pa.concat_batches(list(batches))
            batch = heads = whole.take(pa.array(np.argsort(whole.column(ORDER).to_numpy())))
            take = partial(_take, batch)
        order = heads.column(ORDER).to_numpy()
        deciding = pools.bases(self.plan, self.packed, partition % self.packed.count, heads)
        for originals in take(np.flatnonzero(deciding >= 0)):
            yield from self._send(_originals(originals, self.plan, b"_o00"))
        made: Tally[Any] = Tally()
        for synthetic, apart in pools.synthesize(self.plan, batch, deciding, order, self.schema, self.threads, self.layout.partition):
            self.counter.add(synthetic.num_rows)
            made.update(method.decode() for method in synthetic.column("aug_method").to_pylist())
            made.update((DISTANCE, number) for number in pools.distance_bins(apart))
            made.update((LABEL, label) for label in distinct_labels(synthetic.column("labels"))[1].tolist())
            yield from self._send(synthetic)
        for entry, count in made.items():
            yield beam.pvalue.TaggedOutput(BOOKS, (entry, count))

    def _send(self, batch: pa.RecordBatch) -> Iterator[tuple[int, pa.RecordBatch]]:
        return split_batch(batch, self.layout.partition(batch.column("id").to_pylist()))


def _take(batch: pa.RecordBatch, rows: np.ndarray) -> Iterator[pa.RecordBatch]:
    yield batch.take(pa.array(rows))


def _originals(batch: pa.RecordBatch, plan: sampling.Plan, suffix: bytes) -> pa.RecordBatch:
    """Drop the ORDER column; the policy `authors` marks the ids of originals as the published scripts do."""
    batch = batch.drop_columns([ORDER])
    if plan.settings.policy != "authors":
        return batch
    ids = pa.array([i + suffix for i in batch.column("id").to_pylist()], pa.binary())
    return batch.set_column(0, batch.schema.field(0), ids)


def _summarize(
    entries: list[dict[str, Any]], statistics: Statistics, books: dict[Any, int], bad: list[BadRecord]
) -> tuple[list[dict[str, Any]], Statistics, dict[Any, int], list[BadRecord]]:
    """Put in order what the manifest is written from: entries by shard, the statistics of all, the books, the bad records."""
    return sorted(entries, key=lambda entry: entry["name"]), statistics, books, sorted(bad)


def _part(books: dict[Any, int], part: str) -> dict[Any, int]:
    """Take the entries (part, key) of the books, by their keys."""
    return {entry[1]: count for entry, count in books.items() if isinstance(entry, tuple) and entry[0] == part}


def _totals(books: dict[Any, int], bad: list[BadRecord], entries: list[dict[str, Any]]) -> dict[str, Any]:
    """Draw up the books and check that they balance."""
    synthetic = {method: books.get(method, 0) for method in sampling.METHODS}
    totals = {
        "read": books.get("read", 0) + len(bad),
        "kept": books.get("kept", 0),
        "dropped": books.get("dropped", 0),
        "bad": len(bad),
        "synthetic": synthetic,
        "written": sum(entry["records"] for entry in entries),
    }
    if totals["read"] != totals["kept"] + totals["dropped"] + totals["bad"] or totals["written"] != totals["kept"] + sum(
        synthetic.values()
    ):
        raise DataError(f"the books do not balance, so records were lost or doubled on the way: {totals}")
    return totals


def _foresee(source: Input, plan: sampling.Plan, engine: runners.Engine) -> np.ndarray:
    """Add up the expected label counts over all videos, then the expected records, and the records read. Reads labels only."""
    labels_only = replace(source.schema, features=())

    def build(pipeline: beam.Pipeline, counter: Counter) -> Any:
        read = pipeline | ReadShards(source.files, labels_only, source.skip_bad, counter)
        return read.batches | "Weigh" >> beam.Map(_expected_counts, plan) | "Add up" >> beam.CombineGlobally(_total)

    return runners.run(engine, "forecast", source.bytes, source.estimated_records, build, lambda result: int(result[-1]))


def _expected_counts(batch: pa.RecordBatch, plan: sampling.Plan) -> np.ndarray:
    expected, column = plan.expected(), batch.column("labels")
    deciding = plan.decide(column)
    factor = np.where(deciding < 0, 1.0, expected[deciding])
    counts = np.bincount(column.flatten().to_numpy(), np.repeat(factor, column.value_lengths().to_numpy()), len(expected))
    return np.append(counts, [factor.sum(), len(factor)])


def _total(vectors: Iterable[np.ndarray]) -> np.ndarray | float:
    return sum(vectors, 0.0)
