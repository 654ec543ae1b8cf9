"""Wrong use and bad input: one sentence on stderr, exit status 2, nothing written."""

import json
from pathlib import Path

import pytest
import tensorflow as tf

from yt8m_data import shards
from yt8m_data.errors import DataError


def one_sentence(result):
    lines = [line for line in result.err.splitlines() if line.startswith("Error: ")]
    assert len(lines) == 1
    assert "Traceback" not in result.err
    assert result.out == ""
    return lines[0]


@pytest.fixture
def shard(made, tmp_path):
    """A copy of a shard, to damage."""
    path = tmp_path / "in" / "copy.tfrecord"
    path.parent.mkdir()
    path.write_bytes(sorted(made.glob("*.tfrecord"))[0].read_bytes())
    return path


@pytest.mark.parametrize("job", ["stats", "augment", "validate"])
def test_empty_glob(job, command, tmp_path):
    pattern = str(tmp_path / "nothing-*.tfrecord")
    where = {"stats": ["--out", tmp_path / "out"], "augment": [tmp_path / "out"], "validate": []}[job]
    result = command("yt8m-data", job, pattern, *where, status=2)
    assert pattern in one_sentence(result)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("job", ["stats", "augment"])
@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (
            lambda data: b"This is only text, however long it may be.\n" * 40,
            "record 0 at byte 0: the checksum of the length is wrong: this is no TFRecord",
        ),
        (lambda data: data[:-1000], "the file ends inside this record"),
        (lambda data: data[:700] + bytes([data[700] ^ 0x10]) + data[701:], "record 0 at byte 0: the checksum of the data is wrong"),
        (lambda data: data[:-3000] + b"x" + data[-3000:], "checksum"),
        (lambda data: b"", "empty"),
    ],
    ids=["text", "truncated", "flipped byte", "inserted byte", "empty"],
)
def test_damaged_shards(job, damage, said, workers, shard, command, tmp_path):
    shard.write_bytes(damage(shard.read_bytes()))
    where = ["--out", tmp_path / "out"] if job == "stats" else [tmp_path / "out"]
    result = command("yt8m-data", job, shard, *where, "--num-classes", 40, "--workers", workers, status=2)
    sentence = one_sentence(result)
    assert said in sentence
    assert str(shard) in sentence
    assert not list(tmp_path.glob("out/*"))


def test_bad_records_can_be_skipped_and_are_counted(shard, command, tmp_path):
    data = bytearray(shard.read_bytes())
    data[700] ^= 0x10
    shard.write_bytes(data)
    options = ["--num-classes", 40, "--on-bad-record", "skip", "--max-bad-fraction", 0.1]
    command("yt8m-data", "stats", shard, "--out", tmp_path / "stats", *options, report=True)
    stats = json.loads((tmp_path / "stats" / "stats.json").read_text())
    assert stats["bad_records"] == {"total": 1, "by_reason": {"crc": 1}}
    line = json.loads((tmp_path / "stats" / "bad_records.jsonl").read_text())
    assert (line["file"], line["index"], line["offset"], line["kind"]) == (str(shard), 0, 0, "crc")
    command("yt8m-data", "augment", shard, tmp_path / "out", *options, "--threshold", 30, report=True)
    totals = json.loads((tmp_path / "out" / "manifest.json").read_text())["totals"]
    assert totals["bad"] == 1
    assert totals["read"] == totals["kept"] + totals["dropped"] + 1 == stats["num_records"] + 1
    result = command("yt8m-data", "stats", shard, "--out", tmp_path / "s", "--num-classes", 40, "--on-bad-record", "skip", status=2)
    assert "--max-bad-fraction 0.001" in one_sentence(result)


def test_deltas_tell_of_the_records_that_were_left_out(shard, command, tmp_path):
    data = bytearray(shard.read_bytes())
    data[700] ^= 0x10
    shard.write_bytes(data)
    options = ["--num-classes", 40, "--on-bad-record", "skip", "--threshold", 10]
    assert "--max-bad-fraction 0.001" in one_sentence(command("yt8m-data", "deltas", shard, tmp_path / "d", *options, status=2))
    command("yt8m-data", "deltas", shard, tmp_path / "d", *options, "--max-bad-fraction", 0.1)
    manifest = json.loads((tmp_path / "d" / "manifest.json").read_text())
    assert manifest["totals"] == {"read": manifest["records"] + 1, "bad": 1}
    assert json.loads((tmp_path / "d" / "bad_records.jsonl").read_text())["kind"] == "crc"


