"""Quality gates against brute force."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yt8m_data import quality


def squared(a: np.ndarray, b: np.ndarray) -> float:
    return float(((a.astype(np.float64) - b.astype(np.float64)) ** 2).sum())


@settings(max_examples=60)
@given(st.integers(0, 2**32), st.integers(1, 30), st.integers(0, 40), st.sampled_from([1, 100]), st.sampled_from([1, 3, 8192]))
def test_closest_is_brute_force(seed, num_queries, num_real, steps, block):
    """Small whole numbers, so that distances are exact; with few steps many are equal, and the first row is to be found."""
    random = np.random.default_rng(seed)
    queries, real = (random.integers(-steps, steps + 1, (n, 3)).astype(np.float32) for n in (num_queries, num_real))
    excluded = random.random((num_queries, num_real)) < 0.4 if num_real % 2 else None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quality, "_BLOCK", block)
        patch.setattr(quality, "_QUERIES", 7)
        best, apart = quality.closest(queries, real, excluded)
    for at in range(num_queries):
        rows = [row for row in range(num_real) if excluded is None or not excluded[at, row]]
        expected = min((squared(queries[at], real[row]), row) for row in rows) if rows else (np.inf, -1)
        assert apart[at] == expected[0]
        assert squared(queries[at], real[best[at]]) == expected[0] if rows else best[at] == -1
        assert best[at] in rows or not rows


def test_close_ones_are_told_apart_at_any_distance_from_the_origin():
    real = np.float32(1000) + np.arange(6, dtype=np.float32)[:, None] * np.float32(0.125) * np.ones((1, 64), np.float32)
    best, apart = quality.closest(real[[2]] + np.float32(0.0625), real, np.array([[False, False, True, False, False, False]]))
    assert best.tolist() == [3]
    assert apart.tolist() == [64 * 0.0625**2]


def test_distances_of_each_kind():
    random = np.random.default_rng(0)
    real, deciding = random.standard_normal((40, 5)).astype(np.float32), random.integers(-1, 4, 40)
    base, neighbor, label = np.array([3, 3, 9]), np.array([5, -1, 7]), np.array([0, 0, 2])
    made = random.standard_normal((3, 5)).astype(np.float32)
    found = quality.distances(made, base, neighbor, label, real, deciding)
    for at in range(3):
        assert found.base[at] == pytest.approx(squared(made[at], real[base[at]]), rel=1e-12)
        assert (
            np.isnan(found.neighbor[at]) if neighbor[at] < 0 else found.neighbor[at] == pytest.approx(squared(made[at], real[neighbor[at]]))
        )
        assert found.other[at] == pytest.approx(min(squared(made[at], real[row]) for row in range(40) if deciding[row] != label[at]))
    alone = quality.distances(made, base, neighbor, np.zeros(3, int), real, np.zeros(40, int))
    assert np.isinf(alone.other).all()


@given(st.lists(st.integers(0, 2**64 - 1), unique=True, max_size=60), st.integers(1, 20), st.integers(0, 60))
def test_who_is_looked_at_depends_on_the_hashes_alone(hashes, number, cut):
    """Also where they come in two parts: the sample of both samples is that of all."""
    hashes = np.array(hashes, np.uint64)
    rows = quality.checked(hashes, number)
    assert len(set(rows.tolist())) == min(number, len(hashes))
    chosen = set(hashes[rows].tolist())
    assert set(hashes[::-1][quality.checked(hashes[::-1], number)].tolist()) == chosen
    parts = np.concatenate([part[quality.checked(part, number)] for part in (hashes[:cut], hashes[cut:])])
    assert set(parts[quality.checked(parts, number)].tolist()) == chosen


def test_the_sample_says_nothing_of_the_order():
    """The output is ordered by the same hashes: the sample is not its beginning."""
    hashes = np.arange(1000, dtype=np.uint64) << np.uint64(54)
    assert 300 < np.mean(quality.checked(hashes, 200)) < 700


def test_the_scale_is_the_median_distance_to_the_nearest_other():
    vectors = np.array([[0.0], [1.0], [3.0], [7.0], [100.0]], np.float32)
    ids = [b"a", b"b", b"c", b"d", b"e"]
    assert quality.scale(vectors, np.arange(4), ids, 0) == np.median([1, 1, 4, 16])
    assert quality.scale(vectors, np.array([1, 4]), ids, 0) == 99**2
    assert quality.scale(vectors, np.array([2]), ids, 0) == quality.scale(vectors, np.array([], int), ids, 0) == 0


def test_near_duplicates():
    held_out = np.array([[0.0, 0.0], [5.0, 0.0], [9.0, 9.0]], np.float32)
    made = np.array([[0.5, 0.0], [5.0, 2.0], [9.0, 9.0], [50.0, 0.0]], np.float32)
    found = quality.near_duplicates(made, held_out, np.array([0, 1]), 4.0)
    assert (found.rows.tolist(), found.held_out.tolist(), found.squared.tolist()) == ([0, 1], [0, 1], [0.25, 4.0])
    exact = quality.near_duplicates(made, held_out, np.arange(3), 0.0)
    assert (exact.rows.tolist(), exact.held_out.tolist()) == ([2], [2])
