"""Turns of processes within a memory budget: work that fits into the share of a process runs beside others, larger work runs alone."""

import contextlib
import fcntl
from collections.abc import Iterator
from typing import NamedTuple


class Turns(NamedTuple):
    """The budget that some processes have together.

    Attributes:
      lock: path of a file on a disk that they share, made where needed.
      share: bytes that each may take while others work.
    """

    lock: str
    share: int

    @contextlib.contextmanager
    def take(self, need: int) -> Iterator[None]:
        """Wait until there is room for `need` bytes, and keep it until the end of the block, or of the process.

        What needs more than a share has the whole budget: it waits until nobody else is in such a block, and keeps others out.
        """
        with open(self.lock, "ab") as stream:
            fcntl.flock(stream, fcntl.LOCK_SH if need <= self.share else fcntl.LOCK_EX)
            yield
