"""What the pipelines share, besides GroupBatches: ReadShards, WriteShards and the combining of statistics."""

import itertools
import os
import pickle
from collections.abc import Callable, Iterable, Iterator
from functools import reduce
from typing import Any, NamedTuple

import apache_beam as beam
import numpy as np
import pyarrow as pa

from beam_jobs.progress import Counter
from yt8m_data import codec, heads, making, shards, storage, tfrecord
from yt8m_data.chunks import Chunks
from yt8m_data.errors import DataError
from yt8m_data.recipes import Made
from yt8m_data.schema import ORDER, Schema
from yt8m_data.shard_file import TFRECORD, Form, ShardWriter, open_shard, rows_at_a_time
from yt8m_data.statistics import Reading, Statistics

BAD, READING = "bad", "reading"

HASH = "hash"  # column: of the id, by which the output is ordered, where a batch brings it along; uint64


class ReadShards(beam.PTransform):
    """Files -> record batches (main output), BadRecords (output `bad`) and what was read of each file (output `reading`).

    Args:
      files: the sorted paths.
      schema: what the records hold.
      skip_bad: pass over bad records; otherwise the first one ends the job.
      counter: counts the records read.
      augmentable: add the columns of `PROVENANCE` and ORDER.
      heads: of frame-level records read the first bytes alone; the batches have the columns of `codec.decode_heads`.
    """

    def __init__(
        self, files: list[str], schema: Schema, skip_bad: bool, counter: Counter, augmentable: bool = False, heads: bool = False
    ) -> None:
        super().__init__()
        self.files = files
        self.read = ReadShard(schema, skip_bad, counter, augmentable, heads)

    def expand(self, pipeline: Any) -> Any:
        """Read every file as a whole, on whichever worker has time."""
        read = beam.ParDo(self.read).with_output_types(pa.RecordBatch)
        return pipeline | Spread(self.files) | "Read" >> read.with_outputs(BAD, READING, main="batches")


class Spread(beam.PTransform):
    """Files -> pairs of a number and a path, each on whichever worker has time.

    Args:
      files: the sorted paths.
    """

    def __init__(self, files: list[str]) -> None:
        super().__init__()
        self.files = files

    def expand(self, pipeline: Any) -> Any:
        """Give out the files."""
        return pipeline | "Files" >> beam.Create(list(enumerate(self.files)), reshuffle=False) | "Spread" >> beam.Reshuffle()


class ReadShard(beam.DoFn):
    """(number, path) of a file -> what `ReadShards` gives of it."""

    def __init__(self, schema: Schema, skip_bad: bool, counter: Counter, augmentable: bool, heads: bool = False) -> None:
        self.schema, self.skip_bad, self.counter, self.augmentable, self.heads = schema, skip_bad, counter, augmentable, heads

    def process(self, element: tuple[int, str]) -> Iterator[Any]:
        """Read the file."""
        number, path = element
        num_records = bytes_read = 0
        for decoded, size in self._scan(path) if self.heads else self._read(path):
            for bad in decoded.bad:
                if not self.skip_bad:
                    raise DataError(f"{bad} (--on-bad-record skip leaves such records out)")
                yield beam.pvalue.TaggedOutput(BAD, bad)
            batch = decoded.batch
            num_records, bytes_read = num_records + batch.num_rows, bytes_read + size
            self.counter.add(batch.num_rows)
            if self.augmentable:
                batch = batch.append_column(ORDER, pa.array(number << 32 | decoded.indices))
            yield from self.give(batch)
        whole = storage.size(path)
        reading = Reading(1, whole, bytes_read if self.heads else whole, "headers" if self.heads else "whole", num_records=num_records)
        yield beam.pvalue.TaggedOutput(READING, reading)

    def decode(self, block: tfrecord.RecordBlock) -> codec.Decoded:
        """Decode a block."""
        return codec.decode(block, self.schema, self.augmentable)

    def give(self, batch: pa.RecordBatch) -> Iterable[Any]:
        """Give on what was decoded."""
        return [batch]

    def _read(self, path: str) -> Iterator[tuple[codec.Decoded, int]]:
        with storage.open_read(path) as stream:
            for block in tfrecord.read(stream, path):
                yield self.decode(block), len(block.data)

    def _scan(self, path: str) -> Iterator[tuple[codec.Decoded, int]]:
        with heads.open_source(path) as source:
            if not tfrecord.is_gzip(source.read(tfrecord.PROBE_BYTES, 0)):
                for block in heads.scan(source, gap_bytes=source.gap_bytes, window_bytes=source.window_bytes):
                    yield codec.decode_heads(block, self.schema, self.augmentable), block.bytes_read
                return
        names = [feature.name for feature in self.schema.features]
        for decoded, size in self._read(path):  # nothing can be passed over in a gzip file
            lengths = decoded.batch.column(names[0]).value_lengths()
            yield decoded._replace(batch=decoded.batch.drop_columns(names).append_column("num_frames", lengths)), size


