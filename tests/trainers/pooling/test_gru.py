import keras
import numpy as np
import pytest
import tensorflow as tf
from recurrences import gru

from trainers.pooling.gru import GRUPooling
from trainers.registry import POOLINGS
from yt8m_data.errors import DataError


@pytest.mark.parametrize("cells", [4, [5, 3], [3, 3, 2]])
def test_joins_the_final_states_of_all_layers(cells, clips, randomized):
    pool = randomized(GRUPooling(cells))
    for row, clip, real in zip(np.array(pool(*clips)), *clips, strict=True):
        x, states = clip[real], []
        for layer in pool.rnns:
            x = gru(layer, x)
            states.append(x[-1])
        np.testing.assert_allclose(row, np.concatenate(states), rtol=1e-4, atol=1e-5)


def test_begins_with_open_gates():
    """Bias 1 for update and reset, 0 for the candidate; the state keeps most of what it was."""
    pool = GRUPooling([3, 2])
    pool.build((None, None, 6))
    for rnn, units in zip(pool.rnns, (3, 2), strict=True):
        np.testing.assert_array_equal(rnn.cell.bias, [1] * 2 * units + [0] * units)


@pytest.mark.parametrize(("cells", "total"), [(1200, 63_466_124), (1024, 52_536_876)])
def test_parameters_of_the_published_sizes(cells, total):
    """2 layers on frames of 1152, with the published total less a mixture of 2 experts and a dummy on both states."""
    with tf.Graph().as_default():
        pool = POOLINGS.create("gru", {"cells": [cells, cells]})
        pool.build((None, None, 1152))
    gates, experts, biases = 2 * cells * 3 * 3862, 2 * cells * 2 * 3862, 2 * 3862
    assert pool.count_params() + gates + experts + biases == total


def test_the_width_is_known_before_any_frame():
    frames, mask = keras.Input((None, 6)), keras.Input((None,), dtype="bool")
    assert GRUPooling([5, 3])(frames, mask).shape == (None, 8)


@pytest.mark.parametrize("cells", [[], [3, -1], "two"])
def test_refuses(cells):
    with pytest.raises(DataError, match="cells of gru is"):
        GRUPooling(cells)
