import os

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


def written(root, group, name, text):
    folder = root / group
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)


def test_the_smallest_limit_of_the_control_groups(tmp_path):
    membership = tmp_path / "cgroup"
    membership.write_text("0::/jobs/mine\n")
    written(tmp_path / "fs", "", "memory.max", "max\n")
    written(tmp_path / "fs", "jobs", "memory.max", f"{3 << 20}\n")
    written(tmp_path / "fs", "jobs/mine", "memory.max", f"{5 << 20}\n")
    assert memory.available(str(tmp_path / "fs"), str(membership)) == 3 << 20
    membership.write_text("0::/\n")
    assert memory.available(str(tmp_path / "fs"), str(membership)) == os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def test_the_first_version_of_control_groups(tmp_path):
    membership = tmp_path / "cgroup"
    membership.write_text("5:cpu,cpuacct:/x\n4:memory:/box\n")
    written(tmp_path / "fs", "memory/box", "memory.limit_in_bytes", f"{7 << 20}\n")
    assert memory.available(str(tmp_path / "fs"), str(membership)) == 7 << 20


def test_no_control_groups(tmp_path):
    assert memory.available(str(tmp_path), str(tmp_path / "none")) == os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


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
