"""The same commands on other engines write the same bytes.

A job is tested on all of them by a line in JOBS. Engines that need a program or a cluster are skipped, with the reason, where it lacks;
CONTRIBUTING.md says how to have them.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from beam_jobs import doctor

JOBS = {
    "stats": ["stats", "IN", "--out", "OUT"],
    "shard": ["shard", "IN", "OUT", "--num-shards", "4"],
    "deltas": ["deltas", "IN", "OUT", "--count", "300", "--threshold", "50"],
    "augment": ["augment", "IN", "OUT", "--threshold", "25", "--lambda", "0.2:0.8", "--method", "interpolate,extrapolate,noise"],
}

ROOT = Path(__file__).resolve().parents[2]
FLINK = os.environ.get("YT8M_FLINK", "localhost:8081")
JOB_SERVER = ROOT / "flink" / "target" / "flink-job-server.jar"
SPARK_JOB_SERVER = ROOT / "spark" / "target" / "spark-job-server.jar"


@pytest.fixture(scope="module")
def run_job(made, command, digests):
    """Run a job with the given engine; return the digests of what it wrote. The files are given in order, or backwards."""

    def run(job, out, *engine, backwards=False):
        files = sorted(map(str, made.glob("*.tfrecord")), reverse=backwards)
        places = {"IN": files, "OUT": [str(out)]}
        command("yt8m-data", *(part for word in JOBS[job] for part in places.get(word, [word])), *engine)
        return digests(out)

    return run


@pytest.fixture(scope="module")
def local(run_job, tmp_path_factory):
    """What the local runner writes, by job."""
    folder = tmp_path_factory.mktemp("engines")
    return {job: run_job(job, folder / job) for job in JOBS}


def ask(path):
    with urllib.request.urlopen(f"http://{FLINK}{path}", timeout=5) as answer:
        return json.load(answer)


@pytest.fixture(scope="module")
def flink():
    """Beam's options for the cluster that is up."""
    for program in ("java", "mvn"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed, so no Flink cluster can be started here")
    try:
        managers = ask("/overview")["taskmanagers"]
    except (urllib.error.URLError, OSError):
        pytest.skip(f"no Flink cluster answers at {FLINK}: make flink-up")
    if not JOB_SERVER.exists():
        pytest.skip(f"a Flink cluster answers at {FLINK}, and {JOB_SERVER} is not built: make flink-up")
    assert managers == 2
    return [f"--flink_master={FLINK}", f"--flink_job_server_jar={JOB_SERVER}"]


@pytest.fixture(scope="module")
def worker_pool(tmp_path_factory):
    """The address of a pool of workers, a process of its own, as it would stand beside each TaskManager."""
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "apache_beam.runners.worker.worker_pool_main", f"--service_port={port}"]
    with open(tmp_path_factory.mktemp("pool") / "log", "wb") as log, subprocess.Popen(command, env=environment, stderr=log) as pool:
        yield f"localhost:{port}"
        pool.terminate()


def last_job_vertices():
    """The TaskManagers that worked on the cluster's last job, with the largest parallelism of its parts."""
    jobs = ask("/jobs/overview")["jobs"]
    last = max(jobs, key=lambda job: job["start-time"])
    assert last["state"] == "FINISHED"
    vertices = ask(f"/jobs/{last['jid']}")["vertices"]
    managers = set()
    for vertex in vertices:
        subtasks = ask(f"/jobs/{last['jid']}/vertices/{vertex['id']}")["subtasks"]
        managers |= {subtask["taskmanager-id"] for subtask in subtasks}
    return managers, max(vertex["parallelism"] for vertex in vertices)


@pytest.mark.parametrize("job", JOBS)
def test_four_workers_and_files_backwards(job, local, run_job, tmp_path):
    assert run_job(job, tmp_path / "out", "--workers", "4", backwards=True) == local[job]


def test_beams_own_worker_processes(local, run_job, tmp_path):
    options = ["--direct_running_mode=multi_processing", "--direct_num_workers=2"]
    assert run_job("augment", tmp_path / "out", "--", *options) == local["augment"]


@pytest.mark.parametrize("job", JOBS)
def test_a_portable_job_service(job, local, run_job, tmp_path):
    assert run_job(job, tmp_path / "out", "--runner", "portable") == local[job]


@pytest.mark.parametrize("job", JOBS)
def test_prism(job, local, run_job, tmp_path):
    if missing := doctor.lacks("prism"):
        pytest.skip(missing[0])
    assert run_job(job, tmp_path / "out", "--runner", "prism") == local[job]


@pytest.mark.flink
@pytest.mark.parametrize("job", JOBS)
def test_flink_with_workers_in_this_process(job, local, run_job, tmp_path, flink):
    before = len(ask("/jobs/overview")["jobs"])
    assert run_job(job, tmp_path / "out", "--runner", "flink", "--", *flink, "--environment_type=LOOPBACK") == local[job]
    assert len(ask("/jobs/overview")["jobs"]) > before


@pytest.mark.flink
@pytest.mark.parametrize("job", JOBS)
def test_flink_with_a_pool_of_workers_and_both_task_managers(job, local, run_job, tmp_path, flink, worker_pool):
    workers = ["--environment_type=EXTERNAL", f"--environment_config={worker_pool}", "--parallelism=4"]
    started = time.time() * 1000
    assert run_job(job, tmp_path / "out", "--runner", "flink", "--", *flink, *workers) == local[job]
    assert all(each["state"] == "FINISHED" for each in ask("/jobs/overview")["jobs"] if each["start-time"] > started)
    managers, parallelism = last_job_vertices()
    assert len(managers) == 2
    assert parallelism == 4


@pytest.mark.spark
@pytest.mark.parametrize("job", JOBS)
def test_spark_in_the_process_of_its_job_server(job, local, run_job, tmp_path):
    if not SPARK_JOB_SERVER.exists():
        pytest.skip("there is no job server with Spark in it: make spark-jar")
    spark = [f"--spark_job_server_jar={SPARK_JOB_SERVER}", "--spark_master_url=local[2]", "--environment_type=LOOPBACK"]
    assert run_job(job, tmp_path / "out", "--runner", "spark", "--", *spark) == local[job]
