"""shard goes on where it was killed, to the bytes of an unbroken run."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from beam_jobs import exchange, units
from beam_jobs import shard as job
from yt8m_data import spill


@pytest.fixture(scope="module")
def whole(frames, command, digests, tmp_path_factory):
    """The digests of an unbroken run."""
    out = tmp_path_factory.mktemp("whole") / "out"
    command("yt8m-data", "shard", frames / "*.tfrecord", out, "--num-shards", 3)
    return digests(out)


def shard(source, out, budget, monkeypatch, command, *options):
    monkeypatch.setattr(job, "MINIMUM_BUDGET", 1)
    return command("yt8m-data", "shard", *source, out, "--num-shards", 3, "--memory-budget", budget, *options)


def breaking(function, after, error):
    """A function that fails once it was called `after` times."""
    calls = []

    def call(*arguments, **options):
        calls.append(1)
        if len(calls) > after:
            raise error
        return function(*arguments, **options)

    return call


@pytest.mark.parametrize(("part", "after"), [("open_shard", 1), ("open_shard", 2), ("split_batch", 3)])
def test_what_was_finished_is_not_done_again(part, after, whole, frames, command, digests, tmp_path, monkeypatch):
    out, budget = tmp_path / "out", "600kB"  # three tasks
    with monkeypatch.context() as patch:
        patch.setattr(exchange, part, breaking(getattr(exchange, part), after, RuntimeError("killed")))
        with pytest.raises(RuntimeError, match="killed"):
            shard([frames / "*.tfrecord"], out, budget, monkeypatch, command)
    assert not (out / "manifest.json").exists()
    opened = []
    monkeypatch.setattr(exchange, "open_shard", lambda *a, real=exchange.open_shard: (opened.append(a[0]), real(*a))[1])
    monkeypatch.setattr(spill, "RunWriter", lambda *a, real=spill.RunWriter: (opened.append(a[1]), real(*a))[1])
    result = shard([frames / "*.tfrecord"], out, budget, monkeypatch, command)
    assert digests(out) == whole
    expected = {"open_shard": after, "split_batch": 3}[part]  # shards written; or runs spilled
    assert len(opened) == (3 - expected if part == "open_shard" else 5 - expected + 3)
    if part == "open_shard":
        assert f"{after} of 3 tasks were found finished, {3 - after} done" in result.err


def killed(out, monkeypatch, command, source, *options):
    """Begin to shard, until a shard is to be written."""
    with monkeypatch.context() as patch:
        patch.setattr(exchange, "open_shard", breaking(exchange.open_shard, 0, RuntimeError("killed")))
        with pytest.raises(RuntimeError, match="killed"):
            command("yt8m-data", "shard", source, out, "--num-shards", 1, *options)


@pytest.mark.parametrize(("before", "after", "kept"), [(1, 2, 0), (2, 1, 0), (1, 1, 5)])
def test_files_that_were_read_in_other_units_are_read_again(before, after, kept, frames, command, digests, tmp_path, monkeypatch):
    out, source = tmp_path / "out", frames / "*.tfrecord"
    monkeypatch.setattr(units, "_UNITS", before)
    killed(out, monkeypatch, command, source)
    monkeypatch.setattr(units, "_UNITS", after)
    result = command("yt8m-data", "shard", source, out, "--num-shards", 1)
    assert f"{kept} of 5 files were found finished, {5 - kept} done" in result.err
    command("yt8m-data", "shard", source, tmp_path / "whole", "--num-shards", 1)
    assert digests(out) == digests(tmp_path / "whole")


def test_a_job_goes_on_with_another_number_of_workers(frames, command, digests, tmp_path, monkeypatch):
    out, source = tmp_path / "out", frames / "*.tfrecord"
    monkeypatch.setattr(units, "_UNITS", 1)
    killed(out, monkeypatch, command, source, "--workers", 1)
    result = command("yt8m-data", "shard", source, out, "--num-shards", 1, "--workers", 3)
    assert "0 of 5 files were found finished, 5 done" in result.err
    command("yt8m-data", "shard", source, tmp_path / "whole", "--num-shards", 1)
    assert digests(out) == digests(tmp_path / "whole")


def test_a_damaged_shard_of_a_killed_run_is_written_again(whole, frames, command, digests, tmp_path, monkeypatch):
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(exchange, "open_shard", breaking(exchange.open_shard, 2, RuntimeError("killed")))
        with pytest.raises(RuntimeError, match="killed"):
            shard([frames / "*.tfrecord"], out, "600kB", monkeypatch, command)
    path = sorted(out.glob("*.tfrecord"))[0]
    data = bytearray(path.read_bytes())
    data[500] ^= 1
    path.write_bytes(data)
    (out / ".train-00001.x.tmp").write_bytes(b"half")
    result = shard([frames / "*.tfrecord"], out, "600kB", monkeypatch, command)
    assert "1 of 3 tasks were found finished, 2 done" in result.err
    assert digests(out) == whole


def test_another_command_does_not_go_on_with_it(frames, command, tmp_path, monkeypatch):
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(exchange, "open_shard", breaking(exchange.open_shard, 1, RuntimeError("killed")))
        with pytest.raises(RuntimeError, match="killed"):
            shard([frames / "*.tfrecord"], out, "600kB", monkeypatch, command)
    result = command("yt8m-data", "shard", frames / "*.tfrecord", out, "--seed", 1, status=2)
    assert "holds the beginning of another output (of other seed, num_shards" in result.err
    command("yt8m-data", "shard", frames / "*.tfrecord", out, "--seed", 1, "--overwrite")
    result = command("yt8m-data", "shard", frames / "*.tfrecord", out, "--seed", 1, status=2)
    assert "holds a finished output" in result.err


def test_a_killed_command_resumes(whole, frames, digests, tmp_path):
    out = tmp_path / "out"
    words = ["shard", str(frames / "*.tfrecord"), str(out), "--num-shards", "3", "--workers", "2"]
    call = [sys.executable, "-c", "import cli; cli.yt8m_data()", *words]
    process = subprocess.Popen(
        call, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=Path(job.__file__).parents[1]
    )
    deadline = time.monotonic() + 60
    while not list(out.glob(".spill-work.tmp/done/*.pickle")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    done = subprocess.run(call, capture_output=True, text=True, cwd=Path(job.__file__).parents[1])
    assert done.returncode == 0 or "holds a finished output" in done.stderr
    assert digests(out) == whole
    assert np.all([not path.name.startswith(".") for path in out.iterdir()])
