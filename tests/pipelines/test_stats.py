"""stats, merge-stats and compare through the command line, against an independent reading of the shards."""

import csv
import json
from collections import Counter

import numpy as np
import pytest
import scipy.sparse
import tensorflow as tf
from oracle import label_counts, read

from yt8m_data.quantize import dequantize

VERTICALS = ("Games", "Food", "", "Arts")

PLUGIN = '''
import numpy as np
from yt8m_data.statistics import Accumulator, register

@register
class Loudness(Accumulator):
    """The largest absolute value of a feature."""

    name = "loudness"

    def create(self):
        return {"peak": np.zeros(1)}

    def add_batch(self, state, records):
        values = records.batch.column(self.schema.features[0].name).flatten().to_numpy()
        return {"peak": np.maximum(state["peak"], np.abs(values).max(initial=0))}

    def merge(self, state, other):
        return {"peak": np.maximum(state["peak"], other["peak"])}

    def extract(self, state):
        return float(state["peak"][0])
'''


def result_of(folder):
    return json.loads((folder / "stats.json").read_text())


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory):
    path = tmp_path_factory.mktemp("names") / "vocabulary.csv"
    path.write_text("Index,Name,Vertical1\n" + "".join(f"{i},thing {i},{VERTICALS[i % 4]}\n" for i in range(40)))
    return path


@pytest.fixture(scope="module")
def records(made):
    return list(read(made.glob("*.tfrecord")))


@pytest.fixture(scope="module")
def frames(tmp_path_factory, command):
    folder = tmp_path_factory.mktemp("frames") / "f"
    command("yt8m-data", "synth", folder, "--kind", "frame", "--records", 60, "--shards", 3, "--classes", 20, "--max-frames", 60)
    return folder


@pytest.fixture(scope="module")
def by_tensorflow(frames):
    """(id, labels, rgb uint8 [T, 1024]) of every frame-level record."""
    found = []
    for path in sorted(frames.glob("*.tfrecord")):
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            message = tf.train.SequenceExample.FromString(record)
            rgb = [frame.bytes_list.value[0] for frame in message.feature_lists.feature_list["rgb"].feature]
            context = message.context.feature
            found.append(
                (
                    context["id"].bytes_list.value[0],
                    list(context["labels"].int64_list.value),
                    np.frombuffer(b"".join(rgb), np.uint8).reshape(-1, 1024),
                )
            )
    return found


# --- What is read -----------------------------------------------------------------------------------------------------------


def test_frame_level_labels_come_from_the_first_bytes(frames, by_tensorflow, command, tmp_path):
    printed = command("yt8m-data", "stats", frames / "*.tfrecord", "--out", tmp_path).out
    result, counts = result_of(tmp_path), Counter(label for _, labels, _ in by_tensorflow for label in labels)
    assert result["label_counts"] == [counts[label] for label in range(20)]
    lengths = Counter(len(rgb) for _, _, rgb in by_tensorflow)
    assert result["frames_per_record"]["histogram"] == [lengths[k] for k in range(max(lengths) + 1)]
    assert (result["frames_per_record"]["basis"], result["frames_per_record"]["num_unknown"]) == ("record length", 0)
    read_of = result["read"]
    assert (read_of["how"], read_of["data_checksums"], read_of["features"], read_of["num_records"]) == ("headers", False, False, 60)
    assert read_of["bytes"] == sum(path.stat().st_size for path in frames.glob("*.tfrecord"))
    assert 0 < read_of["bytes_read"] < 0.02 * read_of["bytes"]
    assert result["features"] == {}
    assert "checksums of the frames not checked" in printed


