"""Records per second of the codec beside TensorFlow's, on one core: `python benchmarks/codec.py [--data PATTERN] [--seconds S]`.

All contenders run in one process pinned to one core, on one file in the page cache, one after the other in every round. The figures are
medians over the rounds. Rates and ratios are by the processor time of all threads, so that what else the machine does on that core does not
count; the wall time stands beside it, and is the larger the busier the core.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # before TensorFlow counts the cores
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import pyarrow as pa  # noqa: E402
import tensorflow as tf  # noqa: E402

from yt8m_data import codec, tfrecord  # noqa: E402
from yt8m_data.errors import DataError  # noqa: E402
from yt8m_data.schema import Schema, sniff  # noqa: E402
from yt8m_data.shards import expand  # noqa: E402
from yt8m_data.synthetic import SyntheticSpec, batches  # noqa: E402

SHARED = Path(os.environ.get("YT8M_SHARED", Path(__file__).resolve().parents[2] / "shared" / "data"))
BATCH_SIZES = (64, 256, 1024, 2048, 4096)  # of tf.data: those that people train with, and on to its best
MADE_RECORDS = 20_000


def main() -> None:
    parser = argparse.ArgumentParser(description="Records per second of the codec beside TensorFlow's, on one core.")
    parser.add_argument(
        "--data", default=str(SHARED / "yt8m-2018-video" / "*.tfrecord"), help="video-level shards; made where there are none"
    )
    parser.add_argument("--seconds", type=float, default=60, help="how long to measure")
    options = parser.parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)

    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "input.tfrecord")
        origin = collect(options.data, path)
        schema = sniff(path)
        num_records = verify(path)
        print(f"{num_records:,} records of {origin}; {schema}")
        readers: dict[str, Callable[[], object]] = {
            "yt8m_data: read, check, decode": lambda: decode(path, schema),
            **{f"tf.data, batches of {size}": lambda size=size: parse(path, schema, size) for size in BATCH_SIZES},
            "yt8m_data: read, check": lambda: verify(path),
            "bare read of the file": lambda: read_bare(path),
        }
        times = compare("reading", readers, num_records, os.path.getsize(path), options.seconds * 0.8)
        ours, theirs = times[0], times[1 : 1 + len(BATCH_SIZES)]
        ratios = [f"{time / ours:.2f} (batches of {size})" for size, time in zip(BATCH_SIZES, theirs, strict=True)]
        print(f"\nyt8m_data decodes {min(theirs) / ours:.2f} times as fast as tf.data at its best; by batch size: {', '.join(ratios)}")

        batch, output = first_batch(path, schema), os.path.join(folder, "output.tfrecord")
        writers: dict[str, Callable[[], object]] = {
            "yt8m_data: encode, write": lambda: encode(batch, schema, output),
            "tf.train.Example, TFRecordWriter": lambda: encode_with_tensorflow(batch, schema, output),
        }
        encode(batch, schema, output)
        compare("writing", writers, batch.num_rows, os.path.getsize(output), options.seconds * 0.2)


def collect(pattern: str, path: str) -> str:
    """Write all shards behind one another to `path`, or made ones; say which."""
    with open(path, "wb") as stream:
        try:
            files = expand([pattern])
        except DataError:
            spec = SyntheticSpec("video", MADE_RECORDS)
            for batch in batches(spec):
                tfrecord.write(stream, codec.encode(batch, spec.schema))
            return "made data"
        for name in files:
            stream.write(Path(name).read_bytes())
    return f"{len(files)} shards"


def compare(title: str, contenders: dict[str, Callable[[], object]], num_records: int, num_bytes: int, seconds: float) -> list[float]:
    """Run all contenders in rounds until the time is up (three rounds at least), print their medians, and return those in CPU seconds."""
    cpu: dict[str, list[float]] = {name: [] for name in contenders}
    wall: dict[str, list[float]] = {name: [] for name in contenders}
    for run in contenders.values():
        run()  # warm up: the page cache, TensorFlow's graphs
    deadline = time.monotonic() + seconds
    rounds = 0
    while rounds < 3 or time.monotonic() < deadline:
        for name, run in contenders.items():
            start = time.process_time(), time.perf_counter()
            run()
            cpu[name].append(time.process_time() - start[0])
            wall[name].append(time.perf_counter() - start[1])
        rounds += 1
    medians = [statistics.median(times) for times in cpu.values()]
    print(
        f"\n{f'{title}, one core, {rounds} rounds':<36}{'records/s':>12}{'MB/s':>8}{'CPU us/record':>15}{'wall us/record':>16}{'ratio':>9}"
    )
    for name, median in zip(contenders, medians, strict=True):
        rates = f"{num_records / median:>12,.0f}{num_bytes / median / 1e6:>8,.0f}"
        each = f"{1e6 * median / num_records:>15.2f}{1e6 * statistics.median(wall[name]) / num_records:>16.2f}"
        print(f"{name:<36}{rates}{each}{median / medians[0]:>7.2f} x")
    return medians


# --- Contenders -----------------------------------------------------------------------------------------------------------


def decode(path: str, schema: Schema) -> int:
    with open(path, "rb", buffering=0) as stream:
        return sum(codec.decode(block, schema).batch.num_rows for block in tfrecord.read(stream, path))


def verify(path: str) -> int:
    with open(path, "rb", buffering=0) as stream:
        return sum(len(block) for block in tfrecord.read(stream, path))


def parse(path: str, schema: Schema, batch_size: int) -> int:
    columns = {schema.id_key: tf.io.FixedLenFeature([], tf.string), schema.labels_key: tf.io.RaggedFeature(tf.int64)}
    columns |= {feature.name: tf.io.FixedLenFeature([feature.size], tf.float32) for feature in schema.features}
    records = tf.data.TFRecordDataset(path, buffer_size=tfrecord.BLOCK_BYTES).batch(batch_size)
    threads = tf.data.Options()
    threads.threading.private_threadpool_size = 1
    threads.threading.max_intra_op_parallelism = 1
    rows = records.map(lambda batch: tf.io.parse_example(batch, columns)).with_options(threads)
    return sum(int(row[schema.id_key].shape[0]) for row in rows)


def read_bare(path: str) -> None:
    buffer = bytearray(tfrecord.BLOCK_BYTES)
    with open(path, "rb", buffering=0) as stream:
        while stream.readinto(buffer):
            pass


def first_batch(path: str, schema: Schema) -> pa.RecordBatch:
    with open(path, "rb") as stream:
        return codec.decode(next(tfrecord.read(stream, path)), schema).batch


def encode(batch: pa.RecordBatch, schema: Schema, path: str) -> None:
    with open(path, "wb") as stream:
        tfrecord.write(stream, codec.encode(batch, schema))


def encode_with_tensorflow(batch: pa.RecordBatch, schema: Schema, path: str) -> None:
    ids, labels = batch["id"].to_pylist(), batch["labels"].to_pylist()
    vectors = {f.name: batch[f.name].flatten().to_numpy().reshape(-1, f.size) for f in schema.features}
    with tf.io.TFRecordWriter(path) as writer:
        for row in range(batch.num_rows):
            features = {
                schema.id_key: tf.train.Feature(bytes_list=tf.train.BytesList(value=[ids[row]])),
                schema.labels_key: tf.train.Feature(int64_list=tf.train.Int64List(value=labels[row])),
            }
            for name, values in vectors.items():
                features[name] = tf.train.Feature(float_list=tf.train.FloatList(value=values[row]))
            writer.write(tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString())


if __name__ == "__main__":
    main()
