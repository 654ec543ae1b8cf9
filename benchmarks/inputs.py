"""Videos per second of the input pipeline beside the usual ones, on all cores: `python benchmarks/inputs.py [--seconds S] [--shuffled]`.

Usual at frame level: each example is parsed by itself, its frames are decoded, dequantised and padded to 300, and batches cross as float32.
Usual at video level: whole batches are parsed, and labels become a dense multi-hot. Ours decodes blocks of records with NumPy and
compiled loops; frames cross as uint8 and labels as padded ids. All read the same files out of the page cache, in passes over them as an
evaluation makes them, or shuffled without an end as a training does. Each has a process of its own, with the C library's memory as it is by
default and TensorFlow's own choice of parallel calls. They take turns, and the one whose turn it is not is stopped: what it would prepare
ahead would cost the other its time. Rates are by wall time; the processor time of all threads stands beside it.
"""

import argparse
import functools
import multiprocessing
import os
import signal
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf

from trainers.inputs import evaluation_batches, layout, training_batches
from trainers.recipe import DataSchema
from yt8m_data import heads, synth
from yt8m_data.shards import expand
from yt8m_data.synthetic import SyntheticSpec

SHARED = Path(os.environ.get("YT8M_SHARED", Path(__file__).resolve().parents[2] / "shared" / "data"))
AUTO = {"num_parallel_calls": tf.data.AUTOTUNE, "deterministic": True}
BATCH = {"video": 256, "frame": 64}
MADE = {"video": 20_000, "frame": 800}
PASSES = {"video": 4, "frame": 4}  # over the files in a round, so that what begins a pass does not matter
SHUFFLED = {"video": 4096, "frame": 256}  # records in the buffer of a shuffle
CLASSES = 3862


def main() -> None:
    options = argparse.ArgumentParser(description="Videos per second of the input pipeline beside the usual ones.")
    options.add_argument("--seconds", type=float, default=60, help="how long to measure each kind")
    options.add_argument("--kind", nargs="*", default=["video", "frame"])
    options.add_argument("--shuffled", action="store_true", help="as a training reads, not an evaluation")
    given = options.parse_args()
    for kind in given.kind:
        with tempfile.TemporaryDirectory() as folder:
            pattern = SHARED / "yt8m-2018-video" / "*.tfrecord" if kind == "video" else Path(folder) / "*.tfrecord"
            if kind == "frame" or not expand_or_none(pattern):
                synth.write(SyntheticSpec(kind, MADE[kind], CLASSES), folder, 4)
                pattern = Path(folder) / "*.tfrecord"
            measure(expand([str(pattern)]), given.seconds, given.shuffled)


def expand_or_none(pattern: Path) -> bool:
    return any(pattern.parent.glob(pattern.name)) if pattern.parent.is_dir() else False


def measure(files: list[str], seconds: float, shuffled: bool) -> None:
    data = layout(files, CLASSES)
    spawn = multiprocessing.get_context("spawn")
    with spawn.Pool(1) as ours, spawn.Pool(1) as usual:
        rounds: dict[str, list[tuple[int, float, float]]] = {"ours": [], "usual": []}
        numbers = {process: process.apply(os.getpid) for process in (ours, usual)}
        deadline = time.monotonic() + seconds
        while len(rounds["ours"]) < 4 or time.monotonic() < deadline:
            for name, process in (("ours", ours), ("usual", usual)):
                os.kill(numbers[process], signal.SIGCONT)
                rounds[name].append(process.apply(timed, (name, files * PASSES[data.kind], data, shuffled)))
                os.kill(numbers[process], signal.SIGSTOP)
        for number in numbers.values():
            os.kill(number, signal.SIGCONT)
    warm = {name: np.array(each[1:]) for name, each in rounds.items()}
    assert len(set(np.concatenate(list(warm.values()))[:, 0])) == 1, warm
    count, size = int(warm["ours"][0, 0]), sum(map(os.path.getsize, files)) / 1e6
    order = "shuffled" if shuffled else "in order"
    print(f"\n{count:,} {data.kind}-level videos a round, {size:,.0f} MB, {order}, {os.cpu_count()} cores, rounds: {len(warm['ours'])}")
    print(f"{'':32}{'videos/s':>10}{'CPU us/video':>14}{'time':>8}{'CPU':>8}")
    medians = {name: np.median(each, axis=0)[1:] for name, each in warm.items()}
    for name, (wall, work) in medians.items():
        ratio, work_ratio = (wall, work) / medians["ours"]
        print(f"{name:32}{count / wall:10,.0f}{1e6 * work / count:14.1f}{ratio:7.2f}x{work_ratio:7.2f}x", flush=True)


