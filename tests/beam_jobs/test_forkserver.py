"""Workers come from a server that has imported Beam, as if each were a process of its own, and none outlives the job."""

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import apache_beam as beam
import psutil
import pytest

from beam_jobs import forkserver, runners

JOB = """
import json, os, sys, threading
import apache_beam as beam
from beam_jobs import forkserver, runners, shard

def about(_):
    import time
    time.sleep(0.2)
    return os.getpid(), os.getppid(), os.getcwd(), "beam_jobs.shard" in sys.modules

def build(pipeline, counter):
    return pipeline | beam.Create(range(8)) | beam.Reshuffle() | beam.Map(about) | beam.combiners.ToList()

found = runners.run(runners.Engine(workers=2), "job", 0, None, build, lambda _: 0)
server = forkserver._server
print(json.dumps({"me": os.getpid(), "server": server.pid, "path": server.path, "workers": found}), flush=True)
"""


def wait_until(true, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def start(more: str, **options) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", JOB + more], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


@pytest.mark.parametrize("clean", [True, False], ids=["forked", "started anew"])
def test_the_workers_of_a_job_come_from_one_server_and_end_with_it(tmp_path, clean):
    """A process with other threads cannot be forked safely, so its server is a new process."""
    before = "" if clean else "import threading, time; threading.Thread(target=time.sleep, args=(60,), daemon=True).start()\n"
    script = before + JOB
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path, timeout=120, check=True)
    told = json.loads(done.stdout)
    pids, parents, folders, imported = (set(each) for each in zip(*told["workers"], strict=True))
    assert len(pids) == 2
    assert parents == {told["server"]}
    assert told["me"] not in pids
    assert folders == {str(tmp_path)}
    assert imported == {True}
    assert all(map(gone, [*pids, told["server"]]))
    assert not Path(told["path"]).parent.exists()
    assert "Traceback" not in done.stderr


def test_a_killed_job_leaves_no_server():
    process = start("import time; time.sleep(60)")
    told = json.loads(process.stdout.readline())
    assert psutil.pid_exists(told["server"])
    process.kill()
    process.communicate()
    wait_until(lambda: gone(told["server"]) and not Path(told["path"]).parent.exists())


def test_the_environment_of_each_job_reaches_its_workers(monkeypatch):
    def build(pipeline, counter):
        words = pipeline | beam.Create(range(4)) | beam.Reshuffle() | beam.Map(lambda _: (os.environ.get("YT8M_WORD"), os.getppid()))
        return words | beam.combiners.ToList()

    seen = []
    for word in ("one", "two"):
        monkeypatch.setenv("YT8M_WORD", word)
        found = runners.run(runners.Engine(workers=2), "job", 0, None, build, lambda _: 0)
        assert {each for each, _ in found} == {word}
        seen += [parent for _, parent in found]
    assert len(set(seen)) == 1  # both jobs had the same server


def test_workers_find_modules_where_their_owner_does(tmp_path, monkeypatch):
    (tmp_path / "found_late.py").write_text("def double(x):\n    return 2 * x\n")
    monkeypatch.syspath_prepend(tmp_path)
    import found_late

    def build(pipeline, counter):
        return pipeline | beam.Create([1, 2]) | beam.Reshuffle() | beam.Map(found_late.double) | beam.combiners.ToList()

    assert sorted(runners.run(runners.Engine(workers=2), "job", 0, None, build, lambda _: 0)) == [2, 4]


def test_a_server_that_was_killed_is_replaced():
    forkserver.command()
    first = forkserver._server
    os.kill(first.pid, signal.SIGKILL)
    wait_until(lambda: not first.serves())  # its threads may end after it
    assert first.path not in forkserver.command()
    assert forkserver._server.serves()
    assert not first.serves()
    assert not Path(first.path).parent.exists()


@pytest.mark.parametrize(("answer", "status"), [(b"\0", 0), (b"\1", 1), (b"", 1)], ids=["done", "failed", "killed"])
def test_what_asks_for_a_worker_ends_with_it(tmp_path, answer, status):
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        environment = os.environ | {"YT8M_WORD": "wörd\nline"}
        client = subprocess.Popen([sys.executable, "-I", "-S", str(forkserver._CLIENT), path, '["a", "b"]'], env=environment, cwd=tmp_path)
        with listener.accept()[0] as connection:
            asked = json.loads(connection.makefile().readline())
            connection.sendall(answer)
    assert client.wait(20) == status
    assert asked["environment"]["YT8M_WORD"] == "wörd\nline"
    assert asked["folder"] == str(tmp_path)
    assert asked["path"] == ["a", "b"]


def test_a_worker_ends_when_who_asked_for_it_is_gone():
    *_, path, _ = shlex.split(forkserver.command())
    server = psutil.Process(forkserver._server.pid)
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(path)
        silent = dict(os.environ) | {"CONTROL_API_SERVICE_DESCRIPTOR": 'url: "localhost:1"', "PIPELINE_OPTIONS": "{}"}
        connection.sendall(json.dumps({"environment": silent, "folder": os.getcwd(), "path": sys.path}).encode() + b"\n")
        wait_until(server.children)
        [worker] = server.children()
        time.sleep(0.3)
        assert worker.is_running()
    wait_until(lambda: gone(worker.pid))
