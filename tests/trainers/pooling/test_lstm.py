import keras
import numpy as np
import pytest
import tensorflow as tf
from recurrences import lstm

from trainers.pooling.attention import AttentionPooling
from trainers.pooling.lstm import LSTMPooling
from trainers.registry import POOLINGS
from yt8m_data.errors import DataError


def reference(pool: LSTMPooling, x: np.ndarray) -> np.ndarray:
    """One clip [N, D]: layer upon layer."""
    outputs, states = [], []
    for depth, layer in enumerate(pool.rnns):
        h, c = lstm(layer, outputs[0] + outputs[1] if pool.residual and depth == 2 else x)
        outputs.append(h)
        states += [c[-1], h[-1]]
        x = h
    if pool.kept == "attention":
        scores = np.exp(np.tanh(x) @ np.array(pool.attend.kernel, np.float64)[:, 0])
        return np.tanh((scores / scores.sum()) @ x)
    return {"last": x[-1], "max": x.max(axis=0), "all_states": np.concatenate(states)}[pool.kept]


@pytest.mark.parametrize(
    "options",
    [
        {"cells": 4},
        {"cells": [5, 3]},
        {"cells": [4, 4, 4], "residual": True},
        {"cells": [4, 4, 4]},
        {"cells": 4, "output": "max"},
        {"cells": [3, 4], "output": "attention"},
        {"cells": [5, 3], "output": "all_states"},
    ],
    ids=str,
)
def test_equals_the_definition(options, clips, randomized):
    pool = randomized(LSTMPooling(**options))
    pooled = np.array(pool(*clips))
    for row, clip, real in zip(pooled, *clips, strict=True):
        np.testing.assert_allclose(row, reference(pool, clip[real]), rtol=1e-4, atol=1e-5)


def test_the_maximum_leaves_padded_steps_out(clips, randomized):
    """All outputs are negative: the zeros of padded steps would be the maximum."""
    pool = randomized(LSTMPooling(4, output="max"))
    bias = np.array(pool.rnns[0].cell.bias)
    bias[8:12] = -9.0  # the candidate
    pool.rnns[0].cell.bias.assign(bias)
    assert np.array(pool(*clips)).max() < 0


def test_the_skip_goes_around_layer_2(clips, randomized):
    """A second layer that gives zeros leaves layer 3 the outputs of layer 1."""
    pool = randomized(LSTMPooling([4, 4, 3], residual=True))
    pool.rnns[1].set_weights([np.zeros_like(w) for w in pool.rnns[1].get_weights()])
    without = randomized(LSTMPooling([4, 3]))
    without.set_weights(pool.rnns[0].get_weights() + pool.rnns[2].get_weights())
    np.testing.assert_allclose(pool(*clips), without(*clips), rtol=1e-6)


def test_attention_is_the_pooling_of_that_name(clips, randomized):
    pool = randomized(LSTMPooling(4, output="attention", attention={"softmax": False, "l2": 0.5}))
    attend = AttentionPooling(softmax=False)
    attend.build((None, None, 4))
    attend.kernel.assign(pool.attend.kernel)
    outputs = np.zeros((3, 7, 4))
    for b, (clip, real) in enumerate(zip(*clips, strict=True)):
        outputs[b, real] = lstm(pool.rnns[0], clip[real])[0]
    np.testing.assert_allclose(pool(*clips), attend(outputs, clips.mask), rtol=1e-4, atol=1e-6)
    assert float(sum(pool.losses)) == pytest.approx(0.25 * (np.array(attend.kernel) ** 2).sum(), rel=1e-5)


def test_states_stand_layer_by_layer_cell_first(clips, randomized):
    pool = randomized(LSTMPooling([5, 3], output="all_states"))
    c1, h1, c2, h2 = np.split(np.array(pool(*clips))[0], [5, 10, 13])
    outputs, states = lstm(pool.rnns[0], clips.frames[0])
    np.testing.assert_allclose(np.concatenate([c1, h1]), np.concatenate([states[-1], outputs[-1]]), rtol=1e-4, atol=1e-5)
    outputs, states = lstm(pool.rnns[1], outputs)
    np.testing.assert_allclose(np.concatenate([c2, h2]), np.concatenate([states[-1], outputs[-1]]), rtol=1e-4, atol=1e-5)


def test_begins_with_open_forget_gates():
    pool = LSTMPooling([3, 2])
    pool.build((None, None, 6))
    for rnn, units in zip(pool.rnns, (3, 2), strict=True):
        np.testing.assert_array_equal(rnn.cell.bias, [0] * units + [1] * units + [0] * 2 * units)


def test_a_video_without_frames_counts_as_one_of_zeros(clips, randomized):
    pool = randomized(LSTMPooling(4))
    none = pool(np.zeros_like(clips.frames), np.zeros_like(clips.mask))
    one = np.zeros_like(clips.mask)
    one[:, 0] = True
    np.testing.assert_array_equal(none, pool(np.zeros_like(clips.frames), one))


def test_the_width_is_known_before_any_frame():
    frames, mask = keras.Input((None, 6)), keras.Input((None,), dtype="bool")
    assert LSTMPooling([5, 3])(frames, mask).shape == (None, 3)
    assert LSTMPooling([5, 3], output="all_states")(frames, mask).shape == (None, 16)


def test_parameters_of_the_published_size():
    """Layers of 1024 on frames of 1152, with the published total less a mixture of 2 experts and a dummy on all 4096 states."""
    with tf.Graph().as_default():
        pool = POOLINGS.create("lstm", {"cells": [1024, 1024], "output": "all_states"})
        pool.build((None, None, 1152))
    gates, experts, biases = 4096 * 3 * 3862, 4096 * 2 * 3862, 2 * 3862
    assert pool.count_params() + gates + experts + biases == 96_411_180


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"cells": []}, r"cells of lstm is \[\]: give the cells of each layer"),
        ({"cells": [4, 0]}, "cells of lstm is 0"),
        ({"cells": None}, "cells of lstm is None"),
        ({"output": "mean"}, "output of lstm is 'mean': choose one of last, max, attention, all_states"),
        ({"residual": True}, r"residual of lstm needs 3 layers, the first two alike, not \[1024\]"),
        ({"residual": True, "cells": [4, 5, 5]}, r"the first two alike, not \[4, 5, 5\]"),
        ({"attention": {"softmax": False}}, "attention of lstm goes with output attention, not last"),
        ({"output": "attention", "attention": {"heads": 2}}, "pooling 'attention' has no option 'heads'"),
    ],
    ids=str,
)
def test_refuses(options, sentence):
    with pytest.raises(DataError, match=sentence):
        LSTMPooling(**options)
