"""The search on a GPU, with a stand-in for FAISS of `faiss.knn_gpu`'s documented signature: no machine of the tests has one."""

import logging

import numpy as np
import pytest

from yt8m_data import gpu, neighbors, plain_neighbors
from yt8m_data.neighbors import nearest

METRIC_L2 = 1


class Faiss:
    """What FAISS's GPU wheel offers of what is used; it searches in float32, by |x|^2 - 2xy + |y|^2 as FAISS does."""

    METRIC_L2 = METRIC_L2

    def __init__(self, fails_at: int | None = None, gpus: int = 1, lacks: bool = False):
        self.gpus, self.fails_at, self.lacks, self.resources, self.calls = gpus, fails_at, lacks, 0, []

    def get_num_gpus(self):
        return self.gpus

    def StandardGpuResources(self):  # noqa: N802
        self.resources += 1
        return "resources"

    def knn_gpu(
        self,
        res,
        xq,
        xb,
        k,
        D=None,
        I=None,  # noqa: E741
        metric=METRIC_L2,
        device=-1,
        use_cuvs=False,
        vectorsMemoryLimit=0,
        queriesMemoryLimit=0,
    ):
        assert res == "resources"
        assert xq.dtype == xb.dtype == np.float32
        assert metric == METRIC_L2
        assert vectorsMemoryLimit == queriesMemoryLimit == gpu.MEMORY
        self.calls.append((len(xq), len(xb), k))
        if len(self.calls) == self.fails_at:
            raise RuntimeError("Faiss: 'err == cudaSuccess' failed:\nout of memory")
        squared = (xb**2).sum(axis=1) - 2 * (xq @ xb.T) + (xq**2).sum(axis=1, keepdims=True)
        rows = np.argsort(squared, axis=1)[:, :k]
        squared = np.take_along_axis(squared, rows, axis=1)
        if self.lacks:
            rows[::3, -1], squared[::3, -1] = -1, np.finfo(np.float32).max
        return squared, rows


@pytest.fixture
def faiss(monkeypatch):
    """Put a stand-in in FAISS's place, for pools of 100 and more."""

    def put(**options):
        double = Faiss(**options)
        monkeypatch.setattr(gpu, "faiss", double)
        monkeypatch.setattr(gpu, "_broken", [])
        monkeypatch.setattr(neighbors, "GPU_POOL", 100)
        gpu._resources.cache_clear()
        return double

    yield put
    gpu._resources.cache_clear()


def search(count: int, k: int = 6, kind: str = "real"):
    random = np.random.default_rng(count)
    vectors = random.standard_normal((count, 64)).astype(np.float32)
    if kind == "ties":
        vectors = random.integers(0, 2, (count, 4)).astype(np.float32)
    elif kind == "close":
        vectors = (30 + 1e-4 * vectors).astype(np.float32)
    return nearest(vectors, random.permutation(count), np.arange(0, count, 2), k, threads=1)


@pytest.mark.parametrize("kind", ["real", "ties", "close"])
def test_the_gpu_finds_what_the_cpu_finds(faiss, kind):
    double = faiss(gpus=0)
    expected = search(300, kind=kind)
    assert not double.calls
    double = faiss()
    found = search(300, kind=kind)
    assert double.calls == [(150, 300, 23)]
    assert [a.tobytes() for a in found] == [a.tobytes() for a in expected]


def test_queries_for_which_a_gpu_finds_too_few(faiss):
    faiss(gpus=0)
    expected = search(300, kind="ties")
    faiss(lacks=True)
    assert [a.tobytes() for a in search(300, kind="ties")] == [a.tobytes() for a in expected]


def test_small_pools_stay_on_the_cpu_and_resources_are_made_once(faiss):
    double = faiss()
    search(99)
    assert (double.calls, double.resources) == ([], 0)
    search(100)
    search(120)
    assert ([size for _, size, _ in double.calls], double.resources) == ([100, 120], 1)


def test_a_gpu_that_fails_is_given_up_with_one_line(faiss, caplog):
    faiss(gpus=0)
    expected = [search(count) for count in (200, 150)]
    double = faiss(fails_at=1)
    with caplog.at_level(logging.ERROR):
        found = [search(count) for count in (200, 150)]
    assert len(double.calls) == 1
    assert [record.getMessage() for record in caplog.records] == [
        "the GPU failed, so this process seeks neighbours on its CPU from now on: Faiss: 'err == cudaSuccess' failed: out of memory"
    ]
    for one, other in zip(found, expected, strict=True):
        assert [a.tobytes() for a in one] == [a.tobytes() for a in other]


def test_more_neighbors_than_a_gpu_selects(faiss, monkeypatch):
    double = faiss()
    monkeypatch.setattr(gpu, "MOST", 22)
    search(300)
    assert not double.calls
    search(300, k=5)
    assert len(double.calls) == 1


def test_without_faiss_there_is_no_gpu(monkeypatch):
    monkeypatch.setattr(gpu, "faiss", None)
    gpu._resources.cache_clear()
    assert not gpu.ready(1)
    gpu._resources.cache_clear()


def test_the_documented_signature_is_ours():
    """Where FAISS is installed, its function takes what the stand-in takes."""
    import inspect

    module = pytest.importorskip("faiss", reason="FAISS is not installed")
    assert list(inspect.signature(module.knn_gpu).parameters) == list(inspect.signature(Faiss().knn_gpu).parameters)


@pytest.mark.parametrize("spread", [0.0, 1.0, 4.0])
@pytest.mark.parametrize("centre", [0.0, 30.0])
def test_what_lies_behind_candidates_is_as_far_as_is_said(centre, spread):
    """Against distances in float64: of every query, behind every number of candidates in the order that a GPU gives."""
    random = np.random.default_rng(5)
    vectors = (centre + random.standard_normal((200, 64)) * np.exp(spread * random.standard_normal((200, 1)))).astype(np.float32)
    queries, wide = np.arange(0, 200, 7), vectors.astype(np.float64)
    pool = neighbors.Pool(np.arange(200), queries, 3)
    prepared = neighbors._Prepared(vectors, (wide**2).sum(axis=1), np.arange(200), pool, None, plain_neighbors)
    distances, rows = Faiss().knn_gpu(
        "resources", vectors[queries], vectors, 200, vectorsMemoryLimit=gpu.MEMORY, queriesMemoryLimit=gpu.MEMORY
    )
    true = ((wide[rows] - wide[queries][:, None]) ** 2).sum(axis=2)
    for width in range(1, 200):
        bound = prepared._beyond(queries, distances[:, width - 1])
        assert (true[:, width:].min(axis=1) >= bound).all()
        assert spread or np.median(distances[:, width - 1] - bound) <= 1e-3 * np.median((wide**2).sum(axis=1))
