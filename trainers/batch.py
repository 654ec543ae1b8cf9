"""Batches of videos that are filled where TensorFlow takes them from, without another copy."""

from typing import Any

import numpy as np
import tensorflow as tf

from trainers.pool import ALIGNMENT, Pool
from trainers.recipe import DataSchema, Frames
from trainers.videos import FILL, Videos, row_shapes, trimmed, widened

# "id" object [B], bytes, which stays with NumPy; "labels" and "label_weights" [B, L] and other columns of `trainers.videos.Videos`;
# "features": video level {name: float32 [B, size]}, frame level {name: uint8 [B, T, size], "num_frames": int32 [B]}, with zeros behind
# num_frames, and a T of 1 at least.
Batch = dict[str, Any]

_LARGE = 64 << 10  # bytes from which sharing memory is worth it


class Shelf:
    """Room for some batches: videos are put into the rows where they belong, and batches are taken as they lie.

    Args:
      size: videos of a batch.
      number: of batches.
      pool: lends the memory of the features, until the shelf and all its batches are gone.
    """

    def __init__(self, data: DataSchema, frames: Frames, size: int, number: int, pool: Pool) -> None:
        self._kind, self._length, self._size, self._room, self._end = data.kind, frames.count, size, size * number, 0
        self._columns = dict[str, np.ndarray]()
        self._features = {
            name: pool.lend(self._room * int(np.prod(shape))).reshape(self._room, *shape)
            for name, shape in row_shapes(data, frames).items()
        }

    def __len__(self) -> int:
        """The number of batches, of which the last one may not be full."""
        return -(-self._end // self._size)

    def put(self, rows: np.ndarray, videos: Videos) -> None:
        """Copy videos into rows, int64 [N]."""
        for name, feature in videos.features.items():
            feature.copy_to(self._features[name], rows)
        for name, column in videos.columns.items():
            if name not in self._columns:
                self._columns[name] = np.full((self._room, *column.shape[1:]), FILL.get(name, 0), column.dtype)
            if name in FILL:
                self._columns[name] = widened(name, self._columns[name], column.shape[1])
                column = widened(name, column, self._columns[name].shape[1])
            self._columns[name][rows] = column
        self._end = max(self._end, int(rows.max()) + 1)

    def batch(self, number: int) -> Batch:
        """A batch, once; its memory comes back when TensorFlow no longer holds it."""
        rows = slice(number * self._size, min((number + 1) * self._size, self._end))
        columns = trimmed({name: column[rows] for name, column in self._columns.items()})
        if self._kind == "video":
            return columns | {"features": {name: whole[rows].view("<f4") for name, whole in self._features.items()}}
        lengths = columns.pop("num_frames")
        clips = {name: self._clips(whole[rows], lengths) for name, whole in self._features.items()}
        return columns | {"features": clips | {"num_frames": lengths}}

    def _clips(self, whole: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """Frames side by side, as many as the longest video has, or as are drawn: uint8 [B, T, size]."""
        longest = self._length or max(1, int(lengths.max()))
        if longest == whole.shape[1]:
            return whole
        clips = whole.reshape(-1)[: len(whole) * longest * whole.shape[2]].reshape(-1, longest, whole.shape[2])
        for row in range(len(whole)):  # it only ever moves towards the beginning, so no row is lost
            clips[row] = whole[row, :longest]
        return clips


def tensors(batch: Batch) -> Batch:
    """A batch as TensorFlow's tensors, but for its ids; large arrays are taken as they are, where they are."""
    return {key: tensors(value) if isinstance(value, dict) else _tensor(value) for key, value in batch.items()}


def _tensor(array: np.ndarray) -> tf.Tensor | np.ndarray:
    if array.dtype == object:
        return array  # no model takes strings, and as tensors they are dear
    if array.nbytes < _LARGE or array.ctypes.data % ALIGNMENT or not array.flags.c_contiguous:
        return tf.constant(array)
    return tf.experimental.dlpack.from_dlpack(array.__dlpack__())
