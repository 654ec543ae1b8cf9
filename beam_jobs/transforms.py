"""The transforms that the pipelines share, besides GroupBatches: ReadShards, WriteShards and the combining of statistics."""

import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import apache_beam as beam
import google_crc32c
import numpy as np
import pyarrow as pa

from beam_jobs.group import GroupBatches
from beam_jobs.progress import Counter
from yt8m_data import codec, shards, storage, tfrecord
from yt8m_data.errors import DataError
from yt8m_data.schema import ORDER, Schema
from yt8m_data.statistics import Accumulator, Reading, Statistics

WRITE_ROWS = 512  # records encoded at a time

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
        self.read = _ReadShard(schema, skip_bad, counter, augmentable, heads)

    def expand(self, pipeline: Any) -> Any:
        """Read every file as a whole, on whichever worker has time."""
        files = pipeline | "Files" >> beam.Create(list(enumerate(self.files)), reshuffle=False) | "Spread" >> beam.Reshuffle()
        return files | "Read" >> beam.ParDo(self.read).with_outputs(BAD, READING, main="batches")


class _ReadShard(beam.DoFn):
    def __init__(self, schema: Schema, skip_bad: bool, counter: Counter, augmentable: bool, heads: bool) -> None:
        self.schema, self.skip_bad, self.counter, self.augmentable, self.heads = schema, skip_bad, counter, augmentable, heads

    def process(self, element: tuple[int, str]) -> Iterator[Any]:
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
            yield batch
        whole = storage.size(path)
        reading = Reading(1, whole, bytes_read if self.heads else whole, "headers" if self.heads else "whole", num_records=num_records)
        yield beam.pvalue.TaggedOutput(READING, reading)

    def _read(self, path: str) -> Iterator[tuple[codec.Decoded, int]]:
        with storage.open_read(path) as stream:
            for block in tfrecord.read(stream, path):
                yield codec.decode(block, self.schema, self.augmentable), len(block.data)

    def _scan(self, path: str) -> Iterator[tuple[codec.Decoded, int]]:
        with tfrecord.open_source(path) as source:
            for block in tfrecord.scan(source, gap_bytes=source.gap_bytes, window_bytes=source.window_bytes):
                yield codec.decode_heads(block, self.schema, self.augmentable), block.bytes_read


