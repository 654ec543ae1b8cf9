"""How many cores this process may use."""

import math
import os
from collections.abc import Iterator

from yt8m_data import control_groups


def available(root: str = control_groups.ROOT, membership: str = control_groups.MEMBERSHIP) -> int:
    """The cores that this process may run on, or the smallest share among its control groups, rounded up, where that is less.

    `os.cpu_count` counts all of the machine, also in a container that may use two of them.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min([allowed, *_shares(root, membership)])


def _shares(root: str, membership: str) -> Iterator[int]:
    """Of each control group that has one; "max 100000" (version 2) and "-1 100000" (version 1) are none."""
    files = ("cpu.cfs_quota_us", "cpu.cfs_period_us")
    for text in control_groups.settings("cpu", files, ("cpu.max",), root, membership):
        quota, period = text.split()
        if quota.isdigit():
            yield max(1, math.ceil(int(quota) / int(period)))
