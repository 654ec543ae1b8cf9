import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from trainers.pooling.netvlad import NetRVLAD, NetVLAD, _residuals
from yt8m_data.errors import DataError

pytestmark = pytest.mark.filterwarnings("ignore:You are using a softmax over axis -1")  # one cluster takes all


def unit(v: np.ndarray) -> np.ndarray:
    return v / np.linalg.norm(v)


def reference(a: np.ndarray, x: np.ndarray, centers: np.ndarray, norm: str) -> np.ndarray:
    """One cluster and frame at a time, from the assignments [T, K]."""
    v = np.zeros(centers.shape)
    for k in range(len(centers)):
        for t in range(len(x)):
            v[k] += a[t, k] * (x[t] - centers[k])
    v = np.stack([unit(row) for row in v]) if norm == "intra" else np.sign(v) * np.sqrt(np.abs(v))
    return unit(v.ravel())


@pytest.mark.parametrize("norm", ["intra", "signed_sqrt"])
@pytest.mark.parametrize("batch_norm", [True, False])
@pytest.mark.parametrize("kind", [NetVLAD, NetRVLAD])
def test_equals_the_definition(clips, randomized, assignment, kind, batch_norm, norm):
    pool = randomized(kind(clusters=3, batch_norm=batch_norm, norm=norm))
    centers = np.array(pool.centers, np.float64) if kind is NetVLAD else np.zeros((3, 6))
    for row, frames, mask in zip(np.array(pool(clips.frames, mask=clips.mask)), *clips, strict=True):
        x = frames[mask].astype(np.float64)
        np.testing.assert_allclose(row, reference(assignment(x, pool.assignment), x, centers, norm), rtol=1e-4, atol=1e-5)


@settings(max_examples=15)
@given(seed=st.integers(0, 10**6), clusters=st.integers(2, 5), length=st.integers(1, 9), repeats=st.integers(2, 4))
def test_laws(seed, clusters, length, repeats):
    """Unit norm, equal norm of each cluster; the order, the number of times that all frames come, and padding change nothing."""
    rng = np.random.default_rng(seed)
    pool = NetVLAD(clusters=clusters, batch_norm=False)  # random statistics may leave a cluster no share that could be normalised
    pool.build((None, None, 4))
    pool.set_weights([np.abs(rng.normal(size=w.shape)) + 0.1 for w in pool.get_weights()])
    x = rng.normal(size=(1, length, 4)).astype(np.float32)
    real = np.ones((1, length), bool)
    pooled = np.array(pool(x, mask=real))
    np.testing.assert_allclose(np.linalg.norm(pooled), 1, rtol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(pooled.reshape(clusters, 4), axis=1), clusters**-0.5, rtol=1e-4)

    def same(frames, mask):
        np.testing.assert_allclose(pool(frames, mask=mask), pooled, rtol=1e-3, atol=1e-5)

    same(x[:, rng.permutation(length)], real)
    same(np.tile(x, (1, repeats, 1)), np.ones((1, length * repeats), bool))
    same(np.concatenate([x, rng.normal(size=(1, 6, 4)).astype(np.float32)], axis=1), np.arange(length + 6)[None] < length)


def test_without_centers_it_is_netrvlad(clips, randomized):
    full, light = randomized(NetVLAD(clusters=3)), randomized(NetRVLAD(clusters=3))
    full.assignment.set_weights(light.assignment.get_weights())
    full.centers.assign(np.zeros((3, 6)))
    np.testing.assert_array_equal(full(clips.frames, mask=clips.mask), light(clips.frames, mask=clips.mask))
    assert full.count_params() - light.count_params() == 3 * 6