def test_frame_level_features_are_looked_at_on_demand(frames, by_tensorflow, command, tmp_path):
    command("yt8m-data", "stats", frames / "*.tfrecord", "--out", tmp_path, "--features", "--label-means")
    result = result_of(tmp_path)
    everything = dequantize(np.concatenate([rgb for _, _, rgb in by_tensorflow])).astype(np.float64)
    table = result["features"]["rgb"]
    assert table["count"] == len(everything)
    np.testing.assert_allclose(table["mean"], everything.mean(axis=0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(table["variance"], everything.var(axis=0), rtol=1e-5)
    np.testing.assert_allclose(table["max"], everything.max(axis=0), rtol=1e-6)
    assert (result["read"]["how"], result["read"]["data_checksums"]) == ("whole", True)
    assert result["frames_per_record"]["basis"] == "frames"
    means = np.load(tmp_path / "label_means.npz")["rgb"]
    having = [dequantize(rgb).mean(axis=0) for _, labels, rgb in by_tensorflow if 0 in labels]
    np.testing.assert_allclose(means[0], np.mean(having, axis=0), rtol=1e-4, atol=1e-5)


def test_a_flipped_byte_in_a_frame_is_found_by_verify_alone(frames, command, tmp_path):
    data = bytearray(min(frames.glob("*.tfrecord")).read_bytes())
    data[20_000] ^= 1
    (tmp_path / "x.tfrecord").write_bytes(data)
    options = ["--num-classes", 20]
    command("yt8m-data", "stats", tmp_path / "x.tfrecord", "--out", tmp_path / "fast", *options)
    sentence = command("yt8m-data", "stats", tmp_path / "x.tfrecord", "--out", tmp_path / "slow", *options, "--verify", status=2).err
    assert "record 0 at byte 0: the checksum of the data is wrong" in sentence
    assert not (tmp_path / "slow").exists()
    skip = ["--on-bad-record", "skip", "--max-bad-fraction", 0.1]
    command("yt8m-data", "stats", tmp_path / "x.tfrecord", "--out", tmp_path / "slow", *options, "--verify", *skip)
    result = result_of(tmp_path / "slow")
    assert (result["num_records"], result["bad_records"]["total"], result["features"]) == (19, 1, {})
    assert result["read"]["how"] == "whole"


def test_a_damaged_header_ends_a_header_scan(frames, command, tmp_path):
    data = min(frames.glob("*.tfrecord")).read_bytes()
    (tmp_path / "x.tfrecord").write_bytes(data[:-30_000])
    sentence = command("yt8m-data", "stats", tmp_path / "x.tfrecord", "--out", tmp_path / "out", status=2).err
    assert "the file ends inside this record" in sentence


def test_labels_alone_of_video_level_shards(made, records, command, tmp_path):
    command("yt8m-data", "stats", made / "*.tfrecord", "--out", tmp_path, "--no-features")
    result, counts = result_of(tmp_path), label_counts(records)
    assert result["label_counts"] == [counts[label] for label in range(40)]
    assert result["features"] == {}
    assert (result["read"]["how"], result["read"]["features"]) == ("whole", False)


def test_a_sample_is_the_same_videos_every_time(made, records, command, tmp_path):
    command("yt8m-data", "stats", made / "*.tfrecord", "--out", tmp_path / "a", "--sample", 0.3)
    command("yt8m-data", "stats", *sorted(made.glob("*.tfrecord"))[::-1], "--out", tmp_path / "b", "--sample", 0.3, "--no-features")
    a, b = result_of(tmp_path / "a"), result_of(tmp_path / "b")
    assert a["label_counts"] == b["label_counts"]
    assert abs(a["num_records"] - 300) < 5 * (1000 * 0.3 * 0.7) ** 0.5
    assert (a["read"]["num_records"], a["read"]["sample"]) == (1000, 0.3)
    larger = tmp_path / "larger"
    command("yt8m-data", "stats", made / "*.tfrecord", "--out", larger, "--sample", 0.6)
    assert all(few <= more for few, more in zip(a["label_counts"], result_of(larger)["label_counts"], strict=True)), "a part of the larger"
    for share in (0, 1.5):
        said = command("yt8m-data", "stats", made / "*.tfrecord", "--out", tmp_path / "c", "--sample", share, status=2).err
        assert "is no share of the videos" in said


# --- Slices -----------------------------------------------------------------------------------------------------------------


def test_slices_by_shard(made, command, tmp_path):
    command("yt8m-data", "stats", made / "*.tfrecord", "--out", tmp_path, "--slice-by", "shard")
    files = sorted(made.glob("*.tfrecord"))
    slices = result_of(tmp_path)["slices"]
    assert slices["names"] == [str(path) for path in files]
    matrix = scipy.sparse.load_npz(tmp_path / "slices.npz").toarray()
    for row, path in enumerate(files):
        found = list(read([path]))
        counts = label_counts(found)
        assert slices["num_records"][row] == len(found)
        assert matrix[row].tolist() == [counts[label] for label in range(40)]


def test_slices_by_vertical(made, records, vocabulary, command, tmp_path):
    options = ["--slice-by", "vertical"]
    command("yt8m-data", "stats", made / "*.tfrecord", "--out", tmp_path / "out", *options, "--vocabulary", vocabulary)
    with open(tmp_path / "out" / "slices.csv", newline="") as stream:
        rows = {row["Slice"]: row for row in csv.DictReader(stream)}
    for number, name in enumerate(VERTICALS):
        inside = [labels for _, labels, _, _ in records if any(label % 4 == number for label in labels)]
        row = rows[name or "(none)"]
        assert int(row["Records"]) == len(inside)
        top, _ = max(Counter(label for labels in inside for label in labels).items(), key=lambda item: (item[1], -item[0]))
        assert (row["TopLabel"], row["TopName"]) == (str(top), f"thing {top}")
    said = command("yt8m-data", "stats", made / "*.tfrecord", "--out", tmp_path / "x", *options, status=2).err
    assert "give a --vocabulary with the column 'Vertical1'" in said


def test_slices_by_origin(made, command, tmp_path):
    command("yt8m-data", "augment", made / "*.tfrecord", tmp_path / "augmented", "--threshold", 60)
    totals = json.loads((tmp_path / "augmented" / "manifest.json").read_text())["totals"]
    command("yt8m-data", "stats", tmp_path / "augmented" / "*.tfrecord", "--out", tmp_path / "out", "--slice-by", "synthetic")
    slices = result_of(tmp_path / "out")["slices"]
    made_by = {name: count for name, count in totals["synthetic"].items() if count}
    assert dict(zip(slices["names"], slices["num_records"], strict=True)) == made_by | {"real": totals["kept"]}


# --- Merging and comparing --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [[], ["--slice-by", "shard", "--label-means", "--sample", 0.7]], ids=["plain", "everything"])
def test_merged_statistics_are_those_of_all_shards(options, made, command, digests, tmp_path):
    files = sorted(made.glob("*.tfrecord"))
    for name, part in (("a", files[:2]), ("b", files[2:3]), ("c", files[3:]), ("all", files)):
        command("yt8m-data", "stats", *part, "--out", tmp_path / name, *options)
    command("yt8m-data", "merge-stats", *(tmp_path / name for name in "cab"), "--out", tmp_path / "merged")
    assert digests(tmp_path / "merged") == digests(tmp_path / "all")


def test_what_was_not_counted_alike_is_not_merged(made, frames, command, tmp_path):
    command("yt8m-data", "stats", made / "*.tfrecord", "--out", tmp_path / "a")
    command("yt8m-data", "stats", made / "*.tfrecord", "--out", tmp_path / "b", "--sample", 0.5)
    command("yt8m-data", "stats", frames / "*.tfrecord", "--out", tmp_path / "c")
    for other, said in (("b", "count both with the same --sample"), ("c", "cannot be added up"), ("d", "give the folder of a finished")):
        assert said in command("yt8m-data", "merge-stats", tmp_path / "a", tmp_path / other, "--out", tmp_path / "m", status=2).err
        assert not (tmp_path / "m").exists()


def test_halves_are_alike_and_augmented_shards_are_not(made, vocabulary, command, tmp_path):
    files = sorted(made.glob("*.tfrecord"))
    for name, part in (("a", files[:3]), ("b", files[3:])):
        command("yt8m-data", "stats", *part, "--out", tmp_path / name)
    printed = command("yt8m-data", "compare", tmp_path / "a", tmp_path / "b").out
    assert "BREACH" not in printed
    command("yt8m-data", "augment", made / "*.tfrecord", tmp_path / "augmented", "--threshold", 60)
    before, after = (tmp_path / "augmented" / f"stats_{when}.json" for when in ("before", "after"))
    result = command("yt8m-data", "compare", before, after, "--vocabulary", vocabulary, status=1)
    assert "BREACH labels: L-infinity" in result.out
    assert "thing 0" in result.out
    found = json.loads(command("yt8m-data", "compare", before, after, "--json", status=1).out)
    counts = [np.array(json.loads(path.read_text())["label_counts"]) for path in (before, after)]
    shares = [count / count.sum() for count in counts]
    linf = next(check for check in found["checks"] if check["name"] == "labels: L-infinity")
    assert linf["value"] == pytest.approx(np.abs(shares[0] - shares[1]).max(), rel=1e-5)
    assert (found["ok"], found["a"], found["b"]) == (False, str(before), str(after))
    lenient = ["--max-linf", 1, "--max-js", 1, "--max-shift", 10, "--max-spread", 10]
    command("yt8m-data", "compare", before, after, *lenient)


def test_wrong_use_of_compare(made, command, tmp_path):
    command("yt8m-data", "stats", made / "*.tfrecord", "--out", tmp_path / "a")
    assert "there is no file" in command("yt8m-data", "compare", tmp_path / "a", tmp_path / "b", status=2).err
    said = command("yt8m-data", "compare", tmp_path / "a", tmp_path / "a", "--max-js", -1, status=2).err
    assert "the threshold js -1 is not a number from 0 up" in said


# --- A third party's statistic ----------------------------------------------------------------------------------------------


@pytest.fixture
def _plugin(tmp_path, monkeypatch):
    from yt8m_data.statistics.accumulator import REGISTRY

    (tmp_path / "loudness_plugin.py").write_text(PLUGIN)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))  # for the worker processes
    monkeypatch.syspath_prepend(tmp_path)
    yield
    REGISTRY.pop("loudness", None)


