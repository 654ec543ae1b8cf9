"""shard through the command line, on files, held against TensorFlow's own reading of what went in."""

import gzip
import json
from pathlib import Path
from types import SimpleNamespace

import google_crc32c
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from beam_jobs import exchange, units
from beam_jobs import shard as job
from yt8m_data import shards, spill


def records(*folders, suffix="*.tfrecord", compression=""):
    """Every record of the shards of some folders, in order, as TensorFlow reads it: (id, context, lists)."""
    found = []
    for path in [path for folder in folders for path in sorted(Path(folder).glob(suffix))]:
        for data in tf.data.TFRecordDataset(str(path), compression_type=compression).as_numpy_iterator():
            message = tf.train.SequenceExample.FromString(data)
            context = {key: value.SerializeToString() for key, value in message.context.feature.items()}
            lists = {key: [f.bytes_list.value[0] for f in value.feature] for key, value in message.feature_lists.feature_list.items()}
            key = "id" if "id" in context else "video_id"
            found.append((message.context.feature[key].bytes_list.value[0], context, lists))
    return found


def by_id(found):
    assert len({i for i, _, _ in found}) == len(found)
    return {i: (context, lists) for i, context, lists in found}


def manifest(folder):
    return json.loads((Path(folder) / "manifest.json").read_text())


@pytest.fixture(scope="module")
def plain(frames, command, tmp_path_factory):
    out = tmp_path_factory.mktemp("plain") / "out"
    return out, command("yt8m-data", "shard", frames / "*.tfrecord", out, "--num-shards", 3)


def test_every_record_once_in_the_order_of_its_hash(plain, frames):
    out, result = plain
    written = records(out)
    assert by_id(written) == by_id(records(frames))
    hashes = shards.stable_hash(0, [i for i, _, _ in written], "order").tolist()
    assert hashes == sorted(hashes)
    assert [i for i, _, _ in written] != [i for i, _, _ in records(frames)]
    assert "90 written" in result.out
    assert sorted(path.name for path in out.iterdir()) == ["manifest.json", *(f"train-0000{n}-of-00003.tfrecord" for n in range(3))]


def test_the_manifest_tells_what_is_on_disk(plain):
    out, _ = plain
    told = manifest(out)
    assert told["totals"] == {"read": 90, "kept": 90, "dropped": 0, "bad": 0, "written": 90}
    assert told["num_classes"] == 30
    for entry in told["shards"]:
        data = (out / entry["name"]).read_bytes()
        found = records(out, suffix=entry["name"])
        labels = [set(tf.train.Feature.FromString(context["labels"]).int64_list.value) for _, context, _ in found]
        assert (entry["records"], entry["bytes"], entry["crc32c"]) == (len(found), len(data), f"{google_crc32c.value(data):08x}")
        assert entry["label_counts"] == {str(k): n for k in range(30) if (n := sum(k in each for each in labels))}
        assert entry["frames"] == sum(len(lists["rgb"]) for _, _, lists in found)


def shard(source, out, budget, monkeypatch, command, *options):
    monkeypatch.setattr(job, "MINIMUM_BUDGET", 1)
    return command("yt8m-data", "shard", *source, out, "--num-shards", 3, "--memory-budget", budget, *options)


@pytest.mark.parametrize(
    ("workers", "budget"), [(1, "600kB"), (1, "6MB"), (3, "2MB")], ids=["parts of shards", "a partition per shard", "three processes"]
)
def test_the_bytes_depend_on_neither_memory_nor_workers_nor_order(workers, budget, plain, frames, command, digests, tmp_path, monkeypatch):
    files = sorted(frames.glob("*.tfrecord"), reverse=True)
    shard(files, tmp_path / "out", budget, monkeypatch, command, "--workers", workers)
    assert digests(tmp_path / "out") == digests(plain[0])


def test_the_form_for_services_writes_the_same(plain, frames, command, digests, tmp_path, monkeypatch):
    monkeypatch.setattr(
        job, "run_spilled", lambda source, files, read, schema, engine, work: exchange.run_grouped(*[source, files, read, schema, engine])
    )
    shard([frames / "*.tfrecord"], tmp_path / "out", "600kB", monkeypatch, command)
    assert digests(tmp_path / "out") == digests(plain[0])
    name = ["--split-by-name", "first=train-00000*"]
    shard([frames / "*.tfrecord"], tmp_path / "splits", "600kB", monkeypatch, command, *name)
    assert manifest(tmp_path / "splits")["splits"][0]["records"] == 18


