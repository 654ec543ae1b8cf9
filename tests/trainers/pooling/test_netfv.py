import numpy as np
import pytest
import tensorflow as tf

from trainers.pooling.netfv import NetFV
from trainers.pooling.netvlad import NetRVLAD
from yt8m_data.errors import DataError


def unit(v: np.ndarray) -> np.ndarray:
    return v / np.linalg.norm(v)


def reference(a: np.ndarray, x: np.ndarray, c: np.ndarray, s: np.ndarray, intra_norm_second: bool) -> np.ndarray:
    """Both halves from the moments themselves, one cluster and frame at a time."""
    first, second = np.zeros(c.shape), np.zeros(c.shape)
    for k in range(len(c)):
        for t in range(len(x)):
            z = (x[t] - c[k]) / s[k]
            first[k] += a[t, k] * z
            second[k] += a[t, k] * (z**2 - 1)
    first = np.stack([unit(row) for row in first])
    if intra_norm_second:
        second = np.stack([unit(row) for row in second])
    return np.concatenate([unit(first.ravel()), unit(second.ravel())])


@pytest.mark.parametrize("intra_norm_second", [False, True])
@pytest.mark.parametrize("coupling", [None, 0.01, 0.5])
@pytest.mark.parametrize("batch_norm", [True, False])
def test_equals_the_definition(clips, randomized, assignment, batch_norm, coupling, intra_norm_second):
    pool = randomized(NetFV(clusters=3, batch_norm=batch_norm, coupling=coupling, intra_norm_second=intra_norm_second))
    c = np.array(pool.centers) if coupling is None else coupling * np.array(pool.assignment.kernel).T
    s = np.array(pool.theta, np.float64) ** 2 + 1e-6
    for row, frames, mask in zip(np.array(pool(clips.frames, mask=clips.mask)), *clips, strict=True):
        x = frames[mask].astype(np.float64)
        expected = reference(assignment(x, pool.assignment), x, c.astype(np.float64), s, intra_norm_second)
        np.testing.assert_allclose(row, expected, rtol=5e-3, atol=1e-4)


def test_coupled_centers_are_no_weights_of_their_own(randomized):
    free, coupled = randomized(NetFV(clusters=3)), randomized(NetFV(clusters=3, coupling=0.01))
    assert free.count_params() - coupled.count_params() == 3 * 6


def test_halves_have_unit_norm_and_the_order_does_not_count(clips, randomized):
    pool = randomized(NetFV(clusters=3))
    pooled = np.array(pool(clips.frames, mask=clips.mask))
    assert pooled.shape == (3, 2 * 3 * 6)
    np.testing.assert_allclose(np.linalg.norm(pooled.reshape(3, 2, 18), axis=2), 1, rtol=1e-5)
    order = [4, 0, 6, 2, 5, 1, 3]
    np.testing.assert_allclose(pool(clips.frames[:, order], mask=clips.mask[:, order]), pooled, rtol=1e-3, atol=1e-5)


def test_unit_deviations_and_no_centers(clips, randomized, assignment):
    """Then the first half is NetRVLAD's, and the second the unit vector of sum a x^2 less sum a."""
    pool, light = randomized(NetFV(clusters=3)), randomized(NetRVLAD(clusters=3))
    light.assignment.set_weights(pool.assignment.get_weights())
    pool.theta.assign(np.full((3, 6), np.sqrt(1 - 1e-6)))
    pool.centers.assign(np.zeros((3, 6)))
    pooled = np.array(pool(clips.frames, mask=clips.mask))
    np.testing.assert_allclose(pooled[:, :18], light(clips.frames, mask=clips.mask), rtol=1e-4, atol=1e-5)
    for row, frames, mask in zip(pooled, *clips, strict=True):
        x = frames[mask].astype(np.float64)
        a = assignment(x, pool.assignment)
        np.testing.assert_allclose(row[18:], unit((a.T @ x**2 - a.sum(axis=0)[:, None]).ravel()), rtol=1e-3, atol=1e-5)


def test_deviations_are_positive(clips, randomized):
    pool = randomized(NetFV(clusters=3))
    assert np.array(pool.deviations()).min() >= 1e-6
    pool.theta.assign(np.zeros((3, 6)))
    np.testing.assert_allclose(pool.deviations(), 1e-6)
    assert np.isfinite(pool(clips.frames, mask=clips.mask)).all()


def test_start():
    pool = NetFV(clusters=200)
    pool.build((None, None, 100))
    theta, centers = np.array(pool.theta), np.array(pool.centers)
    assert theta.mean() == pytest.approx(1, abs=0.01)
    assert theta.std() == pytest.approx(0.1, rel=0.03)
    assert centers.std() == pytest.approx(0.1, rel=0.03)
    assert abs(centers.mean()) < 0.01


@pytest.mark.parametrize("coupling", [None, 0.01])
def test_gradients_reach_every_weight(clips, randomized, coupling):
    pool = randomized(NetFV(clusters=3, coupling=coupling))
    mask = clips.mask & np.array([[True], [True], [False]])  # and stay finite where a video has no frame
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(pool(clips.frames, mask=mask, training=True) ** 3)
    gradients = tape.gradient(total, [w.value for w in pool.trainable_weights])
    assert all(np.isfinite(g).all() and np.abs(g).max() > 0 for g in gradients)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"clusters": -1}, "clusters of netfv is -1"),
        ({"coupling": "yes"}, "coupling of netfv is 'yes': set it to a number of at least 0 or null"),
        ({"intra_norm_second": 1}, "intra_norm_second of netfv is 1: choose true or false"),
        ({"momentum": -0.1}, "momentum of netfv is -0.1"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(DataError, match=message):
        NetFV(**options)
