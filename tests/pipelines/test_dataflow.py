"""Jobs for Dataflow, as far as they go without Google: written as templates into an emulated bucket, and submitted to a server
of the jobs API that runs what it is given.

What is not tested: the service itself, its containers and its GPUs.
"""

import json
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from beam_jobs import doctor, runners
from yt8m_data import storage
from yt8m_data.errors import DataError

pytestmark = [
    pytest.mark.cloud,
    pytest.mark.skipif(doctor.lacks("dataflow") != [], reason="Beam's Dataflow client is not installed: pip install '.[test]'"),
]

IMAGE = "europe-docker.pkg.dev/my-project/yt8m/worker:1"
GPU = "type:nvidia-l4;count:1;install-nvidia-driver"
CLOUD = ("--project=my-project", "--region=us-central1", "--temp_location=gs://shards/tmp", "--no_auth")


@pytest.fixture(scope="module")
def bucket(gs_bucket, made):
    for path in made.iterdir():
        with storage.atomic_write(f"{gs_bucket}/dataflow/in/{path.name}") as stream:
            stream.write(path.read_bytes())
    return f"{gs_bucket}/dataflow"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """A wheel by name; what is in it does not matter to who stages it."""
    path = tmp_path_factory.mktemp("wheel") / "yt8m_data-0.1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("yt8m_data-0.1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: yt8m-data\nVersion: 0.1.0\n")
    return path


@pytest.fixture(scope="module", autouse=True)
def _fast():
    """No search for credentials, which takes half a minute where there are none."""
    from apache_beam.internal.gcp import auth

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(auth._Credentials, "_credentials_init", True)
        yield


def augment_words(bucket, out, *options):
    words = [
        "augment",
        f"{bucket}/in/*.tfrecord",
        out,
        "--threshold",
        "25",
        "--lambda",
        "0.2:0.8",
        "--counts",
        f"{bucket}/stats/stats.json",
    ]
    return [*words, *options]


@pytest.fixture(scope="module")
def counted(bucket, command):
    command("yt8m-data", "stats", f"{bucket}/in/*.tfrecord", "--out", f"{bucket}/stats")
    return bucket


@pytest.fixture(scope="module")
def template(counted, wheel, command):
    """The job that is written for augment, and its pipeline."""
    from apache_beam.portability.api import beam_runner_api_pb2

    options = [*CLOUD, f"--template_location={counted}/templates/augment.json", "--machine_type=n2-standard-8", "--job_name=augment"]
    options += [f"--sdk_container_image={IMAGE}", f"--extra_package={wheel}"]
    words = augment_words(counted, f"{counted}/template-out", "--runner", "dataflow", "--accelerator", GPU, "--", *options)
    said = command("yt8m-data", *words, status=2).err
    assert f"the job was written to {counted}/templates/augment.json, and not run: leave out --template_location to run it" in said
    job = json.loads(storage.to_path(f"{counted}/templates/augment.json").read_bytes())
    url = job["environment"]["sdkPipelineOptions"]["options"]["pipelineUrl"]
    return job, beam_runner_api_pb2.Pipeline.FromString(storage.to_path(url).read_bytes())


def test_machines_and_image_are_those_asked_for(template):
    job, pipeline = template
    assert (job["name"], job["type"]) == ("augment", "JOB_TYPE_BATCH")
    [pool] = job["environment"]["workerPools"]
    assert pool["machineType"] == "n2-standard-8"
    assert {image["containerImage"] for image in pool["sdkHarnessContainerImages"]} == {IMAGE}
    assert all(IMAGE.encode() in environment.payload for environment in pipeline.components.environments.values())


def test_the_wheel_is_staged_and_no_main_session(template, wheel, counted):
    job, _ = template
    staged = {package["name"]: package["location"] for package in job["environment"]["workerPools"][0]["packages"]}
    assert wheel.name in staged
    assert not any("main_session" in name for name in staged)
    location = staged[wheel.name].replace("storage.googleapis.com/", "gs://")
    assert storage.to_path(location).read_bytes() == wheel.read_bytes()
    assert job["environment"]["sdkPipelineOptions"]["options"]["save_main_session"] is False


def test_the_gpu_is_for_the_search_of_neighbours_alone(template):
    _, pipeline = template
    hints = {name: dict(environment.resource_hints) for name, environment in pipeline.components.environments.items()}
    marked = {t.unique_name: hints[t.environment_id] for t in pipeline.components.transforms.values() if hints.get(t.environment_id)}
    assert marked == {"Synthesize/ParDo(Synthesize)": {"beam:resources:accelerator:v1": GPU.encode()}}


