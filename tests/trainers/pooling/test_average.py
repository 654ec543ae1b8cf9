import numpy as np

from trainers.pooling.average import AveragePooling
from trainers.registry import POOLINGS


def test_divides_by_the_real_frames():
    rng = np.random.default_rng(0)
    frames = rng.normal(size=(3, 5, 4)).astype(np.float32)
    mask = np.array([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [0, 1, 0, 1, 1]], bool)
    pooled = np.array(AveragePooling()(frames, mask=mask))  # what stands in padded frames does not count
    for row, clip, real in zip(pooled, frames, mask, strict=True):
        np.testing.assert_allclose(row, clip[real].astype(np.float64).mean(axis=0), rtol=1e-5, atol=1e-6)


def test_no_frame_gives_zeros():
    assert not np.any(AveragePooling()(np.ones((2, 3, 4), np.float32), mask=np.zeros((2, 3), bool)))


def test_is_registered_and_has_no_weights():
    pool = POOLINGS.create("average", {}, feature_sizes=(3, 1))
    pool(np.ones((1, 2, 4), np.float32), mask=np.ones((1, 2), bool))
    assert pool.count_params() == 0
