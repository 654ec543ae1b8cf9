"""Fixtures that every part of the suite uses."""

import os
from pathlib import Path

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:  # a process per core already: threads of BLAS and TensorFlow would wait for each other
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
        os.environ.setdefault(name, "1")

SHARED = Path(os.environ.get("YT8M_SHARED", Path(__file__).resolve().parents[2] / "shared" / "data"))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the real shards; tests that ask for it carry the marker `shared_data`."""
    if not (SHARED / "yt8m-2018-video").is_dir():
        pytest.skip(f"no real shards in {SHARED}: set YT8M_SHARED to their folder")
    return SHARED
