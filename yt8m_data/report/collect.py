"""`yt8m-data report`: gather what the jobs wrote, for the HTML page."""

import csv
import io
import json
import platform
from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import Any

import numpy as np

from yt8m_data import shards
from yt8m_data.errors import DataError
from yt8m_data.report.html import Stage, write_report
from yt8m_data.report.painters import HERE, Painters
from yt8m_data.report.tables import METRICS
from yt8m_data.storage import OnePath, check_target, to_path

BAD_SHOWN = 20
_METRICS = "metrics.json"


def write(
    folders: Sequence[str],
    out: str | None = None,
    runs: Sequence[str] = (),
    names: Mapping[int, str] | None = None,
    command: str = "",
    painters: Painters = HERE,
) -> OnePath:
    """Write the page on the output of a job, and on runs of the trainer; return its path.

    Args:
      folders: the output of `augment`, or of `stats`, or two of `stats`: before and after.
      out: the HTML file; by default `report.html` in the last folder.
      runs: as in "plain=runs/plain": the name to show, and a folder of `yt8m-train fit`, or a file of `evaluate --out`.
      names: class names; by default those that `stats` was given.
      command: the command line, to show.
      painters: who draws the plots.

    Raises:
      DataError: a folder is no finished output of `augment` or `stats`, there are too many, or a run has no metrics.
    """
    parts = [to_path(folder) for folder in folders]
    training = [_run(run) for run in runs]
    if len(parts) == 1 and (parts[0] / shards.MANIFEST).exists():
        contents = _augmented(parts[0])
    elif len(parts) in (1, 2):
        contents = _counted(parts)
    else:
        raise DataError(f"a report is of one folder, or of two (before and after), not of {len(parts)}")
    path = to_path(out) if out else parts[-1] / "report.html"
    check_target(path)
    names = _names(parts[-1]) if names is None else names
    write_report(path, **contents, names=names, command=command, training=training, painters=painters)
    return path


def _augmented(folder: OnePath) -> dict[str, Any]:
    manifest = shards.read_json(folder / shards.MANIFEST)
    if manifest.get("job") != "augment":
        raise DataError(f"{folder} is the output of {manifest.get('job')!r}, not of yt8m-data augment or stats")
    stages = [Stage(name, shards.read_json(folder / f"stats_{name.lower()}.json")) for name in ("Before", "After")]
    return {
        "title": "Before and after augmentation",
        "stages": stages,
        "manifest": manifest,
        "bad": _bad(folder),
        "versions": manifest["versions"],
    }


def _counted(folders: Sequence[OnePath]) -> dict[str, Any]:
    names = ["Videos"] if len(folders) == 1 else ["Before", "After"]
    stages = []
    for name, folder in zip(names, folders, strict=True):
        if not (folder / "stats.json").exists():
            raise DataError(
                f"{folder} has no stats.json and no {shards.MANIFEST}: give the folder of a finished yt8m-data stats or augment"
            )
        stages.append(Stage(name, shards.read_json(folder / "stats.json"), _cooccurrence(folder)))
    classes = [len(stage.stats["label_counts"]) for stage in stages]
    if len(set(classes)) > 1:
        raise DataError(f"{folders[0]} has {classes[0]} classes and {folders[1]} has {classes[1]}: these cannot be before and after")
    title = "Label statistics" if len(folders) == 1 else "Before and after"
    return {"title": title, "stages": stages, "bad": _bad(folders[0]), "versions": versions()}


def _run(run: str) -> dict[str, Any]:
    name, separator, path = run.partition("=")
    if not separator:
        raise DataError(f"--run {run!r} is not NAME=PATH")
    found = to_path(path)
    if found.is_dir() and not (found / _METRICS).exists():
        raise DataError(f"{path} has no {_METRICS}: evaluate it with --out FILE, and give that file as --run {name}=FILE")
    metrics = shards.read_json(found / _METRICS if found.is_dir() else found)
    if not isinstance(metrics, dict) or not METRICS.keys() & metrics.keys():
        raise DataError(
            f"{path} holds none of {', '.join(METRICS)}: give a folder of yt8m-train fit, or a file of evaluate --out, to --run"
        )
    return {"name": name, **metrics}


def _cooccurrence(folder: OnePath) -> dict[str, np.ndarray] | None:
    path = folder / "cooccurrence.npz"
    if not path.exists():
        return None
    with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as found:
        return {key: found[key] for key in ("data", "indices", "indptr", "shape")}


def _bad(folder: OnePath) -> list[dict[str, Any]]:
    """The first bad records."""
    path = folder / "bad_records.jsonl"
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_bytes().splitlines()[:BAD_SHOWN]]


def _names(folder: OnePath) -> dict[int, str]:
    """The names that `stats` wrote beside the counts, where it was given a vocabulary."""
    path = folder / "label_counts.csv"
    if not path.exists():
        return {}
    rows = csv.DictReader(io.StringIO(path.read_bytes().decode(), newline=""))
    return {int(row["Index"]): row["Name"] for row in rows if row.get("Name")}


def versions() -> dict[str, str]:
    """Return the versions that the statistics and the plots depend on."""
    packages = ("yt8m-data", "apache-beam", "numpy", "pyarrow", "matplotlib")
    return {"python": platform.python_version(), **{name: metadata.version(name) for name in packages}}
