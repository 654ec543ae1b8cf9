import os
import subprocess
import sys

import pytest

from yt8m_data import cores

ALL = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def of_a_group(folder, **files):
    """The cores of a process whose control group, of version 1 or 2, has these files."""
    first = "quota" in files
    group = folder / "fs" / ("cpu/box" if first else "box")
    group.mkdir(parents=True)
    for name, text in files.items():
        (group / {"max": "cpu.max", "quota": "cpu.cfs_quota_us", "period": "cpu.cfs_period_us"}[name]).write_text(f"{text}\n")
    (folder / "cgroup").write_text("3:cpu,cpuacct:/box\n" if first else "0::/box\n")
    return cores.available(str(folder / "fs"), str(folder / "cgroup"))


@pytest.mark.parametrize(
    ("files", "share"),
    [
        ({"max": "100000 100000"}, 1),
        ({"max": "1000 100000"}, 1),
        ({"max": "150000 100000"}, 2),
        ({"max": "6400000 100000"}, 64),
        ({"max": "max 100000"}, ALL),
        ({"quota": "50000", "period": "100000"}, 1),
        ({"quota": "110000", "period": "100000"}, 2),
        ({"quota": "-1", "period": "100000"}, ALL),
    ],
)
def test_the_share_of_a_container_is_rounded_up(tmp_path, files, share):
    assert of_a_group(tmp_path, **files) == min(share, ALL)


def test_where_there_are_no_control_groups(tmp_path):
    assert cores.available(str(tmp_path), str(tmp_path / "none")) == ALL


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system binds no process to cores")
def test_a_process_that_is_bound_to_one_core():
    script = "import os; from yt8m_data import cores; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); print(cores.available())"
    assert subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout == "1\n"
