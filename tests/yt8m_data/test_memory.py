import os
import platform
import re
import subprocess
import sys

import numpy as np
import pytest

from yt8m_data import memory
from yt8m_data.errors import DataError


@pytest.mark.parametrize(
    ("text", "number"),
    [("2GB", 2 * 10**9), ("2g", 2 * 10**9), ("512MiB", 512 << 20), ("1.5kB", 1500), ("300000", 300000), (" 7 B ", 7), ("1TiB", 1 << 40)],
)
def test_amounts(text, number):
    assert memory.parse_bytes(text) == number


@pytest.mark.parametrize("text", ["", "GB", "-1GB", "2 apples", "1e9", "i", "2iB"])
def test_no_amounts(text):
    with pytest.raises(DataError, match="is no number of bytes"):
        memory.parse_bytes(text)


def test_the_smallest_limit_of_the_control_groups(tmp_path):
    membership = tmp_path / "cgroup"
    membership.write_text("0::/box\n")
    (tmp_path / "box").mkdir()
    (tmp_path / "box" / "memory.max").write_text(f"{3 << 20}\n")
    assert memory.available(str(tmp_path), str(membership)) == 3 << 20
    (tmp_path / "box" / "memory.max").write_text("max\n")
    assert memory.available(str(tmp_path), str(membership)) == os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="there is no /proc/self/statm on this system")
def test_freed_memory_is_given_back():
    def resident():
        with open("/proc/self/statm") as stream:
            return int(stream.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    pieces = [np.ones(8_000, np.uint8) for _ in range(20_000)]  # 160 MB, too small each to be mapped by itself
    del pieces[: len(pieces) - 1]  # the last one keeps the heap from shrinking at its end
    before = resident()
    memory.give_back()
    assert before - resident() > 100 << 20


ARENAS = """
import ctypes, sys, threading
from yt8m_data import memory

libc = ctypes.CDLL(None)
libc.malloc.restype = libc.fopen.restype = ctypes.c_void_p

def arenas():
    stream = ctypes.c_void_p(libc.fopen(b"/dev/stdout", b"a"))
    libc.malloc_info(0, stream)
    libc.fclose(stream)
    print("====", flush=True)

if sys.argv[1] == "shared":
    memory.share_one_arena()
arenas()
meet = threading.Barrier(8)

def allocate():
    meet.wait()  # all are there at once
    libc.malloc(ctypes.c_size_t(1000))
    meet.wait()

threads = [threading.Thread(target=allocate) for _ in range(8)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
arenas()
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="this system's library of C has no arenas")
@pytest.mark.parametrize("shared", [True, False])
def test_threads_share_the_arenas_that_are_there(shared):
    """Libraries may have started threads when they were imported, which had arenas."""
    call = [sys.executable, "-c", ARENAS, "shared" if shared else "as it comes"]
    before, after, _ = subprocess.run(call, check=True, capture_output=True, text=True).stdout.split("====")
    assert (len(re.findall("<heap nr=", before)) == len(re.findall("<heap nr=", after))) is shared
