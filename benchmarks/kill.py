"""Kill a job with all its processes at random moments and run it again: `python benchmarks/kill.py [--kills N] -- COMMAND...`.

COMMAND is a `yt8m-data` command that writes into OUT, a word that stands for the folder, as in

    python benchmarks/kill.py -- shard 'yt8m/*.tfrecord' OUT --num-shards 12 --workers 2

It is run once unbroken; then, for each row of the table, it is killed (SIGKILL, the whole process group) at a random moment of the time
that took, and run again to its end. The outputs must be equal, byte by byte; the exit status is 1 if one is not.
"""

import argparse
import hashlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

CALL = [sys.executable, "-c", "import cli; cli.yt8m_data()"]


def start(words: list[str], out: Path) -> subprocess.Popen:
    arguments = [str(out) if word == "OUT" else word for word in words]
    return subprocess.Popen([*CALL, *arguments], start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def finish(words: list[str], out: Path) -> str:
    """Run to the end; return what it says on stderr."""
    process = start(words, out)
    said = process.communicate()[1]
    if process.returncode and "holds a finished output" not in said:
        sys.exit(f"exit status {process.returncode}: {said}")
    return said


def digests(folder: Path) -> dict[str, str]:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def left(out: Path) -> str:
    """What a killed job left: finished runs, and finished tasks or shards."""
    runs, tasks = (len(list(out.glob(f".spill-work.tmp/{part}/*.json"))) for part in ("runs", "done"))
    state = "finished" if (out / "manifest.json").exists() else "nothing" if not out.exists() else "unfinished"
    return f"{state}, {runs} runs, {tasks} tasks"


def main() -> None:
    parser = argparse.ArgumentParser(description="Kill a job at random moments and run it again.")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("words", nargs=argparse.REMAINDER)
    options = parser.parse_args()
    words = options.words[1:] if options.words[:1] == ["--"] else options.words
    if "OUT" not in words:
        parser.error("give a command with OUT for its output folder")
    random, different = np.random.default_rng(options.seed), 0
    with tempfile.TemporaryDirectory(prefix="yt8m-kill-") as folder:
        begin = time.perf_counter()
        finish(words, Path(folder) / "whole")
        whole, seconds = digests(Path(folder) / "whole"), time.perf_counter() - begin
        print(
            f"{len(whole)} files in {seconds:.1f} s without a kill\n{'killed after':>12}  {'left behind':<34}{'on the next run':<52}equal"
        )
        for number in range(options.kills):
            out, moment = Path(folder) / str(number), random.uniform(0.2, 1.0) * seconds
            process = start(words, out)
            try:
                process.wait(moment)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            state = left(out)
            said = finish(words, out)
            found = re.search(r".* were found finished.*", said)
            equal = digests(out) == whole
            different += not equal
            note = found[0] if found else "refused: finished" if "finished output" in said else "nothing was found finished"
            print(f"{moment:>10.1f} s  {state:<34}{note:<96}{'yes' if equal else 'NO'}", flush=True)
    sys.exit(bool(different))


if __name__ == "__main__":
    main()
