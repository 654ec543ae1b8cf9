import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from trainers.pooling.soft_dbow import SoftDBoW
from yt8m_data.errors import DataError


def unit(v: np.ndarray) -> np.ndarray:
    return v / np.linalg.norm(v)


def reference(pool: SoftDBoW, a: np.ndarray) -> np.ndarray:
    """One clip from its assignments [T, K]."""
    h, m = a.sum(axis=0), unit(a.max(axis=0))
    if pool.gated:
        r = m @ np.array(pool.squeeze, np.float64) @ np.array(pool.gate.kernel, np.float64)
        if pool.batch_norm:
            gamma, beta, mean, variance = (np.array(w, np.float64) for w in pool.gate.norm.weights)
            r = gamma * (r - mean) / np.sqrt(variance + 1e-3) + beta
        else:
            r += np.array(pool.gate.bias)
        h = h / (1 + np.exp(-r))
    return np.concatenate([unit(h), m]) if pool.add_max else unit(h)


@pytest.mark.parametrize("options", [{}, {"add_max": True}, {"gated": True}, {"gated": True, "bottleneck": 2, "add_max": True}])
@pytest.mark.parametrize("batch_norm", [True, False])
def test_equals_the_definition(clips, randomized, assignment, batch_norm, options):
    pool = randomized(SoftDBoW(clusters=5, batch_norm=batch_norm, **options))
    for row, frames, mask in zip(np.array(pool(clips.frames, mask=clips.mask)), *clips, strict=True):
        np.testing.assert_allclose(row, reference(pool, assignment(frames[mask], pool.assignment)), rtol=1e-4, atol=1e-5)


@settings(max_examples=15)
@given(seed=st.integers(0, 10**6), length=st.integers(1, 9), gated=st.booleans())
def test_laws(seed, length, gated):
    """Not negative, of unit norm; order and padding change nothing, nor does the number of times that all frames come."""
    rng = np.random.default_rng(seed)
    pool = SoftDBoW(clusters=7, gated=gated)
    pool.build((None, None, 4))
    pool.set_weights([np.abs(rng.normal(size=w.shape)) + 0.1 for w in pool.get_weights()])
    x, real = rng.normal(size=(1, length, 4)).astype(np.float32), np.ones((1, length), bool)
    pooled = np.array(pool(x, mask=real))
    assert (pooled >= 0).all()
    np.testing.assert_allclose(np.linalg.norm(pooled), 1, rtol=1e-5)
    for frames, mask in (
        (x[:, rng.permutation(length)], real),
        (np.tile(x, (1, 3, 1)), np.tile(real, (1, 3))),
        (np.concatenate([x, 5 + x], axis=1), np.arange(2 * length)[None] < length),
    ):
        np.testing.assert_allclose(pool(frames, mask=mask), pooled, rtol=1e-3, atol=1e-5)


def test_the_bag_of_a_clip_sums_to_its_number_of_frames(clips, randomized, assignment):
    """The norm takes that sum away; scaled back to it, the vector is the bag."""
    pool = randomized(SoftDBoW(clusters=4))
    for row, frames, mask in zip(np.array(pool(clips.frames, mask=clips.mask)), *clips, strict=True):
        bag = assignment(frames[mask], pool.assignment).sum(axis=0)
        np.testing.assert_allclose(row * mask.sum() / row.sum(), bag, rtol=1e-4, atol=1e-6)


def test_closed_squeeze_gates_by_half(clips, randomized):
    """U = 0 and a fresh batch norm give g = 1/2 everywhere, which the norm takes back."""
    gated, plain = SoftDBoW(clusters=5, gated=True), randomized(SoftDBoW(clusters=5))
    gated.build((None, None, 6))
    gated.assignment.set_weights(plain.assignment.get_weights())
    gated.squeeze.assign(np.zeros((5, 6)))
    np.testing.assert_allclose(gated(clips.frames, mask=clips.mask), plain(clips.frames, mask=clips.mask), rtol=1e-5)
    gated.squeeze.assign(np.random.default_rng(0).normal(size=(5, 6)) * 9)
    assert np.abs(np.array(gated(clips.frames, mask=clips.mask)) - np.array(plain(clips.frames, mask=clips.mask))).max() > 0.01


def test_widths(clips, randomized):
    assert randomized(SoftDBoW(clusters=5, gated=True)).squeeze.shape == (5, 6)
    assert randomized(SoftDBoW(clusters=5, gated=True, bottleneck=2)).squeeze.shape == (5, 2)
    assert randomized(SoftDBoW(clusters=5, add_max=True))(clips.frames, mask=clips.mask).shape == (3, 10)


@pytest.mark.parametrize("options", [{"gated": True}, {"gated": True, "batch_norm": False}, {"add_max": True}])
def test_gradients_reach_every_weight(clips, randomized, options):
    pool = randomized(SoftDBoW(clusters=5, **options))
    mask = clips.mask & np.array([[True], [True], [False]])
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(pool(clips.frames, mask=mask, training=True) ** 3)
    gradients = tape.gradient(total, [w.value for w in pool.trainable_weights])
    assert all(np.isfinite(g).all() and np.abs(g).max() > 0 for g in gradients)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"clusters": "many"}, "clusters of soft_dbow is 'many'"),
        ({"gated": None}, "gated of soft_dbow is None: choose true or false"),
        ({"bottleneck": 8}, "bottleneck of soft_dbow is 8, but nothing is gated"),
        ({"bottleneck": 0, "gated": True}, "bottleneck of soft_dbow is 0"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(DataError, match=message):
        SoftDBoW(**options)
