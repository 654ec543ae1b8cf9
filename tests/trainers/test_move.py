"""Videos moved by deltas, against the same sum in NumPy."""

import keras
import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf

from trainers.move import Move
from yt8m_data import deltas
from yt8m_data.errors import DataError
from yt8m_data.schema import Feature, Schema

SIZES = {"rgb": 3, "audio": 2}
RANDOM = np.random.default_rng(0)
VECTORS = {name: RANDOM.integers(-8, 9, (5, size)).astype(np.float32) for name, size in SIZES.items()}  # exact in float16
DELTAS = np.concatenate([VECTORS["rgb"], VECTORS["audio"]], axis=1)
X = RANDOM.normal(size=(4000, 5)).astype(np.float32)


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> str:
    """A file whose columns stand in another order than the model's features."""
    schema = Schema("video", "id", "labels", (Feature("audio", 2), Feature("rgb", 3)), 4)
    ids, labels = pa.array([b"v"] * 5, pa.binary()), pa.array([0] * 5, pa.int32())
    vectors = [pa.FixedSizeListArray.from_arrays(pa.array(VECTORS[f.name].ravel()), f.size) for f in schema.features]
    where = str(tmp_path_factory.mktemp("deltas") / "deltas.arrow")
    deltas.write(where, pa.RecordBatch.from_arrays([ids, ids, labels, *vectors], schema=deltas.arrow(schema)))
    return where


def made(path: str, **options) -> Move:
    keras.utils.set_random_seed(3)
    layer = Move(path, SIZES, **options)
    layer.build((None, 5))
    return layer


def drawn(moved: np.ndarray, scale: float) -> np.ndarray:
    """The number of the delta that each row was moved by, -1 where by none."""
    candidates = np.concatenate([np.zeros((1, 5), np.float32), DELTAS])
    apart = np.abs((moved - X)[:, None] - scale * candidates).max(axis=2)
    assert (apart.min(axis=1) < 1e-4).all()  # each row is x, or x with one of the deltas
    return apart.argmin(axis=1) - 1


@pytest.mark.parametrize(("scale", "probability"), [(1.0, 0.8), (0.5, 0.25), (2.0, 1.0)])
def test_adds_a_delta_with_a_probability(path, scale, probability):
    layer = made(path, scale=scale, probability=probability)
    numbers = drawn(np.array(layer(X, training=True)), scale)
    assert (numbers >= 0).mean() == pytest.approx(probability, abs=0.03)
    shares = np.bincount(numbers[numbers >= 0], minlength=5) / (numbers >= 0).sum()
    np.testing.assert_allclose(shares, 0.2, atol=0.06)  # five standard errors of the smallest sample
    again = drawn(np.array(layer(X, training=True)), scale)
    assert (again == numbers).mean() < 0.9 if probability == 1.0 else (again != numbers).any()


def test_only_while_training(path):
    layer = made(path)
    for training in (False, None):
        np.testing.assert_array_equal(layer(X, training=training), X)
    assert (drawn(np.array(layer(X, training=True)), 1.0) >= 0).all()


def test_the_last_steps_take_videos_as_they_are(path):
    layer = made(path, steps=2)
    step = tf.function(lambda x: layer(x, training=True))
    moved = [(np.array(step(X)) != X).any() for _ in range(4)]
    assert moved == [True, True, False, False]


def test_a_resumed_run_draws_on(path, tmp_path):
    """Also whether the steps that are moved are over."""
    layer = made(path, probability=0.5, steps=3)
    step = tf.function(lambda x: layer(x, training=True))
    whole = [np.array(step(X)) for _ in range(2)]
    saved = tf.train.Checkpoint(move=layer).save(tmp_path / "x")
    whole += [np.array(step(X)) for _ in range(2)]

    again = made(path, probability=0.5, steps=3)
    np.testing.assert_array_equal([again(X, training=True) for _ in range(4)], whole)
    tf.train.Checkpoint(move=again).restore(saved).assert_consumed()
    np.testing.assert_array_equal([again(X, training=True) for _ in range(2)], whole[2:])


def test_deltas_are_no_weights(path):
    assert {v.name for v in made(path).variables} == {"seed_generator_state", "steps"}
    assert not made(path).trainable_variables


def test_stands_in_a_graph_of_keras(path):
    x = keras.Input((5,))
    layer = Move(path, SIZES)
    model = keras.Model(x, layer(x))
    assert (np.array(model(X, training=True)) != X).any(axis=1).all()
    np.testing.assert_array_equal(model(X, training=False), X)


def test_config_round_trip(path):
    config = Move(path, SIZES, 0.5, 0.25, 7).get_config()
    assert Move.from_config(config).get_config() == config


def test_wrong_use(path, tmp_path):
    with pytest.raises(DataError, match="scale of move is -1"):
        Move(path, SIZES, -1)
    with pytest.raises(DataError, match=r"there is no file .*none: make it with"):
        made(str(tmp_path / "none"))
    layer = Move(path, {"rgb": 3})
    with pytest.raises(DataError, match=r"deltas of \{'audio': 2, 'rgb': 3\}, but the records hold \{'rgb': 3\}: make deltas of the"):
        layer.build((None, 3))
