"""`yt8m-data augment`: over-sample the videos of rare labels by their neighbours, sub-sample those of common ones, write shuffled shards.

read -> route -+-> videos to keep as they are --------------------------+-> write
               +-> pools of the rare labels: neighbours, synthesis -----+
"""

import os
import shutil
import tempfile
from dataclasses import asdict, dataclass
from typing import Any

import apache_beam as beam
import numpy as np

from beam_jobs import deltas as delta_job
from beam_jobs import holdout as holdouts
from beam_jobs import runners, stats
from beam_jobs.books import DISTANCE, FILLER, LABEL, OWN, add_up, check_forecast, part_of, per_label, quality_of, totals_of
from beam_jobs.forecast import foresee, total
from beam_jobs.group import PAIR, GroupBatches
from beam_jobs.holdout import HoldOut, ReadHeldOut
from beam_jobs.inputs import Input
from beam_jobs.progress import Counter
from beam_jobs.route import BOOKS, FORECAST, KEPT, NEAR, Route, Synthesize, Work
from beam_jobs.transforms import BAD, Layout, MergeStatistics, ReadShards, WriteShards
from yt8m_data import deltas, pools, sampling, shards, storage, synthesis
from yt8m_data.errors import BadRecord, DataError, bad_lines
from yt8m_data.statistics import Statistics, measures
from yt8m_data.statistics import folder as folders
from yt8m_data.work import versions

PARTITION_BYTES = OUTPUT_BYTES = 128 << 20  # features in one partition of the pools, and of the output on a service
OUTPUT_ROWS = 1 << 18  # recipes in one partition of the output, some 60 MB


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


def run(
    source: Input,
    settings: sampling.Settings,
    output: Output,
    engine: runners.Engine,
    counts: str | None = None,
    holdout: HoldOut | None = None,
) -> dict[str, Any]:
    """Write augmented shards, `stats_before.json`, `stats_after.json`, and last `manifest.json`; return that.

    Args:
      source: the input.
      settings: the policy and its parameters.
      output: what to write.
      engine: where to run.
      counts: a `stats.json` to plan with; by default a first pass counts the input.
      holdout: videos that no synthetic one should come near; the manifest tells which do.

    Raises:
      DataError: a setting, the input or the output folder is wrong, the disk is too small, or the books do not balance.
    """
    check_input(source, settings)
    if holdout is not None:
        holdout.check(source.schema)
    shards.check_output(output.folder, output.overwrite)
    before, sets = counted_input(source, settings, engine, counts)
    plan = make_plan(source, settings, before, sets)
    folder = shards.prepare_output(output.folder, output.overwrite)
    layout = _layout(source, plan, output, engine)
    bank = collect_bank(source, plan, engine, folder)

    packed = pools.pack(plan, pooled_bytes(source, engine), PARTITION_BYTES, output.pool_bytes)
    with tempfile.TemporaryDirectory(prefix=".spill-", suffix=".tmp", dir=storage.disk_for(folder)) as spill:
        done = _run_pipeline(source, plan, packed, layout, output, engine, spill, bank, holdout)
    entries, statistics, books, bad, forecast, near = done
    source.check_bad(bad, books.get("read", 0))
    totals = totals_of(books, bad, entries, settings.methods)
    if counts is None and totals["read"] != before["num_records"] + before["bad_records"]["total"]:
        raise DataError(f"{totals['read']} records were read, but {before['num_records']} a moment before: the input changes, run it again")
    after = statistics.to_dict()
    check_forecast(plan, forecast, after)
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
        "neighbors": pools.distance_histogram(source.schema.features[0].name, part_of(books, DISTANCE)),
        "synthetic_label_counts": dict(sorted(part_of(books, LABEL).items())),
        "forecast": {"bound": plan.bound, "records": float(forecast[-1]), "label_counts": forecast[:-1].tolist()},
        "unfilled": sampling.unfilled(plan, np.array(after["label_counts"]), per_label(books, OWN, plan), per_label(books, FILLER, plan)),
        "quality": quality_of(source.schema.features[0].name, books),
        **({"holdout": holdouts.summarize(holdout, near, books.get(NEAR, 0))} if holdout is not None else {}),
        "plan": plan.to_dict(),
    }
    shards.write_json(folder / shards.MANIFEST, manifest)
    return manifest


