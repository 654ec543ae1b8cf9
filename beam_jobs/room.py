"""What an augmentation takes of disk and memory, and how finely it is cut for that.

What is written follows from the input and from `Output.pool_videos`; memory and processes decide on the way to it alone.
"""

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass

from beam_jobs import runners
from beam_jobs.inputs import Input
from beam_jobs.layout import Layout
from yt8m_data import gzipped, in_place, pools, sampling, storage
from yt8m_data.errors import DataError
from yt8m_data.in_place import Files
from yt8m_data.turns import Turns
from yt8m_data.work import Work

PARTITION_BYTES = OUTPUT_BYTES = 128 << 20  # features in one partition of the pools, and of the output on a service
POOL_BYTES = 1 << 30  # features of the largest pool, unless the user says how many videos it may have
OUTPUT_ROWS = 1 << 18  # recipes in one partition of the output at most, some 60 MB
MINIMUM_BUDGET = 64 << 20

_RECIPE_BYTES = 1024  # of memory that a recipe takes where the output is put in order: itself, its id once more, its hash and its place
_ROW_BYTES = 256  # on disk, of a recipe, or of what stands beside the features of a video in a pool: twice what ids of four letters take
COMPILED_ROWS = 1 << 18  # for a process to write, of which compiled loops save twice the half a second that it takes to load them
_TASKS = 4  # that each process has where the output is written, if there are as many shards: all are busy to the end


@dataclass(frozen=True)
class Output:
    """What to write.

    Attributes:
      folder: empty, or made.
      name: of the shards, as in `NAME-00000-of-00070.tfrecord`.
      num_shards: 0 for as many as there are input files.
      chunk_shards: neighbours are sought within runs of so many input files (the paper's section 3.1 has 256); None for the whole input.
      pool_videos: how many videos one pool may have; a larger one is dealt into sub-pools, of which the manifest tells. None for what
        POOL_BYTES hold.
      memory: bytes that all local processes together may take, beside what Python and its libraries do; what is written does not show it.
    """

    folder: str
    name: str = "train"
    num_shards: int = 0
    chunk_shards: int | None = None
    overwrite: bool = False
    pool_videos: int | None = None
    memory: int = 4 << 30


def check_disk(source: Input, plan: sampling.Plan, growth: float, packed: pools.Pools, output: Output, spilled: bool) -> None:
    """Check that the disk has room for the features once more if they are `spilled`, for the rest, and for `growth` times as many records.

    Raises:
      DataError: it has not.
    """
    read, records = sum(map(gzipped.content_bytes, source.files)), source.estimated_records or 1
    rows = packed.videos(plan.counts).sum() + records * growth
    disk = storage.disk_for(output.folder)
    there = 0 if storage.is_remote(output.folder) else storage.size_below(output.folder)
    needed, free = read * (spilled + growth) + _ROW_BYTES * rows - there, shutil.disk_usage(disk).free
    if needed > free:
        space = f"up to {needed / 1e9:,.3g} GB more, and {disk} has {free / 1e9:,.3g} GB free"
        raise DataError(f"the job takes {space}: make room, or aim at fewer videos")


