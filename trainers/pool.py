"""Memory for batches that is used again: fresh pages of the system cost more than what is written into them."""

import math
import weakref
from collections import defaultdict

import numpy as np

ALIGNMENT = 64  # bytes; TensorFlow takes arrays that begin at a multiple of it as they are, and copies others


class Pool:
    """Blocks of memory, each of which comes back when nobody holds the array any more that was made of it."""

    def __init__(self) -> None:
        self._free: defaultdict[int, list[np.ndarray]] = defaultdict(list)

    def take(self, size: int) -> np.ndarray:
        """`size` bytes, uint8, of any content."""
        free = self._free[size]
        return free.pop() if free else aligned(size)

    def lend(self, block: np.ndarray, shape: tuple[int, ...], dtype: np.dtype | type) -> np.ndarray:
        """The beginning of a block as an array; when it goes, tensors that share its memory included, the block is free again."""
        array = block[: math.prod(shape) * np.dtype(dtype).itemsize].view(dtype).reshape(shape)
        weakref.finalize(array, self._free[len(block)].append, block).atexit = False
        return array


def aligned(size: int) -> np.ndarray:
    """`size` fresh bytes, uint8, at a place that TensorFlow takes as it is."""
    memory = np.empty(size + ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % ALIGNMENT
    return memory[start : start + size]
