"""augment goes on where it was killed, or where the disk was full, to the bytes of an unbroken run."""

import gc
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from beam_jobs import augment as job
from beam_jobs import room, route, transforms, units
from yt8m_data import spill

ROOT = Path(job.__file__).parents[1]
OPTIONS = ("--threshold", "25", "--lambda", "0.2:0.8")


@pytest.fixture(scope="module")
def videos(tmp_path_factory, command):
    """400 made videos with 24 classes in 4 shards."""
    folder = tmp_path_factory.mktemp("resume") / "made"
    command("yt8m-data", "synth", folder, "--records", 400, "--shards", 4, "--classes", 24, "--seed", 3)
    return folder


@pytest.fixture(scope="module", autouse=True)
def _small_units():
    """Several partitions of pools, and one of the output for each shard."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(room, "PARTITION_BYTES", 200_000)
        patch.setattr(room, "OUTPUT_ROWS", 100)
        yield


@pytest.fixture(scope="module")
def run(videos, command, digests):
    """Run augment with some options; return what it said on stderr and the digests of what it wrote."""

    def augment(out, *options):
        return command("yt8m-data", "augment", videos / "*.tfrecord", out, *OPTIONS, *options).err, digests(out)

    return augment


@pytest.fixture(scope="module")
def whole(run, tmp_path_factory):
    return run(tmp_path_factory.mktemp("whole") / "out")[1]


def kill(cls, calls, run, *arguments):
    """Run augment, and let a DoFn fail once it was called so often, as a kill would end it."""
    count, process = [], cls.process

    def broken(self, element):
        count.append(element)
        if len(count) > calls:
            raise RuntimeError("killed")
        return process(self, element)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cls, "process", broken)
        with pytest.raises(RuntimeError, match="killed"):
            run(*arguments)


def found(said):
    """{step: (found, done)} of what a resumed job says."""
    return {
        step: (int(found), int(done)) for found, step, done in re.findall(r"(\d+) of \d+ ([a-z ]+) were found finished, (\d+) done", said)
    }


@pytest.mark.parametrize(
    ("step", "cls", "calls", "expected"),
    [
        ("files", transforms.ReadShard, 3, {"files": (3, 1)}),
        ("pools", route.Synthesize, 2, {"files": (4, 0), "pools": (2, None)}),
        ("shards", transforms.WriteShards, 3, {"files": (4, 0), "pools": (None, 0), "parts of the output": (3, 1)}),
    ],
)
def test_what_was_finished_is_not_done_again(step, cls, calls, expected, run, whole, videos, command, tmp_path, monkeypatch):
    command("yt8m-data", "stats", videos / "*.tfrecord", "--out", tmp_path / "stats")
    counts = ("--counts", tmp_path / "stats" / "stats.json")
    kill(cls, calls, run, tmp_path / "out", *counts)
    assert not (tmp_path / "out" / "manifest.json").exists()
    called = {each: [] for each in (transforms.ReadShard, route.Synthesize, transforms.WriteShards)}
    for each, elements in called.items():
        process = each.process
        monkeypatch.setattr(each, "process", lambda self, e, process=process, seen=elements: (seen.append(e[0]), process(self, e))[1])
    said, digests = run(tmp_path / "out", *counts)
    assert digests == whole
    counted = found(said)
    for name, pair in expected.items():
        assert all(want is None or want == got for want, got in zip(pair, counted[name], strict=True)), said
    assert [len(elements) for elements in called.values()] == [counted[name][1] for name in ("files", "pools", "parts of the output")]
    assert counted["pools"][0] + counted["pools"][1] > 3
    assert not list((tmp_path / "out").glob(".*"))


def test_the_input_is_not_counted_again(run, whole, tmp_path, monkeypatch):
    kill(route.Synthesize, 1, run, tmp_path / "out")
    monkeypatch.setattr(job.stats, "compute", lambda *_: pytest.fail("counted again"))
    assert run(tmp_path / "out")[1] == whole


def test_label_sets_deltas_and_held_out_videos_are_kept_too(run, videos, tmp_path, monkeypatch):
    options = ["--policy", "joint", "--floor", "20", "--cap", "60", "--method", "interpolate,delta", "--holdout", videos / "*00001-of*"]
    _, unbroken = run(tmp_path / "whole", *options)
    kill(transforms.WriteShards, 1, run, tmp_path / "out", *options)
    monkeypatch.setattr(job.delta_job, "collect", lambda *_: pytest.fail("collected again"))
    said, digests = run(tmp_path / "out", *options)
    assert digests == unbroken
    assert found(said)["files"] == (4, 0)


def test_a_damaged_shard_is_written_again(run, whole, tmp_path):
    out = tmp_path / "out"
    kill(transforms.WriteShards, 2, run, out)
    path = sorted(out.glob("*.tfrecord"))[0]
    data = bytearray(path.read_bytes())
    data[500] ^= 1
    path.write_bytes(data)
    (out / ".train-00001.x.tmp").write_bytes(b"half")
    said, digests = run(out)
    assert digests == whole
    assert found(said)["parts of the output"] == (1, 3)


def test_a_spilled_file_that_was_cut_is_read_again(run, whole, tmp_path):
    out = tmp_path / "out"
    kill(route.Synthesize, 0, run, out)
    with open(sorted(out.glob(".spill-work.tmp/runs/output/*.run"))[1], "r+b") as stream:
        stream.truncate(100)
    said, digests = run(out)
    assert digests == whole
    assert found(said)["files"] == (3, 1)


def test_files_are_counted_that_were_read_together(run, whole, videos, command, tmp_path, monkeypatch):
    monkeypatch.setattr(units, "_UNITS", 2)
    command("yt8m-data", "stats", videos / "*.tfrecord", "--out", tmp_path / "stats")
    counts = ("--counts", tmp_path / "stats" / "stats.json")
    kill(transforms.ReadShard, 3, run, tmp_path / "out", *counts)  # in the second file of the second unit
    assert len(list((tmp_path / "out").glob(".spill-work.tmp/done/*.pickle"))) == 1
    read, process = [], transforms.ReadShard.process
    monkeypatch.setattr(transforms.ReadShard, "process", lambda self, e: (read.append(e[0]), process(self, e))[1])
    said, digests = run(tmp_path / "out", *counts)
    assert digests == whole
    assert found(said)["files"] == (2, 2)
    assert len(read) == 2


@pytest.mark.parametrize("options", [(), ("--chunk-shards", "3"), ("--holdout",)])
def test_the_bytes_do_not_depend_on_the_units(options, run, videos, tmp_path, monkeypatch):
    options = [*options, videos / "*0000[12]-of*"] if "--holdout" in options else options
    _, plain = run(tmp_path / "plain", *options)
    for number, flushed in ((1, spill.FLUSH_BYTES), (2, 1), (2, 30_000)):
        monkeypatch.setattr(units, "_UNITS", number)
        monkeypatch.setattr(spill, "FLUSH_BYTES", flushed)
        assert run(tmp_path / f"{number}-{flushed}", *options)[1] == plain


@pytest.mark.parametrize(("before", "after", "kept"), [(1, 4, 0), (4, 1, 0), (4, 3, 2)])
def test_units_of_another_division_do_not_count(before, after, kept, run, whole, tmp_path, monkeypatch):
    monkeypatch.setattr(units, "_UNITS", before)
    kill(route.Synthesize, 1, run, tmp_path / "out")
    monkeypatch.setattr(units, "_UNITS", after)
    said, digests = run(tmp_path / "out")
    assert digests == whole
    assert found(said)["files"] == (kept, 4 - kept)


def test_another_command_does_not_go_on_with_it(run, videos, command, tmp_path):
    kill(route.Synthesize, 1, run, tmp_path / "out")
    arguments = ["augment", videos / "*.tfrecord", tmp_path / "out", "--seed", 1]
    refused = command("yt8m-data", *arguments, status=2)
    assert "holds the beginning of another output (of other settings): finish that, or --overwrite" in refused.err
    command("yt8m-data", *arguments, "--overwrite")
    assert "holds a finished output" in command("yt8m-data", *arguments, status=2).err


def test_a_killed_command_resumes(videos, whole, digests, tmp_path):
    out = tmp_path / "out"
    words = [sys.executable, "-c", "import cli; cli.yt8m_data()", "augment", str(videos / "*.tfrecord"), str(out), *OPTIONS]
    process = subprocess.Popen(words, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=ROOT)
    deadline = time.monotonic() + 60
    while not list(out.glob(".spill-work.tmp/done/*.pickle")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0 or "holds a finished output" in done.stderr
    names = whole.keys() - {"manifest.json"}  # that tells of distances within a partition of pools, and here all are in one
    assert {name: digests(out)[name] for name in names} == {name: whole[name] for name in names}


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 3 MB in memory, with a function that makes it larger."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = shutil.which("mount") and subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", folder], capture_output=True)
    if not mounted or mounted.returncode:
        pytest.skip("a file system cannot be mounted here: root may")

    def grow(size):
        subprocess.run(["mount", "-o", f"remount,size={size}", folder], check=True)

    yield folder, grow
    gc.collect()  # what a failed job had open hangs on its traceback
    subprocess.run(["umount", folder], check=True)


@pytest.mark.parametrize("size", ["2m", "4m"])
def test_a_full_disk_is_one_sentence_and_the_job_goes_on_when_there_is_room(size, small_disk, run, whole, videos, command, monkeypatch):
    folder, grow = small_disk
    grow(size)
    usage = shutil.disk_usage
    monkeypatch.setattr(room.shutil, "disk_usage", lambda path: usage("/"))  # the check before the start is no help when others write too
    result = command("yt8m-data", "augment", videos / "*.tfrecord", folder / "out", *OPTIONS, status=2)
    [sentence] = [line for line in result.err.splitlines() if line.startswith("Error")]
    assert f"the disk of {folder}/out" in sentence
    assert "is full: make room, and run the same command again" in sentence
    assert not (folder / "out" / "manifest.json").exists()
    halves = [path.name for path in (folder / "out").iterdir() if path.is_file()]
    assert all(name in whole for name in halves), "what is there is whole"
    grow("64m")
    said, digests = run(folder / "out")
    assert digests == whole
    assert found(said)["files"][0] + found(said)["files"][1] == 4
