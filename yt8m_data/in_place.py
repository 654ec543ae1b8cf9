"""Video-level features left where the input has them: in plain files on a disk, which are mapped to memory behind one another.

What is put down of a video is where its vectors are, in an index. A block in which a record is bad, or is laid out otherwise than any usual
writer does it, is decoded all the same; the features of its videos go to a `store`, which is mapped behind the files.
"""

import ctypes
import functools
import mmap
import os
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from yt8m_data import codec, storage, store, tfrecord, wire
from yt8m_data.errors import DataError
from yt8m_data.schema import PROVENANCE, Schema
from yt8m_data.store import PLACE

PLACES = "places"  # column: where the vectors of each feature begin in memory, fixed_size_list<int64>

_MOST_FILES = 1 << 14  # a process may map four times as many by default
_ROWS = 128  # looked at together, while they are in the cache


@dataclass(frozen=True)
class Files:
    """Files as they were when the job began, and the paths of what is put down beside them.

    Attributes:
      identities: (path, bytes, time of the last change in ns) of each.
      index: path of the places of vectors, int64 [F] of each video.
      spilled: path of the features that cannot be read in the files.
    """

    identities: tuple[tuple[str, int, int], ...]
    index: str
    spilled: str

    @functools.cached_property
    def starts(self) -> dict[str, int]:
        """Where each file begins in memory, counted from the first one."""
        return dict(zip((path for path, _, _ in self.identities), self._edges[:-1].tolist(), strict=True))

    @property
    def end(self) -> int:
        """Where what is spilled begins."""
        return int(self._edges[-1])

    @functools.cached_property
    def _edges(self) -> np.ndarray:
        return np.cumsum([0, *(_pages(size) for _, size, _ in self.identities)])

    def check(self) -> None:
        """Check that the files are as they were.

        Raises:
          DataError: one has changed.
        """
        for identity in self.identities:
            if not os.path.exists(identity[0]) or _identity(identity[0]) != identity:
                raise DataError(
                    f"{identity[0]} has changed since the job began, which reads it again: leave the input alone, and run it anew"
                )

    def map(self) -> np.ndarray:
        """Map all to memory, uint8; between the end of a file and the next page are zeros."""
        self.check()
        behind = os.path.getsize(self.spilled) if os.path.exists(self.spilled) else 0
        region = mmap.mmap(-1, max(self.end + behind, 1), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, prot=0)
        octets = np.frombuffer(region, np.uint8)  # keeps the region
        for path, size, start in [
            *((path, size, self.starts[path]) for path, size, _ in self.identities),
            (self.spilled, behind, self.end),
        ]:
            if size:
                _map_over(octets.ctypes.data + start, size, path)
        octets.flags.writeable = False
        return octets


def serves(schema: Schema, paths: Iterable[str]) -> bool:
    """Whether the features of records can be read where these files have them."""
    paths = list(paths)
    return schema.kind == "video" and len(paths) <= _MOST_FILES and not any(storage.is_remote(path) or _is_gzip(path) for path in paths)


def known(paths: Iterable[str], index: str, spilled: str) -> Files:
    """Take files as they are now."""
    return Files(tuple(map(_identity, paths)), index, spilled)


def locate(block: tfrecord.RecordBlock, schema: Schema, start: int) -> codec.Decoded | None:
    """Decode a block, with PROVENANCE, but for its vectors, of which the column PLACES says where they are.

    Args:
      block: of a file.
      schema: of video-level records.
      start: where the file begins in memory.

    Returns:
      None where a record is bad, or has values that may not be finite, or is laid out so that the vectors are not to be found.
    """
    located = codec.locate(block, schema, PROVENANCE)
    vectors = located.vectors.values()
    lie_there = all(np.may_share_memory(source, block.data) for source, _ in vectors)
    if located.bad or not lie_there or not all(_are_finite(*each) for each in vectors):
        return None
    places = np.stack([places for _, places in vectors], axis=1) + (start + block.offset)
    column = pa.FixedSizeListArray.from_arrays(pa.array(places.reshape(-1)), places.shape[1])
    return codec.Decoded(located.batch.append_column(PLACES, column), located.indices, [])


