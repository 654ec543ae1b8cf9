"""augment on frame-level shards through the command line, against an independent reading by TensorFlow's parser."""

import json
from collections import Counter, defaultdict

import numpy as np
import pytest
import tensorflow as tf
from oracle import deciding, label_counts, nearest, neighbors_for

THRESHOLD = 30
SIZES = {"rgb": 1024, "audio": 128}


def read(folder):
    """Yield (id, labels, {feature: uint8 frames}, {provenance key: value}) of every record."""
    context = {"id": tf.io.FixedLenFeature([], tf.string), "labels": tf.io.VarLenFeature(tf.int64)}
    context |= {key: tf.io.FixedLenFeature([], tf.string, "") for key in ("aug_method", "aug_base", "aug_neighbor")}
    context["aug_lambda"] = tf.io.FixedLenFeature([], tf.float32, -1.0)
    lists = {name: tf.io.FixedLenSequenceFeature([], tf.string) for name in SIZES}
    for record in tf.data.TFRecordDataset(sorted(map(str, folder.glob("*.tfrecord")))):
        head, features = tf.io.parse_single_sequence_example(record, context, lists)
        frames = {name: tf.io.decode_raw(features[name], tf.uint8).numpy() for name in SIZES}
        provenance = {key: value.numpy() for key, value in head.items() if key.startswith("aug") and value.numpy() not in (b"", -1.0)}
        yield head["id"].numpy(), tf.sparse.to_dense(head["labels"]).numpy().tolist(), frames, provenance


def dequantized(codes):
    return codes.astype(np.float64) * 4 / 255 + (4 / 512 - 2)


@pytest.fixture(scope="module")
def made(command, tmp_path_factory):
    """150 made videos of up to 9 frames, with 15 classes, in 3 shards."""
    folder = tmp_path_factory.mktemp("frames") / "made"
    command("yt8m-data", "synth", folder, "--kind", "frame", "--records", 150, "--shards", 3, "--classes", 15, "--max-frames", 9)
    return folder


@pytest.fixture(scope="module")
def records(made):
    return list(read(made))


@pytest.fixture(scope="module")
def augmented(made, command, tmp_path_factory):
    folder = tmp_path_factory.mktemp("frames-augmented") / "out"
    options = ["--threshold", THRESHOLD, "--lambda", "0.2:0.8", "--pool", "global"]
    command("yt8m-data", "augment", made / "*.tfrecord", folder, *options, report=True)
    return folder


def test_the_books_balance(augmented):
    manifest = json.loads((augmented / "manifest.json").read_text())
    totals, written = manifest["totals"], list(read(augmented))
    assert totals["read"] == 150 == totals["kept"] + totals["dropped"]
    assert totals["written"] == len(written) == len({i for i, _, _, _ in written})
    assert totals["synthetic"]["interpolate"] == totals["synthetic"]["extrapolate"] > 50
    assert sum(bool(provenance) for _, _, _, provenance in written) == sum(totals["synthetic"].values())
    assert manifest["schema"]["kind"] == "frame"
    assert manifest["sub_pools"] == {}


