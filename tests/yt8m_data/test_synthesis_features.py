"""Features of synthetic videos: the operators against their formulas."""

import hashlib

import numpy as np
import pyarrow as pa
import pytest
from synthesis_pool import make, matrix, plan_of, pool, synthetics

from yt8m_data import synthesis


@pytest.mark.parametrize("factor", [0.0, 0.3, 0.5, 1.0, 1.7])
def test_interpolation_and_extrapolation_are_their_formulas(factor):
    videos = pool()
    made = make(videos, synthetics([0, 0, 3], [2, 2, 1], ["interpolate", "extrapolate", "interpolate"], factor), plan_of([2]))
    for name in ("rgb", "audio"):
        x, out = matrix(videos, name).astype(np.float64), matrix(made, name)
        expected = [x[0] + factor * (x[2] - x[0]), x[0] + factor * (x[0] - x[2]), x[3] + factor * (x[1] - x[3])]
        np.testing.assert_allclose(out, expected, atol=1e-6)


def test_lambda_zero_gives_the_base():
    videos = pool()
    made = make(videos, synthetics([1, 1], [2, 3], ["interpolate", "extrapolate"], 0.0), plan_of([2]))
    assert matrix(made, "rgb").tolist() == matrix(videos, "rgb")[[1, 1]].tolist()


def test_half_way_is_the_same_from_both_ends():
    made = make(pool(), synthetics([1, 4], [4, 1], ["interpolate"] * 2), plan_of([2]))
    np.testing.assert_allclose(matrix(made, "rgb")[0], matrix(made, "rgb")[1], atol=1e-6)


def test_extrapolation_lies_beyond_the_base_on_the_line():
    videos = pool()
    made = matrix(make(videos, synthetics([0], [1], ["extrapolate"]), plan_of([1])), "rgb")[0]
    x, y = matrix(videos, "rgb")[:2]
    gap = np.linalg.norm(x - y)
    assert np.linalg.norm(made - x) == pytest.approx(0.5 * gap, rel=1e-5)
    assert np.linalg.norm(made - y) == pytest.approx(1.5 * gap, rel=1e-5)


@pytest.mark.parametrize("sigma", [0.0, 0.03, 2.0])
def test_noise_is_gaussian_of_the_given_width(sigma):
    draws = np.concatenate([synthesis.gaussian(7, b"%d" % i, "rgb", 1024, sigma) for i in range(100)])
    count = len(draws)
    assert draws.dtype == np.float32
    assert draws.mean() == pytest.approx(0, abs=5 * sigma / np.sqrt(count))
    assert draws.std() == pytest.approx(sigma, rel=5 / np.sqrt(2 * count))
    assert np.abs(draws).max() <= 6 * sigma
    within = (np.abs(draws) <= sigma).mean()
    assert sigma == 0 or within == pytest.approx(0.6827, abs=5 * np.sqrt(0.25 / count))


def test_noise_depends_on_seed_id_and_feature_alone():
    digest = hashlib.blake2b(b"a_o01\0rgb", digest_size=8, salt=(3).to_bytes(8, "little"), person=b"noise").digest()
    expected = np.random.Generator(np.random.Philox(key=int.from_bytes(digest, "little"))).standard_normal(8, np.float32) * np.float32(0.5)
    assert synthesis.gaussian(3, b"a_o01", "rgb", 8, 0.5).tolist() == expected.tolist()
    others = [(4, b"a_o01", "rgb"), (3, b"a_o02", "rgb"), (3, b"a_o01", "audio"), (3, b"a", "rgb")]
    drawn = np.array([synthesis.gaussian(*key, 2000, 1.0) for key in [(3, b"a_o01", "rgb"), *others]])
    assert np.abs(np.corrcoef(drawn) - np.eye(5)).max() < 5 / np.sqrt(2000)


def test_noise_touches_every_feature_but_those_held():
    videos = pool()
    for hold in ((), ("audio",)):
        made = make(videos, synthetics([2], [-1], ["noise"]), plan_of([1], sigma=0.03, seed=5, hold=hold))
        assert made.column("id").to_pylist() == [b"id2_o01"]
        for name, size in (("rgb", 4), ("audio", 2)):
            noise = 0 if name in hold else synthesis.gaussian(5, b"id2_o01", name, size, 0.03)
            np.testing.assert_allclose(matrix(made, name)[0], matrix(videos, name)[2] + noise, atol=1e-7)


def test_held_features_are_the_base_s():
    videos = pool()
    made = make(videos, synthetics([0, 1], [2, 3], ["interpolate", "extrapolate"]), plan_of([2], hold=("audio",)))
    assert matrix(made, "audio").tolist() == matrix(videos, "audio")[[0, 1]].tolist()
    assert matrix(made, "rgb")[0].tolist() != matrix(videos, "rgb")[0].tolist()


def test_make_does_not_write_into_the_pool():
    videos = pool()
    before = videos.to_pylist()
    make(videos, synthetics([0, 1, 2], [2, 3, -1], ["interpolate", "extrapolate", "noise"]), plan_of([2]))
    assert videos.to_pylist() == before


def test_a_slice_of_a_batch_is_a_pool():
    videos = pool(8)
    chosen = synthetics([0, 2, 1], [1, 0, -1], ["interpolate", "extrapolate", "noise"])
    part, copy = videos.slice(3, 3), videos.take(pa.array([3, 4, 5]))
    assert make(part, chosen, plan_of([2])).equals(make(copy, chosen, plan_of([2])))


def test_a_copy_is_its_base():
    videos = pool()
    made = make(videos, synthetics([3, 3], [-1, -1], ["copy", "copy"], np.nan), plan_of([2]))
    assert made.column("id").to_pylist() == [b"id3_o01", b"id3_o02"]
    for name in ("rgb", "audio"):
        assert matrix(made, name).tolist() == matrix(videos, name)[[3, 3]].tolist()
    assert made.column("aug_neighbor").null_count == made.column("aug_lambda").null_count == 2
