"""Made shards with a planted signal, written by TensorFlow."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # before TensorFlow is imported

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import planted
import pyarrow as pa
import pytest
import tensorflow as tf

from yt8m_data import deltas
from yt8m_data.schema import Feature, Schema

tf.config.experimental.enable_tensor_float_32_execution(False)  # on a GPU its products have three digits

SIZES = {"mean_rgb": 12, "mean_audio": 4}
NUM_CLASSES = 30


class Made(NamedTuple):
    folder: Path
    train: str
    eval: str
    unlabelled: str
    overrides: list[str]


def _write(path: Path, ids, labels, features: dict[str, np.ndarray], extra: dict[str, tf.train.Feature] | None = None) -> None:
    with tf.io.TFRecordWriter(str(path)) as writer:
        for row, video in enumerate(ids):
            keys = {"id": tf.train.Feature(bytes_list=tf.train.BytesList(value=[video])), **(extra or {})}
            if labels is not None:
                keys["labels"] = tf.train.Feature(int64_list=tf.train.Int64List(value=labels[row]))
            for name, values in features.items():
                keys[name] = tf.train.Feature(float_list=tf.train.FloatList(value=values[row]))
            writer.write(tf.train.Example(features=tf.train.Features(feature=keys)).SerializeToString())


@pytest.fixture(scope="session")
def write_shard() -> Callable[..., None]:
    return _write


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """600 videos to train on in 3 shards, 200 to evaluate in 2, and a shard without labels; rarer classes have higher thresholds."""
    folder = tmp_path_factory.mktemp("made")
    rng = np.random.default_rng(7)
    directions = rng.normal(size=(sum(SIZES.values()), NUM_CLASSES))
    for split, shards, per_shard in (("train", 3, 200), ("eval", 2, 100), ("test", 1, 50)):
        for shard in range(shards):
            x = rng.normal(size=(per_shard, 16)).astype(np.float32)
            scores = x / np.linalg.norm(x, axis=1, keepdims=True) @ directions - np.linspace(0.8, 2.2, NUM_CLASSES)
            labels = [np.flatnonzero(row > 0).tolist() or [int(row.argmax())] for row in scores]
            ids = [f"{split}{shard}_{i:03d}".encode() for i in range(per_shard)]
            features = {"mean_rgb": x[:, :12], "mean_audio": x[:, 12:]}
            _write(folder / f"{split}{shard}.tfrecord", ids, labels if split != "test" else None, features)
    settings = [f"num_classes={NUM_CLASSES}", "training.batch_size=64", "training.steps=60", "training.learning_rate=0.02"]
    return Made(folder, str(folder / "train*"), str(folder / "eval*"), str(folder / "test*"), settings)


@pytest.fixture(scope="session")
def made_frames(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """400 frame-level videos to train on in 4 shards, 150 to evaluate in 2, and a shard without labels; see planted.py."""
    folder = tmp_path_factory.mktemp("made_frames")
    train = planted.write_shards(folder, "train", planted.make(400, 0, "train"), 4)
    evaluation = planted.write_shards(folder, "eval", planted.make(150, 1, "eval"), 2)
    unlabelled = planted.write_shards(folder, "test", planted.make(40, 2, "test")._replace(labels=[]), 1)
    settings = [f"num_classes={planted.NUM_CLASSES}", "training.batch_size=64", "training.steps=150", "training.learning_rate=0.01"]
    return Made(folder, train, evaluation, unlabelled, settings)


@pytest.fixture
def listed(tmp_path: Path) -> str:
    """A list of three classes of the planted videos, not in the order of their ids: an implied one, a look and a sound."""
    path = tmp_path / "classes.csv"
    path.write_text("Index,Name\n9,Implied\n1,Look\n8,Sound\n")
    return str(path)


@pytest.fixture(scope="session")
def made_deltas(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A file of 50 random deltas of the features of `made`."""
    rng, schema = np.random.default_rng(3), Schema("video", "id", "labels", tuple(Feature(*item) for item in SIZES.items()), NUM_CLASSES)
    ids, labels = pa.array([b"v"] * 50, pa.binary()), pa.array([0] * 50, pa.int32())
    vectors = [pa.FixedSizeListArray.from_arrays(pa.array(rng.normal(size=50 * n).astype(np.float32)), n) for n in SIZES.values()]
    path = str(tmp_path_factory.mktemp("deltas") / deltas.FILE)
    deltas.write(path, pa.RecordBatch.from_arrays([ids, ids, labels, *vectors], schema=deltas.arrow(schema)))
    return path
