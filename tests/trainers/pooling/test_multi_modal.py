import keras
import numpy as np
import pytest
import tensorflow as tf

from trainers import components  # noqa: F401
from trainers.heads.logistic import Logistic
from trainers.pooling.multi_modal import MultiModalPooling
from trainers.registry import POOLINGS
from yt8m_data.errors import DataError

SIZES = (4, 2)


def made(randomized, name="lstm", **options) -> MultiModalPooling:
    inner = {"lstm": {"cells": [3, 5]}, "dbof": {"clusters": 5}, "lstm_memory": {"cells": 5, "layer_norm": True, "dropout": 0.5}}[name]
    return randomized(MultiModalPooling(SIZES, {"name": name, **inner}, **options))


@pytest.mark.parametrize("join", ["add", "concat"])
@pytest.mark.parametrize("name", ["lstm", "dbof"])
def test_pools_each_feature_apart(name, join, clips, randomized):
    pool = made(randomized, name, join=join)
    expected = []
    for frames, own in zip(np.split(clips.frames, [4], axis=2), pool.poolings, strict=True):
        options = {key: value for key, value in pool.pooling.items() if key != "name"}
        alone = POOLINGS.create(name, options, feature_sizes=(frames.shape[2],))
        alone.build(frames.shape)
        alone.set_weights(own.get_weights())
        expected.append(np.array(alone(frames, clips.mask)))
    joint, *parts = pool(*clips, parts=True)
    for part, vector in zip(parts, expected, strict=True):
        np.testing.assert_allclose(part, vector, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(joint, sum(expected) if join == "add" else np.concatenate(expected, axis=1), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(pool(*clips), joint)


def test_each_has_its_own_weights(randomized):
    pool = made(randomized)
    assert [layer.rnns[0].cell.kernel.shape for layer in pool.poolings] == [(4, 12), (2, 12)]
    assert len({weight.path for weight in pool.weights}) == len(pool.weights) == 12


def test_gradients_reach_three_heads_and_both_poolings(clips, randomized):
    """With the published weights of the losses, 6 for the joint head and 1 for each part's, the gradient is the weighted sum."""
    pool, labels = made(randomized), np.ones((3, 2), np.float32)
    assert (pool.joint_weight, pool.part_weight) == (6.0, 1.0)
    heads = [Logistic(2) for _ in range(3)]
    pool_gradients = []
    for weights in ((pool.joint_weight, pool.part_weight, pool.part_weight), (6, 0, 0), (0, 1, 0), (0, 0, 1)):
        with tf.GradientTape(persistent=True) as tape:
            losses = [tf.reduce_sum((head(v) - labels) ** 2) for head, v in zip(heads, pool(*clips, parts=True), strict=True)]
            total = sum(weight * loss for weight, loss in zip(weights, losses, strict=True))
        gradients = tape.gradient(total, pool.trainable_variables, unconnected_gradients="zero")
        pool_gradients.append([np.array(g) for g in gradients])
        for head, weight in zip(heads, weights, strict=True):
            reached = [np.any(g) for g in tape.gradient(total, head.trainable_variables, unconnected_gradients="zero")]
            assert reached == [weight > 0] * 2
    for together, *apart in zip(*pool_gradients, strict=True):
        assert np.any(together)
        np.testing.assert_allclose(together, sum(apart), rtol=1e-3, atol=1e-5)


def test_the_parts_train_when_it_does(clips, randomized):
    """Dropout within them is for training alone."""
    pool = made(randomized, "lstm_memory", join="concat")
    np.testing.assert_array_equal(pool(*clips), pool(*clips, training=False))
    assert np.abs(np.array(pool(*clips, training=True)) - np.array(pool(*clips))).max() > 0.01


def test_in_a_model_the_parts_are_outputs(clips):
    frames, mask = keras.Input((None, 6)), keras.Input((None,), dtype="bool")
    pool = MultiModalPooling(SIZES, {"name": "lstm", "cells": 5})
    joint, visual, audio = pool(frames, mask, parts=True)
    assert joint.shape == visual.shape == audio.shape == (None, 5)
    outputs = keras.Model([frames, mask], [joint, visual, audio])(list(clips))
    np.testing.assert_allclose(outputs[0], outputs[1] + outputs[2], rtol=1e-5)


def test_vectors_that_are_added_have_one_width(clips):
    """The cells are as many as the feature is wide, unless they are given."""
    pooling = {"name": "lstm_memory", "outputs": False}
    with pytest.raises(DataError, match=r"join of multi_modal is add, but the vectors of lstm_memory are \[12, 6\] wide: set it to concat"):
        MultiModalPooling(SIZES, pooling)(*clips)
    assert MultiModalPooling(SIZES, pooling, join="concat")(*clips).shape == (3, 18)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"pooling": None}, "pooling of multi_modal is None"),
        ({"pooling": {"cells": 3}}, "give the name of a pooling"),
        ({"pooling": {"name": "lstn"}}, "unknown pooling 'lstn'"),
        ({"pooling": {"name": "lstm", "cell": 3}}, "pooling 'lstm' has no option 'cell'"),
        ({"join": "mean"}, "join of multi_modal is 'mean': choose one of add, concat"),
        ({"joint_weight": -1}, "joint_weight of multi_modal is -1"),
    ],
    ids=str,
)
def test_refuses(options, sentence):
    with pytest.raises(DataError, match=sentence):
        MultiModalPooling(SIZES, **{"pooling": {"name": "lstm"}, **options})
