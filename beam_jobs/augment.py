"""`yt8m-data augment`: over-sample the videos of rare labels by their neighbours, sub-sample those of common ones, write shuffled shards.

read -> route -+-> videos to keep as they are --------------------------+-> write
               +-> pools of the rare labels: neighbours, synthesis -----+

The pipeline is in `rebalance`; here is what is decided before, and checked and written after.
"""

import json
from dataclasses import asdict
from typing import Any, NamedTuple

import numpy as np

from beam_jobs import deltas as delta_job
from beam_jobs import holdout as holdouts
from beam_jobs import outcome, rebalance, room, route, runners, stats
from beam_jobs.books import DISTANCE, FILLER, LABEL, OWN, check_forecast, part_of, per_label, quality_of, totals_of
from beam_jobs.forecast import foresee
from beam_jobs.holdout import HoldOut
from beam_jobs.inputs import Input
from beam_jobs.layout import Layout
from beam_jobs.once import Resumed, resumption
from beam_jobs.room import Output
from yt8m_data import deltas, pools, sampling, shards, storage, synthesis
from yt8m_data.errors import DataError, bad_lines
from yt8m_data.in_place import Files
from yt8m_data.statistics import Statistics, measures
from yt8m_data.statistics import folder as folders
from yt8m_data.work import Work, find_work, open_work, versions

Counted = tuple[dict[str, Any], measures.LabelSets | None]  # what `stats.json` holds, and the label sets

_COUNTED = "counted"  # the folder of the work folder for the statistics of the input


class _Prepared(NamedTuple):
    """What stands before the pipeline starts.

    Attributes:
      before: what `stats.json` holds of the input; `counted` whether the job counted it.
      plan, packed, layout, work: see their classes.
      growth: how many times as many records are written as read.
      mapped: how many bytes of features are mapped to memory.
      files: where features are left in the files that have them; else None.
    """

    before: dict[str, Any]
    plan: sampling.Plan
    packed: pools.Pools
    layout: Layout
    work: Work
    counted: bool
    growth: float
    mapped: int
    files: Files | None


class Written(NamedTuple):
    """Shards that are written, and all that the books on them are drawn up from."""

    source: Input
    output: Output
    holdout: HoldOut | None
    prepared: _Prepared
    came: outcome.Outcome

    def conclude(self) -> Resumed:
        """Draw up the books, and remove the work folder."""
        concluded = self.draw_up_books()
        self.remove_work()
        return concluded

    def remove_work(self) -> None:
        """Remove what a killed run would have gone on with."""
        self.prepared.work.remove()

    def draw_up_books(self) -> Resumed:
        """Hold the books against each other, and write `stats_before.json`, `stats_after.json`, and last `manifest.json`.

        Returns that, and what a killed run left.

        Raises:
          DataError: the books do not balance, or the input is rotten.
        """
        source, came, (before, plan, _, _, work, counted, _, _, files) = self.source, self.came, self.prepared
        folder, bad, forecast = storage.to_path(self.output.folder), came.bad, came.forecast[:-1]
        source.check_bad(bad, came.books.get("read", 0))
        if files is not None:
            files.check()
        if came.books.get(outcome.FILES) != len(source.files):
            found = f"{came.books.get(outcome.FILES)} of {len(source.files)} files"
            raise DataError(f"{found} were read, so Beam lost some on the way: run it again")
        totals = totals_of(came.books, bad, came.entries, plan.settings.methods)
        if counted and totals["read"] != before["num_records"] + before["bad_records"]["total"]:
            was = before["num_records"]
            raise DataError(f"{totals['read']} records were read, but {was} a moment before: the input changes, run it again")
        after = came.statistics.to_dict()
        check_forecast(plan, forecast, after)
        if bad:
            with shards.atomic_write(folder / "bad_records.jsonl") as stream:
                stream.write(bad_lines(bad))
        shards.write_json(folder / "stats_before.json", before)
        shards.write_json(folder / "stats_after.json", after)
        manifest = self._manifest(totals, forecast, np.array(after["label_counts"]))
        shards.write_json(folder / shards.MANIFEST, manifest)
        steps = {step: [unit.found for unit in came.progress if unit.step == step for _ in range(unit.parts)] for step in outcome.STEPS}
        return Resumed(manifest, resumption(steps) if work.resumed else "")

    def _manifest(self, totals: dict[str, int], forecast: np.ndarray, after: np.ndarray) -> dict[str, Any]:
        source, came, books, holdout = self.source, self.came, self.came.books, self.holdout
        plan, packed, chunk = self.prepared.plan, self.prepared.packed, self.output.chunk_shards
        first = source.schema.features[0].name
        return {
            "job": "augment",
            "totals": totals,
            "num_classes": source.schema.num_classes,
            "schema": asdict(source.schema),
            "pool": "global" if chunk is None else f"chunks of {chunk} files",
            "sub_pools": {str(label): int(packed.salts[label]) for label in np.flatnonzero(packed.salts > 1).tolist()},
            "versions": versions(),
            "inputs": [{"path": path, "bytes": storage.size(path)} for path in source.files],
            "shards": came.entries,
            "neighbors": pools.distance_histogram(first, part_of(books, DISTANCE)),
            "synthetic_label_counts": dict(sorted(part_of(books, LABEL).items())),
            "forecast": {"bound": plan.bound, "records": float(forecast[-1]), "label_counts": forecast[:-1].tolist()},
            "unfilled": sampling.unfilled(plan, after, per_label(books, OWN, plan), per_label(books, FILLER, plan)),
            "quality": quality_of(first, books),
            **(
                {"holdout": holdouts.summarize(holdout, came.near, books.get(route.NEAR, 0), books.get(outcome.HELD_OUT_BAD, 0))}
                if holdout is not None
                else {}
            ),
            "plan": plan.to_dict(),
        }


