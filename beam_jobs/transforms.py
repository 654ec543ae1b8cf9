"""What the pipelines share, besides GroupBatches: the reading of shards and the writing of them."""

import functools
import importlib.util
import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa

from beam_jobs.layout import Layout
from beam_jobs.progress import Counter
from yt8m_data import codec, heads, making, storage, tfrecord
from yt8m_data.chunks import Chunks
from yt8m_data.errors import DataError
from yt8m_data.in_place import Files, locate
from yt8m_data.recipes import Made
from yt8m_data.schema import ORDER, Schema
from yt8m_data.shard_file import ShardWriter, open_shard
from yt8m_data.statistics import Reading, Statistics

BAD, READING = "bad", "reading"


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
    """(number, path) of a file -> what `ReadShards` gives of it.

    Args:
      schema, skip_bad, counter, augmentable, heads: of `ReadShards`.
      in_place: the files, where augmentable records leave their vectors there as far as `in_place.locate` can.
      compiled: whether so much is read that the import of what compiles the loops is worth it.
    """

    def __init__(
        self,
        schema: Schema,
        skip_bad: bool,
        counter: Counter,
        augmentable: bool,
        heads: bool = False,
        in_place: Files | None = None,
        compiled: bool = False,
    ) -> None:
        self.schema, self.skip_bad, self.counter, self.augmentable, self.heads = schema, skip_bad, counter, augmentable, heads
        self.in_place, self.compiled = in_place, compiled

    @functools.cached_property
    def scan(self) -> Callable[[np.ndarray], tfrecord.Scanned]:
        """What finds the records."""
        if not self.compiled or importlib.util.find_spec("numba") is None:
            return tfrecord.plain_scan
        from yt8m_data.compiled import scanner

        return scanner()

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
            for block in tfrecord.read(stream, path, scan=self.scan):
                located = locate(block, self.schema, self.in_place.starts[path]) if self.in_place else None
                yield located or self.decode(block), len(block.data)

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
    order = np.argsort(partitions, kind="stable")
    if rows is not None or (np.diff(partitions) < 0).any():
        batch = batch.take(pa.array(order if rows is None else rows[order]))
    partitions = partitions[order]
    starts = np.flatnonzero(np.diff(partitions, prepend=partitions[0] - 1))
    for start, stop in itertools.pairwise([*starts.tolist(), len(partitions)]):
        yield int(partitions[start]), batch.slice(start, stop - start)


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
