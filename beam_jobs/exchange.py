"""How the records of a job get to their shards: read, route, meet, write.

locally        read a file, spill a run of it -> (all are read) -> read a task's partitions back, sort, write its shards
on a service   read -> route -> group by task -> sort, write

A local run that was killed resumes: a spilled run and a written shard are not made again.
"""

import itertools
import os
from collections import Counter as Tally
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import apache_beam as beam
import numpy as np
import pyarrow as pa

from beam_jobs import runners
from beam_jobs.group import GroupBatches
from beam_jobs.inputs import Input
from beam_jobs.progress import Counter
from beam_jobs.transforms import BAD, Layout, split_batch
from yt8m_data import classes, codec, shards, spill, storage, tfrecord
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
    """What a task wrote: manifest entries, whether they were `found` from an earlier run, and the hashes of the ids if these are needed."""

    layout: int
    entries: list[dict[str, Any]]
    found: bool
    hashes: np.ndarray | None


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


def _write(
    router: Router, task: Task, parts: Iterable[pa.RecordBatch], schema: Schema, counter: Counter
) -> tuple[list[dict[str, Any]], np.ndarray | None]:
    """Write the shards of a task; return their entries, and the hashes of the ids where files decide on the split."""
    layout, entries, hashes = router.layouts[task.layout], [], []
    for shard, rows in layout.ordered(task.task, parts, schema):
        with open_shard(layout.path(shard), schema, schema.arrow, layout.form) as writer:
            for batch in rows:
                writer.write(batch)
                counter.add(batch.num_rows)
                if router.splits.patterns:
                    hashes.append(layout.hashes(batch.column("id").to_pylist()))
        entries.append(writer.entry)
    return entries, np.concatenate([np.empty(0, np.uint64), *hashes]) if router.splits.patterns else None


# --- Locally --------------------------------------------------------------------------------------------------------------


def unspilled(files: list[tuple[int, str, int]], work: Work) -> list[tuple[int, str, int]]:
    """Those files of which an earlier run has left no finished run."""
    return [file for file in files if spill.notes(work.runs, _name(file[0])) is None]


def run_spilled(
    source: Input, files: list[tuple[int, str, int]], read: Read, schema: Schema, engine: runners.Engine, work: Work
) -> tuple[list[Written], Tally[str], list[BadRecord]]:
    """Run the local form on `files` (number, path, split of the file); return what was written, the books and the bad records."""
    names, todo = [_name(number) for number, _, _ in files], unspilled(files, work)

    def build(pipeline: beam.Pipeline, counter: Counter) -> Any:
        spilled = pipeline | "Files" >> beam.Create(todo, reshuffle=False) | "Spread" >> beam.Reshuffle()
        count = spilled | "Spill" >> beam.ParDo(_SpillFile(read, work, counter)) | "All" >> beam.combiners.Count.Globally()
        start = pipeline | "Start" >> beam.Create([None], reshuffle=False)
        tasks = start | "Tasks" >> beam.FlatMap(_located, beam.pvalue.AsSingleton(count), read.router, work.runs, names)
        write = _WriteSpilled(read.router, schema, work, names, counter.of("written"))
        return tasks | "Spread tasks" >> beam.Reshuffle() | "Write" >> beam.ParDo(write) | "Gather" >> beam.combiners.ToList()

    def noted(numbers: Iterable[int]) -> list[dict[str, Any]]:
        return [spill.notes(work.runs, _name(number)) or {"books": {}, "bad": []} for number in numbers]

    total = source.estimated_records if len(todo) == len(files) else None
    accounted = lambda _: sum(notes["books"].get("read", 0) for notes in noted(file[0] for file in todo))  # noqa: E731
    written = runners.run(engine, "shard", source.bytes, total, build, accounted)
    books: Tally[str] = Tally()
    bad = []
    for notes in noted(range(len(files))):
        books.update(notes["books"])
        bad += [BadRecord(**record) for record in notes["bad"]]
    return written, books, bad


class _SpillFile(beam.DoFn):
    """(number, path, split) -> the number, when the file's run is on disk."""

    def __init__(self, read: Read, work: Work, counter: Counter) -> None:
        self.read, self.work, self.counter = read, work, counter

    def process(self, file: tuple[int, str, int]) -> Iterator[int]:
        number, path, split = file
        books: Tally[str] = Tally()
        bad: list[BadRecord] = []
        with spill.RunWriter(self.work.runs, _name(number)) as writer:
            for partition, batch in self.read.file(path, split, self.counter, books, bad):
                writer.write(partition, batch)
            writer.finish({"books": dict(books), "bad": [asdict(record) for record in bad]})
        yield number