def test_the_steps_are_those_of_the_pipeline(template):
    _, pipeline = template
    transforms = {t.unique_name: t.spec.urn for t in pipeline.components.transforms.values()}
    grouped = sorted(name for name, urn in transforms.items() if urn == "beam:transform:group_by_key:v1")
    assert {"Pools/GroupByKey", "Output/GroupByKey"} <= set(grouped)
    names = {name.partition("/")[0] for name in transforms}
    assert {"Files", "Spread", "Read", "Pools", "Synthesize", "Output", "Write", "Gather", "Hand back 0"} <= names
    coders = pipeline.components.coders.values()
    assert any(b"ArrowCoder" in coder.spec.payload or "ArrowCoder" in coder.spec.urn for coder in coders), "batches travel as Arrow"


# --- A service that runs what it is given ---------------------------------------------------------------------------------


class Service(ThreadingHTTPServer):
    """The jobs API of Dataflow on loopback: a job that is created runs, in this process, from the files that were staged for it."""

    def __init__(self):
        super().__init__(("localhost", 0), Answers)
        self.jobs = []

    def run(self, job):
        from apache_beam.options.pipeline_options import PipelineOptions
        from apache_beam.portability.api import beam_runner_api_pb2
        from apache_beam.runners.portability.fn_api_runner import FnApiRunner

        self.jobs.append(job)
        url = job["environment"]["sdkPipelineOptions"]["options"]["pipelineUrl"]
        pipeline = beam_runner_api_pb2.Pipeline.FromString(storage.to_path(url).read_bytes())
        for environment in pipeline.components.environments.values():
            environment.urn, environment.payload = "beam:env:embedded_python:v1", b""
            del environment.dependencies[:]
        FnApiRunner().run_via_runner_api(pipeline, PipelineOptions(["--no_save_main_session"])).wait_until_finish()


class Answers(BaseHTTPRequestHandler):
    def do_POST(self):
        job = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert self.path.startswith("/v1b3/projects/my-project/locations/us-central1/jobs")
        state = "JOB_STATE_DONE"
        try:
            self.server.run(job)
        except Exception:
            state = "JOB_STATE_FAILED"
        self.answer({**job, "id": f"job-{len(self.server.jobs)}", "projectId": "my-project", "currentState": state})

    def do_GET(self):
        self.answer({"jobMessages": []})

    def answer(self, value):
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def service():
    server = Service()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


JOBS = {
    "stats": (["stats", "IN/*.tfrecord", "--out", "OUT"], 1),
    "shard": (["shard", "IN/*.tfrecord", "OUT", "--num-shards", "3"], 1),
    "augment": (["augment", "IN/*.tfrecord", "OUT", "--threshold", "25", "--lambda", "0.2:0.8"], 2),  # it counts first
}


def written(folder):
    return {path.name: path.read_bytes() for path in storage.to_path(folder).walk(recursive=True)}


@pytest.mark.parametrize("job", JOBS)
def test_a_submitted_job_writes_what_a_local_one_does(job, counted, service, command):
    words, submissions = JOBS[job]
    places = {"IN/*.tfrecord": f"{counted}/in/*.tfrecord"}
    for out, engine in (
        ("local", []),
        ("service", ["--runner", "dataflow", "--", *CLOUD, f"--dataflow_endpoint=http://localhost:{service.server_port}"]),
    ):
        before = len(service.jobs)
        command("yt8m-data", *(places.get(word, word).replace("OUT", f"{counted}/{job}-{out}") for word in words), *engine)
    assert len(service.jobs) - before == submissions
    local, found = (written(f"{counted}/{job}-{out}") for out in ("local", "service"))
    assert found.keys() == local.keys()
    assert found == local
    assert not [path for path in storage.to_path(f"{counted}/tmp").walk() if "result" in path.name], "the result was taken away"


def test_what_fails_on_the_service_is_told(counted, service, command, monkeypatch):
    monkeypatch.setattr(Service, "run", lambda *_: 1 / 0)
    options = ["--runner", "dataflow", "--", *CLOUD, f"--dataflow_endpoint=http://localhost:{service.server_port}"]
    with pytest.raises(Exception, match="Dataflow pipeline failed"):
        command("yt8m-data", "stats", f"{counted}/in/*.tfrecord", "--out", f"{counted}/failed", *options)


# --- Wrong use ------------------------------------------------------------------------------------------------------------


def test_files_that_the_workers_do_not_see_are_refused(counted, made, command, tmp_path):
    engine = ["--runner", "dataflow", "--", *CLOUD]
    said = command("yt8m-data", "stats", made / "*.tfrecord", "--out", tmp_path / "o", *engine, status=2).err
    assert "is on this machine, where Dataflow's workers do not see it: give gs://BUCKET/... in and out" in said
    said = command("yt8m-data", *augment_words(counted, tmp_path / "out", *engine), status=2).err
    assert f"{tmp_path}/out is on this machine" in said
    assert not (tmp_path / "out").exists()


def test_options_that_lack_are_told_of_in_one_sentence():
    with pytest.raises(DataError, match=r"Beam refuses the options for dataflow, .*Missing required option: project"):
        runners.run(runners.Engine("dataflow"), "test", 0, None, lambda *_: None, lambda _: 0)
