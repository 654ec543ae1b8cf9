"""`yt8m-data report`: gather what the jobs wrote, for the HTML page."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from yt8m_data import shards
from yt8m_data.errors import DataError
from yt8m_data.report.html import write_report


def write(augmented: str, runs: Sequence[str], out: str, names: Mapping[int, str] | None, command: str) -> None:
    """Write the page on the output of `augment` in the folder `augmented`, and on runs of the trainer.

    Args:
      augmented: the folder, with its manifest.
      runs: as in "plain=runs/plain": the name to show, and the run folder.
      out: the HTML file.
      names: class names.
      command: the command line, to show.

    Raises:
      DataError: the folder is no finished output of `augment`, or a run has no metrics.json.
    """
    folder = Path(augmented)
    if not (folder / shards.MANIFEST).exists():
        raise DataError(f"{augmented} has no {shards.MANIFEST}: give the folder of a finished yt8m-data augment")
    manifest = shards.read_json(folder / shards.MANIFEST)
    if manifest.get("job") != "augment":
        raise DataError(f"{augmented} is the output of {manifest.get('job')!r}, not of yt8m-data augment")
    training = []
    for run in runs:
        name, separator, path = run.partition("=")
        if not separator:
            raise DataError(f"--run {run!r} is not NAME=DIR")
        training.append({"name": name, **shards.read_json(Path(path) / "metrics.json")})
    write_report(
        out,
        title="Augmented shards",
        stats_before=shards.read_json(folder / "stats_before.json"),
        stats_after=shards.read_json(folder / "stats_after.json"),
        plan=manifest["plan"],
        manifest=manifest,
        training=training,
        plots={"Label counts before and after": folder / "zipf_before_after.png"},
        names=names,
        command=command,
        versions=manifest["versions"],
    )