def test_splits_by_id(frames, command, tmp_path):
    out = tmp_path / "out"
    command("yt8m-data", "shard", frames / "*.tfrecord", out, "--split", "train=0.7", "--split", "test=0.3", "--num-shards", 4)
    train, test = records(out / "train"), records(out / "test")
    assert by_id(train + test) == by_id(records(frames))
    places = shards.unit_interval(shards.stable_hash(0, [i for i, _, _ in train + test], "split"))
    assert (places < 0.7).tolist() == [True] * len(train) + [False] * len(test)
    assert [(s["name"], s["records"], s["shards"]) for s in manifest(out)["splits"]] == [("train", len(train), 3), ("test", len(test), 1)]
    assert manifest(out / "test")["totals"] == {"written": len(test)}
    command("yt8m-data", "stats", out / "test" / "*.tfrecord", "--out", tmp_path / "stats")
    assert json.loads((tmp_path / "stats" / "stats.json").read_text())["num_classes"] == 30
    again = command("yt8m-data", "shard", frames / "*.tfrecord", out, "--split", "a=1.0", "--overwrite")
    assert "90 written" in again.out


def test_splits_by_shard_name(frames, command, tmp_path):
    out = tmp_path / "out"
    command("yt8m-data", "shard", frames / "*.tfrecord", out, "--split-by-name", "heldout=train-0000[13]*", "--name", "rest")
    assert by_id(records(out / "heldout")) == by_id(records(frames, suffix="train-0000[13]*"))
    assert by_id(records(out / "rest")) == by_id(records(frames, suffix="train-0000[024]*"))


def test_an_id_in_two_places_ends_the_job(frames, command, tmp_path):
    copy = tmp_path / "copy.tfrecord"
    copy.write_bytes(sorted(frames.glob("*.tfrecord"))[0].read_bytes())
    result = command("yt8m-data", "shard", frames / "*.tfrecord", copy, tmp_path / "out", "--num-classes", 30, status=2)
    assert "would be written twice" in result.err
    options = ["--num-classes", 30, "--split-by-name", "other=copy*"]
    result = command("yt8m-data", "shard", frames / "*.tfrecord", copy, tmp_path / "split", *options, status=2)
    assert "18 ids are in shards of both splits, 'other' and 'train'" in result.err
    assert not (tmp_path / "split" / "manifest.json").exists()


def rated(number, labels, segments):
    """A record of the 2019 release: segments are (start, label, score)."""
    message = tf.train.SequenceExample()
    feature = message.context.feature
    feature["id"].bytes_list.value.append(b"v%d" % number)
    feature["labels"].int64_list.value.extend(labels)
    feature["url"].bytes_list.value.append(b"https://example.com/%d" % number)
    if segments is not None:
        feature["segment_start_times"].int64_list.value.extend(start for start, _, _ in segments)
        feature["segment_end_times"].int64_list.value.extend(start + 5 for start, _, _ in segments)
        feature["segment_labels"].int64_list.value.extend(label for _, label, _ in segments)
        feature["segment_scores"].float_list.value.extend(score for _, _, score in segments)
    for name, size in (("rgb", 4), ("audio", 2)):
        message.feature_lists.feature_list[name].feature.extend(
            tf.train.Feature(bytes_list=tf.train.BytesList(value=[bytes([t] * size)])) for t in range(3)
        )
    return message


@pytest.fixture
def segments(tmp_path):
    messages = [
        rated(0, [1, 7], [(5, 7, 1.0), (10, 3, 0.0)]),
        rated(1, [2], [(5, 2, 1.0)]),
        rated(2, [3], [(5, 2, 1.0)]),
        rated(3, [2], [(0, 7, 0.5)]),
        rated(4, [7], None),
    ]
    path = tmp_path / "segments.tfrecord"
    with tf.io.TFRecordWriter(str(path)) as writer:
        for message in messages:
            writer.write(message.SerializeToString())
    return path, messages