def split_batch(batch: pa.RecordBatch, partitions: np.ndarray, rows: np.ndarray | None = None) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Yield the rows of each partition: `partitions` is int64 [M], for the M rows (all by default)."""
    if not len(partitions):
        return
    if rows is None and (np.diff(partitions) >= 0).all():
        starts = np.flatnonzero(np.diff(partitions, prepend=partitions[0] - 1))
        for start, stop in itertools.pairwise([*starts.tolist(), len(partitions)]):
            yield int(partitions[start]), batch.slice(start, stop - start)
        return
    order = np.argsort(partitions, kind="stable")
    keys, starts = np.unique(partitions[order], return_index=True)
    rows = order if rows is None else rows[order]
    for key, part in zip(keys.tolist(), np.split(rows, starts[1:]), strict=True):
        yield key, batch.take(pa.array(part))


class Layout(NamedTuple):
    """Where rows go in an output of `num_shards` shards: the shard, by the upper bits of a hash of the id, and the order within it.

    A shuffle moves `num_partitions` partitions, ranges of that hash. There are fewer of them than shards, each with neighbouring shards, so
    that large batches move; or a multiple, so that a part of a shard fits into memory. A task writes what stands in both: the shards of a
    partition, or one shard from its partitions.
    """

    folder: str
    name: str
    num_shards: int
    num_partitions: int
    seed: int
    form: Form = TFRECORD

    @property
    def num_tasks(self) -> int:
        """The number of tasks."""
        return min(self.num_shards, self.num_partitions)

    def hashes(self, ids: list[bytes]) -> np.ndarray:
        """Hash ids to uint64 [N]; the output is sorted by it."""
        return shards.stable_hash(self.seed, ids, "order")

    def shard(self, hashes: np.ndarray) -> np.ndarray:
        """Return the shard of each hash, int64 [N]."""
        return ((hashes >> np.uint64(32)) * np.uint64(self.num_shards) >> np.uint64(32)).astype(np.int64)

    def partition(self, ids: list[bytes]) -> np.ndarray:
        """Return the partition of each id, int64 [N]."""
        return self.partition_of(self.hashes(ids))

    def partition_of(self, hashes: np.ndarray) -> np.ndarray:
        """Return the partition of each hash, int64 [N]."""
        if self.num_partitions > self.num_shards:
            return self._replace(num_shards=self.num_partitions).shard(hashes)
        return self.shard(hashes) * self.num_partitions // self.num_shards

    def shards_of(self, task: int) -> list[int]:
        """List the shards of a task."""
        return [s for s in range(self.num_shards) if s * self.num_tasks // self.num_shards == task]

    def partitions_of(self, task: int) -> list[int]:
        """List the partitions of a task, whose ranges of the hash follow one another."""
        parts = self.num_partitions // self.num_tasks
        return list(range(task * parts, (task + 1) * parts))

    @staticmethod
    def partitions_for(size: float, num_shards: int, most: int, tasks: int) -> int:
        """Choose a number of partitions: none has more than `most` of the `size`, and there are `tasks` if there are as many shards."""
        shards_of_one = int(most * num_shards / max(size, 1))
        if not shards_of_one:
            return num_shards * -int(-size // (num_shards * most))
        return max(-(-num_shards // shards_of_one), min(num_shards, tasks))

    def path(self, shard: int) -> str:
        """Return the path of a shard."""
        return os.path.join(self.folder, shards.shard_name(self.name, shard, self.num_shards, self.form.suffix))

    def ordered(self, task: int, parts: Iterable[Chunks], schema: Schema) -> Iterator[tuple[int, Iterator[pa.RecordBatch]]]:
        """Put the rows of a task in order: each of its shards, with batches of its rows, to be taken before the next shard.

        Args:
          task: the task.
          parts: the rows of each of its partitions, in the order of these.
          schema: what the records hold.

        Raises:
          DataError: an id comes twice.
        """
        pieces = self._sorted(parts, rows_at_a_time(schema))
        pending = next(pieces, None)

        def of(shard: int) -> Iterator[pa.RecordBatch]:
            nonlocal pending
            while pending is not None and pending[0] == shard:
                yield pending[1]
                pending = next(pieces, None)

        for shard in self.shards_of(task):
            yield shard, of(shard)

    def _sorted(self, parts: Iterable[Chunks], size: int) -> Iterator[tuple[int, pa.RecordBatch]]:
        """Cut the rows of all partitions, in order, into batches of `size` rows of a shard, its last of less; partitions do not show."""
        shard, pending, missing = -1, list[pa.RecordBatch](), size
        for part in filter(len, parts):
            given = HASH in part.names
            hashes = part.column(HASH).to_numpy() if given else self.hashes(part.column("id").to_pylist())
            order = _by_hash(hashes, part.column("id"))
            shard_of = self.shard(hashes)[order]
            for rows in np.split(order, np.flatnonzero(np.diff(shard_of)) + 1):
                if (this := int(self.shard(hashes[rows[:1]])[0])) != shard and pending:
                    yield shard, _joined(pending)
                    pending, missing = [], size
                shard = this
                while len(rows):
                    pending.append(part.take(rows[:missing]))
                    rows, missing = rows[missing:], missing - pending[-1].num_rows
                    if not missing:
                        yield shard, _joined(pending)
                        pending, missing = [], size
            del part  # before the next one is read
        if pending:
            yield shard, _joined(pending)


def _joined(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    return batches[0] if len(batches) == 1 else pa.concat_batches(batches)


def _by_hash(hashes: np.ndarray, ids: pa.BinaryArray) -> np.ndarray:
    """Order rows by (hash, id), int64 [N].

    Raises:
      DataError: an id comes twice.
    """
    order = np.argsort(hashes, kind="stable")
    if (hashes[order][1:] != hashes[order][:-1]).all():
        return order
    order = np.lexsort((np.array(ids.to_pylist(), object), hashes))
    for first, second in itertools.pairwise(order.tolist()):
        if hashes[first] == hashes[second] and ids[first] == ids[second]:
            name = ids[first].as_py().decode(errors="backslashreplace")
            raise DataError(
                f"the id {name!r} would be written twice: the input has it twice (yt8m-data validate tells), or was augmented before"
            )
    return order


class WriteShards(beam.DoFn):
    """(task, batches of each of its partitions) -> its shuffled shards on disk; gives their `(manifest entries, Statistics)`.

    An id that comes twice ends the job.

    Args:
      layout: the shards.
      schema: of the records.
      columns: those that are written.
      counter: counts the records written.
      make: gives what makes of some rows, in the order in which they are written, the videos to write; None where they are that.
      compiled: whether there are enough videos to make that the import of what compiles the loops is worth it.
    """

    def __init__(
        self,
        layout: Layout,
        schema: Schema,
        columns: pa.Schema,
        counter: Counter,
        make: Callable[[], Callable[[pa.RecordBatch], Made]] | None = None,
        compiled: bool = False,
    ) -> None:
        self.layout, self.schema, self.columns, self.counter, self.open_maker = layout, schema, columns, counter, make
        self.compiled = compiled

    def setup(self) -> None:
        """Open what makes videos, once for all tasks."""
        self.make = self.open_maker() if self.open_maker else None
        self.making = making.compiled() if self.compiled else making.Plain

    def process(self, element: tuple[int, list[Iterable[pa.RecordBatch]]]) -> Iterator[tuple[list[dict[str, Any]], Statistics]]:
        """Write the shards of a task."""
        task, partitions = element
        entries, statistics = [], Statistics(self.schema)
        for shard, rows in self.layout.ordered(task, map(Chunks, partitions), self.schema):
            with open_shard(self.layout.path(shard), self.schema, self.columns, self.layout.form) as writer:
                for batch in rows:
                    self._write(self.make(batch) if self.make else batch, writer, statistics)
                    self.counter.add(batch.num_rows)
            entries.append(writer.entry)
        statistics.compact()
        yield entries, statistics

    def _write(self, videos: pa.RecordBatch | Made, writer: ShardWriter, statistics: Statistics) -> None:
        """Write videos and count them; those to be made, where the sums of vectors will do, some at a time while they are in the cache."""
        if isinstance(videos, Made) and self.schema.kind == "video" and statistics.takes_sums:
            made = self.making(videos)
            writer.write(videos.heads, made.records())
            sums = made.sums()
            statistics.add(videos.whole() if sums is None else videos.heads, sums or {})
        else:
            batch = videos.whole() if isinstance(videos, Made) else videos
            writer.write(batch)
            statistics.add(batch)


class Merge(beam.CombineFn):
    """Combines by the methods `merge` and `compact` of its accumulators.

    A worker merges its own, so no more than a few are held at a time.
    """

    def merge_accumulators(self, accumulators: Iterable[Any]) -> Any:
        """Merge into the first."""
        first, *others = accumulators
        for other in others:
            first.merge(other)
        return first

    def compact(self, accumulator: Any) -> Any:
        """Make it small to send."""
        accumulator.compact()
        return accumulator

    def extract_output(self, accumulator: Any) -> Any:
        """Return it as it is."""
        return accumulator


class PickleCoder(beam.coders.Coder):
    """A value, pickled as it is; Beam's own would compress it."""

    def encode(self, value: Any) -> bytes:
        """Pickle it."""
        return pickle.dumps(value, pickle.HIGHEST_PROTOCOL)

    def decode(self, encoded: bytes) -> Any:
        """Read what a worker pickled."""
        return pickle.loads(encoded)

    def estimate_size(self, value: Any) -> int:
        """Tell Beam some size, which it asks of the first ten between any two steps: by default it would pickle them to see."""
        return 1