def test_held_out_records_that_were_left_out_are_counted(shard, made, command, tmp_path):
    data = bytearray(shard.read_bytes())
    data[700] ^= 0x10
    shard.write_bytes(data)
    options = ["--num-classes", 40, "--threshold", 30, "--on-bad-record", "skip", "--holdout", shard]
    command("yt8m-data", "augment", *sorted(made.glob("*.tfrecord"))[1:], tmp_path / "out", *options)
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert (manifest["holdout"]["bad"], manifest["totals"]["bad"]) == (1, 0)


def write_examples(path, examples):
    with tf.io.TFRecordWriter(str(path)) as writer:
        for example in examples:
            writer.write(example.SerializeToString())


def example(number, labels=(1,), size=8, value=0.5):
    message = tf.train.Example()
    message.features.feature["id"].bytes_list.value.append(b"v%d" % number)
    if labels is not None:
        message.features.feature["labels"].int64_list.value.extend(labels)
    message.features.feature["mean_rgb"].float_list.value.extend([value] * size)
    return message


@pytest.mark.parametrize(
    ("odd", "said"),
    [
        (example(9, labels=[5000]), "label 5000 is outside 0..3861; --num-classes gives"),
        (example(9, labels=[-1]), "label -1 is below 0, where class numbers begin"),
        (example(9, size=7), "'mean_rgb' has 7 values, not 8"),
        (example(9, value=float("nan")), "'mean_rgb' has a value that is not finite"),
        (tf.train.Example(), "it has no id under the key 'id'"),
    ],
    ids=["label", "negative label", "size", "nan", "no id"],
)
def test_records_that_do_not_fit(odd, said, command, tmp_path):
    write_examples(tmp_path / "x.tfrecord", [*(example(n) for n in range(5)), odd, example(10)])
    result = command("yt8m-data", "stats", tmp_path / "x.tfrecord", "--out", tmp_path / "out", status=2)
    sentence = one_sentence(result)
    assert said in sentence
    assert "x.tfrecord: record 5 at byte" in sentence
    assert "--on-bad-record skip" in sentence


def test_labels_beyond_the_number_of_classes(made, command, tmp_path):
    result = command("yt8m-data", "augment", made / "*.tfrecord", tmp_path / "out", "--num-classes", 10, status=2)
    assert "is outside 0..9; --num-classes" in one_sentence(result)


def test_unlabelled_shards_cannot_be_augmented(command, tmp_path):
    write_examples(tmp_path / "test.tfrecord", [example(n, labels=None) for n in range(20)])
    command("yt8m-data", "stats", tmp_path / "test.tfrecord", "--out", tmp_path / "stats", report=True)
    assert json.loads((tmp_path / "stats" / "stats.json").read_text())["num_unlabeled"] == 20
    result = command("yt8m-data", "augment", tmp_path / "test.tfrecord", tmp_path / "out", status=2)
    assert "no record has a label" in one_sentence(result)


@pytest.mark.parametrize("job", ["augment", "synth"])
def test_an_output_folder_that_is_not_empty(job, made, command, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("mine")
    arguments = (
        ["synth", tmp_path / "out", "--records", 10, "--shards", 1]
        if job == "synth"
        else ["augment", made / "*.tfrecord", tmp_path / "out"]
    )
    assert "is not empty (it holds 'notes.txt')" in one_sentence(command("yt8m-data", *arguments, status=2))
    assert "'notes.txt'" in one_sentence(command("yt8m-data", *arguments, "--overwrite", status=2))
    assert (tmp_path / "out" / "notes.txt").read_text() == "mine"


def test_a_finished_output_is_replaced_only_on_demand(made, command, tmp_path, digests):
    arguments = ["augment", made / "*.tfrecord", tmp_path / "out", "--threshold", 30]
    command("yt8m-data", *arguments, report=True)
    before = digests(tmp_path / "out")
    assert "holds a finished output" in one_sentence(command("yt8m-data", *arguments, status=2))
    assert digests(tmp_path / "out") == before
    command("yt8m-data", *arguments, "--overwrite", "--num-shards", 2)
    assert len(list((tmp_path / "out").glob("*.tfrecord"))) == 2


def test_stats_are_replaced_only_on_demand(made, command, tmp_path):
    command("yt8m-data", "stats", made / "*.tfrecord", "--out", tmp_path, report=True)
    assert "--overwrite" in one_sentence(command("yt8m-data", "stats", made / "*.tfrecord", "--out", tmp_path, status=2))
    command("yt8m-data", "stats", made / "*.tfrecord", "--out", tmp_path, "--overwrite")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--policy", "best"], "no policy 'best'"),
        (["--threshold", "many"], "threshold 'many' is not a number"),
        (["--method", "mixup"], "mixup"),
        (["--lambda", "0.8:0.2"], "lambda 0.8:0.2"),
        (["--cap", "10"], "belong to --policy target"),
        (["--policy", "target"], "needs one of --cap, --floor, --power, --effective and --targets"),
        (["--labels", "all"], "no label rule 'all'"),
        (["--runner", "cloud"], "no runner 'cloud'"),
        (["--hold", "mean_smell"], "mean_smell"),
        (["--counts", "nowhere.json"], "nowhere.json"),
        (["--vocabulary", "nowhere.csv"], "nowhere.csv"),
    ],
)
def test_wrong_options(options, said, made, command, tmp_path):
    result = command("yt8m-data", "augment", made / "*.tfrecord", tmp_path / "out", *options, status=2)
    assert said in one_sentence(result)
    assert not (tmp_path / "out").exists()


