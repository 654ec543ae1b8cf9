"""The whole of `yt8m-data augment` beside its parts, on one core: `python benchmarks/augment.py [--made N] [--naive N]`.

The parts are what no augmentation can do without, each alone in the same run: to decode the input, to multiply the vectors of each pool
(`numpy.matmul` of the queries with the pool), and to encode and write what the job wrote. The job also routes, spills, orders, makes and
counts. It is given the label counts, as after `yt8m-data stats`. Everything runs in this process on one core, so times add up. Ratios are
of the processor time of all threads, so that what else the machine does does not count; the wall time stands beside it. A machine is not
always as fast, so `--rounds N` measures the parts and the whole in turn and gives the median of each.

`--made N` makes N videos with YouTube-8M's label law instead; the last line foretells the full set from the time per record and the work of
its pools. `--naive N` runs the job and the script that one would write without it on the first N files: TensorFlow's reader, scikit-learn's
NearestNeighbors for each label, `tf.train.Example` and `tf.io.TFRecordWriter`, with the same plan.
"""

import argparse
import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # before BLAS counts the cores

from yt8m_data.command_line import importing  # noqa: E402

with importing():  # as the command does
    import numpy as np
    import pyarrow as pa

    from beam_jobs import augment, inputs, runners, stats
    from yt8m_data import codec, memory, sampling, shards, synth, tfrecord
    from yt8m_data.sampling.policies import FULL_RECORDS
    from yt8m_data.schema import Schema
    from yt8m_data.shards import atomic_write, expand
    from yt8m_data.statistics import distinct_labels
    from yt8m_data.synthetic import SyntheticSpec

SHARED = Path(os.environ.get("YT8M_SHARED", Path(__file__).resolve().parents[2] / "shared" / "data"))
FULL_POOLS = 25e12  # floating-point operations of all pools of the full set, each video asking in each of its pools
SHARD_RECORDS = 1000  # of made data
ENGINE = runners.Engine(workers=1)
MEMORY = memory.available() // 2  # the command's default


