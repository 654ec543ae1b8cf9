"""Kill a job with all its processes at random moments and run it again: `python benchmarks/kill.py [--kills N] -- COMMAND...`.

COMMAND is a `yt8m-data` command that writes into OUT, a word that stands for the folder, as in

    python benchmarks/kill.py -- shard 'yt8m/*.tfrecord' OUT --num-shards 12 --workers 2
    python benchmarks/kill.py -- augment 'yt8m/*.tfrecord' OUT --counts stats/stats.json --workers 2

It is run once unbroken; then, for each row of the table, it is killed (SIGKILL, the whole process group) at a random moment of the time
that took, and run again to its end. A job that had not begun to write by then, or had finished, does not count. The outputs must be equal,
byte by byte, but for the report, which holds the command line; and what the second run says it found finished must be at least what the
first left finished. The exit status is 1 if not.
"""

import argparse
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np

CALL = [sys.executable, "-c", "import cli; cli.yt8m_data()"]
STEPS = {
    "file": "files",
    "files": "files",
    "pools": "pools",
    "task": "tasks",
    "shards": "parts of the output",
}  # names of notes -> what a resumed job calls them


def start(words: list[str], out: Path) -> subprocess.Popen:
    arguments = [str(out) if word == "OUT" else word for word in words]
    return subprocess.Popen([*CALL, *arguments], start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def finish(words: list[str], out: Path) -> str:
    """Run to the end; return what it says on stderr."""
    process = start(words, out)
    said = process.communicate()[1]
    if process.returncode:
        sys.exit(f"exit status {process.returncode}: {said}")
    return said


def digests(folder: Path) -> dict[str, str]:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and not str(path.relative_to(folder)).startswith("report")]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def left(out: Path) -> Counter[str]:
    """The files and other parts of the work that a killed job left finished, by step."""
    counted: Counter[str] = Counter()
    for path in out.glob(".spill-work.tmp/done/*.pickle"):
        name, first, *last = path.stem.split("-")
        if name in STEPS:
            counted[STEPS[name]] += int(last[0]) - int(first) + 1 if last else 1
    return counted


def found(said: str) -> dict[str, tuple[int, int]]:
    """What a resumed job found finished, and what it did, by step."""
    told = re.findall(r"(\d+) of (\d+) ([a-z ]+) were found finished", said)
    return {step: (int(some), int(every) - int(some)) for some, every, step in told}


def main() -> None:
    parser = argparse.ArgumentParser(description="Kill a job at random moments and resume it.")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("words", nargs=argparse.REMAINDER)
    options = parser.parse_args()
    words = options.words[1:] if options.words[:1] == ["--"] else options.words
    if "OUT" not in words:
        parser.error("give a command with OUT for its output folder")
    random, wrong = np.random.default_rng(options.seed), 0
    with tempfile.TemporaryDirectory(prefix="yt8m-kill-") as folder:
        begin = time.perf_counter()
        finish(words, Path(folder) / "whole")
        whole, seconds = digests(Path(folder) / "whole"), time.perf_counter() - begin
        print(
            f"{len(whole)} files in {seconds:.1f} s without a kill; then, of each step, finished when killed: found + done by the next run"
        )
        for number in range(options.kills):
            out = Path(folder) / "out"
            while True:
                moment, begin = random.uniform(0.1, 1.0) * seconds, time.perf_counter()
                process = start(words, out)
                try:
                    process.wait(moment)
                except subprocess.TimeoutExpired:
                    os.killpg(process.pid, signal.SIGKILL)
                process.communicate()
                if out.exists() and not (out / "manifest.json").exists():
                    break
                if not process.returncode:
                    seconds = time.perf_counter() - begin  # it was faster this time
                shutil.rmtree(out, ignore_errors=True)
            before, after = left(out), found(finish(words, out))
            good = digests(out) == whole and all(after[step][0] >= count for step, count in before.items())
            wrong += not good
            steps = ", ".join(f"{step} {before.get(step, 0)}: {some} + {done}" for step, (some, done) in after.items())
            print(f"{number + 1:>3}  {moment:>6.1f} s  {steps:<80}{'equal' if good else 'WRONG'}", flush=True)
            shutil.rmtree(out)
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
