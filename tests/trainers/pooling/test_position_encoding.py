import numpy as np
import pytest

from trainers.pooling.position_encoding import PositionEncoding
from yt8m_data.errors import DataError


def matrix(length: int, width: int, base: int) -> np.ndarray:
    """L [T, D] by the formula."""
    L = np.zeros((length, width))
    for t in range(length):
        for j in range(width):
            share = (t + base) / length
            L[t, j] = (1 - share) - ((j + base) / width) * (1 - 2 * share)
    return L


@pytest.mark.parametrize("l2_normalize", [False, True])
@pytest.mark.parametrize("base", [0, 1])
def test_equals_the_formula(clips, base, l2_normalize):
    pool = PositionEncoding(base=base, l2_normalize=l2_normalize)
    for row, frames, mask in zip(np.array(pool(clips.frames, mask=clips.mask)), *clips, strict=True):
        x = frames[mask].astype(np.float64)
        expected = (matrix(len(x), 6, base) * x).sum(axis=0)
        norm = np.linalg.norm(expected) if l2_normalize else 1.0
        np.testing.assert_allclose(row, expected / norm, rtol=1e-4, atol=1e-5)


def weights(pool: PositionEncoding, length: int, width: int) -> np.ndarray:
    """L as the layer applies it: what a clip with ones in one frame alone gives."""
    frames = np.zeros((length, length, width), np.float32)
    frames[np.arange(length), np.arange(length)] = 1
    return np.array(pool(frames, mask=np.ones((length, length), bool)))


def test_the_weights_depend_on_time_and_meet_at_half():
    L = weights(PositionEncoding(), 8, 6)
    np.testing.assert_allclose(L, matrix(8, 6, 0), atol=1e-6)
    np.testing.assert_allclose(L[4], 0.5, rtol=1e-6)
    assert (L.std(axis=0) > 0.05).sum() >= 5  # with whole-number division all would be 1
    np.testing.assert_allclose(weights(PositionEncoding(base=1), 8, 6)[3], 0.5, rtol=1e-6)


def test_the_order_counts_and_padding_does_not(clips):
    pool = PositionEncoding()
    pooled = np.array(pool(clips.frames, mask=clips.mask))
    assert np.abs(np.array(pool(clips.frames[:, ::-1], mask=clips.mask[:, ::-1])) - pooled).max() > 0.1
    padded = np.concatenate([clips.frames, np.ones((3, 5, 6), np.float32)], axis=1)
    np.testing.assert_allclose(pool(padded, mask=np.pad(clips.mask, ((0, 0), (0, 5)))), pooled, rtol=1e-5, atol=1e-6)


def test_frames_are_numbered_among_the_real_ones(clips):
    pool, mask = PositionEncoding(), np.array([[True, False, True, False, False, True, True]])
    alone = clips.frames[:1][mask][None]
    np.testing.assert_allclose(pool(clips.frames[:1], mask=mask), pool(alone, mask=np.ones((1, 4), bool)), rtol=1e-5, atol=1e-6)


def test_a_video_without_frames(clips):
    assert not np.any(PositionEncoding(l2_normalize=True)(clips.frames, mask=np.zeros_like(clips.mask)))


def test_wrong_options():
    with pytest.raises(DataError, match="base of position_encoding is 2: choose one of 0, 1"):
        PositionEncoding(base=2)
    with pytest.raises(DataError, match="l2_normalize of position_encoding is 'no': choose true or false"):
        PositionEncoding(l2_normalize="no")