def main() -> None:
    parser = argparse.ArgumentParser(description="The whole of augment beside its parts, on one core.")
    parser.add_argument("--data", default=str(SHARED / "yt8m-2018-video" / "*.tfrecord"), help="video-level shards")
    parser.add_argument("--made", type=int, default=0, help="make so many videos instead")
    parser.add_argument("--naive", type=int, default=0, help="compare with a plain script on so many files")
    parser.add_argument("--rounds", type=int, default=1, help="of which medians are given")
    parser.add_argument("--folder", help="where to write; a temporary folder by default")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        pattern = options.data
        if options.made or not list(Path(pattern).parent.glob(Path(pattern).name)):
            count = options.made or 20_000
            synth.write(SyntheticSpec("video", count), os.path.join(folder, "made"), max(1, count // SHARD_RECORDS))
            pattern = os.path.join(folder, "made", "*.tfrecord")
        source = inputs.open_input([pattern])
        beside_its_parts(source, folder, options.rounds)
        if options.naive:
            beside_a_script(inputs.open_input(source.files[: options.naive]), folder)


def beside_its_parts(source: inputs.Input, folder: str, rounds: int) -> None:
    out, counts, plan = planned(source, folder, "whole")
    shapes = pool_shapes(source, plan)
    flops = sum(2.0 * q * n * source.schema.features[0].size for q, n in shapes)
    first = inputs.open_input(source.files[:1])

    def job(source: inputs.Input, out: str) -> None:
        output = augment.Output(out, memory=MEMORY, overwrite=True)
        augment.write(source, plan.settings, output, ENGINE, counts).conclude()

    def measured() -> list[np.ndarray]:
        decoding = timed(lambda: sum(batch.num_rows for batch in decoded(source.files, source.schema, provenance=True)))
        product = products(shapes, source.schema.features[0].size)
        beginning, whole = timed(lambda: job(first, f"{out}-first")), timed(lambda: job(source, out))
        return [decoding, product, beginning, whole, written_again(expand([os.path.join(out, "*.tfrecord")]), source.schema, folder)]

    decoding, product, beginning, whole, writing = np.median([measured() for _ in range(rounds)], axis=0)
    parts = decoding + product + writing
    totals = shards.read_json(os.path.join(out, "manifest.json"))["totals"]
    what = f"{totals['read']:,} records of {len(source.files)} shards in, {totals['written']:,} out, {len(shapes):,} pools"
    print(f"\n{what}, one core, medians of {rounds}\n")
    print(f"{'':<36}{'CPU seconds':>12}{'wall':>9}{'us/record in':>14}{'of the parts':>14}")
    for name, time_ in [
        ("read, check and decode", decoding),
        (f"products, {flops / product[0] / 1e9:,.0f} GFLOP/s", product),
        ("encode and write", writing),
        ("the parts", parts),
        ("the whole job", whole),
        ("of that, to begin: the job on one file", beginning),
    ]:
        print(f"{name:<36}{time_[0]:>12.2f}{time_[1]:>9.2f}{1e6 * time_[0] / totals['read']:>14.1f}{time_[0] / parts[0]:>14.2f}")
    each = (whole[0] - beginning[0] - product[0]) / totals["read"]
    full = beginning[0] + each * FULL_RECORDS + FULL_POOLS / (flops / product[0])
    print(f"\nat this rate the full set, {FULL_RECORDS:,} records, takes {full / 60:.0f} minutes of one core")


def planned(source: inputs.Input, folder: str, name: str) -> tuple[str, str, sampling.Plan]:
    """Count the input, untimed: the folder for the output, the path of stats.json, and the plan."""
    counts = os.path.join(folder, f"{name}-stats")
    counted = stats.run(source, counts, None, ENGINE, False, stats.Request(features=False))
    return os.path.join(folder, name), os.path.join(counts, "stats.json"), augment.make_plan(source, sampling.Settings(), counted)


def now() -> np.ndarray:
    """(CPU, wall) seconds."""
    return np.array([time.process_time(), time.perf_counter()])


def timed(run: Callable[[], object]) -> np.ndarray:
    start = now()
    run()
    return now() - start


def decoded(files: list[str], schema: Schema, provenance: bool = False) -> Iterator[pa.RecordBatch]:
    for path in files:
        with open(path, "rb", buffering=0) as stream:
            for block in tfrecord.read(stream, path):
                yield codec.decode(block, schema, provenance).batch


def pool_shapes(source: inputs.Input, plan: sampling.Plan) -> list[tuple[int, int]]:
    """(videos that ask, videos) of each pool."""
    asking, pool = np.zeros(len(plan.counts), int), np.zeros(len(plan.counts), int)
    for batch in decoded(source.files, source.schema):
        deciding = plan.decide(batch.column("labels"))
        asking += np.bincount(deciding[deciding >= 0], minlength=len(asking))
        pool += np.bincount(distinct_labels(batch.column("labels"))[1], minlength=len(pool))
    return [(int(asking[label]), int(pool[label])) for label in plan.pool_labels if asking[label]]


def products(shapes: list[tuple[int, int]], size: int) -> np.ndarray:
    """Multiply vectors of all these shapes, and time that."""
    random = np.random.default_rng(0)
    x, y = (random.standard_normal((max(n for _, n in shapes), size), np.float32) for _ in range(2))
    return timed(lambda: [np.matmul(x[:q], y[:n].T).shape for q, n in shapes])


def written_again(files: list[str], schema: Schema, folder: str) -> np.ndarray:
    """Encode and write all records of some shards again; the time of that alone.

    Each shard is removed first and written under a name of its own: in the end the disk holds all, as after the job, and never more. Then
    it is given back.
    """
    taken = np.zeros(2)
    for number, file in enumerate(files):
        batches = list(decoded([file], schema, provenance=True))
        os.unlink(file)
        start = now()
        with atomic_write(os.path.join(folder, f"again-{number}.tfrecord")) as stream:
            for batch in batches:
                tfrecord.write(stream, codec.encode(batch, schema))
        taken += now() - start
    for number in range(len(files)):
        os.unlink(os.path.join(folder, f"again-{number}.tfrecord"))
    return taken


# --- The script that one would write without it -----------------------------------------------------------------------------------------


def beside_a_script(source: inputs.Input, folder: str) -> None:
    import sklearn  # noqa: F401
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    out, counts, plan = planned(source, folder, "part")
    ours = timed(lambda: augment.write(source, plan.settings, augment.Output(out, memory=MEMORY), ENGINE, counts).conclude())
    written = shards.read_json(os.path.join(out, "manifest.json"))["totals"]["written"]
    path = os.path.join(folder, "script.tfrecord")
    theirs = timed(lambda: script(source, plan, path))
    records = [written, sum(batch.num_rows for batch in decoded([path], source.schema))]
    print(f"\n{sum(batch.num_rows for batch in decoded(source.files, source.schema)):,} records of {len(source.files)} shards, one core")
    print(f"{'':<58}{'CPU seconds':>12}{'wall':>9}{'written':>10}{'us/record':>11}")
    names = ("yt8m-data augment", "scikit-learn, tf.train.Example, tf.io.TFRecordWriter")
    each = [taken[0] / count * 1e6 for taken, count in zip((ours, theirs), records, strict=True)]
    for name, taken, count, cost in zip(names, (ours, theirs), records, each, strict=True):
        print(f"{name:<58}{taken[0]:>12.1f}{taken[1]:>9.1f}{count:>10,}{cost:>11.1f}")
    print(f"\na record of augment takes {each[1] / each[0]:.1f} times less")


def script(source: inputs.Input, plan: sampling.Plan, path: str) -> None:
    """Augment in the plain way: read all, then label by label."""
    import tensorflow as tf
    from sklearn.neighbors import NearestNeighbors

    names = [feature.name for feature in source.schema.features]
    videos, by_label = [], defaultdict(list)
    for record in tf.data.TFRecordDataset(source.files).as_numpy_iterator():
        features = tf.train.Example.FromString(record).features.feature
        vectors = {name: np.array(features[name].float_list.value, np.float32) for name in names}
        videos.append((features["id"].bytes_list.value[0], list(features["labels"].int64_list.value), vectors))
        for label in videos[-1][1]:
            by_label[label].append(len(videos) - 1)
    with tf.io.TFRecordWriter(path) as writer:

        def write(video_id: bytes, labels: list[int], vectors: dict[str, np.ndarray]) -> None:
            features = {name: tf.train.Feature(float_list=tf.train.FloatList(value=vector)) for name, vector in vectors.items()}
            features["id"] = tf.train.Feature(bytes_list=tf.train.BytesList(value=[video_id]))
            features["labels"] = tf.train.Feature(int64_list=tf.train.Int64List(value=labels))
            writer.write(tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString())

        deciding = [min(labels, key=lambda label: (plan.counts[label], label)) for _, labels, _ in videos]
        for at, (video_id, labels, vectors) in enumerate(videos):
            if plan.regime[deciding[at]] == sampling.OVER or hash(video_id) % 1000 < 1000 * plan.keep[deciding[at]]:
                write(video_id, labels, vectors)
        used = set()
        for label, members in by_label.items():
            bases = [at for at in members if deciding[at] == label]
            if plan.regime[label] != sampling.OVER or not bases:
                continue
            pool = np.stack([videos[at][2][names[0]] for at in members])
            k = min(int(plan.neighbors[label]) + 1, len(members))
            _, near = (
                NearestNeighbors(n_neighbors=k, algorithm="brute").fit(pool).kneighbors(np.stack([videos[a][2][names[0]] for a in bases]))
            )
            for base, row in zip(bases, near, strict=True):
                number = 0
                for other in (members[place] for place in row if members[place] != base):
                    if frozenset((base, other)) in used:
                        continue
                    used.add(frozenset((base, other)))
                    video_id, labels, vectors = videos[base]
                    for sign in (0.5, -0.5):
                        moved = {name: x + sign * (videos[other][2][name] - x) for name, x in vectors.items()}
                        number += 1
                        write(b"%b_o%02d" % (video_id, number), labels, moved)


if __name__ == "__main__":
    main()