def dry_run(
    source: Input, settings: sampling.Settings, engine: runners.Engine, counts: str | None = None
) -> tuple[sampling.Plan, np.ndarray, float]:
    """Make the plan and foresee the label counts (float64 [num_classes]) and the number of records; writes nothing.

    Ids and labels tell both exactly, but where neighbours have a say: see `Plan.bound`, and `rehearse` for the exact counts.
    """
    plan = plan_of_input(source, settings, engine, counts)
    expected = foresee(source, plan, engine)
    return plan, expected[:-2], float(expected[-2])


def plan_of_input(source: Input, settings: sampling.Settings, engine: runners.Engine, counts: str | None) -> sampling.Plan:
    """Count the input, or take the counts given, and make the plan."""
    check_input(source, settings)
    return make_plan(source, settings, *counted_input(source, settings, engine, counts))


def make_plan(source: Input, settings: sampling.Settings, counted: dict[str, Any], sets: measures.LabelSets | None = None) -> sampling.Plan:
    """Make the plan from what `stats.json` holds, and from the label sets where the policy needs them.

    Raises:
      DataError: the counts are of another number of classes, there are none, or a setting is wrong.
    """
    counts = np.array(counted["label_counts"], np.int64)
    if len(counts) != source.schema.num_classes:
        raise DataError(
            f"the counts are of {len(counts)} classes and the shards have {source.schema.num_classes}: say which with --num-classes"
        )
    return sampling.plan(counts, counted["num_records"], settings, sets)


def check_input(source: Input, settings: sampling.Settings) -> None:
    """Refuse what cannot be augmented."""
    for name in settings.hold:
        if name not in (names := [feature.name for feature in source.schema.features]):
            raise DataError(f"there is no feature {name!r} to hold: the records have {', '.join(names)}")
    if source.schema.kind == "frame" and synthesis.DELTA in settings.methods:
        raise DataError(f"deltas are between the vectors of videos, and {source.files[0]} has frames: leave delta out of the methods")


def counted_input(
    source: Input, settings: sampling.Settings, engine: runners.Engine, counts: str | None
) -> tuple[dict[str, Any], measures.LabelSets | None]:
    """What `stats.json` holds, and the label sets; those of an earlier count lie beside it."""
    if counts is None:
        statistics = stats.compute(source, engine)
        return statistics.to_dict(), statistics.results()["label_sets"]
    found = shards.read_json(counts)
    if not isinstance(found, dict) or not {"num_records", "label_counts"} <= found.keys():
        raise DataError(f"{counts} is no stats.json of yt8m-data stats: it lacks 'num_records' or 'label_counts'")
    beside = str(storage.to_path(counts).parent)
    sets = folders.read(beside).results()["label_sets"] if sampling.needs_sets(settings) else None
    return found, sets


def collect_bank(source: Input, plan: sampling.Plan, engine: runners.Engine, folder: storage.OnePath) -> str | None:
    """Collect the deltas of the method delta into a file of the output, which tells where each came from; None where none are needed."""
    if synthesis.DELTA not in plan.settings.methods or not (plan.regime == sampling.OVER).any():
        return None
    selection = deltas.plan(plan.counts, plan.threshold, plan.settings.deltas, plan.settings.seed)
    path = str(folder / deltas.FILE)
    deltas.write(path, delta_job.collect(source, selection, engine, folder))
    return path


