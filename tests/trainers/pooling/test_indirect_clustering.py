import numpy as np
import pytest
import tensorflow as tf

from trainers.pooling.indirect_clustering import IndirectClustering
from yt8m_data.errors import DataError


def reference(pool: IndirectClustering, x: np.ndarray, sharpness: float = 1.0) -> np.ndarray:
    """Eq. 10 one pair of frames at a time: x [T, D] -> the p_t."""
    z = np.maximum(x @ np.array(pool.project.kernel) + np.array(pool.project.bias), 0) if pool.projection else x
    scores = np.array([sharpness * sum(z[t] @ z[i] for i in range(len(z))) for t in range(len(z))])
    p = np.exp(scores - scores.max())
    return p / p.sum()


@pytest.mark.parametrize("options", [{}, {"sharpness": 0.1}, {"projection": True}, {"projection": True, "sharpness": 2.0}])
def test_equals_the_definition(clips, randomized, options):
    pool = randomized(IndirectClustering(**options))
    frames = clips.frames * np.float32(0.4)
    pooled, shares = np.array(pool(frames, mask=clips.mask)), np.array(pool.shares(frames, clips.mask))
    assert not shares[~clips.mask].any()
    np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=1e-5)
    for row, p, clip, mask in zip(pooled, shares, frames, clips.mask, strict=True):
        x = clip[mask].astype(np.float64)
        expected = reference(pool, x, options.get("sharpness", 1.0))
        np.testing.assert_allclose(p[mask], expected, rtol=1e-3, atol=1e-6)
        np.testing.assert_allclose(row, expected @ x, rtol=1e-3, atol=1e-5)
    assert shares[0].std() > 0.004  # the authors' softmax over one entry would give all frames the same


def test_identical_frames_share_alike_and_a_repeated_one_gains():
    rng = np.random.default_rng(1)
    one, other = rng.normal(size=(2, 6)).astype(np.float32) * 0.4
    pool, mask = IndirectClustering(), np.ones((1, 4), bool)
    np.testing.assert_allclose(pool.shares(np.stack([one] * 4)[None], mask), 0.25, rtol=1e-5)
    odds = []
    for copies in (1, 2, 3):
        shares = np.array(pool.shares(np.stack([one] * copies + [other] * (4 - copies))[None], mask))[0]
        odds.append(shares[0] / shares[-1])
    assert odds[0] < odds[1] < odds[2]


def test_the_order_does_not_count(clips):
    pool, order = IndirectClustering(), [4, 0, 6, 2, 5, 1, 3]
    expected = pool(clips.frames, mask=clips.mask)
    np.testing.assert_allclose(pool(clips.frames[:, order], mask=clips.mask[:, order]), expected, rtol=1e-4, atol=1e-5)


def test_what_was_measured(clips, randomized):
    """The sum of the frames through layer norm and ReLU."""
    pool = randomized(IndirectClustering(weights="sum", output="layer_norm"))
    total = clips.frames.astype(np.float64).sum(axis=1)
    centred = (total - total.mean(axis=1, keepdims=True)) / np.sqrt(total.var(axis=1, keepdims=True) + 1e-6)
    gamma, beta = (np.array(w) for w in pool.norm.weights)
    np.testing.assert_allclose(pool(clips.frames, mask=clips.mask), np.maximum(gamma * centred + beta, 0), rtol=1e-4, atol=1e-5)


def test_unit_output(clips):
    plain, scaled = IndirectClustering(), IndirectClustering(output="l2")
    pooled = np.array(plain(clips.frames, mask=clips.mask))
    expected = pooled / np.linalg.norm(pooled, axis=1, keepdims=True)
    np.testing.assert_allclose(scaled(clips.frames, mask=clips.mask), expected, rtol=1e-5)


def test_penalty_and_gradients_of_the_projection(clips, randomized):
    pool = randomized(IndirectClustering(projection=True, projection_l2=0.5, output="layer_norm"))
    assert float(pool.losses[0]) == pytest.approx(0.5 / 2 * (np.array(pool.project.kernel) ** 2).sum(), rel=1e-4)
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(pool(clips.frames * np.float32(0.2), mask=clips.mask) ** 3)
    gradients = tape.gradient(total, [w.value for w in pool.trainable_weights])
    assert len(gradients) == 4
    assert all(np.isfinite(g).all() and np.abs(g).max() > 0 for g in gradients)


@pytest.mark.parametrize("options", [{}, {"projection": True, "output": "layer_norm"}, {"weights": "sum", "output": "l2"}])
def test_a_video_without_frames(clips, randomized, options):
    pool = randomized(IndirectClustering(**options))
    assert np.isfinite(pool(clips.frames, mask=np.zeros_like(clips.mask))).all()
    assert not np.any(pool.shares(clips.frames, np.zeros_like(clips.mask)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weights": "mean"}, "weights of indirect_clustering is 'mean': choose one of softmax, sum"),
        ({"output": None}, "output of indirect_clustering is None: choose one of plain, layer_norm, l2"),
        ({"sharpness": "1"}, "sharpness of indirect_clustering is '1': set it to a number of at least 0$"),
        ({"weights": "sum", "projection": True}, "which has no scores"),
        ({"weights": "sum", "sharpness": 2}, "which has no scores"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(DataError, match=message):
        IndirectClustering(**options)
