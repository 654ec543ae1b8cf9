"""Features on disk, once each, to be read in any order.

Any number of processes append to one file. What a shuffle moves instead of features is a place in it, of eight bytes; and however many
videos are made of another one, its features are written once. A video's lie behind one another, as they are in memory; before the frames of
one stand their number and the mean of the first feature, by which neighbours are sought.

A file is mapped to memory where there is room for all of it, since then a place costs half of what a call of the system does. Any other is
read place by place: of a mapped file the system may put megabytes into a process's memory for each place that is looked at, and leave them
there until it wants them back.
"""

import fcntl
import importlib.util
import mmap
import os
import weakref
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa

from yt8m_data import quantize, storage, wire
from yt8m_data.recipes import InBatch
from yt8m_data.schema import Schema

PLACE = "place"  # column: where a record's features begin in the file, int64

_COUNT_BYTES = 8
_ROWS = 128  # copied at a time: they are written while they are in the cache


def put(path: str, batch: pa.RecordBatch, rows: np.ndarray, schema: Schema) -> pa.RecordBatch:
    """Append the features of some rows (int64, each once) of a batch to the file, which is made where needed.

    Returns the batch with the column PLACE instead of its features; for the other rows it is -1.

    Raises:
      DataError: the disk is full.
    """
    given = InBatch(batch, schema)
    pieces: Iterable[np.ndarray]
    if schema.kind == "video":
        pieces = (given.vectors(rows[at : at + _ROWS]) for at in range(0, len(rows), _ROWS))
        sizes = np.full(len(rows), 4 * sum(feature.size for feature in schema.features))
    else:
        pieces = []
        for row in rows.tolist():
            codes = [given.frames(feature.name, row) for feature in schema.features]
            pieces += [np.array([len(codes[0])]), quantize.dequantized_mean(codes[0]), *codes]
        sizes = np.array([piece.nbytes for piece in pieces], np.int64).reshape(len(rows), -1).sum(axis=1)
    places = np.full(batch.num_rows, -1)
    places[rows] = append(path, pieces, int(sizes.sum())) + np.cumsum(sizes) - sizes
    return batch.drop_columns([feature.name for feature in schema.features]).append_column(PLACE, pa.array(places))


def spread(places: np.ndarray, schema: Schema) -> np.ndarray:
    """Tell where the vectors of each feature begin: int64 [N, F], of videos at these places, int64 [N]."""
    sizes = np.array([4 * feature.size for feature in schema.features])
    return places[:, None] + (np.cumsum(sizes) - sizes)


def append(path: str, pieces: Iterable[np.ndarray], size: int) -> int:
    """Append arrays, of `size` bytes together, behind one another to a file that others append to; return where they begin.

    Raises:
      DataError: the disk is full.
    """
    with storage.room(Path(path).parent), open(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+b", buffering=0) as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        start = stream.seek(0, os.SEEK_END)
        stream.truncate(start + size)  # whoever comes next appends behind this
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
      mapped: whether there is memory for the whole file; all processes that map it share that.
      compiled: whether so much is read that loading compiled loops, where `numba` is installed, is worth it.
    """

    def __init__(self, path: str, schema: Schema, mapped: bool = False, compiled: bool = False) -> None:
        self._sizes, self._framed = {feature.name: feature.size for feature in schema.features}, schema.kind == "frame"
        self._mean = next(iter(schema.features)).size
        self._stream = open(path if os.path.exists(path) else os.devnull, "rb", buffering=0)  # noqa: SIM115  open as long as this is
        weakref.finalize(self, self._stream.close)
        self._compiled = compiled and importlib.util.find_spec("numba") is not None
        self._schema = schema
        self._octets: np.ndarray | None = None  # the file, uint8, where it is mapped and is not empty
        if mapped and os.fstat(self._stream.fileno()).st_size:
            self._octets = np.frombuffer(mmap.mmap(self._stream.fileno(), 0, access=mmap.ACCESS_READ), np.uint8)
        elif hasattr(os, "posix_fadvise"):  # not on macOS
            os.posix_fadvise(self._stream.fileno(), 0, 0, os.POSIX_FADV_RANDOM)

    def lying(self, places: np.ndarray) -> np.ndarray | None:
        """Tell where in memory the vectors of some videos begin, int64 [M, F]; None where the file is not mapped."""
        if self._octets is None:
            return None
        size = 4 * sum(self._sizes.values())
        if len(places) and not 0 <= places.min() <= places.max() <= len(self._octets) - size:
            raise IndexError(f"vectors of {size} bytes at {places.min()}..{places.max()} are not all within {len(self._octets)} bytes")
        return self._octets.ctypes.data + spread(places, self._schema)

    def vectors(self, places: np.ndarray) -> np.ndarray:
        """Copy the vectors of some videos, float32 [M, D], that of each feature behind that of the one before."""
        return self._floats(places, sum(self._sizes.values()))

    def sought(self, places: np.ndarray) -> np.ndarray:
        """Copy the vectors by which neighbours are sought, float32 [M, D]: of the first feature, or the means of its frames."""
        return self._floats(places + (_COUNT_BYTES if self._framed else 0), self._mean)

    def frames(self, feature: str, place: int) -> np.ndarray:
        """Copy the frames of a video, uint8 [frames, size]."""
        count = int(self._copied(np.array([place]), _COUNT_BYTES).view(np.int64)[0, 0])
        begin, size = place + _COUNT_BYTES + 4 * self._mean + count * self._before(feature), self._sizes[feature]
        return self._copied(np.array([begin]), count * size).reshape(-1, size)

    def _floats(self, places: np.ndarray, count: int) -> np.ndarray:
        return self._copied(places, 4 * count).view("<f4")

    def _copied(self, places: np.ndarray, size: int) -> np.ndarray:
        """Copy the bytes that stand at each place, uint8 [M, size]."""
        if self._octets is not None:
            return wire.gather(self._octets, places, size)
        found, descriptor = np.empty((len(places), size), np.uint8), self._stream.fileno()
        done, view = self._read_rows(descriptor, places, found), found.reshape(-1).data
        for start, place in zip(range(done * size, found.size, size), places[done:].tolist(), strict=True):
            read, end = os.preadv(descriptor, [view[start : start + size]], place), start + size
            while start + read < end:  # a signal came between
                more = os.preadv(descriptor, [view[start + read : end]], place + read)
                if not more:
                    raise EOFError(f"{self._stream.name} ends at {place + read}, within the features at {place}")
                read += more
        return found

    def _read_rows(self, descriptor: int, places: np.ndarray, found: np.ndarray) -> int:
        """Read rows as long as each comes whole; return how many did."""
        if not self._compiled:
            return 0
        from yt8m_data.compiled import read_rows

        return read_rows(descriptor, places, found)

    def _before(self, feature: str) -> int:
        """The values of the features before this one."""
        names = list(self._sizes)
        return sum(self._sizes[name] for name in names[: names.index(feature)])
