"""Folders laid out as the kernel does (Documentation/admin-guide/cgroup-v1 and cgroup-v2.rst)."""

import pytest

from yt8m_data import control_groups


@pytest.fixture
def groups(tmp_path):
    """What sets a file of a group, what names the groups of this process, and what reads a setting."""

    def write(path, text):
        (tmp_path / "fs" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "fs" / path).write_text(text)

    def read(controller, first, second):
        return list(control_groups.settings(controller, first, second, str(tmp_path / "fs"), str(tmp_path / "cgroup")))

    return write, (tmp_path / "cgroup").write_text, read


def test_those_of_a_group_and_of_those_that_hold_it(groups):
    write, member, read = groups
    member("0::/jobs/mine/step\n")
    write("memory.max", "max\n")
    write("jobs/memory.max", "3\n")
    write("jobs/mine/memory.max", "5\n")
    write("jobs/other/memory.max", "1\n")
    assert read("memory", ("memory.limit_in_bytes",), ("memory.max",)) == ["5", "3", "max"]


def test_the_first_version(groups):
    write, member, read = groups
    member("5:cpu,cpuacct:/x\n4:memory:/box\n1:name=systemd:/y\n0::/\n")
    write("memory/box/memory.limit_in_bytes", "7\n")
    write("cpu/x/quota", "8\n")
    write("cpu/quota", "9\n")
    assert read("memory", ("memory.limit_in_bytes",), ("memory.max",)) == ["7"]
    assert read("cpu", ("quota",), ("cpu.max",)) == ["8", "9"]
    assert read("cpuset", ("quota",), ("cpu.max",)) == []


def test_a_setting_of_several_files(groups):
    write, member, read = groups
    member("1:cpu:/box\n")
    write("cpu/box/quota", "150\n")
    assert read("cpu", ("quota", "period"), ("cpu.max",)) == []
    write("cpu/box/period", "100\n")
    assert read("cpu", ("quota", "period"), ("cpu.max",)) == ["150 100"]


def test_where_there_are_none(groups):
    _, _, read = groups
    assert read("memory", ("memory.limit_in_bytes",), ("memory.max",)) == []
