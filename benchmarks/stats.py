"""`yt8m-data stats` beside what one would write by hand, on two cores: `python benchmarks/stats.py [--folder DIR] [--rounds N]`.

Needs psutil and TensorFlow. The shards are made once in the folder and kept. Every contender runs once in each round, in turn, over files
that are in the page cache; the figures are medians over the rounds. Wall time stands beside the processor time of all processes, which
other work on the machine disturbs less. Prints four tables:

1. Video-level shards, two processes or threads each. The Beam pipeline that is written by hand counts labels and pairs and sums the
   features, or counts labels alone, as tf.data does: less than `stats`.
2. The first bytes of frame-level records, one thread each, and the bytes that were asked of the disk.
3. The label lists of the 2018 data through the same kernels, where they are at hand.
4. The memory of all processes together while `stats` runs, for 1x and 16x the data.
"""

import argparse
import contextlib
import itertools
import os
import resource
import statistics
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[:2]))  # before anything counts the cores
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import apache_beam as beam  # noqa: E402
import numpy as np  # noqa: E402
import psutil  # noqa: E402
import pyarrow as pa  # noqa: E402
import tensorflow as tf  # noqa: E402

from beam_jobs import inputs, runners, stats  # noqa: E402
from beam_jobs.transforms import ReadShards  # noqa: E402
from yt8m_data import codec, heads, synth  # noqa: E402
from yt8m_data.schema import Schema, sniff  # noqa: E402
from yt8m_data.shards import expand  # noqa: E402
from yt8m_data.statistics import Statistics, accumulators  # noqa: E402
from yt8m_data.synthetic import SyntheticSpec  # noqa: E402

SHARED = Path(os.environ.get("YT8M_SHARED", Path(__file__).resolve().parents[2] / "shared" / "data"))
ENGINE = runners.Engine(workers=2)
Counts = tuple[int, Counter, dict]
VIDEOS, VIDEO_SHARDS = 900_000, 96  # 4.2 GB
FRAME_VIDEOS, FRAME_SHARDS = 8_000, 8  # 2.1 GB
TIMES = 16  # how much more data the second memory figure is of


def main() -> None:
    parser = argparse.ArgumentParser(description="yt8m-data stats beside what one would write by hand, on two cores.")
    parser.add_argument("--folder", default=os.path.join(tempfile.gettempdir(), "yt8m-bench-stats"), help="where the made shards are kept")
    parser.add_argument("--data", help="video-level shards to take instead of made ones")
    parser.add_argument("--videos", type=int, default=VIDEOS, help="how many are made")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(2)
    tf.config.threading.set_inter_op_parallelism_threads(2)
    folder = Path(options.folder)
    videos = expand([options.data or made(folder / "video", "video", options.videos, VIDEO_SHARDS)])
    frames = expand([made(folder / "frame", "frame", FRAME_VIDEOS, FRAME_SHARDS)])
    for path in [*videos, *frames]:
        Path(path).read_bytes()  # into the page cache
    compare_jobs(videos, options.rounds)
    compare_scans(frames, options.rounds)
    time_label_lists()
    compare_memory(videos)


def made(folder: Path, kind: str, records: int, num_shards: int) -> str:
    """Make shards, unless they are there; return their pattern."""
    if not (folder / "manifest.json").exists():
        synth.write(SyntheticSpec(kind, records), str(folder), num_shards, overwrite=True)
    return str(folder / "*.tfrecord")


# --- Time -----------------------------------------------------------------------------------------------------------------


def compare_jobs(files: list[str], rounds: int) -> None:
    source = inputs.open_input(files)
    contenders: dict[str, Callable[[], int]] = {
        "yt8m-data stats (without the report)": lambda: count(source),
        "(c) read and decode alone": lambda: decode_alone(source),
        "(b) tf.data, labels alone": lambda: parse_labels(files, source.schema, 2),
        "(a) Beam, Example.FromString, by hand": lambda: count_by_hand(files, everything=True),
        "(a) the same, labels alone": lambda: count_by_hand(files, everything=False),
    }
    compare(f"{source.bytes / 1e9:.2f} GB of video-level shards", contenders, source.bytes, rounds)


