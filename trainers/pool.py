"""Memory for batches that is used again: fresh pages of the system cost more than what is written into them."""

import weakref
from collections import defaultdict

import numpy as np

ALIGNMENT = 64  # bytes; TensorFlow takes arrays that begin at a multiple of it as they are, and copies others


class Pool:
    """Blocks of memory, each of which comes back when nobody holds an array any more that was made of it."""

    def __init__(self) -> None:
        self._free: defaultdict[int, list[np.ndarray]] = defaultdict(list)

    def lend(self, size: int) -> np.ndarray:
        """`size` bytes of any content, uint8; when it and what was cut out of it is gone, tensors included, they are free again."""
        free = self._free[size]
        block = free.pop() if free else aligned(size)
        lent = block.view()
        weakref.finalize(lent, free.append, block).atexit = False
        return np.frombuffer(lent.data, np.uint8)  # what is cut out of this one holds the memoryview, and so `lent`


def aligned(size: int) -> np.ndarray:
    """`size` fresh bytes, uint8, at a place that TensorFlow takes as it is."""
    memory = np.empty(size + ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % ALIGNMENT
    return memory[start : start + size]
