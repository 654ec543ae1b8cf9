"""Rows of many small record batches, in some large ones, to be taken in any order.

Joined to one they would be in memory twice, as they came and as they are joined. So each is joined to its neighbours alone, and let go.
"""

from collections.abc import Iterable

import numpy as np
import pyarrow as pa

CHUNK_BYTES = 32 << 20  # few enough chunks that taking rows from each costs little, and small beside what a worker holds of a partition


class Chunks:
    """The rows of batches of one schema, numbered in the order in which they come.

    Args:
      batches: taken one after the other.
      chunk_bytes: about how much is joined at a time.
    """

    def __init__(self, batches: Iterable[pa.RecordBatch], chunk_bytes: int = CHUNK_BYTES) -> None:
        self._chunks: list[pa.RecordBatch] = []
        pending: list[pa.RecordBatch] = []
        size = 0
        for batch in batches:
            pending.append(batch)
            size += batch.nbytes
            if size >= chunk_bytes:
                self._chunks.append(pa.concat_batches(pending))
                pending, size = [], 0
        if pending:
            self._chunks.append(pa.concat_batches(pending))
        self._starts = np.cumsum([0, *(chunk.num_rows for chunk in self._chunks)])

    def __len__(self) -> int:
        return int(self._starts[-1])

    @property
    def names(self) -> list[str]:
        """The names of the columns; none where there was no batch."""
        return self._chunks[0].schema.names if self._chunks else []

    def column(self, name: str) -> pa.Array:
        """Copy a column."""
        return pa.concat_arrays([chunk.column(name) for chunk in self._chunks])

    def take(self, rows: np.ndarray) -> pa.RecordBatch:
        """Copy some rows (int64 [M], at least one), in the order given."""
        chunk_of = np.searchsorted(self._starts, rows, side="right") - 1
        order = np.argsort(chunk_of, kind="stable")
        numbers, firsts = np.unique(chunk_of[order], return_index=True)
        grouped = np.split(rows[order], firsts[1:])
        parts = [self._chunks[n].take(pa.array(some - self._starts[n])) for n, some in zip(numbers.tolist(), grouped, strict=True)]
        if len(parts) == 1:
            return parts[0]
        back = np.empty(len(rows), np.int64)
        back[order] = np.arange(len(rows))
        return pa.concat_batches(parts).take(pa.array(back))
