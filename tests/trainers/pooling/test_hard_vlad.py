import numpy as np
import pytest
import tensorflow as tf

from trainers.pooling.hard_vlad import HardVLAD
from trainers.pooling.netvlad import NetVLAD
from yt8m_data.errors import DataError


def reference(x: np.ndarray, centers: np.ndarray, norm: str) -> np.ndarray:
    v = np.zeros_like(centers)
    for frame in x:
        nearest = min(range(len(centers)), key=lambda k: np.linalg.norm(frame - centers[k]))
        v[nearest] += frame - centers[nearest]
    lengths = np.linalg.norm(v, axis=1, keepdims=True)
    v = v / np.where(lengths, lengths, 1) if norm == "intra" else np.sign(v) * np.sqrt(np.abs(v))
    return v.ravel() / np.linalg.norm(v)


@pytest.mark.parametrize("norm", ["intra", "signed_sqrt"])
def test_equals_the_definition(clips, randomized, norm):
    pool = randomized(HardVLAD(clusters=3, norm=norm))
    centers = np.array(pool.centers, np.float64)
    for row, frames, mask in zip(np.array(pool(clips.frames, mask=clips.mask)), *clips, strict=True):
        np.testing.assert_allclose(row, reference(frames[mask].astype(np.float64), centers, norm), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("norm", ["intra", "signed_sqrt"])
def test_is_the_limit_of_netvlad(clips, randomized, norm):
    """Scores beta (2 c x - |c|^2) leave, for a large beta, the nearest centre alone."""
    hard = randomized(HardVLAD(clusters=4, norm=norm))
    soft = randomized(NetVLAD(clusters=4, batch_norm=False, norm=norm))
    c, beta = np.array(hard.centers), 1e4
    soft.centers.assign(c)
    soft.assignment.kernel.assign(2 * beta * c.T)
    soft.assignment.bias.assign(-beta * (c**2).sum(axis=1))
    np.testing.assert_allclose(soft(clips.frames, mask=clips.mask), hard(clips.frames, mask=clips.mask), rtol=1e-3, atol=1e-4)
    soft.assignment.kernel.assign(2e-1 * c.T)
    assert np.abs(np.array(soft(clips.frames, mask=clips.mask)) - np.array(hard(clips.frames, mask=clips.mask))).max() > 0.05


def test_residuals_of_identical_frames_add_up(randomized):
    pool = randomized(HardVLAD(clusters=2))
    frame = np.array(pool.centers)[1] + np.float32(0.01) * np.arange(1, 7)
    pooled = np.array(pool(np.tile(frame, (1, 5, 1)).astype(np.float32), mask=np.ones((1, 5), bool)))
    direction = np.arange(1, 7) / np.linalg.norm(np.arange(1, 7))
    np.testing.assert_allclose(pooled[0], np.concatenate([np.zeros(6), direction]), atol=1e-3)


@pytest.mark.parametrize("xla", [False, True])
@pytest.mark.parametrize("norm", ["intra", "signed_sqrt"])
def test_the_gradient_reaches_the_centers(clips, randomized, norm, xla):
    """Also where clusters are empty, as in the clip of one frame."""
    pool = randomized(HardVLAD(clusters=3, norm=norm))

    @tf.function(jit_compile=xla)
    def step():
        with tf.GradientTape() as tape:
            total = tf.reduce_sum(pool(clips.frames, mask=clips.mask) ** 3)
        return tape.gradient(total, pool.centers.value)

    gradient = step()
    assert np.isfinite(gradient).all()
    assert np.abs(gradient).max() > 1e-3


def test_wrong_options():
    with pytest.raises(DataError, match="clusters of hard_vlad is 0: set it to a whole number of at least 1"):
        HardVLAD(clusters=0)
    with pytest.raises(DataError, match="norm of hard_vlad is 'l1': choose one of intra, signed_sqrt"):
        HardVLAD(norm="l1")