def _located(_start: None, _spilled: int, router: Router, runs: str, names: list[str]) -> Iterator[tuple[Task, list[np.ndarray | None]]]:
    """List the tasks with the pieces of their partitions; the count of runs is an argument so that Beam writes them all first."""
    pieces = spill.locate(runs, names)
    yield from ((task, [pieces.get(partition) for partition in task.partitions]) for task in router.tasks)


class _WriteSpilled(beam.DoFn):
    """(task, pieces of its partitions) -> what was written of it, now or by an earlier run."""

    def __init__(self, router: Router, schema: Schema, work: Work, names: list[str], counter: Counter) -> None:
        self.router, self.schema, self.work, self.names, self.counter = router, schema, work, names, counter

    def process(self, element: tuple[Task, list[np.ndarray | None]]) -> Iterator[Written]:
        task, pieces = element
        path = Path(self.work.done) / f"{_name(task.number)}.json"
        found = self._found(task, path)
        if found is not None:
            yield found
            return
        entries, hashes = _write(self.router, task, self._parts(pieces), self.schema, self.counter)
        shards.write_json(path, {"entries": entries, "hashes": None if hashes is None else hashes.tolist()})
        yield Written(task.layout, entries, False, hashes)

    def _parts(self, pieces: list[np.ndarray | None]) -> Iterator[pa.RecordBatch]:
        for located in pieces:
            if located is not None:
                yield pa.concat_batches(list(spill.read(self.work.runs, self.names, located)))

    def _found(self, task: Task, path: Path) -> Written | None:
        """What an earlier run wrote of the task, if all its shards are on disk as it left them."""
        if not path.exists():
            return None
        noted = shards.read_json(path)
        folder = self.router.layouts[task.layout].folder
        if not all(is_whole(os.path.join(folder, entry["name"]), entry) for entry in noted["entries"]):
            return None
        hashes = None if noted["hashes"] is None else np.array(noted["hashes"], np.uint64)
        return Written(task.layout, noted["entries"], True, hashes)


def _name(number: int) -> str:
    return f"{number:06d}"


# --- On a service ---------------------------------------------------------------------------------------------------------


def run_grouped(
    source: Input, files: list[tuple[int, str, int]], read: Read, schema: Schema, engine: runners.Engine
) -> tuple[list[Written], Tally[str], list[BadRecord]]:
    """Run the form for services, which `run_spilled` equals."""
    empty = pa.RecordBatch.from_pylist([], schema=schema.arrow)
    numbers = [task.number for task in read.router.tasks]

    def build(pipeline: beam.Pipeline, counter: Counter) -> Any:
        listed = pipeline | "Files" >> beam.Create(files, reshuffle=False) | "Spread" >> beam.Reshuffle()
        routed = listed | "Route" >> beam.ParDo(_RouteFile(read, counter)).with_outputs(BAD, BOOKS, main="pairs")
        every = pipeline | "Tasks" >> beam.Create(numbers) | "Empty" >> beam.Map(lambda number: (number, empty))
        write = _WriteGroup(read.router, schema, counter.of("written"))
        written = (routed.pairs, every) | GroupBatches(None) | "Write" >> beam.ParDo(write) | "Gather" >> beam.combiners.ToList()
        books = routed[BOOKS] | "Add up" >> beam.CombineGlobally(lambda parts: sum(parts, Tally()))
        sides = beam.pvalue.AsSingleton(books), beam.pvalue.AsList(routed[BAD])
        return written | "Summarize" >> beam.Map(lambda *parts: parts, *sides)

    return runners.run(engine, "shard", source.bytes, source.estimated_records, build, lambda result: result[1]["read"])


class _RouteFile(beam.DoFn):
    """(number, path, split) -> (number of a task, batch); outputs `books` and `bad`."""

    def __init__(self, read: Read, counter: Counter) -> None:
        self.read, self.counter = read, counter
        self.task_of = np.repeat([task.number for task in read.router.tasks], [len(task.partitions) for task in read.router.tasks]).tolist()

    def process(self, file: tuple[int, str, int]) -> Iterator[Any]:
        _, path, split = file
        books: Tally[str] = Tally()
        bad: list[BadRecord] = []
        for partition, batch in self.read.file(path, split, self.counter, books, bad):
            yield self.task_of[partition], batch
        yield beam.pvalue.TaggedOutput(BOOKS, books)
        for record in bad:
            yield beam.pvalue.TaggedOutput(BAD, record)


class _WriteGroup(beam.DoFn):
    """(number of a task, batches) -> what was written of it."""

    def __init__(self, router: Router, schema: Schema, counter: Counter) -> None:
        self.router, self.schema, self.counter = router, schema, counter

    def process(self, element: tuple[int, Iterable[pa.RecordBatch]]) -> Iterator[Written]:
        number, batches = element
        task = self.router.tasks[number]
        entries, hashes = _write(self.router, task, [pa.concat_batches(list(batches))], self.schema, self.counter)
        yield Written(task.layout, entries, False, hashes)
