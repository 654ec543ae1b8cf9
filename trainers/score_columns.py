"""Scores of a whole evaluation set, written video by video and read class by class."""

import tempfile
from collections.abc import Iterator

import numpy as np

_CHUNK_BYTES = 1 << 26
_CLASS_BLOCK = 64


class ScoreColumns:
    """Scores of C classes: chunks of rows are turned round and spilled to a temporary file."""

    def __init__(self, num_classes: int) -> None:
        self._rows = max(1, _CHUNK_BYTES // (4 * num_classes))
        self._buffer = np.empty((self._rows, num_classes), np.float32)
        self._filled = 0
        self._spilled = 0  # chunks in the file
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 (it goes with the object)

    def append(self, scores: np.ndarray) -> None:
        """Write scores [B, C]."""
        while len(scores):
            part = scores[: self._rows - self._filled]
            self._buffer[self._filled : self._filled + len(part)] = part
            self._filled += len(part)
            scores = scores[len(part) :]
            if self._filled == self._rows:
                self._file.seek(0, 2)
                self._file.write(np.ascontiguousarray(self._buffer.T).data)
                self._spilled += 1
                self._filled = 0

    def chunks(self) -> Iterator[np.ndarray]:
        """The scores in chunks of videos, each [C, rows]."""
        for i in range(self._spilled):
            yield self._read(i, 0, self._buffer.shape[1])
        yield self._buffer[: self._filled].T

    def blocks(self) -> Iterator[tuple[int, np.ndarray]]:
        """The scores in blocks of classes: (first class, [up to 64, videos])."""
        for first in range(0, self._buffer.shape[1], _CLASS_BLOCK):
            last = min(first + _CLASS_BLOCK, self._buffer.shape[1])
            parts = [self._read(i, first, last) for i in range(self._spilled)]
            yield first, np.concatenate([*parts, self._buffer[: self._filled, first:last].T], axis=1)

    def _read(self, chunk: int, first: int, last: int) -> np.ndarray:
        self._file.seek(4 * self._rows * (chunk * self._buffer.shape[1] + first))
        return np.frombuffer(self._file.read(4 * self._rows * (last - first)), np.float32).reshape(-1, self._rows)
