"""The Linux control groups of this process, by which a container limits what it may take."""

from collections.abc import Iterator
from pathlib import Path

ROOT, MEMBERSHIP = "/sys/fs/cgroup", "/proc/self/cgroup"


def settings(
    controller: str, first: tuple[str, ...], second: tuple[str, ...], root: str = ROOT, membership: str = MEMBERSHIP
) -> Iterator[str]:
    """A setting in each of this process's control groups and of those that hold them, innermost first.

    Args:
      controller: such as "memory" or "cpu".
      first: the files that have the setting in version 1 of control groups.
      second: those in version 2.
      root: where control groups are mounted.
      membership: the file that names those of this process.

    Yields:
      What stands in the files, joined by spaces; nothing for a group that lacks one of them.
    """
    for line in Path(membership).read_text().splitlines() if Path(membership).exists() else []:
        _, controllers, group = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        base, names = (Path(root) / controller, first) if controllers else (Path(root), second)
        folder = base / group.lstrip("/")
        for each in (folder, *folder.parents):
            files = [each / name for name in names]
            if all(file.exists() for file in files):
                yield " ".join(file.read_text().strip() for file in files)
            if each == base:
                break
