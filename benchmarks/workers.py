"""What a second worker gains, on two cores: `python benchmarks/workers.py [--folder DIR] [--rounds N] [--jobs stats shard augment]`.

The whole commands `yt8m-data stats`, `shard` and `augment` run over video-level shards in three ways in turn, each in a new process, with
imports, after what the one before wrote has been removed, untimed:

  one core   `--workers 1`, and all its threads and processes share one core
  one        `--workers 1` with both cores: BLAS, the search for neighbours and compression have threads, so it uses some of the second core
  two        `--workers 2` with both cores

The first ratio, one core / two, tells what a second core gains with the worker on it; the second, one / two, what `--workers 2` gains on a
machine that has two cores anyway. Beside them stands what the machine lets two processes gain at all, measured in the same rounds: the bare
work of the job without Beam, by one process over all files and by two over half of the files each, from when they have imported everything
until the last one is done. Memory, its pages and the disk serve both processes.

The row in the middle is the part of the command in which Beam runs, as the command tells it at its end: without the start of Python, the
imports, the plans, the fits and the plots, which no worker has a part in.

The figures are medians over the rounds. CPU is the processor time of all processes. The shards are made once in the folder and kept.
"""

import argparse
import contextlib
import math
import multiprocessing
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

CORES = sorted(os.sched_getaffinity(0))[:2]
os.sched_setaffinity(0, CORES)  # before anything counts the cores

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
WAYS = {"one core": (1, CORES[:1]), "one": (1, CORES), "two": (2, CORES)}  # the workers, and the cores that they may have
Taken = tuple[float, float]  # seconds by the wall, and of all processors
PASS = re.compile(r"^\w+: ([\d,]+) records in .* \(([\d,]+)/s\)$", re.MULTILINE)  # of a command, on stderr


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
    heads = "".join(f"{way + ': wall':>15}{'CPU':>7}" for way in WAYS)
    print(f"{'':<24}{heads}{'one core / two':>16}{'one / two':>11}")
    for job in options.jobs:
        measure(job, files, out, options.rounds)


def measure(job: str, files: list[str], out: str, rounds: int) -> None:
    """Run a job and its bare work in turn in all ways, and print the medians."""
    taken: dict[tuple[str, str], list[Taken]] = {}
    written = out if JOBS[job][1] else None
    whole, in_beam, bare = f"yt8m-data {job}", "  of that, Beam", f"  bare: {'read and write' if written else 'read'}"
    for _ in range(rounds):
        for way, (workers, cores) in WAYS.items():
            command, beam = run_command(job, files, out, workers, cores)
            shutil.rmtree(out, ignore_errors=True)
            taken.setdefault((whole, way), []).append(command)
            taken.setdefault((in_beam, way), []).append((beam, float("nan")))
        for way, (workers, cores) in WAYS.items():
            taken.setdefault((bare, way), []).append(run_bare(files, written, workers, cores))
            shutil.rmtree(out, ignore_errors=True)
    for name in (whole, in_beam, bare):
        medians = {way: tuple(map(statistics.median, zip(*taken[name, way], strict=True))) for way in WAYS}
        figures = "".join(f"{wall:>15.2f}{'' if math.isnan(cpu) else format(cpu, '.2f'):>7}" for wall, cpu in medians.values())
        on_one_core, one, two = (wall for wall, _ in medians.values())
        print(f"{name:<24}{figures}{on_one_core / two:>15.2f}x{one / two:>10.2f}x", flush=True)


def run_command(job: str, files: list[str], out: str, workers: int, cores: list[int]) -> tuple[Taken, float]:
    """What the command took, and the seconds by the wall in which Beam ran."""
    pattern = os.path.join(os.path.dirname(files[0]), "*.tfrecord")
    middle = ["--out", out] if job == "stats" else [out, *JOBS[job][0]]
    started = time.perf_counter()
    with held_to(cores):
        call = [*COMMAND, job, pattern, *middle, "--workers", str(workers)]
        running = subprocess.Popen(call, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    told = running.stderr.read()
    _, status, usage = os.wait4(running.pid, 0)
    wall = time.perf_counter() - started
    if status:
        raise SystemExit(f"yt8m-data {job} --workers {workers} failed:\n{told}")
    beam = sum(int(records.replace(",", "")) / int(rate.replace(",", "")) for records, rate in PASS.findall(told))
    return (wall, usage.ru_utime + usage.ru_stime), beam  # of the workers as well, each of which its parent has waited for


@contextlib.contextmanager
def held_to(cores: list[int]) -> Iterator[None]:
    """Hold processes that are started in the block to some cores, as they take that from this one."""
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, CORES)


def run_bare(files: list[str], out: str | None, workers: int, cores: list[int]) -> Taken:
    context = multiprocessing.get_context("spawn")
    ready, used = context.Barrier(workers + 1), context.Queue()
    parts = [files[number::workers] for number in range(workers)]
    started = [context.Process(target=bare, args=(part, out, ready, used)) for part in parts]
    with held_to(cores):
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
