"""The pipeline of `augment`: read -> route -> pools -> synthesise -> shuffle -> write.

Locally each file, each partition of pools and each partition of the output is a unit of work that is done once (`once`), and features are
spilled between them; on a service they go through Beam's GroupByKey.
"""

import os
from collections import Counter as Tally
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import apache_beam as beam
import numpy as np
import pyarrow as pa

from beam_jobs import holdout as holdouts
from beam_jobs import runners
from beam_jobs.books import DISTANCE, FILLER, NEARER_OTHER, OWN, TO_BASE, TO_NEIGHBOR, TO_OTHER, entries_of
from beam_jobs.forecast import expected_counts, total
from beam_jobs.group import PAIR, GroupBatches, ReadSpilled
from beam_jobs.holdout import HoldOut, Watch, route_held_out
from beam_jobs.inputs import Input
from beam_jobs.once import MAIN, Chain, Once, Unit, outputs
from beam_jobs.progress import Counter
from beam_jobs.transforms import BAD, ORDER, READING, Layout, MergeStatistics, ReadShard, WriteShards, split_batch
from yt8m_data import deltas, frame_synthesis, pools, sampling, synthesis
from yt8m_data.errors import BadRecord
from yt8m_data.schema import PROVENANCE, Schema
from yt8m_data.shard_file import is_whole
from yt8m_data.statistics import Statistics
from yt8m_data.work import Work

KEPT, BOOKS, FORECAST, NEAR, HELD_OUT_BAD = "kept", "books", "forecast", "near", "held out: bad"


