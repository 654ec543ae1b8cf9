"""The commands with input and output in an object store: the same bytes as on disk. Emulators of the stores run on loopback."""

import hashlib
import json
import shutil

import pytest

from beam_jobs import exchange, pool
from yt8m_data import storage

pytestmark = pytest.mark.cloud

# A command is tested on the stores by a line here. IN and OUT are put in.
JOBS = {
    "stats": ["stats", "IN/*.tfrecord", "--out", "OUT", "--no-report"],
    "augment": ["augment", "IN/*.tfrecord", "OUT", "--threshold", "25", "--lambda", "0.2:0.8"],
    "shard": ["shard", "IN/*.tfrecord", "OUT", "--num-shards", "3", "--split", "a=0.7", "--split", "b=0.3"],
    "pool": ["pool", "IN/frames/*.tfrecord", "OUT", "--moment", "std"],
}


# Where the commands run, for each store.
ENGINES = {"gs": ("--workers", "2"), "s3": ("--runner", "portable")}


@pytest.fixture(scope="module")
def made(made, command, tmp_path_factory):
    """The made shards, and frame-level ones beside them."""
    folder = tmp_path_factory.mktemp("stores") / "made"
    shutil.copytree(made, folder)
    command("yt8m-data", "synth", folder / "frames", "--kind", "frame", "--records", 30, "--shards", 2, "--classes", 20, "--max-frames", 12)
    return folder


@pytest.fixture(scope="module", params=ENGINES)
def store(request, made):
    """A bucket with the made shards in its folder `made`."""
    bucket = request.getfixturevalue(f"{request.param}_bucket")
    for path in [path for path in made.rglob("*") if path.is_file()]:
        with storage.atomic_write(f"{bucket}/made/{path.relative_to(made)}") as stream:
            stream.write(path.read_bytes())
    return bucket


@pytest.fixture(scope="module")
def on_disk(made, command, tmp_path_factory):
    """What each job writes on disk."""
    folder = tmp_path_factory.mktemp("disk")
    for job, words in JOBS.items():
        command("yt8m-data", *fill(words, made.parent, folder / job), report=True)
    return {job: contents(list((folder / job).rglob("*")), folder / job, made.parent) for job in JOBS}


def fill(words, root, out):
    return [word.replace("IN", f"{root}/made").replace("OUT", str(out)) for word in words]


def contents(paths, folder, root):
    """Digests of the files, with the input's place made the same for all, and without the report, which holds the command line."""
    found = {}
    for path in paths:
        name = str(path)[len(str(folder)) + 1 :]
        if path.is_file() and name != "report.html":
            found[name] = hashlib.sha256(path.read_bytes().replace(str(root).encode(), b"ROOT")).hexdigest()
    return found


@pytest.mark.parametrize("job", JOBS)
def test_a_job_from_store_to_store(job, store, on_disk, command):
    out = storage.to_path(store) / job
    command("yt8m-data", *fill(JOBS[job], store, out), *ENGINES[store[:2]], report=True)
    found = contents(out.walk(recursive=True), out, store)
    assert found.keys() == on_disk[job].keys()
    assert found == on_disk[job]
    assert (out / "report.html").is_file() == (job == "augment")


@pytest.mark.parametrize("store", ["s3"], indirect=True)
def test_what_was_written_is_guarded_replaced_and_read_again(store, command):
    out = f"{store}/guarded"
    arguments = ["augment", f"{store}/made/*.tfrecord", out, "--policy", "target", "--floor", "20", "--cap", "30"]
    command("yt8m-data", "stats", f"{store}/made/*.tfrecord", "--out", f"{store}/counts")
    command("yt8m-data", *arguments, "--counts", f"{store}/counts/stats.json", report=True)
    refused = command("yt8m-data", *arguments, status=2)
    assert f"{out} holds a finished output" in refused.err
    command("yt8m-data", *arguments, "--overwrite", "--num-shards", "2")
    names = [path.name for path in storage.to_path(out).walk() if path.name.endswith(".tfrecord")]
    assert names == ["train-00000-of-00002.tfrecord", "train-00001-of-00002.tfrecord"]
    assert json.loads(command("yt8m-data", "validate", f"{out}/*.tfrecord").out)["ok"]
    command("yt8m-data", "stats", f"{out}/*.tfrecord", "--out", f"{store}/after")
    command("yt8m-data", "compare", f"{store}/counts", f"{store}/after", status=1)
    command("yt8m-data", "merge-stats", f"{store}/counts", f"{store}/after", "--out", f"{store}/merged")
    files = [storage.to_path(f"{store}/{name}/stats.json") for name in ("counts", "after", "merged")]
    before, after, merged = (json.loads(path.read_bytes())["num_records"] for path in files)
    assert merged == before + after


