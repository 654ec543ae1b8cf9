"""How the records of a job get to their shards: read, route, meet, write.

locally        read some files, spill a run of them -> (all are read) -> read a task's partitions back, sort, write its shards
on a service   read -> route -> group by task -> sort, write

A local run that was killed resumes: a spilled run and a written shard are not made again.
"""

import itertools
import os
from collections import Counter as Tally
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import apache_beam as beam
import numpy as np
import pyarrow as pa

from beam_jobs import runners, units
from beam_jobs.group import GroupBatches, ReadSpilled
from beam_jobs.inputs import Input
from beam_jobs.layout import Layout
from beam_jobs.once import MAIN, Once, Unit
from beam_jobs.progress import Counter
from beam_jobs.transforms import BAD, split_batch
from beam_jobs.units import Each
from yt8m_data import classes, codec, storage, tfrecord
from yt8m_data.chunks import Chunks
from yt8m_data.errors import BadRecord, DataError
from yt8m_data.schema import Schema
from yt8m_data.shard_file import is_whole, open_shard
from yt8m_data.splits import Splits
from yt8m_data.work import Work

BOOKS = "books"


class Task(NamedTuple):
    """A task of one of the layouts, and the numbers of its partitions among those of all."""

    number: int
    layout: int
    task: int
    partitions: list[int]


@dataclass(frozen=True)
class Router:
    """Decides for each record which of the partitions of all layouts it goes to, or that it is dropped."""

    layouts: tuple[Layout, ...]
    splits: Splits
    seed: int
    rows: np.ndarray | None  # of the classes to keep, as `classes.rows_of` gives them

    def route(self, batch: pa.RecordBatch, split: int) -> tuple[pa.RecordBatch, np.ndarray]:
        """Narrow a batch of a file of `split` to the records to keep; their partitions, int64 [N]."""
        if self.rows is not None:
            batch = classes.narrow(batch, self.rows)
        ids = batch.column("id").to_pylist()
        chosen = self.splits.of_ids(ids, self.seed) + split
        partitions = np.zeros(len(ids), np.int64)
        for number, (layout, first) in enumerate(zip(self.layouts, self.firsts, strict=True)):
            rows = np.flatnonzero(chosen == number)
            partitions[rows] = first + layout.partition([ids[row] for row in rows.tolist()])
        return batch, partitions

    @property
    def firsts(self) -> list[int]:
        """The number of each layout's first partition."""
        return [0, *itertools.accumulate(layout.num_partitions for layout in self.layouts)][:-1]

    @property
    def tasks(self) -> list[Task]:
        """All tasks."""
        pairs = [(number, task) for number, layout in enumerate(self.layouts) for task in range(layout.num_tasks)]
        return [
            Task(place, number, task, [self.firsts[number] + p for p in self.layouts[number].partitions_of(task)])
            for place, (number, task) in enumerate(pairs)
        ]


class Written(NamedTuple):
    """What a task wrote: manifest entries, and the hashes of the ids if these are needed."""

    layout: int
    entries: list[dict[str, Any]]
    hashes: np.ndarray | None


class Exchanged(NamedTuple):
    """What was written, the books, the bad records, and locally of all files and tasks, whether a killed run had done them."""

    written: list[Written]
    books: Tally[str]
    bad: list[BadRecord]
    found: Mapping[str, Sequence[bool]]


class Read(NamedTuple):
    """Reads files and routes their records."""

    schema: Schema
    skip_bad: bool
    router: Router

    def file(
        self, path: str, split: int, counter: Counter, books: Tally[str], bad: list[BadRecord]
    ) -> Iterator[tuple[int, pa.RecordBatch]]:
        """Yield (partition, batch) of a file; add to the books and to the bad records."""
        with storage.open_read(path) as stream:
            for block in tfrecord.read(stream, path):
                decoded = codec.decode(block, self.schema)
                if decoded.bad and not self.skip_bad:
                    raise DataError(f"{decoded.bad[0]} (--on-bad-record skip leaves such records out)")
                bad += decoded.bad
                batch, partitions = self.router.route(decoded.batch, split)
                books.update(read=decoded.batch.num_rows, kept=batch.num_rows, dropped=decoded.batch.num_rows - batch.num_rows)
                counter.add(decoded.batch.num_rows)
                yield from split_batch(batch, partitions)


# --- Locally --------------------------------------------------------------------------------------------------------------


