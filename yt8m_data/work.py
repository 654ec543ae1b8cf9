"""The work folder of an output that is being made: what a killed command leaves, and the same command resumes from."""

import hashlib
import json
import os
import platform
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

from yt8m_data import cores, shards, storage
from yt8m_data.errors import DataError

_NAME, _PLAN = ".spill-work.tmp", "plan.json"


class Work(NamedTuple):
    """A work folder.

    Attributes:
      folder: within the output.
      spill: where runs are spilled: in the same folder, or where temporary files go if that is in a store.
      resumed: whether the command that made it was killed, and goes on.
    """

    folder: storage.OnePath
    spill: Path
    resumed: bool

    @property
    def done(self) -> storage.OnePath:
        """The folder that has a note on each finished unit of work."""
        return self.folder / "done"

    def runs(self, shuffle: str) -> str:
        """The folder of the runs of a shuffle."""
        return str(self.spill / shuffle)

    def remove(self) -> None:
        """Remove the folder when the output is finished; the plan last, so that a kill meanwhile leaves something to resume."""
        with ThreadPoolExecutor(cores.available()) as pool:  # most of it lies in the page cache, where giving back its pages takes a while
            list(pool.map(os.unlink, filter(os.path.isfile, self.spill.rglob("*"))))
        shutil.rmtree(self.spill, ignore_errors=True)
        storage.remove_tree(self.done)
        storage.remove_tree(self.folder)


def open_work(output: str, plan: dict[str, Any], overwrite: bool) -> Work:
    """Make the output folder and its work folder; or find that the same command was killed there, and resume it.

    Args:
      output: the folder of the output.
      plan: all that the output depends on, ready for JSON.
      overwrite: whether to remove what is there, unless it is to be resumed.

    Raises:
      DataError: the folder holds a finished output, or the beginning of another one, and `overwrite` is not set; or foreign files.
    """
    found = find_work(output, plan, overwrite)
    if found is not None:
        return found
    shards.prepare_output(output, overwrite)
    folder, spill = _places(output, plan)
    shutil.rmtree(spill, ignore_errors=True)
    work = Work(folder, spill, False)
    for path in (spill, work.done):
        path.mkdir(parents=True)
    shards.write_json(folder / _PLAN, plan)
    return work


def find_work(output: str, plan: dict[str, Any], overwrite: bool) -> Work | None:
    """Find what the same command has left where it was killed; None where there is nothing to resume, and an output can be begun.

    Of a finished output the work folder is removed, where a kill has prevented that.

    Raises:
      DataError: as `open_work`.
    """
    folder, spill = _places(output, plan)
    if (folder.parent / shards.MANIFEST).exists() and folder.exists():
        shutil.rmtree(spill, ignore_errors=True)
        storage.remove_tree(folder)
    if not (folder / _PLAN).exists():
        shards.check_output(output, overwrite)
        return None
    begun = shards.read_json(folder / _PLAN)
    differing = [key for key in plan if begun.get(key) != plan[key]]
    if not differing:
        _remove_halves(output)
        spill.mkdir(parents=True, exist_ok=True)  # of an output in a store it may be on another machine
        return Work(folder, spill, True)
    if not overwrite:
        what = ", ".join(differing)
        raise DataError(f"{output} holds the beginning of another output (of other {what}): finish that, or --overwrite to replace it")
    return None


def _places(output: str, plan: dict[str, Any]) -> tuple[storage.OnePath, Path]:
    """The work folder, and where runs are spilled: a folder that the same command finds again, and no other."""
    folder = storage.to_path(output) / _NAME
    if isinstance(folder, Path):
        return folder, folder / "runs"
    digest = hashlib.blake2b(json.dumps([output, plan]).encode(), digest_size=8).hexdigest()
    return folder, Path(tempfile.gettempdir()) / f"yt8m-spill-{digest}"


def _remove_halves(output: str) -> None:
    """Remove what was half-written when the command was killed; objects of a store appear whole."""
    if storage.is_remote(output):
        return
    for path in [*Path(output).glob(".*.tmp"), *Path(output).glob("*/.*.tmp"), *(Path(output) / _NAME).glob("*/.*.tmp")]:
        if path.is_file():
            path.unlink()
        elif path.name != _NAME:
            shutil.rmtree(path)


def versions() -> dict[str, str]:
    """Return the versions that an output depends on."""
    packages = ("yt8m-data", "apache-beam", "numpy", "pyarrow", "protobuf")
    return {"python": platform.python_version(), **{name: metadata.version(name) for name in packages}}
