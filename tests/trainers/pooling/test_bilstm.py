import keras
import numpy as np
import pytest
from recurrences import lstm

from trainers.pooling.bilstm import BiLSTMPooling
from trainers.pooling.lstm import LSTMPooling
from yt8m_data.errors import DataError

FORMS = [{"cells": 4}, {"cells": [5, 3]}, {"cells": [5, 3], "link": "sum"}, {"cells": [4, 4, 3], "link": "residual"}]


def reference(pool: BiLSTMPooling, x: np.ndarray) -> np.ndarray:
    """One clip [N, D]; the backward layers read the reversed clip, and what they give is turned round again."""
    ahead, back, both = x, x, []
    for forward, backward in zip(pool.forwards, pool.backwards, strict=True):
        ahead, back = lstm(forward, ahead)[0], lstm(backward, back[::-1])[0][::-1]
        last, first = ahead[-1], back[0]
        both.append(np.concatenate([ahead, back], axis=1))
        if pool.link == "sum":
            ahead = back = ahead + back
        elif pool.link == "residual":
            ahead = back = both[0] if len(both) == 1 else both[0] + both[1]
    return np.concatenate([last, first])


def tied(pool: BiLSTMPooling) -> BiLSTMPooling:
    """Both directions with the weights of the forward one."""
    for forward, backward in zip(pool.forwards, pool.backwards, strict=True):
        backward.set_weights(forward.get_weights())
    return pool


@pytest.mark.parametrize("options", FORMS, ids=str)
def test_equals_the_definition(options, clips, randomized):
    """The clips differ in length, and the backward layers begin at the last real frame of each."""
    pool = randomized(BiLSTMPooling(**options))
    for row, clip, real in zip(np.array(pool(*clips)), *clips, strict=True):
        np.testing.assert_allclose(row, reference(pool, clip[real]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("options", FORMS[:3], ids=str)  # side by side, what the directions give swaps places in each layer's input too
def test_a_reversed_clip_swaps_the_halves(options, clips, randomized):
    pool = tied(randomized(BiLSTMPooling(**options)))
    backwards = clips.frames.copy()
    for clip, real in zip(backwards, clips.mask, strict=True):
        clip[real] = clip[real][::-1]
    ahead, back = np.split(np.array(pool(*clips)), 2, axis=1)
    assert np.abs(ahead - back)[:2].max() > 0.01
    np.testing.assert_allclose(pool(backwards, clips.mask), np.concatenate([back, ahead], axis=1), rtol=1e-4, atol=1e-6)


def test_the_directions_never_meet_unless_linked(clips, randomized):
    """Without a link, each half is an LSTM of its own, and the forward half does not change with the backward weights."""
    for options, meet in zip(FORMS[1:], (False, True, True), strict=True):
        pool = randomized(BiLSTMPooling(**options))
        before = np.split(np.array(pool(*clips)), 2, axis=1)[0]
        for layer in pool.backwards:
            layer.set_weights([w * 0.5 for w in layer.get_weights()])
        after = np.split(np.array(pool(*clips)), 2, axis=1)[0]
        assert np.allclose(before, after, atol=1e-6) != meet
    forward = LSTMPooling([5, 3])
    forward.build((None, None, 6))
    pool = randomized(BiLSTMPooling([5, 3]))
    forward.set_weights([w for layer in pool.forwards for w in layer.get_weights()])
    np.testing.assert_allclose(np.split(np.array(pool(*clips)), 2, axis=1)[0], forward(*clips), rtol=1e-6)


def test_sizes():
    """Published as 2048: 1024 cells a direction. Side by side, a layer above the first reads both directions."""
    frames, mask = keras.Input((None, 6)), keras.Input((None,), dtype="bool")
    assert BiLSTMPooling(1024)(frames, mask).shape == (None, 2048)
    for link, reads in (("none", 4), ("sum", 4), ("residual", 8)):
        pool = BiLSTMPooling([4, 4, 3], link=link)
        assert pool(frames, mask).shape == (None, 6)
        for layers in (pool.forwards, pool.backwards):
            assert [layer.cell.kernel.shape for layer in layers] == [(6, 16), (reads, 16), (reads, 12)]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"cells": [0]}, "cells of bilstm is 0"),
        ({"link": "max"}, "link of bilstm is 'max': choose one of none, sum, residual"),
        ({"link": "residual"}, r"link residual of bilstm needs 3 layers, the first two alike, not \[1024\]"),
        ({"link": "residual", "cells": [4, 5, 5]}, r"not \[4, 5, 5\]: set cells"),
    ],
    ids=str,
)
def test_refuses(options, sentence):
    with pytest.raises(DataError, match=sentence):
        BiLSTMPooling(**options)
