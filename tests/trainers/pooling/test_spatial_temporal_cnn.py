import numpy as np
import pytest

from trainers.pooling.spatial_temporal_cnn import SpatialTemporalCNN
from yt8m_data.errors import DataError


def convolved(conv, x: np.ndarray) -> np.ndarray:
    """ReLU of the convolution of a signal [L, channels] with zeros beyond its ends."""
    kernel, bias = np.array(conv.kernel, np.float64), np.array(conv.bias, np.float64)
    before = (len(kernel) - 1) // 2
    padded = np.concatenate([np.zeros((before, x.shape[1])), x, np.zeros((len(kernel) - 1 - before, x.shape[1]))])
    return np.array([np.maximum(sum(padded[t + k] @ kernel[k] for k in range(len(kernel))) + bias, 0) for t in range(len(x))])


def reference(pool: SpatialTemporalCNN, x: np.ndarray) -> np.ndarray:
    """One clip [N, D]."""
    frames = []
    for frame in x.astype(np.float64):
        signal = frame[:, None]
        for conv in pool.spatial:
            signal = convolved(conv, signal)
        frames.append(signal[:, 0])
    x = np.array(frames)
    for conv in pool.temporal:
        x = convolved(conv, x)
    return x.max(axis=0)


@pytest.mark.parametrize("options", [{}, {"spatial_filters": 2, "temporal_filters": 7, "kernel_size": 4}], ids=str)
def test_equals_the_definition_on_the_real_frames(options, clips, randomized):
    pool = randomized(SpatialTemporalCNN(**{"temporal_filters": 5, **options}))
    noisy = np.where(clips.mask[:, :, None], clips.frames, 50.0).astype(np.float32)
    for row, clip, real in zip(np.array(pool(noisy, clips.mask)), *clips, strict=True):
        expected = reference(pool, clip[real])
        np.testing.assert_allclose(row, expected, rtol=1e-4, atol=1e-4 * expected.max())


def test_three_layers_of_each_kind():
    """Filters over time are as deep as a frame is wide."""
    pool = SpatialTemporalCNN(spatial_filters=4, temporal_filters=8, kernel_size=5)
    pool.build((None, None, 6))
    assert [conv.kernel.shape for conv in pool.spatial] == [(5, 1, 4), (5, 4, 4), (5, 4, 1)]
    assert [conv.kernel.shape for conv in pool.temporal] == [(5, 6, 8), (5, 8, 8), (5, 8, 8)]


def test_no_frame_gives_zeros(clips, randomized):
    assert not np.any(randomized(SpatialTemporalCNN(temporal_filters=5))(clips.frames, np.zeros_like(clips.mask)))


@pytest.mark.parametrize("option", ["spatial_filters", "temporal_filters", "kernel_size"])
def test_refuses(option):
    with pytest.raises(DataError, match=f"{option} of spatial_temporal_cnn is 0"):
        SpatialTemporalCNN(**{option: 0})