def compare_scans(files: list[str], rounds: int) -> None:
    size, schema = sum(map(os.path.getsize, files)), sniff(files[0])
    contenders: dict[str, Callable[[], int]] = {
        "header scan: ids, labels, lengths": lambda: scan(files, schema)[0],
        "tf.data, labels alone": lambda: parse_labels(files, schema, 1),
    }
    compare(f"{size / 1e9:.2f} GB of frame-level shards, one thread", contenders, size, rounds, warm=True)
    bytes_read = scan(files, schema)[1]
    print(f"the header scan asks for {bytes_read / 1e6:.2f} MB, {bytes_read / size:.2%} of the files; ", end="")
    for path in files:
        drop_cache(path)
    before = psutil.Process().io_counters().read_bytes
    scan(files, schema)
    pages = psutil.Process().io_counters().read_bytes - before
    print(f"with a cold cache the disk gives {pages / 1e6:.2f} MB, {pages / size:.2%}")


def compare(title: str, contenders: dict[str, Callable[[], int]], num_bytes: int, rounds: int, warm: bool = False) -> None:
    """Run all contenders in rounds and print the medians; the first one is what the ratios are to.

    With `warm`, each runs once more before it is timed: a virtual machine that has taken back the memory which the one before gave up
    would charge for it the one that comes next, more than a whole scan takes.
    """
    wall: dict[str, list[float]] = {name: [] for name in contenders}
    cpu: dict[str, list[float]] = {name: [] for name in contenders}
    numbers = set()
    for _ in range(rounds):
        for name, run in contenders.items():
            if warm:
                run()
            used, started = processor_time(), time.perf_counter()
            with quiet():
                numbers.add(run())
            wall[name].append(time.perf_counter() - started)
            cpu[name].append(processor_time() - used)
    [number] = numbers  # every contender has seen every record
    first = next(iter(contenders))
    print(f"\n{f'{title}, {rounds} rounds':<52}{'seconds':>9}{'MB/s':>8}{'records/s':>12}{'ratio':>9}{'CPU s':>9}{'ratio':>9}")
    for name in contenders:
        seconds, used = statistics.median(wall[name]), statistics.median(cpu[name])
        ratios = seconds / statistics.median(wall[first]), used / statistics.median(cpu[first])
        rates = f"{num_bytes / seconds / 1e6:>8,.0f}{number / seconds:>12,.0f}"
        print(f"{name:<52}{seconds:>9.2f}{rates}{ratios[0]:>7.2f} x{used:>9.2f}{ratios[1]:>7.2f} x")


