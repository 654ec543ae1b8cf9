import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from trainers.noise import AdaptiveNoise
from trainers.run import TrainSet
from yt8m_data.errors import DataError

COUNTS = [2, 10, 1000, 0]
LABELS = np.array([[1, 0, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0], [1, 1, 1, 0], [0, 0, 0, 1]], np.float32)
GAMMA = [0.5, 0.3, 0.001, 0.0, (0.5 + 0.1 + 0.001) / 3, 1.0]


def made(width=4000, **options) -> AdaptiveNoise:
    keras.utils.set_random_seed(3)
    layer = AdaptiveNoise(4, **options)
    layer.build((None, width), (None, 4))
    layer.prepare(TrainSet([], 1010, COUNTS))
    return layer


@pytest.mark.parametrize("factor", [1.0, 34.0])
@pytest.mark.parametrize("shape", [(4000,), (20, 200)])
def test_its_size_follows_from_the_counts(shape, factor):
    x = np.random.default_rng(0).normal(size=(6, *shape)).astype(np.float32)
    noise = (np.array(made(factor=factor)(x, LABELS)) - x).reshape(6, -1)
    np.testing.assert_allclose(noise.std(axis=1), factor * np.array(GAMMA), rtol=0.05, atol=1e-6)
    np.testing.assert_allclose(noise.mean(axis=1), 0, atol=4 * factor / np.sqrt(4000))
    kurtosis = ((noise[0] / noise[0].std()) ** 4).mean()
    assert kurtosis == pytest.approx(3, abs=0.5)  # of a normal distribution


def test_differs_per_video_frame_and_call():
    labels = np.tile(LABELS[:1], (3, 1))
    layer, x = made(), np.zeros((3, 5, 300), np.float32)
    first, second = np.array(layer(x, labels)), np.array(layer(x, labels))
    draws = np.concatenate([first.reshape(15, 300), second.reshape(15, 300)])
    correlations = np.corrcoef(draws) - np.eye(30)
    assert np.abs(correlations).max() < 0.35


def test_none_without_labels_or_beyond_the_mask():
    x = np.random.default_rng(0).normal(size=(6, 3, 8)).astype(np.float32)
    mask = np.array([[True, True, False]] * 6)
    noisy = np.array(made()(x, LABELS, mask))
    np.testing.assert_array_equal(noisy[:, 2], x[:, 2])
    np.testing.assert_array_equal(noisy[3], x[3])
    assert (noisy[[0, 1, 2, 4, 5], :2] != x[[0, 1, 2, 4, 5], :2]).mean() > 0.99


def test_frequent_labels_have_next_to_none():
    layer = AdaptiveNoise(1)
    layer.build((None, 9), (None, 1))
    layer.prepare(TrainSet([], 0, [800_000]))
    assert np.abs(layer(np.zeros((1, 9), np.float32), np.ones((1, 1), np.float32))).max() < 1e-5


def test_soft_labels_count_by_their_value():
    layer, x = made(), np.zeros((1, 4000), np.float32)
    noise = np.array(layer(x, np.array([[0.8, 0.2, 0, 0]], np.float32)))
    assert noise.std() == pytest.approx(0.8 * 0.5 + 0.2 * 0.1, rel=0.05)


def test_counts_of_a_file(tmp_path):
    (tmp_path / "stats.json").write_text(json.dumps({"label_counts": [4, 5, 10, 100]}))
    np.testing.assert_allclose(made(counts=str(tmp_path / "stats.json")).rarity, [0.25, 0.2, 0.1, 0.01])


def test_is_reproducible_and_resumes(tmp_path):
    x = np.zeros((6, 10), np.float32)
    layer = made(10)
    step = tf.function(lambda x: layer(x, LABELS))
    drawn = [np.array(step(x)) for _ in range(2)]
    path = tf.train.Checkpoint(noise=layer).save(tmp_path / "x")
    drawn += [np.array(step(x)) for _ in range(2)]

    again = made(10)
    np.testing.assert_array_equal([again(x, LABELS) for _ in range(4)], drawn)
    tf.train.Checkpoint(noise=again).restore(path).assert_consumed()
    np.testing.assert_array_equal([again(x, LABELS) for _ in range(2)], drawn[2:])


def test_stands_in_a_graph_of_keras():
    x, labels = keras.Input((None, 7)), keras.Input((4,))
    layer = AdaptiveNoise(4)
    model = keras.Model([x, labels], layer(x, labels))
    layer.prepare(TrainSet([], 1010, COUNTS))
    assert model([np.zeros((6, 3, 7)), LABELS], training=True).shape == (6, 3, 7)
    assert not model.trainable_variables


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_mixed_precision_gives_float32(dtype):
    """The noise of a frequent label is lost in bfloat16."""
    noisy = made(dtype="mixed_bfloat16")(tf.ones((6, 4000), dtype), LABELS)
    assert noisy.dtype == "float32"
    assert np.array(noisy - 1)[2].std() == pytest.approx(GAMMA[2], rel=0.05)


def test_config_round_trip():
    config = AdaptiveNoise(4, 2.0, "stats.json").get_config()
    assert AdaptiveNoise.from_config(config).get_config() == config


def test_wrong_use(tmp_path):
    with pytest.raises(DataError, match="factor of noise is -1"):
        AdaptiveNoise(4, -1)
    path = tmp_path / "stats.json"
    with pytest.raises(DataError, match="there is no file"):
        made(counts=str(path))
    path.write_text("[1, 2]")
    with pytest.raises(DataError, match=r"stats.json holds no label counts: give the stats.json of `yt8m-data stats`"):
        made(counts=str(path))
    path.write_text(json.dumps({"label_counts": [1, 2]}))
    with pytest.raises(DataError, match="counts 2 classes, but the model has 4"):
        made(counts=str(path))