def test_a_disk_that_is_too_small(made, command, tmp_path, monkeypatch):
    from beam_jobs import room

    monkeypatch.setattr(room.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1000}))
    result = command("yt8m-data", "augment", made / "*.tfrecord", tmp_path / "out", status=2)
    assert "GB free" in one_sentence(result)


def test_books_that_do_not_balance_are_an_error(made, command, tmp_path, monkeypatch):
    from beam_jobs import rebalance, route

    class Lossy(route.Route):
        def process(self, batch):
            outputs = list(super().process(batch))
            lost = next(output for output in outputs if getattr(output, "tag", None) == route.KEPT)
            yield from (output for output in outputs if output is not lost)

    monkeypatch.setattr(rebalance, "Route", Lossy)
    result = command("yt8m-data", "augment", made / "*.tfrecord", tmp_path / "out", "--threshold", 30, status=2)
    assert "the books do not balance" in one_sentence(result)
    assert not (tmp_path / "out" / "manifest.json").exists()


@pytest.mark.parametrize("job", ["shard", "augment"])
def test_bad_records_are_the_same_however_files_are_joined(job, made, command, digests, tmp_path, monkeypatch):
    from beam_jobs import units

    (tmp_path / "in").mkdir()
    for number, path in enumerate(sorted(made.glob("*.tfrecord"))):
        data = bytearray(path.read_bytes())
        data[100 + 7 * number] ^= number % 2  # of every other file
        (tmp_path / "in" / path.name).write_bytes(data)
    options = ["--num-classes", 40, "--on-bad-record", "skip", "--max-bad-fraction", 0.1]
    for number in (1, 2, 8):
        monkeypatch.setattr(units, "_UNITS", number)
        command("yt8m-data", job, tmp_path / "in" / "*.tfrecord", tmp_path / f"{number}", *options)
    bad = [json.loads(line) for line in (tmp_path / "1" / "bad_records.jsonl").read_text().splitlines()]
    assert [Path(record["file"]).name[:11] for record in bad] == ["train-00001", "train-00003", "train-00005"]
    assert digests(tmp_path / "1") == digests(tmp_path / "2") == digests(tmp_path / "8")


@pytest.mark.parametrize("number", [1, 8])
@pytest.mark.parametrize("job", ["shard", "augment"])
def test_a_file_that_nobody_reads_is_an_error(job, number, made, command, tmp_path, monkeypatch):
    """As one whose name is lost on the way to the workers, of which no count of records tells."""
    from beam_jobs import units

    command("yt8m-data", "stats", *sorted(made.glob("*.tfrecord"))[:-1], "--out", tmp_path / "stats")
    monkeypatch.setattr(units, "_UNITS", number)
    of_files = units.of_files
    monkeypatch.setattr(units, "of_files", lambda step, files, processes: of_files(step, files[:-1], processes))
    options = ["--counts", tmp_path / "stats" / "stats.json"] if job == "augment" else []
    result = command("yt8m-data", job, made / "*.tfrecord", tmp_path / "out", *options, status=2)
    assert "5 of 6 files were read, so Beam lost some on the way: run it again" in one_sentence(result)
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_what_validate_found_is_printed_though_it_cannot_be_written(made, command, tmp_path, monkeypatch):
    printed = command("yt8m-data", "validate", made / "*.tfrecord", "--out", tmp_path / "found.json").out
    assert json.loads((tmp_path / "found.json").read_text()) == json.loads(printed)

    def full(*_):
        raise DataError("the disk is full")

    monkeypatch.setattr(shards, "write_json", full)
    result = command("yt8m-data", "validate", made / "*.tfrecord", "--out", tmp_path / "again.json", status=2)
    assert result.out == printed
    assert result.err.endswith("Error: the disk is full\n")