def _layout(source: Input, plan: sampling.Plan, output: Output, engine: runners.Engine) -> Layout:
    """Choose the number of shards and partitions, and check that the disk has room for the output, and for the input once more."""
    size = int(source.bytes * max(plan.growth(), 1.0))
    disk = storage.disk_for(output.folder)
    needed, free = size + 2 * source.bytes, shutil.disk_usage(disk).free
    if needed > free:
        space = f"up to {needed / 1e9:,.1f} GB, and {disk} has {free / 1e9:,.1f} GB free"
        raise DataError(f"the job takes {space}: make room, or aim at fewer videos")
    num_shards = output.num_shards or len(source.files)
    if engine.runner == "local":
        records = int((source.estimated_records or 1) * max(plan.growth(), 1.0))
        partitions = max(records // OUTPUT_ROWS + 1, 4 * engine.processes(source.bytes))
    else:
        partitions = size // OUTPUT_BYTES + 1
    return Layout(output.folder, output.name, num_shards, min(num_shards, partitions), plan.settings.seed)


def pooled_bytes(source: Input, engine: runners.Engine) -> int:
    """Return what a video takes of a pool's memory. Frames that were spilled to a disk stay there, and their means are in memory."""
    if source.schema.kind == "frame" and engine.runner != "local":
        return source.bytes // max(source.estimated_records or 1, 1)
    return sum(4 * feature.size for feature in source.schema.features)


def _run_pipeline(
    source: Input,
    plan: sampling.Plan,
    packed: pools.Pools,
    layout: Layout,
    output: Output,
    engine: runners.Engine,
    spill: str,
    bank: str | None,
    holdout: HoldOut | None,
) -> Any:
    """Run the pipeline; return what `_summarize` does."""
    schema, local = source.schema, engine.runner == "local"
    threads = max(1, (os.cpu_count() or 1) // engine.processes(source.bytes))
    pool_spill, output_spill, store = (os.path.join(spill, part) if local else None for part in ("pools", "output", "features"))
    work = Work(plan, packed, layout, schema, store, bank)
    route = Route(work, output.chunk_shards)

    def build(pipeline: beam.Pipeline, counter: Counter) -> Any:
        read = pipeline | ReadShards(source.files, schema, source.skip_bad, counter, augmentable=True)
        routed = read.batches | "Route" >> beam.ParDo(route).with_output_types(PAIR).with_outputs(KEPT, BOOKS, FORECAST, main="pools")
        pooled = [routed.pools]
        if holdout is not None:
            chunks = 1 if output.chunk_shards is None else -(-len(source.files) // output.chunk_shards)
            pooled.append(pipeline | "Hold out" >> ReadHeldOut(holdout, schema, packed, chunks, counter.of("held out"), store))
        grouped = tuple(pooled) | "Pools" >> GroupBatches(pool_spill)
        synthesize = Synthesize(work, threads, counter.of("made"), None if holdout is None else holdout.near)
        made = grouped | "Synthesize" >> beam.ParDo(synthesize).with_output_types(PAIR).with_outputs(BOOKS, NEAR, main="batches")
        write = WriteShards(layout, schema, work.sent, counter.of("written"), output_spill, work.written, work.maker if local else None)
        written = (routed[KEPT], made.batches) | write
        entries = written | "Entries" >> beam.FlatMap(lambda pair: pair[0]) | "Gather" >> beam.combiners.ToList()
        statistics = written | "Statistics" >> beam.Map(lambda pair: pair[1]) | "Merge" >> beam.CombineGlobally(MergeStatistics(schema))
        books = (routed[BOOKS], made[BOOKS]) | "Books" >> beam.Flatten() | "Add up" >> beam.CombineGlobally(add_up)
        forecast = routed[FORECAST] | "Add up the forecast" >> beam.CombineGlobally(total)
        sides = beam.pvalue.AsSingleton(statistics), beam.pvalue.AsSingleton(books), beam.pvalue.AsList(read[BAD])
        return entries | "Summarize" >> beam.Map(_summarize, *sides, beam.pvalue.AsSingleton(forecast), beam.pvalue.AsList(made[NEAR]))

    return runners.run(engine, "augment", source.bytes, source.estimated_records, build, lambda result: result[2].get("read", 0))


def _summarize(
    entries: list[dict[str, Any]],
    statistics: Statistics,
    books: dict[Any, int],
    bad: list[BadRecord],
    forecast: Any,
    near: list[Any],
) -> tuple[Any, ...]:
    """Put in order what the manifest is written from: entries by shard, statistics, books, bad records, forecast, near-duplicates."""
    return sorted(entries, key=lambda entry: entry["name"]), statistics, books, sorted(bad), forecast[:-1], sorted(near)
