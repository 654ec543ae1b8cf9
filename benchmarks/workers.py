"""What a second worker gains, on two cores: `python benchmarks/workers.py [--folder DIR] [--rounds N] [--jobs stats shard augment]`.

The whole commands `yt8m-data stats`, `shard` and `augment` run over video-level shards with one worker and with two in turn, each in a new
process, imports and all, after what the one before wrote has been removed, untimed. Beside them stands what the machine lets two processes
gain at all, measured in the same rounds: the bare work of the job without Beam, by one process over all files and by two over half of the
files each, from when they have imported everything until the last one is done. Memory, its pages and the disk serve both processes.

The figures are medians over the rounds. CPU is the processor time of all processes. The shards are made once in the folder and kept.
"""

import argparse
import multiprocessing
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[:2]))  # before anything counts the cores

from yt8m_data import codec, synth, tfrecord  # noqa: E402
from yt8m_data.schema import sniff  # noqa: E402
from yt8m_data.shards import expand  # noqa: E402
from yt8m_data.storage import atomic_write  # noqa: E402
from yt8m_data.synthetic import SyntheticSpec  # noqa: E402

VIDEOS, SHARDS = 430_000, 16  # 2.0 GB
COMMAND = [sys.executable, "-c", "from cli import yt8m_data; yt8m_data()"]
JOBS = {  # their options, and whether their bare work writes what it has read
    "stats": (["--out"], False),
    "shard": ([], True),
    "augment": (["--threshold", "2000", "--neighbors", "1", "--method", "interpolate"], True),
}
Taken = tuple[float, float]  # seconds by the wall, and of all processors


def main() -> None:
    parser = argparse.ArgumentParser(description="What a second worker gains, on two cores.")
    parser.add_argument("--folder", default=os.path.join(tempfile.gettempdir(), "yt8m-bench-workers"), help="where the shards are kept")
    parser.add_argument("--videos", type=int, default=VIDEOS, help="how many are made")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--jobs", nargs="*", choices=list(JOBS), default=["stats", "shard"])
    options = parser.parse_args()
    made, out = os.path.join(options.folder, "made"), os.path.join(options.folder, "out")
    if not os.path.exists(os.path.join(made, "manifest.json")):
        synth.write(SyntheticSpec("video", options.videos), made, SHARDS, overwrite=True)
    files = expand([os.path.join(made, "*.tfrecord")])
    size = sum(len(Path(path).read_bytes()) for path in files)  # and into the page cache
    print(f"{size / 1e9:.2f} GB in {len(files)} files, {options.rounds} rounds\n")
    print(f"{'':<36}{'one: wall':>10}{'CPU':>8}{'two: wall':>10}{'CPU':>8}{'one / two':>10}")
    for job in options.jobs:
        measure(job, files, out, options.rounds)


def measure(job: str, files: list[str], out: str, rounds: int) -> None:
    """Run a job and its bare work in turn with one worker and two, and print the medians."""
    taken: dict[tuple[str, int], list[Taken]] = {}
    writes = JOBS[job][1]
    rows: dict[str, Callable[[int], Taken]] = {
        f"yt8m-data {job}": lambda workers: run_command(job, files, out, workers),
        f"  bare: {'read and write' if writes else 'read'}": lambda workers: run_bare(files, out if writes else None, workers),
    }
    for _ in range(rounds):
        for name, run in rows.items():
            for workers in (1, 2):
                taken.setdefault((name, workers), []).append(run(workers))
                shutil.rmtree(out, ignore_errors=True)
    for name in rows:
        (one, one_cpu), (two, two_cpu) = (map(statistics.median, zip(*taken[name, workers], strict=True)) for workers in (1, 2))
        print(f"{name:<36}{one:>10.2f}{one_cpu:>8.2f}{two:>10.2f}{two_cpu:>8.2f}{one / two:>9.2f}x", flush=True)


def run_command(job: str, files: list[str], out: str, workers: int) -> Taken:
    pattern = os.path.join(os.path.dirname(files[0]), "*.tfrecord")
    middle = ["--out", out] if job == "stats" else [out, *JOBS[job][0]]
    started = time.perf_counter()
    running = subprocess.Popen([*COMMAND, job, pattern, *middle, "--workers", str(workers)], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(running.pid, 0)
    wall = time.perf_counter() - started
    if status:
        raise SystemExit(f"yt8m-data {job} --workers {workers} failed")
    return wall, usage.ru_utime + usage.ru_stime  # of the workers as well, each of which its parent has waited for


def run_bare(files: list[str], out: str | None, workers: int) -> Taken:
    context = multiprocessing.get_context("spawn")
    ready, used = context.Barrier(workers + 1), context.Queue()
    parts = [files[number::workers] for number in range(workers)]
    started = [context.Process(target=bare, args=(part, out, ready, used)) for part in parts]
    for process in started:
        process.start()
    ready.wait()
    begun = time.perf_counter()
    cpu = sum(used.get() for _ in started)
    wall = time.perf_counter() - begun
    for process in started:
        process.join()
    return wall, cpu


def bare(files: list[str], out: str | None, ready: multiprocessing.Barrier, used: multiprocessing.Queue) -> None:
    """Read, check and decode all records of some files; with `out`, encode and write them as well."""
    schema = sniff(files[0])
    if out:
        os.makedirs(out, exist_ok=True)
    ready.wait()
    before = time.process_time()
    for path in files:
        with open(path, "rb", buffering=0) as stream:
            batches = (codec.decode(block, schema).batch for block in tfrecord.read(stream, path))
            if out is None:
                for _ in batches:
                    pass
                continue
            with atomic_write(os.path.join(out, os.path.basename(path))) as written:
                for batch in batches:
                    tfrecord.write(written, codec.encode(batch, schema))
    used.put(time.process_time() - before)


if __name__ == "__main__":
    main()