def processor_time() -> float:
    """Seconds of this process, of its children, and of theirs that have ended: workers are forked by a server."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    ended = sum(usage.ru_utime + usage.ru_stime for usage in usages)
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    times = [psutil.Process(int(child)).cpu_times() for child in children]
    return ended + sum(each.user + each.system + each.children_user + each.children_system for each in times)


def count(source: inputs.Input) -> int:
    with tempfile.TemporaryDirectory() as out:
        return stats.run(source, out, None, ENGINE)["num_records"]


def decode_alone(source: inputs.Input) -> int:
    def build(pipeline: beam.Pipeline, counter: object) -> object:
        read = pipeline | ReadShards(source.files, source.schema, False, counter)
        return read.batches | beam.Map(lambda batch: batch.num_rows) | beam.CombineGlobally(sum)

    return runners.run(ENGINE, "decode", source.bytes, None, build, lambda count: count)


class CountByHand(beam.CombineFn):
    """What one would write to count labels, and with `everything` pairs of labels and the moments of the features as well."""

    def __init__(self, everything: bool) -> None:
        self.everything = everything

    def create_accumulator(self) -> Counts:
        """Start with nothing: records, labels and pairs, sums and squares."""
        return 0, Counter(), {}

    def add_input(self, accumulator: Counts, example: tf.train.Example) -> Counts:
        """Count one record."""
        number, counts, sums = accumulator
        labels = example.features.feature["labels"].int64_list.value
        counts.update(labels)
        if self.everything:
            counts.update(itertools.combinations(sorted(labels), 2))
            for name in ("mean_rgb", "mean_audio"):
                vector = np.array(example.features.feature[name].float_list.value)
                total, squares = sums.get(name, (0.0, 0.0))
                sums[name] = total + vector, squares + vector**2
        return number + 1, counts, sums

    def merge_accumulators(self, accumulators: Iterable[Counts]) -> Counts:
        """Add up."""
        number, counts, sums = self.create_accumulator()
        for more, other, others in accumulators:
            number, counts = number + more, counts + other
            for name, (total, squares) in others.items():
                mine = sums.get(name, (0.0, 0.0))
                sums[name] = mine[0] + total, mine[1] + squares
        return number, counts, sums

    def extract_output(self, accumulator: Counts) -> int:
        """Return the number of records; the rest has been computed."""
        return accumulator[0]


def count_by_hand(files: list[str], everything: bool) -> int:
    pattern = os.path.join(os.path.dirname(files[0]), "*.tfrecord")

    def build(pipeline: beam.Pipeline, _: object) -> object:
        examples = pipeline | beam.io.ReadFromTFRecord(pattern) | beam.Map(tf.train.Example.FromString)
        return examples | beam.CombineGlobally(CountByHand(everything))

    return runners.run(ENGINE, "by hand", 0, None, build, lambda _: 0)


def parse_labels(files: list[str], schema: Schema, threads: int) -> int:
    columns = {schema.id_key: tf.io.FixedLenFeature([], tf.string), schema.labels_key: tf.io.RaggedFeature(tf.int64)}
    records = tf.data.TFRecordDataset(files, buffer_size=8 << 20, num_parallel_reads=threads if threads > 1 else None).batch(1024)
    options = tf.data.Options()
    options.threading.private_threadpool_size = threads
    options.threading.max_intra_op_parallelism = 1
    rows = (
        records.map(lambda batch: tf.io.parse_example(batch, columns), num_parallel_calls=threads).prefetch(threads).with_options(options)
    )
    counts, number = np.zeros(schema.num_classes, np.int64), 0
    for row in rows:
        counts += np.bincount(row[schema.labels_key].flat_values, minlength=schema.num_classes)
        number += int(row[schema.id_key].shape[0])
    return number


def scan(files: list[str], schema: Schema) -> tuple[int, int]:
    """Count labels by a header scan; return the records, and the bytes that were asked for."""
    counts, number, size = np.zeros(schema.num_classes, np.int64), 0, 0
    for path in files:
        with heads.LocalFile(path) as file:
            for block in heads.scan(file):
                batch = codec.decode_heads(block, schema).batch
                counts += np.bincount(batch.column("labels").flatten().to_numpy(), minlength=schema.num_classes)
                number, size = number + batch.num_rows, size + block.bytes_read
    return number, size


def time_label_lists() -> None:
    path = SHARED / "label-lists-2018.npz"
    if not path.exists():
        return
    arrays = np.load(path)
    offsets = np.concatenate(([0], np.cumsum(arrays["lens"], dtype=np.int64))).astype(np.int32)
    lists = pa.ListArray.from_arrays(pa.array(offsets), pa.array(arrays["labels"].astype(np.int32)))
    ids = pa.array([b"%d" % i for i in range(len(lists))], pa.binary())
    schema = Schema("video", "id", "labels", (), 3862)
    batch = pa.RecordBatch.from_arrays([ids, lists], schema=schema.arrow)
    started, used = time.perf_counter(), time.process_time()
    counted = Statistics(schema, accumulators(schema))
    for at in range(0, batch.num_rows, 4096):
        counted.add(batch.slice(at, 4096))
    counted.compact()
    pairs = len(counted.results()["cooccurrence"]["data"])
    print(f"\n{len(lists):,} label lists of 2018: counts, {pairs:,} entries of co-occurrence, sets and ids in ", end="")
    print(f"{time.perf_counter() - started:.2f} s ({time.process_time() - used:.2f} s of one core)")


# --- Memory ---------------------------------------------------------------------------------------------------------------


def compare_memory(files: list[str]) -> None:
    print(f"\n{'yt8m-data stats, peak memory of all processes':<52}{'data, GB':>9}{'PSS, MB':>9}")
    peaks = []
    for part in (files[: max(len(files) // TIMES, 1)], files):
        source = inputs.open_input(part)
        with quiet(), peak_memory() as peak:
            stats.compute(source, ENGINE)
        peaks.append(peak[0])
        print(f"{f'{len(part)} files':<52}{source.bytes / 1e9:>9.2f}{peak[0] / 1e6:>9.0f}")
    print(f"{'ratio':<52}{'':>9}{peaks[1] / peaks[0]:>7.2f} x")


@contextlib.contextmanager
def peak_memory() -> Iterator[list[int]]:
    """Watch the memory of this process's children, and what this one takes more than now; the yielded number is the peak.

    A page that processes share counts once (PSS): a child that has just been forked shares all of its parent's.
    """
    peak, done, before = [0], threading.Event(), resident(psutil.Process())

    def watch() -> None:
        while not done.wait(0.05):
            total = max(resident(psutil.Process()) - before, 0)
            for child in psutil.Process().children(recursive=True):
                with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                    total += resident(child)
            peak[0] = max(peak[0], total)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield peak
    finally:
        done.set()
        thread.join()


def resident(process: psutil.Process) -> int:
    return process.memory_full_info().pss


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Drop the progress lines of the jobs."""
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):
        yield


def drop_cache(path: str) -> None:
    with open(path, "rb") as stream:
        os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


if __name__ == "__main__":
    main()
