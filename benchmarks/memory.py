"""Time and memory of a job over data of 1, 4 and 16 times a size: `python benchmarks/memory.py [--unit 100MB] -- COMMAND...`.

COMMAND is a `yt8m-data` command that reads IN and writes OUT, words that stand for a pattern and a folder, as in

    python benchmarks/memory.py --kind frame --unit 1.25GB -- shard IN OUT --memory-budget 2GB --workers 2
    python benchmarks/memory.py --kind video --unit 1.25GB -- augment IN OUT --workers 2

The data are made first, and the memory of all processes of the command together is sampled ten times a second. PSS is the proportional
set size: a page that several processes share counts once, and files that are mapped count as far as they are in memory; private is what
no other process shares. Time should grow as the data do, memory not at all. The disk needs room for one size at a time: data, spilled
data, output.
"""

import argparse
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from yt8m_data import memory
from yt8m_data.synth import write
from yt8m_data.synthetic import SyntheticSpec

RECORD_BYTES = {"video": 4_650, "frame": 266_000}
INTERVAL = 0.1  # seconds between two samples
SHARD_BYTES = 128 << 20  # of the data that are made


def used(process: psutil.Process) -> tuple[int, int, int]:
    """The proportional and anonymous memory of a process and its children, and their number."""
    shares = private = processes = 0
    for each in [process, *process.children(recursive=True)]:
        try:
            info = each.memory_full_info()
        except (psutil.NoSuchProcess, psutil.ZombieProcess):  # it ended meanwhile
            continue
        shares, private, processes = shares + info.pss, private + info.uss, processes + 1
    return shares, private, processes


def cpu_seconds() -> float:
    """The processor time of all children that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def watch(words: list[str]) -> tuple[float, float, int, int, int]:
    """Run a command; return its seconds, those of processors, the peaks of proportional and private memory, and of processes."""
    start, before = time.perf_counter(), cpu_seconds()
    call = [sys.executable, "-c", "import cli; cli.yt8m_data()", *words]
    process = psutil.Popen(call, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    peaks = (0, 0, 0)
    while process.poll() is None:
        peaks = tuple(map(max, peaks, used(process)))
        time.sleep(INTERVAL)
    if process.returncode:
        sys.exit(f"exit status {process.returncode}: {words}\n{process.stderr.read().decode()}")
    return time.perf_counter() - start, cpu_seconds() - before, *peaks


def main() -> None:
    parser = argparse.ArgumentParser(description="Time and memory of a job over growing data.")
    parser.add_argument("--unit", default="100MB", help="size of the smallest data")
    parser.add_argument("--times", default="1,4,16")
    parser.add_argument("--kind", choices=list(RECORD_BYTES), default="frame")
    parser.add_argument("--folder", help="where to put the data; a temporary one by default")
    parser.add_argument("words", nargs=argparse.REMAINDER)
    options = parser.parse_args()
    words = (options.words[1:] if options.words[:1] == ["--"] else options.words) or ["shard", "IN", "OUT", "--memory-budget", "256MB"]
    print(f"yt8m-data {' '.join(words)}, {options.kind}-level")
    names = {"data, MB": 10, "written, MB": 13, "records": 11, "seconds": 9, "CPU s": 8, "MB/s": 7, "PSS, MB": 9, "private, MB": 13}
    print("".join(f"{name:>{width}}" for name, width in names.items()) + f"{'processes':>11}", flush=True)
    for times in map(int, options.times.split(",")):
        with tempfile.TemporaryDirectory(prefix="yt8m-memory-", dir=options.folder) as folder:
            asked = times * memory.parse_bytes(options.unit)
            data, out = Path(folder) / "data", Path(folder) / "out"
            made = write(SyntheticSpec(options.kind, asked // RECORD_BYTES[options.kind]), str(data), max(4, asked // SHARD_BYTES))
            size, places = sum(shard["bytes"] for shard in made["shards"]), {"IN": str(data / "*.tfrecord"), "OUT": str(out)}
            seconds, busy, shares, private, processes = watch([places.get(word, word) for word in words])
            written = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
            row = (
                f"{size / 1e6:>10,.0f}{written / 1e6:>13,.0f}{made['records']:>11,}{seconds:>9.1f}{busy:>8.0f}{size / 1e6 / seconds:>7.0f}"
            )
            print(f"{row}{shares / 1e6:>9,.0f}{private / 1e6:>13,.0f}{processes:>11}", flush=True)
            shutil.rmtree(folder)
            Path(folder).mkdir()


if __name__ == "__main__":
    main()
