"""The work folder of an output that is being made: what a killed command leaves, and the same command resumes from."""

import platform
import shutil
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

from yt8m_data import shards, storage
from yt8m_data.errors import DataError

_NAME, _PLAN = ".spill-work.tmp", "plan.json"


class Work(NamedTuple):
    """A work folder, and whether the command that made it was killed and is `resumed`."""

    folder: Path
    resumed: bool

    @property
    def runs(self) -> str:
        """The folder of spilled runs."""
        return str(self.folder / "runs")

    @property
    def done(self) -> str:
        """The folder that has a file on each finished task."""
        return str(self.folder / "done")

    def remove(self) -> None:
        """Remove the folder when the output is finished; the plan last, so that a kill meanwhile leaves something to resume."""
        for path in (self.runs, self.done):
            shutil.rmtree(path)
        shutil.rmtree(self.folder)


def open_work(output: str, plan: dict[str, Any], overwrite: bool) -> Work:
    """Make the output folder and its work folder; or find that the same command was killed there, and resume it.

    Args:
      output: the folder of the output.
      plan: all that the output depends on, ready for JSON.
      overwrite: whether to remove what is there, unless it is to be resumed.

    Raises:
      DataError: the folder is on no disk; it holds a finished output, or the beginning of another one, and `overwrite` is not set; or
        foreign files.
    """
    if storage.is_remote(output):
        raise DataError(f"{output} is in an object store, and this command can resume on a disk only: write to a folder, then copy it")
    folder = Path(output) / _NAME
    if (folder / _PLAN).exists():
        begun = shards.read_json(folder / _PLAN)
        differing = [key for key in plan if begun.get(key) != plan[key]]
        if not differing:
            for path in [*Path(output).glob(".*.tmp"), *Path(output).glob("*/.*.tmp"), *folder.glob("*/.*.tmp")]:
                if path.is_file():  # half-written when the command was killed
                    path.unlink()
            return Work(folder, True)
        if not overwrite:
            what = ", ".join(differing)
            raise DataError(f"{output} holds the beginning of another output (of other {what}): finish that, or --overwrite to replace it")
    shards.prepare_output(output, overwrite)
    for part in ("runs", "done"):
        (folder / part).mkdir(parents=True)
    shards.write_json(folder / _PLAN, plan)
    return Work(folder, False)


def versions() -> dict[str, str]:
    """Return the versions that an output depends on."""
    packages = ("yt8m-data", "apache-beam", "numpy", "pyarrow", "protobuf")
    return {"python": platform.python_version(), **{name: metadata.version(name) for name in packages}}
