"""Nearest neighbours: equal to brute force in float64, ties by id, whatever the threads, loops and order of the vectors, and on a GPU."""

import sys

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yt8m_data import codec, gpu, neighbors, tfrecord
from yt8m_data.neighbors import Pool, nearest, search
from yt8m_data.schema import sniff


@pytest.fixture(autouse=True, params=["plain", "compiled"])
def loops(request, monkeypatch):
    """Search for all pools with these."""
    if request.param == "compiled":
        pytest.importorskip("numba", reason="numba is not installed")
    monkeypatch.setattr(neighbors, "COMPILED_WORK", 0 if request.param == "compiled" else sys.maxsize)


@pytest.fixture(autouse=True, params=["cpu", pytest.param("gpu", marks=pytest.mark.gpu)])
def device(request, monkeypatch):
    """Search for all pools there."""
    monkeypatch.setattr(gpu, "_broken", [])
    if request.param == "gpu" and not gpu.ready(1):
        pytest.skip("there is no GPU, or no FAISS for it")
    monkeypatch.setattr(neighbors, "GPU_POOL", 1 if request.param == "gpu" else sys.maxsize)
    yield
    assert not gpu._broken


def brute_force(vectors: np.ndarray, ids: np.ndarray, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Sort all others by (distance, id), one query at a time."""
    rows, distances = np.full((len(queries), k), -1), np.full((len(queries), k), np.inf)
    wide = vectors.astype(np.float64)
    for at, query in enumerate(queries):
        squared = ((wide - wide[query]) ** 2).sum(axis=1)
        others = sorted((row for row in range(len(ids)) if ids[row] != ids[query]), key=lambda row: (squared[row], ids[row]))[:k]
        rows[at, : len(others)] = others
        distances[at, : len(others)] = squared[others]
    return rows, distances


def names(count: int, seed: int = 0) -> np.ndarray:
    """Distinct ids, not in the order of the rows."""
    return np.array([b"v%04d" % i for i in np.random.default_rng(seed).permutation(count)], object)


def check(vectors: np.ndarray, ids: np.ndarray, queries: np.ndarray, k: int) -> None:
    rows, distances = nearest(vectors, ids, queries, k, threads=2)
    expected_rows, expected = brute_force(vectors, ids, queries, k)
    assert rows.shape == distances.shape == (len(queries), k)
    assert (rows.dtype, distances.dtype) == (np.int64, np.float64)
    np.testing.assert_allclose(distances, expected, rtol=1e-12)
    np.testing.assert_array_equal(rows, expected_rows)


@settings(max_examples=60)
@given(
    st.one_of(st.integers(1, 40), st.integers(1, 600)),
    st.integers(1, 4),
    st.integers(1, 12),
    st.sampled_from([1, 3, 1000]),
    st.integers(0, 2**32),
)
def test_grids_full_of_ties(count, size, k, steps, seed):
    """Whole numbers: distances are exact, and with few steps many vectors are equal or equally far."""
    random = np.random.default_rng(seed)
    vectors = random.integers(-steps, steps + 1, (count, size)).astype(np.float32)
    queries = random.choice(count, min(count, 12), replace=False)
    check(vectors, names(count, seed), queries, k)


@pytest.mark.parametrize("count", [30, 200, 600])
def test_vectors_of_the_real_width(count):
    random = np.random.default_rng(count)
    vectors = random.standard_normal((count, 1024), np.float32) * random.lognormal(-0.5, 0.4, (count, 1)).astype(np.float32)
    vectors[count // 2 :: 3] = vectors[0]  # exact duplicates
    check(vectors, names(count), np.arange(0, count, 5), 8)


@pytest.mark.parametrize("distance", [1e-4, 1e-2])
@pytest.mark.parametrize("count", [40, 600, 1700])
def test_neighbors_far_closer_than_float32_products_tell(count, distance):
    """Norms of 30 and close neighbours: |x|^2 - 2xy + |y|^2 in float32 is rounding there."""
    random = np.random.default_rng(count)
    centre, steps = random.standard_normal(1024), random.standard_normal((count, 1024))
    centre *= 30 / np.linalg.norm(centre)
    steps *= distance / np.linalg.norm(steps, axis=1, keepdims=True)
    check((centre + steps).astype(np.float32), names(count), np.arange(0, count, 1 + count // 8), 8)


@pytest.mark.parametrize("scale", [1e-22, 1e-12, 1e12, 1e18, 1e22])
def test_products_that_underflow_or_overflow(scale):
    """Squared norms from 1e-43 to beyond float32's largest number."""
    random = np.random.default_rng(0)
    check((random.standard_normal((1500, 8)) * scale).astype(np.float32), names(1500), np.arange(0, 1500, 150), 5)


def test_many_pools_of_one_matrix(monkeypatch):
    """Small ones, one in tiles, one that is all rows, one without queries; each as if it were alone, with any threads."""
    monkeypatch.setattr(neighbors, "TILE_SCORES", 400 * 20)
    monkeypatch.setattr(neighbors, "TILE_QUERIES", 7)
    random = np.random.default_rng(8)
    vectors = random.integers(-2, 3, (700, 6)).astype(np.float32)
    ids = names(700)
    _, rank = np.unique(ids, return_inverse=True)
    members = [np.sort(random.choice(700, size, replace=False)) for size in (2, 9, 40, 120, 450)] + [np.arange(700)]
    pools = [Pool(m, np.sort(random.choice(len(m), max(1, len(m) // 3), replace=False)), 1 + number) for number, m in enumerate(members)]
    pools += [Pool(members[1], np.zeros(0, int), 3), Pool(members[1], np.arange(9), 3)]
    for threads in (1, 2, 5):
        for pool, found in zip(pools, search(vectors, rank, pools, threads), strict=True):
            rows, distances = brute_force(vectors[pool.members], ids[pool.members], pool.queries, pool.k)
            assert found.rows.tolist() == rows.tolist()
            assert found.distances.tolist() == distances.tolist()


@pytest.mark.parametrize("k", [1, 8, 21])
def test_equal_vectors_are_ordered_by_id(k):
    vectors = np.full((600, 5), 3.25, np.float32)
    ids = names(600)
    rows, distances = nearest(vectors, ids, np.array([17, 300]), k)
    for query, found in zip((17, 300), rows, strict=True):
        assert ids[found].tolist() == sorted(set(ids.tolist()) - {ids[query]})[:k]
    assert not distances.any()


def test_fewer_vectors_than_asked_for():
    vectors = np.array([[0.0], [3.0], [1.0]], np.float32)
    rows, distances = nearest(vectors, np.array([b"a", b"b", b"c"], object), np.array([0, 1]), 4)
    assert rows.tolist() == [[2, 1, -1, -1], [2, 0, -1, -1]]
    assert distances.tolist() == [[1, 9, np.inf, np.inf], [4, 9, np.inf, np.inf]]
    alone, _ = nearest(vectors[:1], np.array([b"a"], object), np.array([0]), 2)
    assert alone.tolist() == [[-1, -1]]
    nobody, _ = nearest(vectors, np.array([b"a", b"b", b"c"], object), np.zeros(0, np.int64), 2)
    assert nobody.shape == (0, 2)


@pytest.mark.parametrize("count", [12, 600])
def test_a_video_is_not_its_own_neighbor_under_its_id(count):
    """Half of the rows are further copies of the query's id, with other vectors as well as the same."""
    random = np.random.default_rng(0)
    vectors = random.integers(0, 3, (count, 2)).astype(np.float32)
    ids = names(count)
    ids[::2] = b"same"
    check(vectors, ids, np.arange(0, count, 5), 6)
    rows, _ = nearest(vectors, ids, np.array([0]), count)
    assert b"same" not in ids[rows[rows >= 0]]
    assert (rows >= 0).sum() == count // 2


def test_ids_may_be_numbers():
    vectors = np.array([[0.0], [1.0], [-1.0]], np.float32)
    rows, _ = nearest(vectors, np.array([5, 9, 7]), np.array([0]), 2)
    assert rows.tolist() == [[2, 1]]


@pytest.mark.parametrize("count", [200, 700])
def test_neither_threads_nor_tiles_show(count, monkeypatch):
    vectors = np.random.default_rng(3).standard_normal((count, 256), np.float32)
    vectors[50:60] = vectors[0]
    queries = np.arange(count)
    one, two = (nearest(vectors, names(count), queries, 9, threads=threads) for threads in (1, 2))
    monkeypatch.setattr(neighbors, "TILE_SCORES", 32 * count)
    monkeypatch.setattr(neighbors, "TILE_QUERIES", 32)
    tiled = nearest(vectors, names(count), queries, 9, threads=2)
    assert [a.tobytes() for a in one] == [a.tobytes() for a in two] == [a.tobytes() for a in tiled]


@settings(max_examples=20)
@given(st.integers(2, 300), st.integers(0, 2**32))
def test_the_order_of_the_vectors_does_not_show(count, seed):
    random = np.random.default_rng(seed)
    vectors = random.integers(0, 4, (count, 3)).astype(np.float32)
    ids = names(count, seed)
    queries = random.choice(count, min(count, 20), replace=False)
    rows, distances = nearest(vectors, ids, queries, 5)
    order = random.permutation(count)
    moved_rows, moved_distances = nearest(vectors[order], ids[order], np.argsort(order)[queries], 5)
    np.testing.assert_array_equal(distances, moved_distances)
    np.testing.assert_array_equal(np.where(rows < 0, b"", ids[rows]), np.where(moved_rows < 0, b"", ids[order][moved_rows]))


def test_a_column_of_float64_or_of_strides_will_do():
    wide = np.random.default_rng(4).integers(0, 9, (40, 6))
    check(wide.astype(np.float64), names(40), np.arange(40), 3)
    check(wide.astype(np.float32)[:, ::2], names(40), np.arange(40), 3)


@pytest.mark.shared_data
def test_pools_of_real_videos(shared_data):
    """Norms from 4 to 36, and pools of 254, 178, 39 and 2 videos."""
    files = sorted((shared_data / "yt8m-2018-video").glob("*.tfrecord"))[:4]
    schema, batches = sniff(str(files[0])), []
    for file in files:
        with open(file, "rb") as stream:
            batches += [codec.decode(block, schema).batch for block in tfrecord.read(stream, str(file))]
    videos = pa.Table.from_batches(batches).combine_chunks().to_batches()[0]
    vectors = videos.column("mean_rgb").flatten().to_numpy().reshape(-1, 1024)
    ids, labels = np.array(videos.column("id").to_pylist(), object), videos.column("labels").to_pylist()
    for label in (0, 1, 10, 100):
        rows = np.array([row for row, carried in enumerate(labels) if label in carried])
        check(vectors[rows], ids[rows], np.arange(len(rows))[:10], 8)
