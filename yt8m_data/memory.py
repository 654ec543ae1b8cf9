"""Amounts of bytes as people write them, how much memory this process may take, and giving back what it does not need."""

import ctypes
import functools
import os
import re
from collections.abc import Callable

import pyarrow as pa

from yt8m_data import control_groups
from yt8m_data.errors import DataError

_M_ARENA_MAX = -8  # of glibc's mallopt

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}


def parse_bytes(text: str) -> int:
    """Read an amount such as 2GB, 512MiB, 1.5G or 300000.

    Raises:
      DataError: it is none.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?i?)b?\s*", text.lower())
    if not match or match[2] not in _UNITS:
        raise DataError(f"{text!r} is no number of bytes: give one such as 2GB, 512MiB or 300000")
    return int(float(match[1]) * _UNITS[match[2]])


def available(root: str = control_groups.ROOT, membership: str = control_groups.MEMBERSHIP) -> int:
    """The machine's memory in bytes, or the smallest limit among this process's control groups, where that is less."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limits = control_groups.settings("memory", ("memory.limit_in_bytes",), ("memory.max",), root, membership)
    return min([physical, *(int(text) for text in limits if text.isdigit())])


def give_back() -> None:
    """Give freed memory back to the system, as far as Arrow and the C library keep any: threads leave much in glibc's arenas."""
    pa.default_memory_pool().release_unused()
    _of_glibc("malloc_trim")(0)


def share_one_arena() -> None:
    """Let all threads of this process share one of glibc's arenas; call it before there are any.

    By default there are eight for each core. Whenever a job's threads change, another one grows, and `give_back` does not get it all.
    """
    _of_glibc("mallopt")(_M_ARENA_MAX, 1)


@functools.cache
def _of_glibc(name: str) -> Callable[..., int]:
    return getattr(ctypes.CDLL(None), name, lambda *_: 0)  # other libraries of C lack it
