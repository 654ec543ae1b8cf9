"""Small made shards, and pipelines run in this process."""

from pathlib import Path

import pytest

from yt8m_data import synth
from yt8m_data.synthetic import SyntheticSpec


@pytest.fixture(scope="session")
def made(tmp_path_factory) -> Path:
    """600 made videos with 30 classes in 5 shards."""
    folder = tmp_path_factory.mktemp("made")
    synth.write(SyntheticSpec("video", 600, 30, seed=3), str(folder / "shards"), 5)
    return folder / "shards"