def test_segments_and_unknown_keys_survive(segments, command, tmp_path):
    path, messages = segments
    command("yt8m-data", "shard", path, tmp_path / "out", "--num-classes", 10)
    expected = {m.context.feature["id"].bytes_list.value[0]: m for m in messages}
    for i, context, _ in (found := records(tmp_path / "out")):
        assert context == {key: value.SerializeToString() for key, value in expected[i].context.feature.items()}
    assert len(found) == 5


def test_classes_are_kept_and_numbered_by_their_rows(segments, command, tmp_path):
    path, _ = segments
    listed = tmp_path / "classes.csv"
    listed.write_text("Index,Name\n7,Car\n3,Dance\n")
    command("yt8m-data", "shard", path, tmp_path / "out", "--num-classes", 10, "--classes", listed)
    told = manifest(tmp_path / "out")
    assert told["totals"] == {"read": 5, "kept": 4, "dropped": 1, "bad": 0, "written": 4}
    assert (told["num_classes"], told["classes"]) == (2, [7, 3])
    found = {}
    for i, context, _ in records(tmp_path / "out"):
        values = {key: tf.train.Feature.FromString(value) for key, value in context.items()}
        lists = [list(values[key].int64_list.value) for key in ("segment_labels", "segment_start_times") if key in values]
        found[i] = (list(values["labels"].int64_list.value), *lists, list(values["segment_scores"].float_list.value) if lists else None)
    assert found == {
        b"v0": ([0], [0, 1], [5, 10], [1.0, 0.0]),
        b"v2": ([1], [], [], []),
        b"v3": ([], [0], [0], [0.5]),
        b"v4": ([0], None),
    }
    assert list(Path(tmp_path / "out").glob("*.tfrecord"))


def test_gzip_in_and_out(plain, frames, command, digests, tmp_path):
    files = sorted(frames.glob("*.tfrecord"))
    for number, path in enumerate(files):  # the content tells, not the name
        (tmp_path / (path.name + ".gz" if number % 2 else path.name)).write_bytes(gzip.compress(path.read_bytes(), 1))
    source = [tmp_path / "*.tfrecord*", "--num-classes", 30, "--num-shards", 3]
    command("yt8m-data", "shard", source[0], tmp_path / "out", *source[1:])
    written, expected = digests(tmp_path / "out"), digests(plain[0])
    assert {k: v for k, v in written.items() if k != "manifest.json"} == {k: v for k, v in expected.items() if k != "manifest.json"}
    command("yt8m-data", "shard", frames / "*.tfrecord", tmp_path / "gz", "--num-shards", 3, "--compress", "gzip")
    assert records(tmp_path / "gz", suffix="*.tfrecord.gz", compression="GZIP") == records(plain[0])
    result = command("yt8m-data", "shard", frames / "*.tfrecord", tmp_path / "no", "--format", "arrow", "--compress", "gzip", status=2)
    assert "arrow shards cannot be compressed by 'gzip'" in result.err


@pytest.mark.parametrize(("form", "options"), [("parquet", []), ("parquet", ["--compress", "gzip"]), ("arrow", [])])
def test_other_formats_hold_the_same(form, options, plain, frames, command, tmp_path, digests, monkeypatch):
    out = tmp_path / "out"
    shard([frames / "*.tfrecord"], out, "6MB", monkeypatch, command, "--format", form, *options)
    rows = []
    for path in sorted(out.glob(f"*.{form}")):
        table = pq.read_table(path) if form == "parquet" else pa.ipc.open_file(str(path)).read_all()
        assert table.schema.field("rgb").type == pa.list_(pa.binary(1024))
        rows += table.to_pylist()
    expected = records(plain[0])
    assert [(row["id"], row["rgb"], row["audio"]) for row in rows] == [(i, lists["rgb"], lists["audio"]) for i, _, lists in expected]
    assert [row["labels"] for row in rows] == [list(tf.train.Feature.FromString(c["labels"]).int64_list.value) for _, c, _ in expected]
    shard([frames / "*.tfrecord"], tmp_path / "small", "600kB", monkeypatch, command, "--format", form, *options)
    assert digests(tmp_path / "small") == digests(out)


def test_video_level(made, command, tmp_path):
    command("yt8m-data", "shard", made / "*.tfrecord", tmp_path / "out", "--shard-bytes", "2MB", "--name", "x")
    assert len(manifest(tmp_path / "out")["shards"]) == 3
    assert by_id(records(tmp_path / "out")) == by_id(records(made))


