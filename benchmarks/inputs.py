"""Videos per second of the input pipeline beside the usual ones, on all cores: `python benchmarks/inputs.py [--seconds S]`.

Usual at frame level: each example is parsed by itself, its frames are decoded, dequantised and padded to 300, and batches cross as float32.
Usual at video level: whole batches are parsed, and labels become a dense multi-hot. Ours parses whole batches;
frames cross as uint8 and labels as padded ids. All read the same files out of the page cache, unshuffled, with TensorFlow's own choice of
parallel calls; one after the other in every round. Rates are by wall time; the processor time of all threads stands beside it.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import tensorflow as tf

from trainers.inputs import evaluation_batches, layout
from trainers.recipe import DataSchema
from yt8m_data import synth
from yt8m_data.shards import expand
from yt8m_data.synthetic import SyntheticSpec

SHARED = Path(os.environ.get("YT8M_SHARED", Path(__file__).resolve().parents[2] / "shared" / "data"))
AUTO = {"num_parallel_calls": tf.data.AUTOTUNE, "deterministic": True}
BATCH = {"video": 256, "frame": 64}
MADE = {"video": 20_000, "frame": 800}
CLASSES = 3862


def main() -> None:
    options = argparse.ArgumentParser(description="Videos per second of the input pipeline beside the usual ones.")
    options.add_argument("--seconds", type=float, default=60, help="how long to measure each kind")
    options.add_argument("--kind", nargs="*", default=["video", "frame"])
    given = options.parse_args()
    for kind in given.kind:
        with tempfile.TemporaryDirectory() as folder:
            pattern = SHARED / "yt8m-2018-video" / "*.tfrecord" if kind == "video" else Path(folder) / "*.tfrecord"
            if kind == "frame" or not expand_or_none(pattern):
                synth.write(SyntheticSpec(kind, MADE[kind], CLASSES), folder, 4)
                pattern = Path(folder) / "*.tfrecord"
            measure(expand([str(pattern)]), given.seconds)


def expand_or_none(pattern: Path) -> bool:
    return any(pattern.parent.glob(pattern.name)) if pattern.parent.is_dir() else False


def measure(files: list[str], seconds: float) -> None:
    data = layout(files, CLASSES)
    contenders: dict[str, Callable[[], Iterable[dict]]] = {
        "ours": lambda: evaluation_batches(files, data, BATCH[data.kind]),
        "usual": lambda: (usual_videos if data.kind == "video" else usual_frames)(files, data),
    }
    wall: dict[str, list[float]] = {name: [] for name in contenders}
    cpu: dict[str, list[float]] = {name: [] for name in contenders}
    videos = {name: drain(make()) for name, make in contenders.items()}  # and warms up
    assert len(set(videos.values())) == 1, videos
    deadline = time.monotonic() + seconds
    while len(wall["ours"]) < 3 or time.monotonic() < deadline:
        for name, make in contenders.items():
            start = time.perf_counter(), time.process_time()
            drain(make())
            wall[name].append(time.perf_counter() - start[0])
            cpu[name].append(time.process_time() - start[1])
    count, ours = videos["ours"], statistics.median(wall["ours"])
    size, rounds = sum(map(os.path.getsize, files)) / 1e6, len(wall["ours"])
    print(f"\n{count:,} {data.kind}-level videos, {size:,.0f} MB, {os.cpu_count()} cores, rounds: {rounds}")
    print(f"{'':32}{'videos/s':>10}{'CPU us/video':>14}{'time':>8}{'CPU':>8}")
    for name in contenders:
        median, work = statistics.median(wall[name]), statistics.median(cpu[name])
        ratio, work_ratio = median / ours, work / statistics.median(cpu["ours"])
        print(f"{name:32}{count / median:10,.0f}{1e6 * work / count:14.1f}{ratio:7.2f}x{work_ratio:7.2f}x", flush=True)


def drain(batches: Iterable[dict]) -> int:
    return sum(int(batch["id"].shape[0]) for batch in batches)


def usual_videos(files: list[str], data: DataSchema) -> tf.data.Dataset:
    keys = {name: tf.io.FixedLenFeature([size], tf.float32) for name, size in data.features.items()}
    keys |= {data.id_key: tf.io.FixedLenFeature([], tf.string), data.labels_key: tf.io.VarLenFeature(tf.int64)}

    def parse(records: tf.Tensor) -> dict[str, tf.Tensor]:
        parsed = tf.io.parse_example(records, keys)
        labels = tf.sparse.to_indicator(parsed[data.labels_key], CLASSES)
        return {"id": parsed[data.id_key], "labels": tf.cast(labels, tf.float32), **{name: parsed[name] for name in data.features}}

    return tf.data.TFRecordDataset(files).batch(BATCH["video"]).map(parse, **AUTO).prefetch(tf.data.AUTOTUNE)


def usual_frames(files: list[str], data: DataSchema) -> tf.data.Dataset:
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

    return tf.data.TFRecordDataset(files).map(parse, **AUTO).batch(BATCH["frame"]).prefetch(tf.data.AUTOTUNE)


if __name__ == "__main__":
    main()
