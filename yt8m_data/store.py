"""Features on disk, once each, to be read in any order.

Any number of processes append to one file. What a shuffle moves instead of features is a place in it, of eight bytes; and however many
videos are made of another one, its features are written once. A video's lie behind one another, as they are in memory; before the frames of
one stand their number and the mean of the first feature, by which neighbours are sought.
"""

import fcntl
import mmap
import os
from pathlib import Path

import numpy as np
import pyarrow as pa

from yt8m_data import quantize, storage, wire
from yt8m_data.recipes import InBatch
from yt8m_data.schema import Schema

PLACE = "place"  # column: where a record's features begin in the file, int64

_COUNT_BYTES = 8


def put(path: str, batch: pa.RecordBatch, rows: np.ndarray, schema: Schema) -> pa.RecordBatch:
    """Append the features of some rows (int64, each once) of a batch to the file, which is made where needed.

    Returns the batch with the column PLACE instead of its features; for the other rows it is -1.

    Raises:
      DataError: the disk is full.
    """
    given = InBatch(batch, schema)
    if schema.kind == "video":
        pieces = [np.hstack([given.vectors(feature.name, rows) for feature in schema.features])]
        sizes = np.full(len(rows), 4 * pieces[0].shape[1])
    else:
        pieces = []
        for row in rows.tolist():
            codes = [given.frames(feature.name, row) for feature in schema.features]
            pieces += [np.array([len(codes[0])]), quantize.dequantized_mean(codes[0]), *codes]
        sizes = np.array([piece.nbytes for piece in pieces], np.int64).reshape(len(rows), -1).sum(axis=1)
    places = np.full(batch.num_rows, -1)
    places[rows] = _append(path, pieces) + np.cumsum(sizes) - sizes
    return batch.drop_columns([feature.name for feature in schema.features]).append_column(PLACE, pa.array(places))


def _append(path: str, pieces: list[np.ndarray]) -> int:
    """Append arrays behind one another, and return where they begin."""
    with storage.room(Path(path).parent), open(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+b", buffering=0) as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        start = stream.seek(0, os.SEEK_END)
        stream.truncate(start + sum(piece.nbytes for piece in pieces))  # whoever comes next appends behind this
        fcntl.flock(stream, fcntl.LOCK_UN)
        for piece in pieces:
            left: memoryview = piece.reshape(-1).view(np.uint8).data
            while left:
                left = left[stream.write(left) :]
    return start


class Store:
    """The features in a file that is complete, by their places.

    Args:
      path: of the file; without it there are none.
      schema: of the records.
    """

    def __init__(self, path: str, schema: Schema) -> None:
        self._sizes, self._framed = {feature.name: feature.size for feature in schema.features}, schema.kind == "frame"
        self._mean = next(iter(schema.features)).size
        self._file = np.empty(0, np.uint8)
        if os.path.exists(path) and os.path.getsize(path):
            with open(path, "rb") as stream:
                mapped = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
            mapped.madvise(mmap.MADV_RANDOM)
            self._file = np.frombuffer(mapped, np.uint8)

    def vectors(self, feature: str, places: np.ndarray) -> np.ndarray:
        """Copy the vectors of some videos, float32 [M, size]; of ones with frames the mean of the first feature."""
        before = _COUNT_BYTES if self._framed else 4 * self._before(feature)
        return wire.gather(self._file, places + before, 4 * self._sizes[feature]).view("<f4")

    def frames(self, feature: str, place: int) -> np.ndarray:
        """View the frames of a video, uint8 [frames, size]."""
        count = int(self._file[place : place + _COUNT_BYTES].view(np.int64)[0])
        start = place + _COUNT_BYTES + 4 * self._mean + count * self._before(feature)
        return self._file[start : start + count * self._sizes[feature]].reshape(count, -1)

    def _before(self, feature: str) -> int:
        """The values of the features before this one."""
        names = list(self._sizes)
        return sum(self._sizes[name] for name in names[: names.index(feature)])
