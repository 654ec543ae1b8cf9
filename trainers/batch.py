"""A batch of videos that is filled where TensorFlow takes it from, without another copy."""

from typing import Any

import numpy as np
import tensorflow as tf

from trainers.pool import ALIGNMENT, Pool
from trainers.recipe import DataSchema, Frames
from trainers.videos import Videos, joined, row_shapes

# "id" [B] bytes; "labels" and "label_weights" [B, L] and other columns of `trainers.videos.Videos`; "features": video level {name: float32
# [B, size]}, frame level {name: uint8 [B, T, size], "num_frames": int32 [B]}, with zeros behind num_frames, and a T of 1 at least.
Batch = dict[str, Any]

_LARGE = 64 << 10  # bytes from which sharing memory is worth it


class Filling:
    """Up to `size` videos, of which some come at a time."""

    def __init__(self, data: DataSchema, frames: Frames, size: int, pool: Pool) -> None:
        self.room = size
        self._kind, self._length, self._pool, self._size = data.kind, frames.count, pool, size
        self._shapes = row_shapes(data, frames)
        self._blocks = {name: pool.take(size * int(np.prod(shape))) for name, shape in self._shapes.items()}
        self._columns: list[dict[str, np.ndarray]] = []

    def add(self, videos: Videos) -> None:
        """Copy the next ones; there is room for them."""
        first = self._size - self.room
        for name, feature in videos.features.items():
            feature.copy_to(self._blocks[name].reshape(self._size, *self._shapes[name]), slice(first, first + len(videos)))
        self._columns.append(videos.columns)
        self.room -= len(videos)

    def done(self) -> Batch:
        """The batch; its memory comes back when TensorFlow no longer holds it."""
        columns, number = joined(self._columns), self._size - self.room
        if self._kind == "video":
            features = {name: self._lent(name, (number, self._shapes[name][0] // 4), "<f4") for name in self._blocks}
        else:
            lengths = columns.pop("num_frames")
            features = {name: self._clips(name, lengths) for name in self._blocks} | {"num_frames": lengths}
        return columns | {"features": features}

    def _clips(self, name: str, lengths: np.ndarray) -> np.ndarray:
        """Frames side by side, as many as the longest video has, or as are drawn, with zeros behind them: uint8 [B, T, size]."""
        whole = self._blocks[name].reshape(self._size, *self._shapes[name])
        longest = self._length or max(1, int(lengths.max()))
        clips = self._lent(name, (len(lengths), longest, whole.shape[2]), "u1")
        for row, length in enumerate(lengths.tolist()):
            if longest < whole.shape[1]:  # it only ever moves towards the beginning, so no row is lost
                clips[row, :length] = whole[row, :length]
            clips[row, length:] = 0
        return clips

    def _lent(self, name: str, shape: tuple[int, ...], dtype: str) -> np.ndarray:
        return self._pool.lend(self._blocks[name], shape, np.dtype(dtype))


def tensors(batch: Batch) -> Batch:
    """A batch as TensorFlow's tensors; large arrays are taken as they are, where they are."""
    return {key: tensors(value) if isinstance(value, dict) else _tensor(value) for key, value in batch.items()}


def _tensor(array: np.ndarray) -> tf.Tensor:
    if array.nbytes < _LARGE or array.ctypes.data % ALIGNMENT or not array.flags.c_contiguous or array.dtype == object:
        return tf.constant(array)
    return tf.experimental.dlpack.from_dlpack(array.__dlpack__())
