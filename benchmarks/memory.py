"""Time and memory of a job over data of 1, 4 and 16 times a size: `python benchmarks/memory.py [--unit 100MB] [--budget 256MB]`.

Makes the data, runs `yt8m-data shard` (or another job: `--job`) on each with one memory budget, and samples the resident memory of all its
processes together, pages that they share counted in each. Time should grow as the data does, memory not at all.
"""

import argparse
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
INTERVAL = 0.05  # seconds between two samples
SHARDS = 16  # of each size


def watch(words: list[str]) -> tuple[float, int, int]:
    """Run a command; return the seconds it took, the peak of the memory of its processes in bytes, and the number of these."""
    start = time.perf_counter()
    call = [sys.executable, "-c", "import cli; cli.yt8m_data()", *words]
    process = psutil.Popen(call, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    peak = processes = 0
    while process.poll() is None:
        used = []
        try:
            for each in [process, *process.children(recursive=True)]:
                used.append(each.memory_info().rss)
        except psutil.NoSuchProcess:  # one ended meanwhile
            continue
        peak, processes = max(peak, sum(used)), max(processes, len(used))
        time.sleep(INTERVAL)
    if process.returncode:
        sys.exit(f"exit status {process.returncode}: {words}")
    return time.perf_counter() - start, peak, processes


def main() -> None:
    parser = argparse.ArgumentParser(description="Time and memory of a job over growing data.")
    parser.add_argument("--unit", default="100MB", help="size of the smallest data")
    parser.add_argument("--times", default="1,4,16")
    parser.add_argument("--budget", default="256MB")
    parser.add_argument("--kind", choices=list(RECORD_BYTES), default="frame")
    parser.add_argument("--job", default="shard", help="a command that takes PATTERNS OUT --memory-budget --workers")
    parser.add_argument("--workers", default="2")
    parser.add_argument("--folder", help="where to put the data; a temporary one by default")
    options = parser.parse_args()
    print(f"yt8m-data {options.job} --memory-budget {options.budget} --workers {options.workers}, {options.kind}-level")
    print(f"{'data, MB':>10}{'records':>10}{'seconds':>10}{'MB/s':>8}{'peak of all processes, MB':>28}{'processes':>11}")
    with tempfile.TemporaryDirectory(prefix="yt8m-memory-", dir=options.folder) as folder:
        for times in map(int, options.times.split(",")):
            records = times * memory.parse_bytes(options.unit) // RECORD_BYTES[options.kind]
            data, out = Path(folder) / f"data-{times}", Path(folder) / f"out-{times}"
            made = write(SyntheticSpec(options.kind, records), str(data), SHARDS)
            size = sum(shard["bytes"] for shard in made["shards"])
            words = [options.job, str(data / "*.tfrecord"), str(out), "--memory-budget", options.budget, "--workers", options.workers]
            seconds, peak, processes = watch(words)
            rate = size / 1e6 / seconds
            print(f"{size / 1e6:>10,.0f}{records:>10,}{seconds:>10.1f}{rate:>8.0f}{peak / 1e6:>28,.0f}{processes:>11}", flush=True)
            for path in [*data.iterdir(), *(path for path in out.rglob("*") if path.is_file())]:
                path.unlink()


if __name__ == "__main__":
    main()
