import keras
import numpy as np
import pytest
from recurrences import lstm

from trainers.pooling.lstm import LSTMPooling
from trainers.pooling.lstm_memory import LSTMMemory
from yt8m_data.errors import DataError


def sums(pool: LSTMMemory, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """M and O of one clip [N, D], before any norm."""
    frames = x.astype(np.float64)
    for layer in pool.rnns:
        x = lstm(layer, x)[0]
    return frames.sum(axis=0), x.sum(axis=0)


def unit(x: np.ndarray) -> np.ndarray:
    return x / max(np.linalg.norm(x), 1e-6)


@pytest.mark.parametrize("l2_normalize", [True, False])
@pytest.mark.parametrize("cells", [None, 4, [5, 3]])
def test_joins_states_and_sums(cells, l2_normalize, clips, randomized):
    pool = randomized(LSTMMemory(cells, l2_normalize=l2_normalize))
    states = LSTMPooling(cells or 6, output="all_states")
    states.build((None, None, 6))
    states.set_weights(pool.get_weights())
    for row, state, clip, real in zip(np.array(pool(*clips)), np.array(states(*clips)), *clips, strict=True):
        memory, outputs = (unit(s) if l2_normalize else s for s in sums(pool, clip[real]))
        np.testing.assert_allclose(row, np.concatenate([state, memory, outputs]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("memory", "outputs", "width"),
    [(False, False, 2304), (True, False, 3456), (True, True, 4608), (False, True, 3456)],
)
def test_published_widths(memory, outputs, width):
    """LSTM, LSTM-M and LSTM-M-O on frames of 1152, whose cells are as many."""
    frames, mask = keras.Input((None, 1152)), keras.Input((None,), dtype="bool")
    assert LSTMMemory(memory=memory, outputs=outputs)(frames, mask).shape == (None, width)


def test_the_order_of_frames_counts_in_all_but_the_memory(clips, randomized):
    pool = randomized(LSTMMemory(4))
    frames, mask = clips.frames[:1], clips.mask[:1]
    before, after = np.array(pool(frames, mask))[0], np.array(pool(frames[:, ::-1], mask))[0]
    states, memory, outputs = (slice(0, 8), slice(8, 14), slice(14, 18))
    np.testing.assert_allclose(after[memory], before[memory], rtol=1e-5)
    assert np.abs(after[states] - before[states]).max() > 0.01
    assert np.abs(after[outputs] - before[outputs]).max() > 0.01


def test_padding_does_not_count(clips, randomized):
    """Padded frames of any value, with and without layer norm."""
    for options in ({}, {"layer_norm": True, "dropout": 0.2}):
        pool = randomized(LSTMMemory(4, **options))
        before = np.array(pool(*clips))
        np.testing.assert_allclose(pool(np.where(clips.mask[:, :, None], clips.frames, 9.0), clips.mask), before, rtol=1e-5, atol=1e-6)


def test_layer_norm_takes_the_place_of_the_cell(clips, randomized):
    """The weights are the kernels and 5 norms a layer, and the sums are of this cell's outputs."""
    pool = randomized(LSTMMemory([4, 3], layer_norm=True, l2_normalize=False))
    assert [w.shape for w in pool.rnns[0].weights] == [(6, 16), (4, 16), *[(4,)] * 10]
    assert [w.shape for w in pool.rnns[1].weights] == [(4, 12), (3, 12), *[(3,)] * 10]
    frames, mask = clips.frames[:1], clips.mask[:1]
    outputs = pool.rnns[1](pool.rnns[0](frames)[0])[0]
    pooled = np.array(pool(frames, mask))[0]
    np.testing.assert_allclose(pooled[-3:], np.array(outputs)[0].sum(axis=0), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(pooled[-9:-3], frames[0].sum(axis=0), rtol=1e-4, atol=1e-5)


def test_dropout_is_for_training(clips, randomized):
    pool, plain = (randomized(LSTMMemory(4, layer_norm=True, dropout=rate)) for rate in (0.5, 0.0))
    np.testing.assert_allclose(pool(*clips), plain(*clips), rtol=1e-6)
    assert np.abs(np.array(pool(*clips, training=True)) - np.array(plain(*clips, training=True))).max() > 0.01


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"cells": []}, r"cells of lstm_memory is \[\]"),
        ({"memory": "yes"}, "memory of lstm_memory is 'yes': choose true or false"),
        ({"dropout": 1.0, "layer_norm": True}, "dropout of lstm_memory is 1.0"),
        ({"dropout": 0.2}, "dropout of lstm_memory is 0.2, but only the cell with layer norm has it: set layer_norm to true"),
    ],
    ids=str,
)
def test_refuses(options, sentence):
    with pytest.raises(DataError, match=sentence):
        LSTMMemory(**options)