@pytest.mark.parametrize(
    ("job", "step", "left"),
    [
        ("shard", exchange._WriteTask, "1 of 3 tasks were found finished, 2 done"),
        ("pool", pool._PoolFile, "1 of 2 files were found finished"),
    ],
)
def test_a_killed_job_goes_on_in_the_store(job, step, left, store, on_disk, command, monkeypatch):
    out, count, process = storage.to_path(store) / f"killed-{job}", [], step.process

    def broken(self, element):
        count.append(element)
        if len(count) > 1:
            raise RuntimeError("killed")
        return process(self, element)

    with monkeypatch.context() as patch:
        patch.setattr(step, "process", broken)
        with pytest.raises(RuntimeError, match="killed"):
            command("yt8m-data", *fill(JOBS[job], store, out))
    assert not (out / "manifest.json").exists()
    assert left in command("yt8m-data", *fill(JOBS[job], store, out)).err
    assert contents(out.walk(recursive=True), out, store) == on_disk[job]


@pytest.mark.parametrize("store", ["gs"], indirect=True)
def test_frame_level_shards_are_scanned_in_the_store(store, made, command, tmp_path):
    command("yt8m-data", "stats", f"{store}/made/frames/*.tfrecord", "--out", tmp_path / "store")
    command("yt8m-data", "stats", made / "frames" / "*.tfrecord", "--out", tmp_path / "disk")
    found, expected = (json.loads((tmp_path / name / "stats.json").read_text()) for name in ("store", "disk"))
    assert found["read"].pop("bytes_read") >= expected["read"].pop("bytes_read")
    assert found == expected


@pytest.mark.parametrize("kind", ["video", "frame"])
def test_a_model_is_trained_from_the_store_as_from_disk(kind, store, made, command, tmp_path):
    part = {"video": "", "frame": "frames/"}[kind]
    metrics = []
    for root in (store, made.parent):
        pattern = f"{root}/made/{part}*.tfrecord"
        settings = ["training.steps=3", "training.batch_size=16", *(["pooling={name: average}"] if kind == "frame" else [])]
        words = [word for setting in settings for word in ("--set", setting)]
        data = ["--train", pattern, "--eval", pattern, "--out", tmp_path / f"run-{len(metrics)}"]
        metrics.append(json.loads(command("yt8m-train", "fit", "logistic", *data, *words).out))
    assert metrics[0] == metrics[1]


def test_wrong_names_are_one_sentence(store, command, tmp_path):
    for pattern in (f"{store}/none*", f"{store}-none/x.tfrecord", f"{store}/none"):
        assert "no file matches" in command("yt8m-data", "stats", pattern, "--out", tmp_path / "o", status=2).err
    assert "begins with gs or s3://" in command("yt8m-data", "stats", "hdfs://a/*", "--out", tmp_path / "o", status=2).err


@pytest.mark.parametrize("store", ["gs"], indirect=True)
def test_workers_leave_their_result_in_the_temporary_folder(store, command, tmp_path, monkeypatch):
    taken, unlink = [], storage.ObjectPath.unlink

    def spy(path, missing_ok=False):
        taken.append((str(path.parent), path.size()))
        unlink(path, missing_ok)

    monkeypatch.setattr(storage.ObjectPath, "unlink", spy)
    options = ["--out", tmp_path / "out", "--runner", "portable", "--", f"--temp_location={store}/tmp"]
    command("yt8m-data", "stats", f"{store}/made/*.tfrecord", *options)
    assert json.loads((tmp_path / "out" / "stats.json").read_text())["num_records"] == 1000
    [(folder, size)] = taken
    assert folder == f"{store}/tmp"
    assert size > 1000
    assert list(storage.to_path(folder).iterdir()) == []