class StatisticsCoder(PickleCoder):
    """Statistics."""

    def to_type_hint(self) -> type[Statistics]:
        """Tell what it is for."""
        return Statistics


beam.coders.registry.register_coder(Statistics, StatisticsCoder)


class MergeStatistics(Merge):
    """Statistics of parts, with what was read of each -> one Statistics of all."""

    def get_accumulator_coder(self) -> beam.coders.Coder:
        """Tell how Beam is to send what was merged."""
        return PickleCoder()

    def create_accumulator(self) -> None:
        """Start with nothing."""

    def add_input(self, accumulator: Statistics | None, part: Statistics) -> Statistics:
        """Add a part."""
        return part if accumulator is None else merged(accumulator, part)

    def merge_accumulators(self, accumulators: Iterable[Statistics | None]) -> Statistics | None:
        """Merge into the first."""
        found = [part for part in accumulators if part is not None]
        return reduce(merged, found) if found else None

    def compact(self, accumulator: Statistics | None) -> Statistics | None:
        """Make it small to send."""
        if accumulator is not None:
            accumulator.compact()
        return accumulator


def merged(statistics: Statistics, other: Statistics) -> Statistics:
    """Add another's counts, and what was read for them, to `statistics`."""
    statistics.merge(other)
    statistics.reading = statistics.reading.merged(other.reading)
    return statistics