@pytest.mark.shared_data
def test_published_shards(shared_data, command, tmp_path):
    for source, count in (
        ("yt8m-2017-video/*[0-9].tfrecord", None),
        ("audioset/*.tfrecord", 285),
        ("yt8m-2018-video/validate000?.tfrecord", None),
    ):
        out = tmp_path / source.split("/")[0]
        command("yt8m-data", "shard", shared_data / source, out, "--num-shards", 2)
        before = by_id(records(shared_data, suffix=source))
        after = by_id(records(out))
        for context, _ in before.values():
            context.setdefault("labels", b"\x1a\x00")  # a record without labels gets an empty list of them
        assert after == before
        assert count in (None, len(after))


# --- Bad records, wrong use, kills ----------------------------------------------------------------------------------------


def test_bad_records_and_the_books(frames, command, digests, tmp_path):
    path = tmp_path / "bad.tfrecord"
    data = bytearray(sorted(frames.glob("*.tfrecord"))[0].read_bytes())
    data[2000] ^= 1
    path.write_bytes(data)
    result = command("yt8m-data", "shard", path, tmp_path / "out", "--num-classes", 30, status=2)
    assert f"{path}: record 0 at byte 0: the checksum of the data is wrong (--on-bad-record skip" in result.err
    assert not list((tmp_path / "out").glob("*.tfrecord"))
    options = ["--num-classes", 30, "--on-bad-record", "skip"]
    result = command("yt8m-data", "shard", path, tmp_path / "rotten", *options, status=2)
    assert "--max-bad-fraction 0.001 allows" in result.err
    command("yt8m-data", "shard", path, tmp_path / "skipped", *options, "--max-bad-fraction", 0.1)
    resumed = command("yt8m-data", "shard", path, tmp_path / "rotten", *options, "--max-bad-fraction", 0.1)
    assert "1 of 1 files were found finished, 0 done; 1 of 1 tasks were found finished" in resumed.err
    assert digests(tmp_path / "rotten") == digests(tmp_path / "skipped")
    assert manifest(tmp_path / "skipped")["totals"] == {"read": 18, "kept": 17, "dropped": 0, "bad": 1, "written": 17}
    assert json.loads((tmp_path / "skipped" / "bad_records.jsonl").read_text())["kind"] == "crc"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--num-shards", 3, "--shard-bytes", "1MB"], "exclude one another"),
        (["--memory-budget", "1MB"], "a memory budget of 1,000,000 bytes is too small: give at least 64MiB"),
        (["--memory-budget", "much"], "'much' is no number of bytes"),
        (["--split", "a=0.5"], "add up to 0.5"),
        (["--split", "a=1", "--split-by-name", "b=x*"], "exclude one another"),
        (["--split-by-name", "b=none*"], "no shard matches 'none*' for the split 'b'"),
        (["--split-by-name", "b=*"], "no shard is left for the split 'train'"),
        (["--classes", "missing.csv"], "missing.csv cannot be read"),
    ],
)
def test_wrong_use(options, said, frames, command, tmp_path):
    result = command("yt8m-data", "shard", frames / "*.tfrecord", tmp_path / "out", *options, status=2)
    assert said in result.err
    assert not list(tmp_path.glob("out/*.tfrecord"))


def test_a_full_disk_is_told_of_before_the_start(frames, command, tmp_path, monkeypatch):
    monkeypatch.setattr(job.shutil, "disk_usage", lambda _: SimpleNamespace(free=1))
    result = command("yt8m-data", "shard", frames / "*.tfrecord", tmp_path / "out", status=2)
    assert "GB free: make room" in result.err


def test_the_bytes_do_not_depend_on_the_units(plain, frames, command, digests, tmp_path, monkeypatch):
    for number, flushed in ((1, spill.FLUSH_BYTES), (2, 1), (2, 30_000)):
        monkeypatch.setattr(units, "_UNITS", number)
        monkeypatch.setattr(spill, "FLUSH_BYTES", flushed)
        out = tmp_path / f"{number}-{flushed}"
        shard([frames / "*.tfrecord"], out, "600kB", monkeypatch, command)
        assert digests(out) == digests(plain[0])
