"""`yt8m-data demo`: the whole path as a user would type it, each command printed before it runs."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

from yt8m_data import shards
from yt8m_data.errors import DataError

RECORDS, HELD_OUT, SHARDS, CLASSES = 6000, 2000, 12, 200
THRESHOLD = 150  # of made data; real shards take the default, which is made for 3,862 classes
STEPS = 300  # as many for both runs, so that the augmented one has no more training


def run(out: str) -> None:
    """Make shards (or take those of YT8M_DATA), count, augment, train, ask neighbours, evaluate and report, all in the folder `out`.

    YT8M_DATA is a folder of labelled video-level shards (`*.tfrecord`); the last fifth of them, by name, is held out.

    Raises:
      DataError: the folder is not empty, or YT8M_DATA holds fewer than five shards.
    """
    folder = Path(out)
    if folder.exists() and any(folder.iterdir()):
        raise DataError(f"{out} is not empty: remove it, or give another folder with --out")
    folder.mkdir(parents=True, exist_ok=True)
    train, held_out = _data(folder)
    stats, augmented = folder / "stats", folder / "augmented"
    _command("yt8m-data", "stats", *train, "--out", stats)
    threshold = [] if os.environ.get("YT8M_DATA") else ["--threshold", THRESHOLD]
    _command("yt8m-data", "augment", *train, augmented, "--counts", stats / "stats.json", *threshold)
    settings = ["--set", f"training.steps={STEPS}"]
    for name, shards_of_run in (("plain", train), ("augmented", [augmented / "*.tfrecord"])):
        patterns = [part for pattern in shards_of_run for part in ("--train", pattern)]
        held = [part for pattern in held_out for part in ("--eval", pattern)]
        _command("yt8m-train", "fit", "moe", *patterns, *held, "--out", folder / "runs" / name, *settings)
    data = [part for pattern in held_out for part in ("--data", pattern)]
    _command("yt8m-train", "neighbors", folder / "runs" / "plain", "--out", folder / "runs" / "neighbors")
    shown: list[object] = []
    for name in ("plain", "augmented", "neighbors"):
        told = ["--counts", stats / "stats.json", "--out", folder / f"{name}.json"]  # classes by the same counts
        _command("yt8m-train", "evaluate", folder / "runs" / name, *data, *told)
        shown += ["--run", f"{name}={folder / f'{name}.json'}"]
    _command("yt8m-data", "report", augmented, *shown, "--out", folder / "report.html")


def _data(folder: Path) -> tuple[list[object], list[object]]:
    """Return the patterns of the shards to train on, and of those held out."""
    given = os.environ.get("YT8M_DATA")
    if given:
        files = shards.expand([os.path.join(given, "*.tfrecord")])
        if len(files) < 5:
            raise DataError(f"YT8M_DATA={given} holds {len(files)} shards: the demo needs five or more, to hold a fifth of them out")
        cut = len(files) * 4 // 5
        return [*files[:cut]], [*files[cut:]]
    for part, records, seed in (("train", RECORDS, 0), ("held-out", HELD_OUT, 1)):
        options = ["--records", records, "--shards", SHARDS, "--classes", CLASSES, "--seed", seed]
        _command("yt8m-data", "synth", folder / part, *options)
    return [folder / "train" / "*.tfrecord"], [folder / "held-out" / "*.tfrecord"]


def _command(program: str, *arguments: object) -> None:
    """Print a command and run it; its own error is shown by itself, and ends the demo."""
    words = [program, *map(str, arguments)]
    shown = words if len(words) < 40 else [*words[:8], "...", *words[-6:]]
    print("$", shlex.join(shown), file=sys.stderr, flush=True)
    group = program.replace("-", "_")
    call = [sys.executable, "-c", f"import cli; cli.{group}()", *words[1:]]
    if subprocess.run(call).returncode:
        raise DataError(f"the demo stopped at: {shlex.join(shown)}")