def run_spilled(
    source: Input, files: list[tuple[int, str, int]], read: Read, schema: Schema, engine: runners.Engine, work: Work
) -> Exchanged:
    """Run the local form on `files` (number, path, split of the file)."""
    runs = work.runs("partitions")

    def build(pipeline: beam.Pipeline, counter: Counter) -> Any:
        named = units.of_files("files", files, engine.processes(source.bytes))
        listed = pipeline | "Files" >> beam.Create(named, reshuffle=False) | "Spread" >> beam.Reshuffle()
        spilled = listed | "Spill" >> beam.ParDo(Once(Each(_RouteFile(read, counter)), work, {MAIN: runs}))
        tasks = (spilled,) | "Read back" >> ReadSpilled(runs, [task.partitions for task in read.router.tasks])
        write = Once(_WriteTask(read.router, schema, counter.of("written")), work, {}, partial(_is_whole, read.router))
        written = tasks | "Name" >> beam.MapTuple(lambda task, parts: (f"task-{task:06d}", (task, parts))) | "Write" >> beam.ParDo(write)
        return [spilled, written]

    def fresh(result: list[list[Unit]]) -> int:
        return sum(books["read"] for unit in result[0] if not unit.found for books in unit.outputs[BOOKS])

    def gather(*steps: list[Unit]) -> list[list[Unit]]:
        return [sorted(done, key=lambda unit: unit.name) for done in steps]

    total = None if work.resumed else source.estimated_records
    spilled, tasks = runners.run(engine, "shard", source.bytes, total, build, fresh, gather)
    books: Tally[str] = sum((tally for unit in spilled for tally in unit.outputs[BOOKS]), Tally())
    bad = [record for unit in spilled for record in unit.outputs.get(BAD, [])]
    return Exchanged(
        [part for unit in tasks for part in unit.outputs[MAIN]],
        books,
        bad,
        {"files": [unit.found for unit in spilled for _ in unit.outputs[BOOKS]], "tasks": [unit.found for unit in tasks]},
    )


def _is_whole(router: Router, outputs: Mapping[str, list[Any]]) -> bool:
    """Whether the shards of a task are as they were left."""
    return all(
        is_whole(os.path.join(router.layouts[part.layout].folder, entry["name"]), entry) for part in outputs[MAIN] for entry in part.entries
    )


class _RouteFile(beam.DoFn):
    """(number, path, split) -> (number of a partition, batch); outputs `books` and `bad`."""

    def __init__(self, read: Read, counter: Counter) -> None:
        self.read, self.counter = read, counter

    def process(self, file: tuple[int, str, int]) -> Iterator[Any]:
        _, path, split = file
        books: Tally[str] = Tally(files=1, read=0)
        bad: list[BadRecord] = []
        yield from self.read.file(path, split, self.counter, books, bad)
        yield beam.pvalue.TaggedOutput(BOOKS, books)
        for record in bad:
            yield beam.pvalue.TaggedOutput(BAD, record)


class _WriteTask(beam.DoFn):
    """(number of a task, batches of each of its partitions) -> what was written of it."""

    def __init__(self, router: Router, schema: Schema, counter: Counter) -> None:
        self.router, self.schema, self.counter = router, schema, counter

    def process(self, element: tuple[int, list[Iterable[pa.RecordBatch]]]) -> Iterator[Written]:
        number, partitions = element
        task, layout = self.router.tasks[number], self.router.layouts[self.router.tasks[number].layout]
        entries, hashes = [], []
        parts = map(Chunks, partitions)
        for shard, rows in layout.ordered(task.task, parts, self.schema):
            with open_shard(layout.path(shard), self.schema, self.schema.arrow, layout.form) as writer:
                for batch in rows:
                    writer.write(batch)
                    self.counter.add(batch.num_rows)
                    if self.router.splits.patterns:
                        hashes.append(layout.hashes(batch.column("id").to_pylist()))
            entries.append(writer.entry)
        yield Written(task.layout, entries, np.concatenate([np.empty(0, np.uint64), *hashes]) if self.router.splits.patterns else None)


# --- On a service ---------------------------------------------------------------------------------------------------------


def run_grouped(source: Input, files: list[tuple[int, str, int]], read: Read, schema: Schema, engine: runners.Engine) -> Exchanged:
    """Run the form for services, which `run_spilled` equals."""
    empty = pa.RecordBatch.from_pylist([], schema=schema.arrow)
    tasks = read.router.tasks
    task_of = np.repeat([task.number for task in tasks], [len(task.partitions) for task in tasks]).tolist()

    def build(pipeline: beam.Pipeline, counter: Counter) -> Any:
        listed = pipeline | "Files" >> beam.Create(files, reshuffle=False) | "Spread" >> beam.Reshuffle()
        routed = listed | "Route" >> beam.ParDo(_RouteFile(read, counter)).with_outputs(BAD, BOOKS, main="pairs")
        pairs = routed.pairs | "Task" >> beam.MapTuple(lambda partition, batch: (task_of[partition], batch))
        every = pipeline | "Tasks" >> beam.Create(list(range(len(tasks)))) | "Empty" >> beam.Map(lambda number: (number, empty))
        grouped = (pairs, every) | GroupBatches(None) | "Whole" >> beam.MapTuple(lambda number, batches: (number, [batches]))
        write = _WriteTask(read.router, schema, counter.of("written"))
        written = grouped | "Write" >> beam.ParDo(write) | "Gather" >> beam.combiners.ToList()
        books = routed[BOOKS] | "Add up" >> beam.CombineGlobally(lambda parts: sum(parts, Tally()))
        sides = beam.pvalue.AsSingleton(books), beam.pvalue.AsList(routed[BAD])
        return written | "Summarize" >> beam.Map(lambda *parts: parts, *sides)

    written, books, bad = runners.run(engine, "shard", source.bytes, source.estimated_records, build, lambda result: result[1]["read"])
    return Exchanged(written, books, bad, {})
