"""The commands as a user runs them, on files in temporary folders."""

import contextlib
import hashlib
import os

import pytest
from click.testing import CliRunner

import cli
from yt8m_data.report import collect, painters

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


class Result:
    """What a command printed and how it ended."""

    def __init__(self, status, out, err):
        self.status, self.out, self.err = status, out, err


@pytest.fixture(scope="session")
def command():
    """Run a command: `command("yt8m-data", "stats", ...)`; `status` says what is expected of it.

    A job ends with its report only with `report=True`: drawing the plots takes longer than the job.
    """

    def run(program, *arguments, status=0, report=False):
        group = {"yt8m-data": cli.yt8m_data, "yt8m-train": cli.yt8m_train}[program]
        with contextlib.nullcontext() if report or arguments[0] == "report" else _no_report():
            result = CliRunner().invoke(group, [str(argument) for argument in arguments])
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == status, f"{arguments}: exit status {result.exit_code}\n{result.stdout}\n{result.stderr}"
        return Result(result.exit_code, result.stdout, result.stderr)

    return run


@contextlib.contextmanager
def _no_report():
    """Nobody writes a page, and no process is told of that would draw its plots."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(collect, "write", lambda *_, **__: None)
        patch.setattr(painters, "Painters", lambda _: painters.HERE)
        yield


@pytest.fixture(scope="session")
def digests():
    """Digest every file below a folder."""

    def digest(folder):
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

    return digest


@pytest.fixture(scope="session")
def made(tmp_path_factory, command):
    """1,000 made videos with 40 classes in 6 shards."""
    folder = tmp_path_factory.mktemp("pipelines") / "made"
    command("yt8m-data", "synth", folder, "--records", 1000, "--shards", 6, "--classes", 40, "--seed", 5)
    return folder


@pytest.fixture(scope="module")
def frames(tmp_path_factory, command):
    """90 made frame-level videos with 30 classes in 5 shards."""
    folder = tmp_path_factory.mktemp("frames") / "frames"
    options = ["--kind", "frame", "--records", 90, "--shards", 5, "--classes", 30, "--max-frames", 12]
    command("yt8m-data", "synth", folder, *options)
    return folder