class Job(NamedTuple):
    """What the pipeline works on; `threads` are for a partition's search."""

    source: Input
    plan: sampling.Plan
    packed: pools.Pools
    layout: Layout
    chunk_shards: int | None
    bank: str | None
    holdout: HoldOut | None
    threads: int

    @property
    def columns(self) -> pa.Schema:
        """The columns of the output."""
        return pa.schema([*self.source.schema.arrow, *PROVENANCE])

    @property
    def chunks(self) -> int:
        """The number of chunks of input files, each of which has pools of its own."""
        return 1 if self.chunk_shards is None else -(-len(self.source.files) // self.chunk_shards)


class Progress(NamedTuple):
    """A unit of work of a step: whether a killed run had done it, and the records that it read."""

    step: str
    found: bool
    read: int


class Outcome(NamedTuple):
    """What came of it: manifest entries by shard, statistics, books, bad records, forecast, near-duplicates, and locally all units."""

    entries: list[dict[str, Any]]
    statistics: Statistics
    books: dict[Any, int]
    bad: list[BadRecord]
    forecast: np.ndarray
    near: list[Any]
    progress: list[Progress]


def run(job: Job, engine: runners.Engine, work: Work) -> Outcome:
    """Run the pipeline."""
    source, local = job.source, engine.runner == "local"

    def build(pipeline: beam.Pipeline, counter: Counter) -> Any:
        parts = _local(job, work, pipeline, counter) if local else _on_a_service(job, engine, pipeline, counter)
        entries = parts.written | "Entries" >> beam.Map(lambda pair: pair[0]) | "Gather" >> beam.combiners.ToList()
        statistics = parts.written | "Statistics" >> beam.Map(lambda pair: pair[1])
        merged = statistics | "Merge" >> beam.CombineGlobally(MergeStatistics(source.schema))
        books = parts.books | "Books" >> beam.Flatten() | "Add up" >> beam.CombinePerKey(sum)
        forecast = parts.forecast | "Add up the forecast" >> beam.CombineGlobally(total)
        singles = beam.pvalue.AsSingleton(merged), beam.pvalue.AsDict(books), beam.pvalue.AsSingleton(forecast)
        lists = [beam.pvalue.AsList(part) for part in (parts.bad, parts.near, parts.progress)]
        return entries | "Summarize" >> beam.Map(_summarize, *singles, *lists)

    def fresh(outcome: Outcome) -> int:
        return outcome.books.get("read", 0) - sum(step.read for step in outcome.progress if step.found)

    known = None if work.resumed else source.estimated_records
    outcome: Outcome = runners.run(engine, "augment", source.bytes, known, build, fresh)
    return outcome


class _Parts(NamedTuple):
    """PCollections: (entry, statistics) of each shard, entries of the books, and so on; on a service `progress` is empty."""

    written: Any
    books: list[Any]
    bad: Any
    forecast: Any
    near: Any
    progress: Any


def _local(job: Job, work: Work, pipeline: beam.Pipeline, counter: Counter) -> _Parts:
    pooled, output = work.runs("pools"), work.runs("output")
    route_once = Once(_read_and_route(job, counter), work, {MAIN: pooled, KEPT: output})
    read = _spread(pipeline, "file", job.source.files, "Files") | "Read" >> beam.ParDo(route_once)
    spilled, books = [read], []
    if job.holdout is not None:
        hold_out_once = Once(_read_held_out(job, job.holdout, counter), work, {MAIN: pooled})
        held_out = _spread(pipeline, "held-out", job.holdout.source.files, "Held-out files") | "Hold out" >> beam.ParDo(hold_out_once)
        spilled.append(held_out)
        books.append(outputs(held_out, BAD, "Held out: bad") | "Count these" >> beam.Map(lambda _: (HELD_OUT_BAD, 1)))
    pools_ = tuple(spilled) | "Pools" >> ReadSpilled(pooled)
    named = pools_ | "Name pools" >> beam.MapTuple(lambda number, batches: (f"pools-{number:06d}", (number, batches)))
    made = named | "Synthesize" >> beam.ParDo(Once(_synthesize(job, counter), work, {MAIN: output}))
    tasks = (read, made) | "Output" >> ReadSpilled(output, [[number] for number in range(job.layout.num_partitions)])
    named = tasks | "Name shards" >> beam.MapTuple(lambda number, parts: (f"shards-{number:06d}", (number, parts[0])))
    written = named | "Write" >> beam.ParDo(Once(_write(job, counter), work, {}, partial(_are_whole, job.layout)))
    steps = {"files": read, "pools": made, "parts of the output": written}
    progress = [units | f"Done: {step}" >> beam.Map(_progress_of, step) for step, units in steps.items()] | "Done" >> beam.Flatten()
    books += [outputs(units, BOOKS, f"Books of {step}") for step, units in steps.items()]
    bad, forecast, near = outputs(read, BAD, "Bad"), outputs(read, FORECAST, "Forecast"), outputs(made, NEAR, "Near")
    return _Parts(outputs(written, MAIN, "Shards"), books, bad, forecast, near, progress)


def _on_a_service(job: Job, engine: runners.Engine, pipeline: beam.Pipeline, counter: Counter) -> _Parts:
    read_and_route, synthesize = (
        beam.ParDo(do).with_output_types(PAIR) for do in (_read_and_route(job, counter), _synthesize(job, counter))
    )
    files = pipeline | "Files" >> beam.Create(list(enumerate(job.source.files)), reshuffle=False) | "Spread" >> beam.Reshuffle()
    read = files | "Read" >> read_and_route.with_outputs(KEPT, BOOKS, FORECAST, BAD, READING, main="pools")
    pooled, books = [read.pools], []
    if job.holdout is not None:
        read_held_out = beam.ParDo(_read_held_out(job, job.holdout, counter)).with_output_types(PAIR)
        held_out = pipeline | "Held-out files" >> beam.Create(list(enumerate(job.holdout.source.files)), reshuffle=False)
        held_out = held_out | "Spread these" >> beam.Reshuffle() | "Hold out" >> read_held_out.with_outputs(BAD, READING, main="pools")
        pooled.append(held_out.pools)
        books.append(held_out[BAD] | "Count these" >> beam.Map(lambda _: (HELD_OUT_BAD, 1)))
    grouped = tuple(pooled) | "Pools" >> GroupBatches(None)
    made = grouped | "Synthesize" >> engine.seeking(synthesize).with_outputs(BOOKS, NEAR, main="batches")
    empty = pa.RecordBatch.from_pylist([], schema=job.columns)  # so that a shard without rows is written too
    numbers = pipeline | "Parts" >> beam.Create(list(range(job.layout.num_partitions)))
    every = numbers | "Empty" >> beam.Map(lambda number: (number, empty))
    written = (read[KEPT], made.batches, every) | "Output" >> GroupBatches(None) | "Write" >> beam.ParDo(_write(job, counter))
    nothing = pipeline | "No units" >> beam.Create([])
    return _Parts(written, [*books, read[BOOKS], made[BOOKS]], read[BAD], read[FORECAST], made[NEAR], nothing)


def _spread(pipeline: beam.Pipeline, name: str, files: list[str], label: str) -> Any:
    """Give the files as units of work, to whichever worker has time."""
    units = [(f"{name}-{number:06d}", (number, path)) for number, path in enumerate(files)]
    return pipeline | label >> beam.Create(units, reshuffle=False) | f"Spread {label}" >> beam.Reshuffle()


def _read_and_route(job: Job, counter: Counter) -> Chain:
    read = ReadShard(job.source.schema, job.source.skip_bad, counter, augmentable=True)
    return Chain(read, Route(job.plan, job.packed, job.layout, job.chunk_shards).process)


def _read_held_out(job: Job, holdout: HoldOut, counter: Counter) -> Chain:
    read = ReadShard(job.source.schema, holdout.source.skip_bad, counter.of("held out"), augmentable=True)
    return Chain(read, partial(route_held_out, packed=job.packed, chunks=job.chunks))


def _synthesize(job: Job, counter: Counter) -> beam.DoFn:
    near = None if job.holdout is None else job.holdout.near
    return Synthesize(job.plan, job.packed, job.layout, job.source.schema, job.threads, counter.of("made"), job.bank, near)


def _write(job: Job, counter: Counter) -> beam.DoFn:
    return WriteShards(job.layout, job.source.schema, job.columns, counter.of("written"))


def _are_whole(layout: Layout, done: Mapping[str, list[Any]]) -> bool:
    """Whether the shards of a part of the output are as they were left."""
    return all(is_whole(os.path.join(layout.folder, entry["name"]), entry) for entry, _ in done[MAIN])


def _progress_of(unit: Unit, step: str) -> Progress:
    return Progress(step, unit.found, sum(count for entry, count in unit.outputs.get(BOOKS, []) if entry == "read"))


def _summarize(
    entries: list[dict[str, Any]],
    statistics: Statistics,
    books: dict[Any, int],
    forecast: np.ndarray,
    bad: list[BadRecord],
    near: list[Any],
    progress: list[Progress],
) -> Outcome:
    """Put it all in order."""
    by_name = sorted(entries, key=lambda entry: entry["name"])
    return Outcome(by_name, statistics, books, sorted(bad), forecast[:-1], sorted(near), progress)


class Route(beam.DoFn):
    """Batches -> (partition of pools, batch).

    Outputs: `kept` (partition of the output, batch), `books` (entry, count), and `forecast`, what `expected_counts` says of the batch.
    """

    def __init__(self, plan: sampling.Plan, packed: pools.Pools, layout: Layout, chunk_shards: int | None) -> None:
        self.plan, self.packed, self.layout, self.chunk_shards = plan, packed, layout, chunk_shards

    def process(self, batch: pa.RecordBatch) -> Iterator[Any]:
        """Say where each video goes."""
        as_is, over, rows, partitions = pools.route(self.plan, self.packed, batch)
        for entry, count in (
            ("read", batch.num_rows),
            ("kept", len(as_is) + len(over)),
            ("dropped", batch.num_rows - len(as_is) - len(over)),
        ):
            yield beam.pvalue.TaggedOutput(BOOKS, (entry, count))
        yield beam.pvalue.TaggedOutput(FORECAST, expected_counts(batch, self.plan))
        own = np.bincount(self.plan.decide(batch.column("labels")) + 1, minlength=2)[1:]
        for label in np.flatnonzero(own).tolist():
            yield beam.pvalue.TaggedOutput(BOOKS, ((OWN, label), int(own[label])))
        kept, copies = synthesis.decouple(_originals(batch.take(pa.array(as_is)), self.plan, b"_s00"), self.plan)
        for entry, count in entries_of(copies).items():
            yield beam.pvalue.TaggedOutput(BOOKS, (entry, count))
        for part in (kept, copies):
            for pair in split_batch(part, self.layout.partition(part.column("id").to_pylist())):
                yield beam.pvalue.TaggedOutput(KEPT, pair)
        if self.chunk_shards is not None:  # each chunk has partitions of its own
            chunk = (batch.column(ORDER).to_numpy()[rows] >> 32) // self.chunk_shards
            partitions = chunk * self.packed.count + partitions
        yield from split_batch(batch, partitions, rows)


class Synthesize(beam.DoFn):
    """(partition of pools, batches) -> (partition of the output, batch) of its over-sampled videos and of what is made of them."""

    def __init__(
        self,
        plan: sampling.Plan,
        packed: pools.Pools,
        layout: Layout,
        schema: Schema,
        threads: int,
        counter: Counter,
        bank: str | None,
        near: float | None,
    ) -> None:
        self.plan, self.packed, self.layout, self.schema = plan, packed, layout, schema
        self.threads, self.counter, self.bank, self.near = threads, counter, bank, near

    def process(self, element: tuple[int, Iterable[pa.RecordBatch]]) -> Iterator[Any]:
        """Make what a partition's bases give."""
        partition, batches = element
        batch: pa.RecordBatch | frame_synthesis.Videos
        watch = None
        if self.schema.kind == "frame":
            batch = frame_synthesis.Videos(batches, self.schema)
            heads, take = batch.heads, batch.take
        else:
            everything = pa.concat_batches(list(batches))
            order = everything.column(ORDER).to_numpy()
            whole, held_out = everything.take(pa.array(np.argsort(order))), int((order < 0).sum())  # these come first
            batch = heads = whole.slice(held_out)
            take = partial(_take, batch)
            watch = None if self.near is None else Watch(self.near, batch, whole.slice(0, held_out), self.plan, self.schema)
        order = heads.column(ORDER).to_numpy()
        deciding = pools.bases(self.plan, self.packed, partition % self.packed.count, heads)
        for originals in take(np.flatnonzero(deciding >= 0)):
            yield from self._send(_originals(originals, self.plan, b"_o00"))
        books: Tally[Any] = Tally()
        near: list[Any] = []
        bank = None if self.bank is None else deltas.read(self.bank)
        for made in pools.synthesize(self.plan, batch, deciding, order, self.schema, self.threads, bank, self.layout.partition):
            self.counter.add(made.batch.num_rows)
            books += entries_of(made.batch)
            books.update((DISTANCE, number) for number in pools.distance_bins(made.apart))
            books.update((FILLER, label) for label in made.deciding[made.filler].tolist())
            for part, squared in zip((TO_BASE, TO_NEIGHBOR, TO_OTHER), made.checked, strict=True):
                books.update((part, number) for number in pools.distance_bins(squared))
            books[NEARER_OTHER] += int((made.checked.other < made.checked.base).sum())
            near += watch.look(made) if watch else []
            yield from self._send(made.batch)
        books[NEAR] += len(near)
        for each in sorted(near)[: holdouts.LISTED]:
            yield beam.pvalue.TaggedOutput(NEAR, each)
        for entry, count in books.items():
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