def split_batch(batch: pa.RecordBatch, partitions: np.ndarray, rows: np.ndarray | None = None) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Yield the rows of each partition: `partitions` is int64 [M], for the M rows (all by default)."""
    if not len(partitions):
        return
    order = np.argsort(partitions, kind="stable")
    keys, starts = np.unique(partitions[order], return_index=True)
    rows = order if rows is None else rows[order]
    for key, part in zip(keys.tolist(), np.split(rows, starts[1:]), strict=True):
        yield key, batch.take(pa.array(part))


class Layout(NamedTuple):
    """Where rows go in an output of `num_shards` shards: the shard, by the upper bits of a hash of the id, and the order within it.

    `num_partitions` groups neighbouring shards, so that a shuffle moves few, large batches.
    """

    folder: str
    name: str
    num_shards: int
    num_partitions: int
    seed: int

    def hashes(self, ids: list[bytes]) -> np.ndarray:
        """Hash ids to uint64 [N]; the output is sorted by it."""
        return shards.stable_hash(self.seed, ids, "order")

    def shard(self, hashes: np.ndarray) -> np.ndarray:
        """Return the shard of each hash, int64 [N]."""
        return ((hashes >> np.uint64(32)) * np.uint64(self.num_shards) >> np.uint64(32)).astype(np.int64)

    def partition(self, ids: list[bytes]) -> np.ndarray:
        """Return the partition of each id, int64 [N]."""
        return self.shard(self.hashes(ids)) * self.num_partitions // self.num_shards

    def shards_of(self, partition: int) -> list[int]:
        """List the shards of a partition."""
        return [s for s in range(self.num_shards) if s * self.num_partitions // self.num_shards == partition]

    def path(self, shard: int) -> str:
        """Return the path of a shard."""
        return os.path.join(self.folder, shards.shard_name(self.name, shard, self.num_shards))


class WriteShards(beam.PTransform):
    """(partition, batch) pairs of several sources -> shuffled shards on disk; gives a `(manifest entry, Statistics)` for each.

    An id that comes twice ends the job.
    """

    def __init__(self, layout: Layout, schema: Schema, columns: pa.Schema, counter: Counter, spill: str | None) -> None:
        super().__init__()
        self.layout, self.columns, self.spill = layout, columns, spill
        self.write = _WritePartition(layout, schema, counter)

    def expand(self, sources: Any) -> Any:
        """Add an empty batch to every partition, so that a shard without rows is written too."""
        empty = pa.RecordBatch.from_pylist([], schema=self.columns)
        partitions = list(range(self.layout.num_partitions))
        every = sources[0].pipeline | "Partitions" >> beam.Create(partitions) | "Empty" >> beam.Map(lambda partition: (partition, empty))
        return (*sources, every) | GroupBatches(self.spill) | "Write" >> beam.ParDo(self.write)


class _WritePartition(beam.DoFn):
    def __init__(self, layout: Layout, schema: Schema, counter: Counter) -> None:
        self.layout, self.schema, self.counter = layout, schema, counter

    def process(self, element: tuple[int, Iterable[pa.RecordBatch]]) -> Iterator[tuple[dict[str, Any], Statistics]]:
        partition, batches = element
        everything = pa.concat_batches(list(batches))
        ids = everything.column("id").to_pylist()
        hashes = self.layout.hashes(ids)
        order = np.lexsort((np.array(ids, object), hashes))
        _check_distinct([ids[row] for row in order])
        shard_of = self.layout.shard(hashes)[order]
        for shard in self.layout.shards_of(partition):
            rows = order[np.searchsorted(shard_of, shard) : np.searchsorted(shard_of, shard, side="right")]
            yield self._write(shard, everything, rows)

    def _write(self, shard: int, everything: pa.RecordBatch, rows: np.ndarray) -> tuple[dict[str, Any], Statistics]:
        """Write the given rows, a few at a time."""
        path, statistics, checksum, size = self.layout.path(shard), Statistics(self.schema), 0, 0
        with shards.atomic_write(path) as stream:
            for at in range(0, len(rows), WRITE_ROWS):
                batch = everything.take(pa.array(rows[at : at + WRITE_ROWS]))
                sink = pa.BufferOutputStream()
                size += tfrecord.write(sink, codec.encode(batch, self.schema))
                data = sink.getvalue()
                checksum = google_crc32c.extend(checksum, data.to_pybytes())
                stream.write(data)
                statistics.add(batch)
                self.counter.add(batch.num_rows)
        statistics.compact()
        labels = {str(label): int(statistics.label_counts[label]) for label in np.flatnonzero(statistics.label_counts).tolist()}
        entry = {"name": os.path.basename(path), "records": len(rows), "bytes": size, "crc32c": f"{checksum:08x}", "label_counts": labels}
        return entry, statistics


def _check_distinct(ordered: list[bytes]) -> None:
    for first, second in itertools.pairwise(ordered):
        if first == second:
            name = first.decode(errors="backslashreplace")
            raise DataError(
                f"the id {name!r} would be written twice: the input has it twice (yt8m-data validate tells), or was augmented before"
            )


class CombineStatistics(beam.CombineFn):
    """Record batches -> one Statistics; `chosen` are its accumulators, by default all that apply."""

    def __init__(self, schema: Schema, chosen: Sequence[Accumulator] | None = None) -> None:
        self.schema, self.chosen = schema, chosen

    def create_accumulator(self) -> Statistics:
        """Start with nothing."""
        return Statistics(self.schema, self.chosen)

    def add_input(self, accumulator: Statistics, batch: pa.RecordBatch) -> Statistics:
        """Add a batch."""
        accumulator.add(batch)
        return accumulator

    def merge_accumulators(self, accumulators: Iterable[Statistics]) -> Statistics:
        """Merge into the first."""
        first, *others = accumulators
        for other in others:
            first.merge(other)
        return first

    def compact(self, accumulator: Statistics) -> Statistics:
        """Make it small to send."""
        accumulator.compact()
        return accumulator

    def extract_output(self, accumulator: Statistics) -> Statistics:
        """Return it as it is."""
        return accumulator


class MergeStatistics(CombineStatistics):
    """Statistics of parts -> one Statistics of all; a worker merges its own, so no more than a few are held at a time."""

    def add_input(self, accumulator: Statistics, part: Statistics) -> Statistics:
        """Add a part."""
        accumulator.merge(part)
        return accumulator
