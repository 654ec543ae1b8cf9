"""A dry run to the last video: everything that `augment` does, but that what it makes is counted and dropped.

Where pairs of neighbours decide, as with the published policies, ids and labels tell no more than a bound. This tells the counts.
"""

import os
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa

from beam_jobs import room, runners
from beam_jobs.augment import collect_bank, plan_of_input
from beam_jobs.forecast import total
from beam_jobs.group import PAIR, GroupBatches
from beam_jobs.inputs import Input
from beam_jobs.layout import Layout
from beam_jobs.progress import Counter
from beam_jobs.route import BOOKS, FORECAST, KEPT, NEAR, Route, Synthesize, Work
from beam_jobs.transforms import READING, ReadShards
from yt8m_data import pools, sampling
from yt8m_data.statistics import Reading, distinct_labels
from yt8m_data.turns import Turns


def dry_run(
    source: Input,
    settings: sampling.Settings,
    engine: runners.Engine,
    counts: str | None = None,
    chunk_shards: int | None = None,
    pool_videos: int | None = None,
    memory: int = 4 << 30,
) -> tuple[sampling.Plan, np.ndarray, float]:
    """Make the plan and count what would be written: label counts, float64 [num_classes], and records.

    Videos of the pools are spilled to the folder for temporary files meanwhile, with the feature that neighbours are sought by alone.

    Raises:
      DataError: as `augment.write`.
    """
    plan = plan_of_input(source, settings, engine, counts)
    narrow = replace(source, schema=replace(source.schema, features=source.schema.features[:1]))
    with tempfile.TemporaryDirectory(prefix="yt8m-") as folder:
        packed = room.pack(source, plan, engine, pool_videos)
        room.check_budget(source, plan, packed, engine, memory)
        turns = room.turns(source, engine, memory, folder)
        bank = collect_bank(narrow, plan, engine, Path(folder), folder)
        counted, _ = _count(narrow, plan, packed, engine, chunk_shards, folder, bank, turns)
    return plan, counted[:-1], float(counted[-1])


def _count(
    source: Input,
    plan: sampling.Plan,
    packed: pools.Pools,
    engine: runners.Engine,
    chunk_shards: int | None,
    folder: str,
    bank: str | None,
    turns: Turns | None,
) -> Any:
    schema = source.schema
    layout = Layout(folder, "none", 1, 1, plan.settings.seed)
    spill, store = (os.path.join(folder, part) if engine.runner == "local" else None for part in ("pools", "features"))
    work = Work(plan, packed, layout, schema, store, bank)

    def build(pipeline: beam.Pipeline, counter: Counter) -> Any:
        read = pipeline | ReadShards(source.files, schema, source.skip_bad, counter, augmentable=True)
        route = Route(work, chunk_shards)
        routed = read.batches | "Route" >> beam.ParDo(route).with_output_types(PAIR).with_outputs(KEPT, BOOKS, FORECAST, main="pools")
        synthesize = Synthesize(work, engine.threads(source.bytes), counter.of("made"), None, turns)
        grouped = (routed.pools,) | "Pools" >> GroupBatches(spill)
        made = grouped | "Synthesize" >> beam.ParDo(synthesize).with_output_types(PAIR).with_outputs(BOOKS, NEAR, main="batches")
        counts = (routed[KEPT], made.batches) | beam.Flatten() | "Count" >> beam.Map(_counts, schema.num_classes)
        added = counts | "Add up" >> beam.CombineGlobally(total)
        return added | "Add what was read" >> beam.Map(_with_records, beam.pvalue.AsList(read[READING]))

    return runners.run(engine, "rehearsal", source.bytes, source.estimated_records, build, lambda result: result[1])


def _counts(pair: tuple[int, pa.RecordBatch], num_classes: int) -> np.ndarray:
    _, labels = distinct_labels(pair[1].column("labels"))
    return np.append(np.bincount(labels, minlength=num_classes), pair[1].num_rows).astype(np.float64)


def _with_records(counts: Any, readings: list[Reading]) -> tuple[np.ndarray, int]:
    return counts, sum(reading.num_records for reading in readings)