def write(
    source: Input,
    settings: sampling.Settings,
    output: Output,
    engine: runners.Engine,
    counts: str | None = None,
    holdout: HoldOut | None = None,
) -> Written:
    """Write augmented shards; the output is whole, and has its manifest, when what comes back is concluded.

    Args:
      source: the input.
      settings: the policy and its parameters.
      output: what to write.
      engine: where to run.
      counts: a `stats.json` to plan with; by default a first pass counts the input.
      holdout: videos that no synthetic one should come near; the manifest tells which do.

    Raises:
      DataError: a setting, the input or the output folder is wrong, or the disk is too small.
    """
    prepared = _prepare(source, settings, output, engine, counts, holdout)
    _, plan, packed, layout, work, _, growth, mapped, files = prepared
    bank = collect_bank(source, plan, engine, storage.to_path(output.folder), str(work.spill))
    store = work.runs("features") if engine.runner == "local" else None
    turns = room.turns(source, engine, output.memory - mapped, str(work.spill))
    used = bank if synthesis.DELTA in settings.methods else None
    compiled = room.compiled(source, growth, engine)
    shared = route.Work(plan, packed, layout, source.schema, store, used, mapped > 0, compiled, files)
    job = rebalance.Job(source, shared, output.chunk_shards, holdout, engine.threads(source.bytes), turns)
    return Written(source, output, holdout, prepared, rebalance.run(job, engine, work))


