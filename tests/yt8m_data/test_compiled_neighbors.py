"""The loops of a search, plain and compiled: sorting, and brute force in float64, are the oracle, and both give the same bits."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yt8m_data import neighbors, plain_neighbors
from yt8m_data.neighbors import Pool, search

pytest.importorskip("numba", reason="numba is not installed")
from yt8m_data import compiled_neighbors

LOOPS = pytest.mark.parametrize("loops", [plain_neighbors, compiled_neighbors], ids=["plain", "compiled"])
SCALES = [0, 1e-22, 1, 1e12, 1e22, 3e38]


def vectors_of(random: np.random.Generator, count: int, size: int, steps: int, scale: float, odd: bool) -> np.ndarray:
    """Vectors with ties and duplicates where there are few steps; where odd, some with values that are infinite, no number, or -0."""
    vectors = (random.integers(-steps, steps + 1, (count, size)) * (scale / steps)).astype(np.float32)
    vectors[count // 2 :: 3] = vectors[0]
    if odd:
        places = random.random(vectors.shape) < 1 / (2 * size)
        vectors[places] = random.choice(np.array([np.inf, -np.inf, np.nan, -0.0, 3e38, -3e38], np.float32), places.sum())
    return vectors


@LOOPS
@settings(max_examples=60)
@given(st.integers(2, 130).map(lambda n: 16 * n), st.integers(1, 80), st.sampled_from([2, 50, 10**6]), st.integers(0, 2**32))
def test_the_smallest_scores_are_found(loops, length, width, steps, seed):
    random, width = np.random.default_rng(seed), min(width, length - 1)
    scores = random.integers(0, steps, (9, length)).astype(np.float32)
    scores[:, random.integers(0, length, length // 3)] = np.inf
    rows = random.permutation(9)[:5]
    columns, following = loops.smallest(scores, rows, width)
    assert (columns.shape, columns.dtype, following.dtype) == ((5, width), np.int64, np.float32)
    assert all(len(set(row)) == width for row in columns.tolist())
    ascending = np.sort(scores[rows], axis=1)
    np.testing.assert_array_equal(np.sort(np.take_along_axis(scores[rows], columns, axis=1), axis=1), ascending[:, :width])
    assert following.tolist() == ascending[:, width].tolist()


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@settings(max_examples=150)
@given(
    count=st.integers(1, 60),
    size=st.one_of(st.integers(1, 100), st.sampled_from([128, 1024, 1152])),
    width=st.integers(1, 60),
    k=st.integers(1, 70),
    steps=st.sampled_from([1, 3, 10**6]),
    scale=st.sampled_from(SCALES),
    odd=st.booleans(),
    seed=st.integers(0, 2**32),
)
def test_compiled_and_plain_loops_order_candidates_to_the_same_bits(count, size, width, k, steps, scale, odd, seed):
    random, width = np.random.default_rng(seed), min(width, count)
    vectors = vectors_of(random, count, size, steps, scale, odd)
    rank = random.integers(0, max(1, count * 2 // 3), count)  # some share one
    queries = random.integers(0, count, 7)
    near = np.stack([random.permutation(count)[:width] for _ in queries])
    expected = plain_neighbors.nearest(vectors, rank, queries, near, k)
    found = compiled_neighbors.nearest(vectors, rank, queries, near, k)
    assert_ordered(vectors, rank, queries, near, *expected)
    np.testing.assert_allclose(compiled_neighbors.norms(vectors), plain_neighbors.norms(vectors), rtol=1e-12)
    for mine, plain in zip(found, expected, strict=True):
        assert (mine.shape, mine.dtype) == (plain.shape, plain.dtype) == ((7, k), plain.dtype)
        assert mine.tobytes() == plain.tobytes()


def assert_ordered(vectors, rank, queries, near, rows, distances) -> None:
    """The distances are those of sums without rounding, nearly, and the rows sorted by what they say."""
    wide = vectors.astype(np.float64)
    for query, candidates, mine, apart in zip(queries.tolist(), near.tolist(), rows.tolist(), distances.tolist(), strict=True):
        squares = {row: ((wide[row] - wide[query]) ** 2).tolist() for row in candidates if rank[row] != rank[query]}
        exact = {row: math.fsum(terms) for row, terms in squares.items() if np.isfinite(terms).all()}
        present = [row for row in mine if row >= 0]
        keys = [(distance, rank[row], row) for distance, row in zip(apart, present, strict=False)]
        assert keys == sorted(keys)
        assert len(set(present)) == len(present) == min(len(exact), len(mine))
        assert set(mine[len(present) :]) <= {-1}
        assert set(apart[len(present) :]) <= {np.inf}
        np.testing.assert_allclose(apart[: len(present)], [exact[row] for row in present], rtol=1e-13)
        np.testing.assert_allclose(apart[: len(present)], sorted(exact.values())[: len(present)], rtol=1e-13)


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@settings(max_examples=40)
@given(
    count=st.one_of(st.integers(1, 40), st.integers(200, 500)),
    size=st.sampled_from([1, 5, 33, 256]),
    k=st.integers(1, 20),
    steps=st.sampled_from([1, 3, 10**6]),
    scale=st.sampled_from(SCALES),
    odd=st.booleans(),
    seed=st.integers(0, 2**32),
)
def test_a_search_gives_the_same_bits_with_either(count, size, k, steps, scale, odd, seed):
    random = np.random.default_rng(seed)
    vectors, rank = vectors_of(random, count, size, steps, scale, odd), random.permutation(count)
    members = [np.sort(random.choice(count, random.integers(1, count + 1), replace=False)) for _ in range(4)]
    pools = [Pool(m, np.sort(random.choice(len(m), random.integers(0, len(m) + 1), replace=False)), k) for m in members]
    found = []
    with pytest.MonkeyPatch.context() as patch:
        for work, tile in ((0, 1 << 24), (1 << 60, 1 << 24), (0, 2000), (1 << 60, 2000)):
            patch.setattr(neighbors, "COMPILED_WORK", work)
            patch.setattr(neighbors, "TILE_SCORES", tile)
            patch.setattr(neighbors, "TILE_QUERIES", min(128, tile // 100))
            found.append([array.tobytes() for one in search(vectors, rank, pools, threads=2) for array in one])
    assert found[0] == found[1] == found[2] == found[3]


def test_loops_are_compiled_where_there_is_much_to_do_and_numba(monkeypatch):
    pool = Pool(np.arange(9), np.arange(8), 4)
    monkeypatch.setattr(neighbors, "COMPILED_WORK", 64)
    assert neighbors._loops([pool], False) is plain_neighbors
    assert neighbors._loops([pool], True) is compiled_neighbors
    assert neighbors._loops([pool, pool], False) is compiled_neighbors
    monkeypatch.setattr(neighbors.importlib.util, "find_spec", lambda name: None)
    assert neighbors._loops([pool, pool], True) is plain_neighbors
