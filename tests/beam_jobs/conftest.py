"""Small made shards, and pipelines run in this process."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from yt8m_data import codec, synth, tfrecord
from yt8m_data.schema import PROVENANCE, Feature, Schema
from yt8m_data.synthetic import SyntheticSpec


@pytest.fixture(scope="session")
def made(tmp_path_factory) -> Path:
    """600 made videos with 30 classes in 5 shards."""
    folder = tmp_path_factory.mktemp("made")
    synth.write(SyntheticSpec("video", 600, 30, seed=3), str(folder / "shards"), 5)
    return folder / "shards"


@pytest.fixture
def files(made) -> list[str]:
    """The shards of `made`."""
    return sorted(str(path) for path in made.glob("*.tfrecord"))


@pytest.fixture(scope="session")
def read_file() -> Callable[[str | Path, Schema], list[pa.RecordBatch]]:
    """Decode a shard without Beam."""

    def read(path, schema):
        with open(path, "rb") as stream:
            return [codec.decode(block, schema).batch for block in tfrecord.read(stream, str(path))]

    return read


@pytest.fixture(scope="session")
def videos() -> Callable[[list[bytes]], pa.RecordBatch]:
    """Build a batch of video-level records with these ids, and without provenance."""

    def build(ids):
        rows = len(ids)
        vectors = pa.FixedSizeListArray.from_arrays(pa.array(np.arange(3 * rows, dtype=np.float32)), 3)
        provenance = [pa.nulls(rows, field.type) for field in PROVENANCE]
        columns = [pa.array(ids, pa.binary()), pa.array([[n % 10] for n in range(rows)], pa.list_(pa.int32())), vectors, *provenance]
        target = Schema("video", "id", "labels", (Feature("mean_rgb", 3),), 10).arrow
        return pa.RecordBatch.from_arrays(columns, schema=pa.schema([*target, *PROVENANCE]))

    return build
