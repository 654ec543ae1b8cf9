import keras
import numpy as np
import pytest
import tensorflow as tf
from recurrences import lstm, sigmoid

from trainers.heads.logistic import Logistic
from trainers.heads.many_to_many import ManyToMany
from yt8m_data.errors import DataError


def made(seed=0, scale=1.0, **options) -> ManyToMany:
    head = ManyToMany(4, **options)
    head.build((None, None, 6))
    rng = np.random.default_rng(seed)
    head.set_weights([rng.normal(size=w.shape) * scale for w in head.get_weights()])
    return head


def clips(*lengths: int) -> tuple[np.ndarray, np.ndarray]:
    """Frames [B, T, 6] with noise where they are padded, and their mask."""
    mask = np.arange(max(lengths)) < np.array(lengths)[:, None]
    frames = np.random.default_rng(1).normal(size=(*mask.shape, 6)).astype(np.float32)
    return np.where(mask[:, :, None], frames, 50.0), mask


@pytest.mark.parametrize("cells", [None, 3])
def test_is_the_mean_over_the_real_frames(cells):
    head, (frames, mask) = made(cells=cells), clips(7, 4, 1)
    for row, clip, real in zip(np.array(head(frames, mask)), frames, mask, strict=True):
        outputs, _ = lstm(head.rnn, clip[real])
        steps = sigmoid(outputs @ np.array(head.kernel, np.float64) + np.array(head.bias, np.float64))
        np.testing.assert_allclose(row, steps.mean(axis=0), rtol=1e-4, atol=1e-6)


def test_one_frame_is_an_lstm_and_a_logistic_regression():
    head, (frames, mask) = made(cells=3), clips(1, 1)
    logistic = Logistic(4)
    logistic.build((None, 3))
    logistic.set_weights([head.kernel, head.bias])
    outputs = np.array([lstm(head.rnn, clip)[0][-1] for clip in frames], np.float32)
    np.testing.assert_allclose(head(frames, mask), logistic(outputs), rtol=1e-5)


def test_prior():
    """Padding counts for nothing: every video begins at the prior, whatever its length."""
    head, (frames, mask) = made(scale=0.0), clips(7, 4, 1)
    head.set_prior(np.array([0.9, 0.1, 0.01, 1e-4]))
    np.testing.assert_allclose(head(frames, mask), [[0.9, 0.1, 0.01, 1e-4]] * 3, rtol=1e-3)


def test_a_video_without_frames_gives_probabilities():
    head, (frames, mask) = made(), clips(3, 2)
    p = np.array(head(np.zeros_like(frames), np.zeros_like(mask)))
    np.testing.assert_allclose(p[0], p[1])
    assert ((p > 0) & (p < 1)).all()


def test_probabilities_are_float32_in_mixed_precision():
    head = ManyToMany(4, dtype="mixed_bfloat16")
    p = head(*clips(7, 4))
    assert p.dtype == "float32"
    assert head.rnn.compute_dtype == "bfloat16"


def test_penalty_and_label_weights():
    head = made(cells=3, l2=0.01)
    assert [w.shape for w in head.weights] == [(3, 4), (4,), (6, 12), (3, 12), (12,)]
    assert float(sum(head.losses)) == pytest.approx(0.005 * (np.array(head.kernel) ** 2).sum(), rel=1e-5)
    np.testing.assert_array_equal(head.label_weights(), head.kernel)
    assert not made(l2=0).losses


def test_gradients_reach_every_weight_and_no_padded_frame():
    head, (frames, mask) = made(), clips(7, 4, 1)
    frames = tf.constant(frames, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(frames)
        total = tf.reduce_sum(tf.math.log(head(frames, mask)))
    *of_weights, of_frames = tape.gradient(total, [*head.trainable_variables, frames])
    assert all(np.abs(g).max() > 0 for g in of_weights)
    assert np.abs(of_frames.numpy()).max(axis=2)[mask].min() > 0
    assert not of_frames.numpy()[~mask].any()


def test_takes_frames_and_gives_classes():
    frames, mask = keras.Input((None, 6)), keras.Input((None,), dtype="bool")
    assert ManyToMany.takes_frames
    assert ManyToMany(4)(frames, mask).shape == (None, 4)


@pytest.mark.parametrize(("options", "sentence"), [({"cells": 0}, "cells of many_to_many is 0"), ({"l2": -1}, "l2 of many_to_many is -1")])
def test_refuses(options, sentence):
    with pytest.raises(DataError, match=sentence):
        ManyToMany(4, **options)
