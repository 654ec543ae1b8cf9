"""Fixtures that every part of the suite uses."""

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.request
from importlib import metadata
from pathlib import Path

import hypothesis
import pytest

hypothesis.settings.register_profile("untimed", deadline=None, max_examples=50)  # the first example may compile or import something
hypothesis.settings.load_profile("untimed")

if "PYTEST_XDIST_WORKER" in os.environ:  # a process per core already: threads of BLAS and TensorFlow would wait for each other
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
        os.environ.setdefault(name, "1")

SHARED = Path(os.environ.get("YT8M_SHARED", Path(__file__).resolve().parents[2] / "shared" / "data"))


@pytest.fixture(scope="session")
def gs_bucket():
    """A bucket of a Google Cloud Storage emulator, a process of its own on loopback; tests that ask for it carry the marker `cloud`."""
    port, package = _free_port(), "gcp-storage-emulator"
    script = "import sys; from gcp_storage_emulator.__main__ import main; sys.exit(main())"
    arguments = ["start", "--host=127.0.0.1", f"--port={port}", "--in-memory", "--default-bucket=shards"]
    with _server(package, script, arguments, port), pytest.MonkeyPatch.context() as patch:
        patch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{port}")
        yield "gs://shards"


@pytest.fixture(scope="session")
def s3_bucket():
    """A bucket of moto's server, likewise."""
    port = _free_port()
    with (
        _server("moto", "from moto.server import main; main()", ["-H", "127.0.0.1", "-p", str(port)], port),
        pytest.MonkeyPatch.context() as patch,
    ):
        names = {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}", "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
        for name, value in {**names, "AWS_DEFAULT_REGION": "us-east-1"}.items():
            patch.setenv(name, value)
        urllib.request.urlopen(urllib.request.Request(f"http://127.0.0.1:{port}/shards", method="PUT")).close()
        yield "s3://shards"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def _server(package, script, arguments, port):
    """Run a server until the block ends."""
    try:
        metadata.version(package)
    except metadata.PackageNotFoundError:
        pytest.skip(f"{package} is not installed: pip install '.[test]'")
    process = subprocess.Popen([sys.executable, "-c", script, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(300):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            assert process.poll() is None, f"{package} ended with {process.returncode}"
            time.sleep(0.1)
        yield
    finally:
        process.terminate()
        process.wait()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the real shards; tests that ask for it carry the marker `shared_data`."""
    if not (SHARED / "yt8m-2018-video").is_dir():
        pytest.skip(f"no real shards in {SHARED}: set YT8M_SHARED to their folder")
    return SHARED