def layout(source: Input, plan: sampling.Plan, growth: float, output: Output, engine: runners.Engine) -> Layout:
    """Choose the number of shards, and of partitions for `growth` times as many records as are read."""
    num_shards = output.num_shards or len(source.files)
    if engine.runner == "local":
        records, tasks = (source.estimated_records or 1) * growth, _TASKS * engine.processes(source.bytes)
        partitions = Layout.partitions_for(records, num_shards, output_rows(source, output, engine), tasks)
    else:
        partitions = min(num_shards, int(sum(map(gzipped.content_bytes, source.files)) * growth) // OUTPUT_BYTES + 1)
    return Layout(output.folder, output.name, num_shards, partitions, plan.settings.seed)


def output_rows(source: Input, output: Output, engine: runners.Engine) -> int:
    """Return how many recipes a partition of the output may have."""
    return min(OUTPUT_ROWS, output.memory // engine.processes(source.bytes) // _RECIPE_BYTES)


def pack(source: Input, plan: sampling.Plan, engine: runners.Engine, pool_videos: int | None) -> pools.Pools:
    """Pack the pools, by what decides the output alone."""
    return pools.pack(plan, _pooled_bytes(source, engine), PARTITION_BYTES, pool_videos or most_pooled(source, engine))


def most_pooled(source: Input, engine: runners.Engine) -> int:
    """Return how many videos a pool may have if the user does not say it."""
    return max(POOL_BYTES // _pooled_bytes(source, engine), 1)


def _pooled_bytes(source: Input, engine: runners.Engine) -> int:
    """Return what a video takes of a pool's memory. Frames that were spilled to a disk stay there, and their means are in memory."""
    if source.schema.kind == "frame" and engine.runner != "local":
        return source.bytes // max(source.estimated_records or 1, 1)
    return sum(4 * feature.size for feature in source.schema.features)


def check_budget(source: Input, plan: sampling.Plan, packed: pools.Pools, engine: runners.Engine, memory: int) -> None:
    """Check that a local process has room for any partition of the pools, if need be alone.

    Raises:
      DataError: the memory budget is too small.
    """
    need = _need(source, plan, packed, engine)
    if engine.runner == "local" and memory < need:
        most = int(packed.videos(plan.counts).max(initial=0))
        mend = f"give at least {-(-need >> 20):,}MiB"
        if most * _pooled_bytes(source, engine) > 2 * PARTITION_BYTES:  # that is one pool alone
            mend += ", or deal pools into smaller parts by --pool-videos"
        sought = f"{most:,} videos whose neighbours are sought at a time"
        raise DataError(f"a memory budget of {memory:,} bytes is too small for {sought}: {mend}")


def _need(source: Input, plan: sampling.Plan, packed: pools.Pools, engine: runners.Engine) -> int:
    """Return the bytes that the largest partition of the pools takes."""
    most = int(packed.videos(plan.counts).max(initial=0))
    return max(pools.memory(plan, most, source.schema.features[0].size, engine.threads(source.bytes)), MINIMUM_BUDGET)


def mapped(source: Input, held_out: Sequence[str], plan: sampling.Plan, packed: pools.Pools, engine: runners.Engine, output: Output) -> int:
    """Return how many bytes of features local processes map to memory: all, with those of the `held_out` files, if they take half of the
    budget at most and leave what else is needed at a time, or none."""
    size, processes = sum(map(gzipped.content_bytes, [*source.files, *held_out])), engine.processes(source.bytes)
    need = max(_need(source, plan, packed, engine), processes * _RECIPE_BYTES * output_rows(source, output, engine))
    return size if engine.runner == "local" and size <= output.memory // 2 and size + need <= output.memory else 0


def left_in_place(source: Input, held_out: Sequence[str], work: Work, mapped: bool) -> Files | None:
    """Return the files if features are left there, to be `mapped` from there, and not spilled; a job that is resumed does as it began."""
    paths, index, spilled = [*source.files, *held_out], work.runs("places"), work.runs("features")
    begun = os.path.exists(index)
    if not begun and (not mapped or os.path.exists(spilled) or not in_place.serves(source.schema, paths)):
        return None
    return in_place.known(paths, index, spilled)


def compiled(source: Input, growth: float, engine: runners.Engine) -> bool:
    """Return whether local processes write so much, `growth` times what is read, that loading compiled loops is worth it."""
    return engine.runner == "local" and (source.estimated_records or 0) * growth >= COMPILED_ROWS * engine.processes(source.bytes)


def turns(source: Input, engine: runners.Engine, memory: int, disk: str) -> Turns | None:
    """Divide a memory budget among the local processes, which take turns by a file in the folder `disk`; None on a service."""
    if engine.runner != "local":
        return None
    return Turns(os.path.join(disk, "turns"), memory // engine.processes(source.bytes))
