import json
import os
import subprocess
import sys
from importlib import metadata

import pytest
from click.testing import CliRunner

import cli
from beam_jobs import doctor, runners


@pytest.fixture
def bare(monkeypatch, tmp_path):
    """A machine without tools: nothing on the PATH, an empty home, no Go folders."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("GOBIN", "GOPATH"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "bin").mkdir()
    return tmp_path


def executable(path, script="#!/bin/sh\n"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(script)
    path.chmod(0o755)
    return str(path)


def test_the_report_is_what_is_installed():
    found = doctor.run()
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))
    assert found["packages"]["apache-beam"] == metadata.version("apache-beam")
    assert found["faiss"]["version"] == metadata.version("faiss-cpu")
    assert found["faiss"]["gpus"] >= 0
    assert found["tensorflow"]["version"] == metadata.version("tensorflow-cpu")
    assert "CPU" in found["tensorflow"]["devices"]
    assert found["runners"]["local"] == []
    assert json.loads(json.dumps(found)) == found


def test_the_command_ends_well_in_text_and_in_json(bare, monkeypatch):
    monkeypatch.setattr(doctor, "_imported", lambda name: None)
    done = CliRunner().invoke(cli.yt8m_data, ["doctor"])
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    assert f"{'apache-beam':<22} {metadata.version('apache-beam')}" in lines
    assert f"{'java':<22} not found" in lines
    assert f"--runner {'local':<13} ready" in lines
    assert any(line.startswith("--runner prism") and "go install" in line for line in lines)
    assert any(line.startswith("faiss") and "pip install 'yt8m-data[cpu]'" in line for line in lines)
    found = json.loads(CliRunner().invoke(cli.yt8m_data, ["doctor", "--json"]).stdout)
    assert found["java"] is None
    assert found["runners"]["flink"] == doctor.lacks("flink")


def test_every_runner_has_a_verdict():
    assert set(doctor.RUNNERS) == set(runners.PRESETS)


@pytest.mark.parametrize("runner", ["flink", "spark"])
def test_java_is_missed_unless_a_job_server_runs_elsewhere(bare, runner):
    [sentence] = doctor.lacks(runner)
    assert sentence.startswith("needs Java")
    assert doctor.lacks(runner, ["--job_endpoint=host:8099"]) == []
    executable(bare / "bin" / "java")
    assert doctor.lacks(runner) == []


@pytest.mark.parametrize("place", ["bin/prism", "go/bin/prism", ".apache_beam/cache/prism/bin/prism", "gobin/prism"])
def test_prism_is_found_where_it_may_lie(bare, monkeypatch, place):
    version = metadata.version("apache-beam")
    [sentence] = doctor.lacks("prism")
    assert f"go install github.com/apache/beam/sdks/v2/go/cmd/prism@v{version}" in sentence
    assert doctor.lacks("prism", ["--prism_location", "/x"]) == []
    if place == "gobin/prism":
        monkeypatch.setenv("GOBIN", str(bare / "gobin"))
    path = executable(bare / place)
    assert doctor.find_prism() == path
    assert doctor.lacks("prism") == []
    assert f"--prism_location={path}" in runners.service_options(runners.Engine("prism"))


def test_versions_of_tools_are_read_off_them(bare):
    assert (doctor._java(), doctor._go()) == (None, None)
    executable(bare / "bin" / "java", "#!/bin/sh\necho 'openjdk version \"21.0.1\" 2023-10-17' >&2\n")
    executable(bare / "bin" / "go", "#!/bin/sh\necho 'go version go1.26.8 linux/amd64'\n")
    assert (doctor._java(), doctor._go()) == ("21.0.1", "1.26.8")
    executable(bare / "bin" / "java", "#!/bin/sh\nexit 1\n")
    assert doctor._java() is None


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("raise ImportError('libcuda is missing')", "ImportError: libcuda is missing"),
        ("import os; os._exit(7)", "exit status 7"),
        ("import time; time.sleep(30)", "no answer in 0.5 s"),
    ],
)
def test_a_package_that_does_not_import_is_told_of(monkeypatch, script, message):
    monkeypatch.setitem(doctor._PROBES, "json", "\n" + script)
    monkeypatch.setattr(doctor, "_TIMEOUT", 0.5 if "sleep" in script else 30)
    report = doctor._imported("json")
    assert report == {"error": message}
    assert message in doctor._loaded(report)


def test_a_package_that_is_not_there():
    assert doctor._imported("no_such_module") is None


def test_doctor_itself_imports_nothing_heavy():
    script = "import sys, beam_jobs.doctor; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=os.environ)
    assert not {"apache_beam", "tensorflow", "faiss", "numpy"} & set(done.stdout.split())