def test_one_cluster(clips, randomized):
    full, light = randomized(NetVLAD(clusters=1)), randomized(NetRVLAD(clusters=1))
    c = np.array(full.centers)[0]
    for i, (frames, mask) in enumerate(zip(*clips, strict=True)):
        x = frames[mask]
        np.testing.assert_allclose(full(clips.frames, mask=clips.mask)[i], unit(x.sum(axis=0) - len(x) * c), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(light(clips.frames, mask=clips.mask)[i], unit(x.mean(axis=0)), rtol=1e-4, atol=1e-5)


def test_batch_norm_takes_its_statistics_from_real_frames(clips, randomized):
    short, long = randomized(NetVLAD(clusters=3, momentum=0.5)), randomized(NetVLAD(clusters=3, momentum=0.5))
    noise = np.where(clips.mask[:, :, None], clips.frames, 9.0).astype(np.float32)
    padded = np.concatenate([noise, np.full((3, 5, 6), -7, np.float32)], axis=1)
    first = short(clips.frames, mask=clips.mask, training=True)
    second = long(padded, mask=np.pad(clips.mask, ((0, 0), (0, 5))), training=True)
    np.testing.assert_allclose(first, second, rtol=1e-4, atol=1e-5)
    for one, other in zip(short.get_weights(), long.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
    frames = clips.frames[clips.mask].astype(np.float64) @ np.array(short.assignment.kernel, np.float64)
    fresh = NetVLAD(clusters=3, momentum=0.5)
    fresh.build((None, None, 6))
    fresh.assignment.kernel.assign(short.assignment.kernel)
    fresh(clips.frames, mask=clips.mask, training=True)
    np.testing.assert_allclose(fresh.assignment.norm.moving_mean, frames.mean(axis=0) / 2, rtol=1e-4)
    np.testing.assert_allclose(fresh.assignment.norm.moving_variance, frames.var(axis=0) / 2 + 0.5, rtol=1e-4)


@pytest.mark.parametrize("xla", [False, True])
@pytest.mark.parametrize("norm", ["intra", "signed_sqrt"])
def test_a_video_without_frames_gives_zeros_and_finite_gradients(clips, randomized, norm, xla):
    pool = randomized(NetVLAD(clusters=3, norm=norm, non_local={}))
    mask = clips.mask & np.array([[True], [True], [False]])

    @tf.function(jit_compile=xla)
    def step():
        with tf.GradientTape() as tape:
            pooled = pool(clips.frames, mask=mask, training=True)
            total = tf.reduce_sum(pooled**3)
        return pooled, tape.gradient(total, [w.value for w in pool.trainable_weights])

    pooled, gradients = step()
    assert not np.any(pooled[2])
    assert all(np.isfinite(g).all() and np.abs(g).max() > 0 for g in gradients)


def test_start():
    """Kernel and centres are drawn apart, both from N(0, 1 / sqrt(D))."""
    pool = NetVLAD(clusters=200)
    pool.build((None, None, 100))
    kernel, centers = np.array(pool.assignment.kernel), np.array(pool.centers)
    assert kernel.std() == pytest.approx(0.1, rel=0.03)
    assert centers.std() == pytest.approx(0.1, rel=0.03)
    assert abs(np.corrcoef(kernel.T.ravel(), centers.ravel())[0, 1]) < 0.05


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"clusters": 0}, "clusters of netvlad is 0: set it to a whole number of at least 1"),
        ({"clusters": True}, "clusters of netvlad is True"),
        ({"batch_norm": "yes"}, "batch_norm of netvlad is 'yes': choose true or false"),
        ({"momentum": 1}, "momentum of netvlad is 1: set it to a number of at least 0 and below 1"),
        ({"norm": None}, "norm of netvlad is None: choose one of intra, signed_sqrt"),
        ({"non_local": True}, "non_local is True: give its options"),
        ({"non_local": {"widht": 3}}, "has no option 'widht': known are width, scale, placement, blocks, shared"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(DataError, match=message):
        NetVLAD(**options)
    if "clusters" in options:
        with pytest.raises(DataError, match="of netrvlad is"):
            NetRVLAD(**options)


def test_gradients_of_residuals_are_those_of_the_formula():
    rng = np.random.default_rng(4)
    sums, shares, centers, weights = (
        tf.constant(rng.normal(size=shape).astype(np.float32)) for shape in [(3, 2, 5), (3, 2), (2, 5), (3, 2, 5)]
    )
    found = []
    for residuals in (_residuals, lambda v, s, c: v - s[:, :, None] * c):
        with tf.GradientTape() as tape:
            tape.watch([sums, shares, centers])
            total = tf.reduce_sum(residuals(sums, shares, centers) ** 2 * weights)
        found.append(tape.gradient(total, [sums, shares, centers]))
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)