ENDLESS: list[Iterator[dict]] = []  # of this process, where batches are shuffled


def timed(name: str, files: list[str], data: DataSchema, shuffled: bool) -> tuple[int, float, float]:
    """Videos, seconds by the wall, and seconds of all threads of one round, in a process that has done nothing else."""
    batch = BATCH[data.kind]
    if shuffled and not ENDLESS:
        if name == "ours":
            made = training_batches(files, data, total(files), batch, 0, SHUFFLED[data.kind])
        else:
            made = (usual_videos if data.kind == "video" else usual_frames)(files, data, SHUFFLED[data.kind])
        ENDLESS.append(iter(made))
    if shuffled:
        batches = islice(ENDLESS[0], total(files) // batch)
    elif name == "ours":
        batches = evaluation_batches(files, data, batch)
    else:
        batches = (usual_videos if data.kind == "video" else usual_frames)(files, data)
    start = time.perf_counter(), time.process_time()
    videos = sum(int(batch["id"].shape[0]) for batch in batches)
    return videos, time.perf_counter() - start[0], time.process_time() - start[1]


@functools.cache
def _records(path: str) -> int:
    with heads.open_source(path) as source:
        return sum(len(block) for block in heads.scan(source))


def total(files: list[str]) -> int:
    return sum(map(_records, files))


def usual_videos(files: list[str], data: DataSchema, shuffle: int = 0) -> tf.data.Dataset:
    keys = {name: tf.io.FixedLenFeature([size], tf.float32) for name, size in data.features.items()}
    keys |= {data.id_key: tf.io.FixedLenFeature([], tf.string), data.labels_key: tf.io.VarLenFeature(tf.int64)}

    def parse(records: tf.Tensor) -> dict[str, tf.Tensor]:
        parsed = tf.io.parse_example(records, keys)
        labels = tf.sparse.to_indicator(parsed[data.labels_key], CLASSES)
        return {"id": parsed[data.id_key], "labels": tf.cast(labels, tf.float32), **{name: parsed[name] for name in data.features}}

    return records(files, shuffle).batch(BATCH["video"]).map(parse, **AUTO).prefetch(tf.data.AUTOTUNE)


def usual_frames(files: list[str], data: DataSchema, shuffle: int = 0) -> tf.data.Dataset:
    context = {data.id_key: tf.io.FixedLenFeature([], tf.string), data.labels_key: tf.io.VarLenFeature(tf.int64)}
    lists = {name: tf.io.FixedLenSequenceFeature([], tf.string) for name in data.features}

    def parse(record: tf.Tensor) -> dict[str, tf.Tensor]:
        given, encoded = tf.io.parse_single_sequence_example(record, context, lists)
        parts = {}
        for name, size in data.features.items():
            codes = tf.cast(tf.reshape(tf.io.decode_raw(encoded[name], tf.uint8), [-1, size]), tf.float32)
            values = (codes * (4 / 255) + (4 / 512 - 2))[:300]
            parts[name] = tf.ensure_shape(tf.pad(values, [[0, 300 - tf.shape(values)[0]], [0, 0]]), [300, size])
        labels = tf.scatter_nd(given[data.labels_key].values[:, None], tf.ones_like(given[data.labels_key].values, tf.float32), [CLASSES])
        return {"id": given[data.id_key], "labels": labels, "num_frames": tf.shape(encoded["rgb"])[0], **parts}

    return records(files, shuffle).map(parse, **AUTO).batch(BATCH["frame"]).prefetch(tf.data.AUTOTUNE)


def records(files: list[str], shuffle: int) -> tf.data.Dataset:
    if not shuffle:
        return tf.data.TFRecordDataset(files)
    paths = tf.data.Dataset.from_tensor_slices(files).shuffle(len(files))
    return paths.interleave(tf.data.TFRecordDataset, cycle_length=8, **AUTO).shuffle(shuffle).repeat()


if __name__ == "__main__":
    main()
