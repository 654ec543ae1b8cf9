"""The pipeline of `augment`: read -> route -> pools -> synthesise -> shuffle -> write.

Locally some neighbouring files, a partition of pools, or a partition of the output is a unit of work that is done once (`once`), and what
goes from one to another is spilled between them; on a service it goes through Beam's GroupByKey.
"""

import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import apache_beam as beam
import pyarrow as pa

from beam_jobs import route, runners, units
from beam_jobs.group import PAIR, GroupBatches, ReadSpilled
from beam_jobs.holdout import HoldOut, route_held_out
from beam_jobs.inputs import Input
from beam_jobs.layout import Layout
from beam_jobs.once import MAIN, Chain, Once, Unit
from beam_jobs.outcome import HELD_OUT_BAD, PROGRESS, STEPS, WRITTEN, Gather, GatherBundle, Outcome, Progress, together
from beam_jobs.progress import Counter
from beam_jobs.route import BOOKS, FORECAST, KEPT, NEAR, Route, Synthesize
from beam_jobs.transforms import BAD, READING, ReadShard, WriteShards
from beam_jobs.units import Each
from yt8m_data.shard_file import is_whole
from yt8m_data.turns import Turns
from yt8m_data.work import Work


class Job(NamedTuple):
    """What the pipeline works on; `threads` are for a partition's search, `turns` for the memory that it takes (None on a service)."""

    source: Input
    work: route.Work
    chunk_shards: int | None
    holdout: HoldOut | None
    threads: int
    turns: Turns | None

    @property
    def chunks(self) -> int:
        """The number of chunks of input files, each of which has pools of its own."""
        return 1 if self.chunk_shards is None else -(-len(self.source.files) // self.chunk_shards)


def run(job: Job, engine: runners.Engine, work: Work) -> Outcome:
    """Run the pipeline."""
    source, local = job.source, engine.runner == "local"

    def build(pipeline: beam.Pipeline, counter: Counter) -> Any:
        if local:
            return _local(job, engine.processes(source.bytes), work, pipeline, counter)
        given = _on_a_service(job, engine, pipeline, counter)
        return [given | "Gather" >> beam.CombineGlobally(Gather(source.schema)).without_defaults().with_output_types(Outcome)]

    def fresh(outcome: Outcome) -> int:
        return outcome.books["read"] - sum(step.read for step in outcome.progress if step.found)

    known = None if work.resumed else source.estimated_records
    outcome: Outcome = runners.run(engine, "augment", source.bytes, known, build, fresh, lambda *given: together(itertools.chain(*given)))
    return outcome


def _local(job: Job, processes: int, work: Work, pipeline: beam.Pipeline, counter: Counter) -> list[Any]:
    """Build the local form; Outcomes of each step, one of each bundle."""

    def spread(step: str, files: list[str], label: str) -> Any:
        """Give the files in units of work, to whichever worker has time."""
        named = units.of_files(step, list(enumerate(files)), processes)
        return pipeline | label >> beam.Create(named, reshuffle=False) | f"Spread {label}" >> beam.Reshuffle()

    pooled, output = work.runs("pools"), work.runs("output")
    features = [str(job.work.store), *([job.work.files.index] if job.work.files else [])]
    route_once = Once(Each(_read_and_route(job, counter)), work, {MAIN: pooled, KEPT: output}, appended=features, alike=True)
    read = spread("files", job.source.files, "Files") | "Read" >> beam.ParDo(route_once)
    spilled, given = [read], []

    def gathered(done: Any, step: str, pairs: Callable[[Any], Iterable[tuple[str, Any]]]) -> Any:
        return done | f"Gather {step}" >> beam.ParDo(GatherBundle(job.source.schema, pairs)).with_output_types(Outcome)

    if job.holdout is not None:
        hold_out_once = Once(Each(_read_held_out(job, job.holdout, counter)), work, {MAIN: pooled}, appended=features)
        held_out = spread("held-out", job.holdout.source.files, "Held-out files") | "Hold out" >> beam.ParDo(hold_out_once)
        spilled.append(held_out)
        given.append(gathered(held_out, "held out", _held_out))
    pools_ = tuple(spilled) | "Pools" >> ReadSpilled(pooled)
    named = pools_ | "Name pools" >> beam.MapTuple(lambda number, batches: (f"pools-{number:06d}", (number, batches)))
    made = named | "Synthesize" >> beam.ParDo(Once(_synthesize(job, counter), work, {MAIN: output}))
    layout = job.work.layout
    tasks = (read, made) | "Output" >> ReadSpilled(output, [layout.partitions_of(task) for task in range(layout.num_tasks)])
    named = tasks | "Name shards" >> beam.MapTuple(lambda task, parts: (f"shards-{task:06d}", (task, parts)))
    written = named | "Write" >> beam.ParDo(Once(_write(job, counter), work, {}, partial(_are_whole, layout)))
    return given + [gathered(done, step, partial(_given, step=step)) for step, done in zip(STEPS, (read, made, written), strict=True)]


def _on_a_service(job: Job, engine: runners.Engine, pipeline: beam.Pipeline, counter: Counter) -> Any:
    """Build the form for services; what each step gave, in pairs for `Gather`."""
    read_and_route, synthesize = (
        beam.ParDo(do).with_output_types(PAIR) for do in (_read_and_route(job, counter), _synthesize(job, counter))
    )
    files = pipeline | "Files" >> beam.Create(list(enumerate(job.source.files)), reshuffle=False) | "Spread" >> beam.Reshuffle()
    read = files | "Read" >> read_and_route.with_outputs(KEPT, BOOKS, FORECAST, BAD, READING, main="pools")
    pooled, given = [read.pools], [(kind, read[kind]) for kind in (BOOKS, FORECAST, BAD, READING)]
    if job.holdout is not None:
        read_held_out = beam.ParDo(_read_held_out(job, job.holdout, counter)).with_output_types(PAIR)
        held_out = pipeline | "Held-out files" >> beam.Create(list(enumerate(job.holdout.source.files)), reshuffle=False)
        held_out = held_out | "Spread these" >> beam.Reshuffle() | "Hold out" >> read_held_out.with_outputs(BAD, READING, main="pools")
        pooled.append(held_out.pools)
        given.append((HELD_OUT_BAD, held_out[BAD]))
    grouped = tuple(pooled) | "Pools" >> GroupBatches(None)
    made = grouped | "Synthesize" >> engine.seeking(synthesize).with_outputs(BOOKS, NEAR, main="batches")
    empty = pa.RecordBatch.from_pylist([], schema=job.work.sent)  # so that a shard without rows is written too
    numbers = pipeline | "Parts" >> beam.Create(list(range(job.work.layout.num_partitions)))
    every = numbers | "Empty" >> beam.Map(lambda number: (number, empty))
    grouped = (read[KEPT], made.batches, every) | "Output" >> GroupBatches(None)  # there is a task for each partition
    written = grouped | "Whole" >> beam.MapTuple(lambda number, batches: (number, [batches])) | "Write" >> beam.ParDo(_write(job, counter))
    given += [(kind, made[kind]) for kind in (BOOKS, NEAR)] + [(WRITTEN, written)]
    named = [values | f"Given {number}: {kind}" >> beam.Map(_named, kind) for number, (kind, values) in enumerate(given)]
    return named | "Given" >> beam.Flatten()


def _read_and_route(job: Job, counter: Counter) -> Chain:
    read = ReadShard(job.source.schema, job.source.skip_bad, counter, augmentable=True, in_place=job.work.files, compiled=job.work.compiled)
    return Chain(read, Route(job.work, job.chunk_shards).process)


def _read_held_out(job: Job, holdout: HoldOut, counter: Counter) -> Chain:
    read = ReadShard(
        job.source.schema,
        holdout.source.skip_bad,
        counter.of("held out"),
        augmentable=True,
        in_place=job.work.files,
        compiled=job.work.compiled,
    )
    put = None if job.work.store is None else job.work.put
    return Chain(read, partial(route_held_out, packed=job.work.packed, chunks=job.chunks, put=put))


def _synthesize(job: Job, counter: Counter) -> beam.DoFn:
    return Synthesize(job.work, job.threads, counter.of("made"), None if job.holdout is None else job.holdout.near, job.turns)


def _write(job: Job, counter: Counter) -> beam.DoFn:
    work = job.work
    return WriteShards(
        work.layout, work.schema, work.written, counter.of("written"), None if work.store is None else work.maker, work.compiled
    )


def _are_whole(layout: Layout, done: Mapping[str, list[Any]]) -> bool:
    """Whether the shards of a part of the output are as they were left."""
    return all(is_whole(os.path.join(layout.folder, entry["name"]), entry) for entries, _ in done[MAIN] for entry in entries)


def _given(unit: Unit, step: str) -> Iterator[tuple[str, Any]]:
    """What a unit of a step gave, in pairs for `Gather`."""
    for output, values in unit.outputs.items():
        yield from ((WRITTEN if output == MAIN else output, value) for value in values)
    read = sum(books["read"] for books in unit.outputs.get(BOOKS, []))
    yield PROGRESS, Progress(step, unit.found, read, len(unit.outputs.get(READING, [])) or 1)


def _held_out(unit: Unit) -> list[tuple[str, Any]]:
    return [(HELD_OUT_BAD, bad) for bad in unit.outputs.get(BAD, [])]


def _named(value: Any, kind: str) -> tuple[str, Any]:
    return kind, value