@pytest.mark.usefixtures("_plugin")
def test_a_statistic_of_ones_own(made, records, command, tmp_path):
    files = sorted(made.glob("*.tfrecord"))
    option = ["--import", "loudness_plugin"]
    command("yt8m-data", "stats", *files, "--out", tmp_path / "all", *option, "--workers", 2)
    assert result_of(tmp_path / "all")["loudness"] == pytest.approx(max(np.abs(v["mean_rgb"]).max() for _, _, v, _ in records))
    for name, part in (("a", files[:3]), ("b", files[3:])):
        command("yt8m-data", "stats", *part, "--out", tmp_path / name, *option)
    command("yt8m-data", "merge-stats", tmp_path / "a", tmp_path / "b", "--out", tmp_path / "m", *option)
    assert result_of(tmp_path / "m")["loudness"] == result_of(tmp_path / "all")["loudness"]
    said = command("yt8m-data", "stats", *files, "--out", tmp_path / "x", "--import", "no_such_plugin", status=2).err
    assert "the module 'no_such_plugin' cannot be imported" in said


def test_books_that_do_not_balance_are_an_error(made, command, tmp_path, monkeypatch):
    from beam_jobs import stats

    class Lossy(stats.CountShard):
        def give(self, batch):
            return super().give(batch.slice(0, batch.num_rows - 1))

    monkeypatch.setattr(stats, "CountShard", Lossy)
    said = command("yt8m-data", "stats", made / "*.tfrecord", "--out", tmp_path / "out", status=2).err
    assert "the books do not balance" in said
    assert not (tmp_path / "out").exists()