def _prepare(
    source: Input, settings: sampling.Settings, output: Output, engine: runners.Engine, counts: str | None, holdout: HoldOut | None
) -> _Prepared:
    """Check what can be, count, plan, and open the output; the statistics of the input are let go at the end, but what is told of them."""
    check_input(source, settings)
    engine.check_reach(source.files[0], output.folder)
    if holdout is not None:
        engine.check_reach(holdout.source.files[0])
        holdout.check(source.schema)
    given = None if counts is None else read_counts(counts, settings)
    order = _order(source, settings, output, engine, counts, holdout)
    work = find_work(output.folder, order, output.overwrite)
    noted = None if work is None else work.folder / _COUNTED / folders.STATS
    if given is None and noted is not None and noted.exists():
        given = read_counts(str(noted), settings)
    counted = None
    if given is None:
        counted = stats.compute(source, engine)
        given = _planned_by(counted)
    before, sets = given
    plan = make_plan(source, settings, before, sets)
    packed = room.pack(source, plan, engine, output.pool_videos)
    room.check_budget(source, plan, packed, engine, output.memory)
    work = work or open_work(output.folder, order, output.overwrite)
    if counted is not None:
        folders.note(counted, before, str(work.folder / _COUNTED))
    growth, held_out = sampling.growth(plan, sets), [] if holdout is None else holdout.source.files
    mapped = room.mapped(source, held_out, plan, packed, engine, output)
    files = room.left_in_place(source, held_out, work, mapped > 0)
    room.check_disk(source, plan, growth, packed, output, spilled=files is None)
    layout = room.layout(source, plan, growth, output, engine)
    return _Prepared(before, plan, packed, layout, work, counts is None, growth, mapped, files)


def _order(
    source: Input,
    settings: sampling.Settings,
    output: Output,
    engine: runners.Engine,
    counts: str | None,
    holdout: HoldOut | None,
) -> dict[str, Any]:
    """All that the output and what is spilled for it depend on. What a run finds bad it notes, so a job that stopped there may skip it."""
    order = {
        "job": "augment",
        "inputs": [storage.identity(path) for path in source.files],
        "schema": asdict(source.schema),
        "settings": asdict(settings),
        "counts": None if counts is None else storage.identity(counts),
        "name": output.name,
        "num_shards": output.num_shards,
        "chunk_shards": output.chunk_shards,
        "workers": engine.processes(source.bytes) if engine.runner == "local" else 0,
        "pool_videos": output.pool_videos or room.most_pooled(source, engine),
        "output_rows": room.output_rows(source, output, engine),
        "holdout": None if holdout is None else [holdout.near, [storage.identity(path) for path in holdout.source.files]],
        "versions": versions(),
    }
    ready: dict[str, Any] = json.loads(json.dumps(order))
    return ready


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
    counted = _planned_by(stats.compute(source, engine)) if counts is None else read_counts(counts, settings)
    return make_plan(source, settings, *counted)


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
    if source.schema.kind == "frame" and (synthesis.DELTA in settings.methods or settings.policy == "auto"):
        mend = "choose another policy" if settings.policy == "auto" else "leave delta out of the methods"
        raise DataError(f"deltas are between the vectors of videos, and {source.files[0]} has frames: {mend}")


def _planned_by(statistics: Statistics) -> Counted:
    return statistics.to_dict(), statistics.results()["label_sets"]


def read_counts(counts: str, settings: sampling.Settings) -> Counted:
    """What a `stats.json` holds, and the label sets, which lie beside it; None where they do not, and the policy does not need them."""
    found = shards.read_json(counts)
    if not isinstance(found, dict) or not {"num_records", "label_counts"} <= found.keys():
        raise DataError(f"{counts} is no stats.json of yt8m-data stats: it lacks 'num_records' or 'label_counts'")
    beside = storage.to_path(counts).parent
    known = sampling.needs_sets(settings) or (beside / folders.STATE).exists()
    return found, folders.read(str(beside)).results()["label_sets"] if known else None


def collect_bank(source: Input, plan: sampling.Plan, engine: runners.Engine, folder: storage.OnePath, disk: str) -> str | None:
    """Collect the deltas of the method delta, or of the policy `auto`, into a file of the output, which tells where each came from.

    What is spilled meanwhile goes to a folder of the disk. Deltas that a killed run has collected are taken as they are. Returns the path,
    or None where no delta is needed.
    """
    moving = synthesis.DELTA in plan.settings.methods and (plan.regime == sampling.OVER).any()
    if not moving and plan.settings.policy != "auto":
        return None
    path = folder / deltas.FILE
    if not path.exists():
        selection = deltas.plan(plan.counts, plan.threshold, plan.settings.deltas, plan.settings.seed)
        deltas.write(str(path), delta_job.collect(source, selection, engine, disk).deltas)
    return str(path)
