import keras
import numpy as np
import pytest
import tensorflow as tf

from trainers.pooling.attention import AttentionPooling
from yt8m_data.errors import DataError


def reference(pool: AttentionPooling, x: np.ndarray) -> np.ndarray:
    """One clip [N, D], one frame at a time."""
    x, column = x.astype(np.float64), np.array(pool.kernel, np.float64)[:, 0]
    scores = [np.tanh(frame) @ column for frame in x]
    weights = np.exp(scores) / np.exp(scores).sum() if pool.softmax else scores
    return np.tanh(sum(weight * frame for weight, frame in zip(weights, x, strict=True)))


@pytest.mark.parametrize("softmax", [True, False])
def test_equals_the_definition(softmax, clips, randomized):
    pool = randomized(AttentionPooling(softmax=softmax))
    for row, clip, real in zip(pool(*clips), *clips, strict=True):
        np.testing.assert_allclose(row, reference(pool, clip[real]), rtol=1e-4, atol=1e-6)


def test_weights_sum_to_one(clips, randomized):
    """Frames that are all alike give tanh of that frame, whatever the column."""
    pool = randomized(AttentionPooling())
    frame = np.random.default_rng(3).normal(size=6).astype(np.float32)
    pooled = np.array(pool(np.where(clips.mask[:, :, None], frame, 9.0), clips.mask))
    np.testing.assert_allclose(pooled, np.tile(np.tanh(frame), (3, 1)), rtol=1e-5)


def test_a_column_of_zeros_gives_the_mean(clips, randomized):
    pool = randomized(AttentionPooling())
    pool.kernel.assign(np.zeros((6, 1)))
    for row, clip, real in zip(pool(*clips), *clips, strict=True):
        np.testing.assert_allclose(row, np.tanh(clip[real].mean(axis=0)), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("softmax", [True, False])
def test_no_frame_gives_zeros_and_a_finite_gradient(softmax, clips, randomized):
    pool = randomized(AttentionPooling(softmax=softmax))
    with tf.GradientTape() as tape:
        pooled = pool(clips.frames, np.zeros_like(clips.mask))
    assert not np.any(pooled)
    assert np.isfinite(tape.gradient(pooled, pool.kernel)).all()


def test_penalty(randomized):
    pool = randomized(AttentionPooling(softmax=False, l2=0.5))
    assert float(sum(pool.losses)) == pytest.approx(0.25 * (np.array(pool.kernel) ** 2).sum(), rel=1e-5)
    assert not randomized(AttentionPooling()).losses


def test_hands_on_no_mask_and_warns_of_none(recwarn):
    lstm = keras.layers.LSTM(3, return_sequences=True)
    frames, mask = keras.Input((None, 6)), keras.Input((None,), dtype="bool")
    assert AttentionPooling()(lstm(frames, mask=mask), mask).shape == (None, 3)
    assert not [warning for warning in recwarn if "mask" in str(warning.message)]


@pytest.mark.parametrize(
    ("options", "sentence"), [({"softmax": 1}, "softmax of attention is 1"), ({"l2": -0.5}, "l2 of attention is -0.5")]
)
def test_refuses(options, sentence):
    with pytest.raises(DataError, match=sentence):
        AttentionPooling(**options)
