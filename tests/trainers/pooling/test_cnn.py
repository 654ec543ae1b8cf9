import keras
import numpy as np
import pytest

from trainers.pooling.cnn import CNNPooling
from yt8m_data.errors import DataError


def reference(pool: CNNPooling, x: np.ndarray) -> np.ndarray:
    """One clip [N, D]: a window begins at each frame, and zeros follow the last."""
    kernel, bias = np.array(pool.conv.kernel, np.float64), np.array(pool.conv.bias, np.float64)
    follow = np.concatenate([x, np.zeros((len(kernel) - 1, x.shape[1]))])
    windows = [np.maximum(sum(follow[t + k] @ kernel[k] for k in range(len(kernel))) + bias, 0) for t in range(len(x))]
    vector = np.max(windows, axis=0)
    return vector / np.linalg.norm(vector) if pool.l2_normalize else vector


@pytest.mark.parametrize("options", [{}, {"kernel_size": 1}, {"kernel_size": 9}, {"l2_normalize": True}], ids=str)
def test_equals_the_definition(options, clips, randomized):
    """Also for clips of fewer frames than a filter sees."""
    pool = randomized(CNNPooling(8, **options))
    for row, clip, real in zip(pool(*clips), *clips, strict=True):
        np.testing.assert_allclose(row, reference(pool, clip[real]), rtol=1e-4, atol=1e-5)


def test_windows_of_padding_alone_do_not_count(clips, randomized):
    """Real frames are above 0 and all weights below: a window of padding would have the largest value, the bias."""
    pool = randomized(CNNPooling(3))
    pool.conv.kernel.assign(np.full((5, 6, 3), -0.01))
    pool.conv.bias.assign([1.0, 1.0, 1.0])
    pooled = np.array(pool(np.abs(clips.frames), clips.mask))
    assert (pooled > 0).all()
    assert (pooled < 1).all()


def test_what_stands_in_padded_frames_does_not_count(clips, randomized):
    pool = randomized(CNNPooling(8))
    noisy = np.where(clips.mask[:, :, None], clips.frames, 50.0).astype(np.float32)
    np.testing.assert_array_equal(pool(noisy, clips.mask), pool(*clips))


@pytest.mark.parametrize("shift", [4, 7, 11])
def test_a_shift_in_time_does_not_count_but_the_order_does(shift, randomized):
    """5 frames of content among 20 that are black."""
    pool, content = randomized(CNNPooling(8)), np.random.default_rng(5).normal(size=(5, 6))
    frames, mask = np.zeros((3, 20, 6), np.float32), np.ones((3, 20), bool)
    frames[0, 5:10], frames[1, shift : shift + 5], frames[2, 5:10] = content, content, content[::-1]
    pooled = np.array(pool(frames, mask))
    np.testing.assert_allclose(pooled[1], pooled[0], rtol=1e-5)
    assert np.abs(pooled[2] - pooled[0]).max() > 0.01


def test_the_authors_padded_video_gives_the_same(randomized):
    """Every window of a video padded with zeros to 30 frames, less those of padding alone, where a bias below 0 rules these out."""
    pool, clip = randomized(CNNPooling(8)), np.random.default_rng(6).normal(size=(9, 6)).astype(np.float32)
    pool.conv.bias.assign(np.full(8, -0.5))
    padded = np.concatenate([clip, np.zeros((21, 6), np.float32)])[None]
    np.testing.assert_allclose(pool(clip[None], np.ones((1, 9), bool)), np.max(pool.conv(padded), axis=1), rtol=1e-5)


def test_no_frame_gives_zeros(clips, randomized):
    for l2_normalize in (True, False):
        assert not np.any(randomized(CNNPooling(8, l2_normalize=l2_normalize))(clips.frames, np.zeros_like(clips.mask)))


def test_published_sizes():
    """5 x 1152 values and a bias a filter."""
    frames, mask = keras.Input((None, 1152)), keras.Input((None,), dtype="bool")
    for filters in (64, 256, 1024):
        pool = CNNPooling(filters)
        assert pool(frames, mask).shape == (None, filters)
        assert pool.count_params() == filters * (5 * 1152 + 1)


@pytest.mark.parametrize("option", ["filters", "kernel_size"])
def test_refuses(option):
    with pytest.raises(DataError, match=f"{option} of cnn is 0"):
        CNNPooling(**{option: 0})