def put(files: Files, batch: pa.RecordBatch, rows: np.ndarray, schema: Schema) -> pa.RecordBatch:
    """Put down where the vectors of some rows (int64, each once) of a batch are: one that `locate` gave, or one whose features are spilled.

    Returns the batch with the column PLACE instead, its place in the index; for the other rows it is -1.

    Raises:
      DataError: the disk is full.
    """
    if PLACES in batch.schema.names:
        places = batch.column(PLACES).flatten().to_numpy().reshape(batch.num_rows, -1)[rows]
        batch = batch.drop_columns([PLACES])
    else:
        batch = store.put(files.spilled, batch, rows, schema)
        places = files.end + store.spread(batch.column(PLACE).to_numpy()[rows], schema)
        batch = batch.drop_columns([PLACE])
    keys = np.full(batch.num_rows, -1)
    keys[rows] = store.append(files.index, [places], places.nbytes) // (places.itemsize * places.shape[1]) + np.arange(len(rows))
    return batch.append_column(PLACE, pa.array(keys))


class InPlace:
    """The features of the videos in an index that is complete, by their places in it; see `recipes.Rows`.

    Raises:
      DataError: a file has changed.
    """

    def __init__(self, files: Files, schema: Schema) -> None:
        self._sizes = [feature.size for feature in schema.features]
        self._octets = files.map()
        self._places = np.fromfile(files.index, np.int64) if os.path.exists(files.index) else np.empty(0, np.int64)
        self._places = self._places.reshape(-1, len(self._sizes))

    def lying(self, keys: np.ndarray) -> np.ndarray:
        """Tell where in memory vectors begin, as `Rows` has it."""
        return self._octets.ctypes.data + self._found(keys)

    def vectors(self, keys: np.ndarray) -> np.ndarray:
        """Copy vectors, as `Rows` has it."""
        places = self._found(keys)
        return np.hstack([self._copied(places[:, number], size) for number, size in enumerate(self._sizes)])

    def sought(self, keys: np.ndarray) -> np.ndarray:
        """Copy the vectors by which neighbours are sought, as `Rows` has it."""
        return self._copied(self._found(keys)[:, 0], self._sizes[0])

    def frames(self, feature: str, key: int) -> np.ndarray:
        """Refuse, as there are none."""
        raise LookupError(f"video {key} has a vector of {feature!r}, and no frames")

    def _found(self, keys: np.ndarray) -> np.ndarray:
        if len(keys) and not 0 <= keys.min() <= keys.max() < len(self._places):
            raise IndexError(f"the videos {keys.min()}..{keys.max()} are not all among the {len(self._places)} in the index")
        return self._places.take(keys, axis=0)

    def _copied(self, places: np.ndarray, size: int) -> np.ndarray:
        return wire.gather(self._octets, places, 4 * size).view("<f4")


def _identity(path: str) -> tuple[str, int, int]:
    status = os.stat(path)
    return path, status.st_size, status.st_mtime_ns


def _is_gzip(path: str) -> bool:
    with storage.open_read(path) as stream:
        return tfrecord.is_gzip(stream.read(tfrecord.PROBE_BYTES))


def _are_finite(source: np.ndarray, places: np.ndarray) -> bool:
    """Whether all values of the vectors at these places are finite; large ones may only have a sum that is not."""
    with np.errstate(over="ignore", invalid="ignore"):
        pieces = (source[places[at : at + _ROWS]].view("<f4") for at in range(0, len(places), _ROWS))
        return all(np.isfinite(piece.sum()) for piece in pieces)


def _pages(size: int) -> int:
    """The bytes of the whole pages that a file takes."""
    return -(-size // mmap.PAGESIZE) * mmap.PAGESIZE


def _map_over(address: int, size: int, path: str) -> None:
    """Map a file to memory that is kept free for it there."""
    map_ = ctypes.CDLL(None, use_errno=True).mmap
    map_.restype, map_.argtypes = ctypes.c_void_p, [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_int64]
    with open(path, "rb") as stream:
        if map_(address, size, mmap.PROT_READ, mmap.MAP_SHARED | _MAP_FIXED, stream.fileno(), 0) != address:
            raise OSError(ctypes.get_errno(), f"{path} cannot be mapped to memory")


_MAP_FIXED = 0x10  # on Linux and macOS