def test_every_synthetic_frame_follows_its_formula(augmented, records):
    originals = {i: (labels, frames) for i, labels, frames, _ in records}
    checked, unsure = Counter(), 0
    for i, labels, frames, provenance in read(augmented):
        base_labels, base = originals[provenance.get("aug_base", i)]
        assert labels == base_labels
        method = provenance.get("aug_method", b"none").decode()
        checked[method] += 1
        for name, size in SIZES.items():
            codes = frames[name]
            assert codes.shape == (len(base[name]), size)
            if method == "none":
                np.testing.assert_array_equal(codes, base[name])
                continue
            x = dequantized(base[name])
            if method == "noise":
                assert 0.015 < (dequantized(codes) - x).std() < 0.045
                continue
            other = originals[provenance["aug_neighbor"]][1][name]
            y = dequantized(np.stack([other[t * len(other) // len(x)] for t in range(len(x))]))
            factor = float(provenance["aug_lambda"])
            assert np.float32(0.2) <= factor <= np.float32(0.8)
            moved = x + factor * (y - x) if method == "interpolate" else x + factor * (x - y)
            value = (np.clip(moved, -2, 2) + 2) * 255 / 4
            sure = np.abs(value % 1 - 0.5) > 1e-3  # a rounding in float32 may tip the others
            np.testing.assert_array_equal(codes[sure], np.rint(value)[sure])
            assert (np.abs(codes - value) < 0.502).all()
            unsure += (~sure).mean()
    assert min(checked["interpolate"], checked["extrapolate"]) > 50
    assert unsure < 0.01 * sum(checked.values()) * len(SIZES)


def test_neighbours_are_those_of_the_mean_frames(augmented, records):
    """SYSTEMS 8.4, step by step, on the float32 means of the dequantised visual frames."""
    counts, pools = label_counts(records), defaultdict(dict)
    for i, labels, frames, _ in records:
        for label in set(labels):
            pools[label][i] = dequantized(frames["rgb"]).mean(axis=0).astype(np.float32)
    used, expected = set(), {}
    for i, labels, _, _ in records:
        label = deciding(labels, counts)
        if counts[label] > THRESHOLD:
            continue
        made_of = []
        for other in nearest(pools[label], i, neighbors_for(counts[label], THRESHOLD, "paper")):
            if frozenset((i, other)) not in used:
                used.add(frozenset((i, other)))
                made_of += [(b"interpolate", other), (b"extrapolate", other)]
        for number, (method, other) in enumerate(made_of or [(b"noise", None)], 1):
            expected[b"%b_o%02d" % (i, number)] = (method, i, other)
    found = {i: (p["aug_method"], p["aug_base"], p.get("aug_neighbor")) for i, _, _, p in read(augmented) if p}
    assert found == expected


def test_workers_and_the_order_of_the_files_do_not_show(made, augmented, command, digests, tmp_path):
    options = ["--threshold", THRESHOLD, "--lambda", "0.2:0.8"]
    files = sorted(made.glob("*.tfrecord"), reverse=True)
    command("yt8m-data", "augment", *files, tmp_path / "three", *options, "--workers", 3, report=True)
    ours, theirs = digests(augmented), digests(tmp_path / "three")
    assert {name: digest for name, digest in ours.items() if name != "report.html"} == {
        name: digest for name, digest in theirs.items() if name != "report.html"
    }


def test_statistics_and_validate_take_what_was_written(augmented, command, tmp_path):
    assert json.loads(command("yt8m-data", "validate", augmented / "*.tfrecord").out)["ok"]
    command("yt8m-data", "stats", augmented / "*.tfrecord", "--out", tmp_path / "s")
    counted = json.loads((tmp_path / "s" / "stats.json").read_text())
    assert counted["label_counts"] == json.loads((augmented / "stats_after.json").read_text())["label_counts"]


def test_segments_are_those_of_the_base(made, command, tmp_path):
    """Frames of a synthetic video run beside its base's, so what was said of seconds of the one holds for the other."""

    def context(folder):
        for record in tf.data.TFRecordDataset(sorted(map(str, folder.glob("*.tfrecord")))).as_numpy_iterator():
            features = tf.train.SequenceExample.FromString(record).context.feature
            yield {key: [*v.int64_list.value, *v.float_list.value, *v.bytes_list.value] for key, v in features.items()}

    (tmp_path / "rated").mkdir()
    with tf.io.TFRecordWriter(str(tmp_path / "rated" / "a.tfrecord")) as writer:
        for number, record in enumerate(tf.data.TFRecordDataset(sorted(map(str, made.glob("*.tfrecord")))).take(60).as_numpy_iterator()):
            message = tf.train.SequenceExample.FromString(record)
            feature = message.context.feature
            feature["url"].bytes_list.value.append(b"u%d" % number)
            if number % 3:
                for key, value in (("start_times", number), ("end_times", number + 5), ("labels", number % 15)):
                    feature[f"segment_{key}"].int64_list.value.append(value)
                feature["segment_scores"].float_list.value.append(number % 2)
            writer.write(message.SerializeToString())
    command("yt8m-data", "augment", tmp_path / "rated" / "*.tfrecord", tmp_path / "out", "--threshold", 40, "--num-classes", 15)
    originals = {features["id"][0]: features for features in context(tmp_path / "rated")}
    seen = Counter()
    for features in context(tmp_path / "out"):
        base = originals[features.get("aug_base", features["id"])[0]]
        for key in ("segment_start_times", "segment_end_times", "segment_labels", "segment_scores"):
            assert features.get(key) == base.get(key)
        assert features.get("url") == (None if "aug_base" in features else base["url"])
        seen["aug_base" in features, "segment_labels" in features] += 1
    assert min(seen[synthetic, rated] for synthetic in (False, True) for rated in (False, True)) > 10


def test_gated_netvlad_trains_on_the_result(made, augmented, command, tmp_path):
    """Its loss on the real videos falls below that of a model that has not learned."""
    data = ["--train", augmented / "*.tfrecord", "--eval", made / "*.tfrecord", "--out"]
    tiny = ["pooling.pooling.clusters=4", "pooling.audio.clusters=2", "encoders.0.size=32", "frames.count=5", "training.learning_rate=.001"]
    options = [text for value in tiny for text in ("--set", value)]
    gap = {}
    for steps in (1, 40):
        command("yt8m-train", "fit", "gated_netvlad", *data, tmp_path / str(steps), *options, "--set", f"training.steps={steps}")
        gap[steps] = json.loads((tmp_path / str(steps) / "metrics.json").read_text())["gap"]
    assert gap[40] > gap[1] + 0.1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--method", "delta"], "deltas are between the vectors of videos"),
        (["--holdout", "MADE"], "leave --holdout out"),
        (["--hold", "mean_rgb"], "there is no feature 'mean_rgb' to hold: the records have rgb, audio"),
    ],
)
def test_what_needs_vectors_of_videos_is_refused(made, command, tmp_path, options, said):
    options = [str(made / "*.tfrecord") if option == "MADE" else option for option in options]
    result = command("yt8m-data", "augment", made / "*.tfrecord", tmp_path / "out", *options, status=2)
    assert said in result.err
    assert not (tmp_path / "out").exists()
