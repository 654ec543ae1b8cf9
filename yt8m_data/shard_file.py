"""Writing of one shard, as TFRecords, Parquet or Arrow: whole or not at all, with its checksum and what it holds."""

import contextlib
import gzip
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import google_crc32c
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from yt8m_data import shards, storage, tfrecord
from yt8m_data.encoding import encode
from yt8m_data.errors import DataError
from yt8m_data.schema import Schema
from yt8m_data.statistics import distinct_labels

GROUP_BYTES = 16 << 20  # of features that are encoded, or make a Parquet row group, at a time
_USUAL_FRAMES = 256  # of a video, to tell the rows of a group from their bytes

_GZIP_LEVEL = 6
_SUFFIXES = {
    ("tfrecord", "none"): ".tfrecord",
    ("tfrecord", "gzip"): ".tfrecord.gz",
    ("parquet", "none"): ".parquet",
    ("parquet", "gzip"): ".parquet",
    ("arrow", "none"): ".arrow",
}


@dataclass(frozen=True)
class Form:
    """The format of shards: "tfrecord", "parquet" or "arrow", and their compression, "none" or "gzip".

    Raises:
      DataError: there is no such form.
    """

    format: str = "tfrecord"
    compress: str = "none"

    def __post_init__(self) -> None:
        if (self.format, self.compress) not in _SUFFIXES:
            raise DataError(f"{self.format} shards cannot be compressed by {self.compress!r}: leave out --compress {self.compress}")

    @property
    def suffix(self) -> str:
        """What the names of the shards end with."""
        return _SUFFIXES[self.format, self.compress]


TFRECORD = Form()


def rows_at_a_time(schema: Schema) -> int:
    """How many rows hold about GROUP_BYTES; by the schema alone, so that groups do not depend on how rows arrive."""
    size = sum(feature.size for feature in schema.features) * (4 if schema.kind == "video" else _USUAL_FRAMES)
    return max(1, min(GROUP_BYTES // max(size, 1), 4096))


class ShardWriter:
    """Takes the rows of a shard, in order; made by `open_shard`.

    Attributes:
      entry: what a manifest says of the shard, when it is finished: `name`, `records`, `bytes`, `crc32c` (of the file), `label_counts` and,
        at frame level, `frames`.
    """

    def __init__(self, path: str, sink: "_Checked", schema: Schema, columns: pa.Schema, form: Form) -> None:
        self.entry: dict[str, Any] = {"name": os.path.basename(path)}
        self._sink, self._schema, self._form = sink, schema, form
        self._records = self._frames = 0
        self._labels = np.zeros(schema.num_classes, np.int64)  # how many records have each
        self._pending: list[pa.RecordBatch] = []
        self._output: Any = sink
        if form.format == "parquet":
            self._output = pq.ParquetWriter(sink, columns, compression=form.compress, use_dictionary=False)
        elif form.format == "arrow":
            self._output = pa.ipc.new_file(sink, columns)
        elif form.compress == "gzip":
            self._output = gzip.GzipFile(filename="", mode="wb", compresslevel=_GZIP_LEVEL, fileobj=sink, mtime=0)

    def write(self, batch: pa.RecordBatch, encoded: Iterable[tfrecord.Framed] | None = None) -> None:
        """Append rows; as TFRecords they may come encoded, and the batch then needs no video-level features."""
        self._records += batch.num_rows
        self._labels += np.bincount(distinct_labels(batch.column("labels"))[1], minlength=len(self._labels))
        if self._schema.kind == "frame":
            self._frames += int(batch.column(self._schema.features[0].name).value_lengths().to_numpy().sum())
        if self._form.format == "tfrecord":
            for records in [encode(batch, self._schema)] if encoded is None else encoded:
                tfrecord.write(self._output, records)
            return
        assert encoded is None, "columns are written whole"
        self._pending.append(batch)
        size = rows_at_a_time(self._schema)
        while sum(part.num_rows for part in self._pending) >= size:
            whole = pa.concat_batches(self._pending)
            self._write_group(whole.slice(0, size))
            self._pending = [whole.slice(size)]

    def _write_group(self, batch: pa.RecordBatch) -> None:
        fresh = batch.take(pa.array(np.arange(batch.num_rows)))  # Arrow would write more of the buffers that a slice points into
        self._output.write_batch(fresh)

    def abandon(self) -> None:
        """Close the format without writing: the shard failed."""
        self._sink.discarding = True
        if self._output is not self._sink:
            self._output.close()

    def finish(self) -> None:
        """Write what is pending and close the format, not the file."""
        if self._pending and (rest := pa.concat_batches(self._pending)).num_rows:
            self._write_group(rest)
        if self._output is not self._sink:
            self._output.close()
        self.entry |= {"records": self._records, "bytes": self._sink.size, "crc32c": f"{self._sink.checksum:08x}"}
        present = np.flatnonzero(self._labels)
        self.entry["label_counts"] = dict(zip(map(str, present.tolist()), self._labels[present].tolist(), strict=True))
        if self._schema.kind == "frame":
            self.entry["frames"] = self._frames


@contextlib.contextmanager
def open_shard(path: str, schema: Schema, columns: pa.Schema, form: Form = TFRECORD) -> Iterator[ShardWriter]:
    """Open a shard that appears under its name at the end of the block, or not at all.

    Args:
      path: of the shard.
      schema: of its records.
      columns: of the batches: `schema.arrow`, and those of `PROVENANCE` if they are there.
      form: the format.
    """
    with shards.atomic_write(path) as stream:
        writer = ShardWriter(path, _Checked(stream), schema, columns, form)
        try:
            yield writer
            writer.finish()
        except BaseException:
            writer.abandon()
            raise


def is_whole(path: str, entry: dict[str, Any]) -> bool:
    """Return whether a shard is there, with the size and checksum of its manifest entry."""
    if not storage.to_path(path).exists() or storage.size(path) != entry["bytes"]:
        return False
    checksum = 0
    with storage.open_read(path) as stream:
        while data := stream.read(1 << 20):
            checksum = google_crc32c.extend(checksum, data)
    return f"{checksum:08x}" == entry["crc32c"]


class _Checked:
    """A stream to write to that counts bytes and their CRC-32C."""

    closed = False

    def __init__(self, stream: BinaryIO) -> None:
        self._stream, self.size, self.checksum = stream, 0, 0
        self.discarding = False

    def write(self, data: Any) -> int:
        if self.discarding:
            return len(data)
        octets = np.frombuffer(data, np.uint8)
        self.size += len(octets)
        self.checksum = google_crc32c.extend(self.checksum, octets)
        return self._stream.write(octets.data)

    def tell(self) -> int:
        return self.size

    def flush(self) -> None:
        self._stream.flush()

    def writable(self) -> bool:
        return True

    def close(self) -> None:
        """Leave the file to who opened it."""
