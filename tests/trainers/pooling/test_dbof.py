import numpy as np
import pytest
import tensorflow as tf

from trainers.pooling.dbof import DBoF
from yt8m_data.errors import DataError

ACTIVATIONS = {"relu6": lambda z: np.clip(z, 0, 6), "sigmoid": lambda z: 1 / (1 + np.exp(-z))}


def normed(z: np.ndarray, norm) -> np.ndarray:
    gamma, beta, mean, variance = (np.array(w, np.float64) for w in norm.weights)
    return gamma * (z - mean) / np.sqrt(variance + 1e-3) + beta


def linear(x: np.ndarray, layer) -> np.ndarray:
    z = x @ np.array(layer.kernel, np.float64)
    return normed(z, layer.norm) if layer.batch_norm else z + np.array(layer.bias)


def reference(pool: DBoF, x: np.ndarray) -> np.ndarray:
    """One clip [T, D]."""
    activate = ACTIVATIONS[pool.activation]
    f = activate(linear(normed(x, pool.norm) if pool.batch_norm else x, pool.bag))
    if pool.pool == "attention":
        w = np.array(pool.pooled.kernel, np.float64)[:, 0]
        p = np.array([np.exp(np.tanh(frame) @ w) for frame in f])
        bag = np.tanh((p / p.sum()) @ f)
    else:
        bag = f.max(axis=0) if pool.pool == "max" else f.mean(axis=0)
    return activate(linear(bag, pool.dense)) if pool.hidden else bag


@pytest.mark.parametrize("hidden", [None, 4])
@pytest.mark.parametrize("batch_norm", [True, False])
@pytest.mark.parametrize("activation", ["relu6", "sigmoid"])
@pytest.mark.parametrize("pooling", ["max", "mean", "attention"])
def test_equals_the_definition(clips, randomized, pooling, activation, batch_norm, hidden):
    pool = randomized(DBoF(clusters=5, pool=pooling, activation=activation, batch_norm=batch_norm, hidden=hidden))
    pooled = np.array(pool(clips.frames, mask=clips.mask))
    assert pooled.shape == (3, hidden or 5)
    assert pooled.std() > 0.01
    for row, frames, mask in zip(pooled, *clips, strict=True):
        np.testing.assert_allclose(row, reference(pool, frames[mask].astype(np.float64)), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("pooling", ["max", "mean", "attention"])
def test_the_order_does_not_count(clips, randomized, pooling):
    pool, order = randomized(DBoF(clusters=5, pool=pooling)), [4, 0, 6, 2, 5, 1, 3]
    expected = pool(clips.frames, mask=clips.mask)
    np.testing.assert_allclose(pool(clips.frames[:, order], mask=clips.mask[:, order]), expected, rtol=1e-4, atol=1e-5)


def test_a_repeated_frame_changes_a_mean_but_no_maximum(clips, randomized):
    frames, mask = clips.frames[:1], clips.mask[:1]
    more = np.concatenate([frames, frames[:, :1]], axis=1), np.ones((1, 8), bool)
    maximum, mean = randomized(DBoF(clusters=5)), randomized(DBoF(clusters=5, pool="mean"))
    np.testing.assert_allclose(maximum(more[0], mask=more[1]), maximum(frames, mask=mask), rtol=1e-6)
    assert np.abs(np.array(mean(more[0], mask=more[1])) - np.array(mean(frames, mask=mask))).max() > 0.01


def test_padding_is_not_the_maximum(clips, randomized):
    """A padded frame of zeros would light the sigmoid at 1/2, and more after batch norm."""
    pool = randomized(DBoF(clusters=5, activation="sigmoid"))
    short = pool(clips.frames[2:, :1], mask=clips.mask[2:, :1])
    np.testing.assert_allclose(pool(clips.frames, mask=clips.mask)[2:], short, rtol=1e-5)


@pytest.mark.parametrize("pooling", ["max", "mean", "attention"])
def test_gradients_reach_every_weight(clips, pooling):
    pool = DBoF(clusters=5, pool=pooling, activation="sigmoid", hidden=4)
    pool.build((None, None, 6))
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(pool(clips.frames, mask=clips.mask, training=True) ** 3)
    gradients = tape.gradient(total, [w.value for w in pool.trainable_weights])
    assert all(np.isfinite(g).all() and np.abs(g).max() > 0 for g in gradients)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"clusters": 0}, "clusters of dbof is 0"),
        ({"pool": "median"}, "pool of dbof is 'median': choose one of max, mean, attention"),
        ({"activation": "tanh"}, "activation of dbof is 'tanh': choose one of relu6, sigmoid"),
        ({"hidden": 0}, "hidden of dbof is 0: set it to a whole number of at least 1 or null"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(DataError, match=message):
        DBoF(**options)
