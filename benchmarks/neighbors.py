"""Exact neighbours beside bare products: `python benchmarks/neighbors.py [--vocabulary CSV] [--seconds S] [--threads N]`.

Pools are drawn from the labels of a vocabulary that are over-sampled (at most 10,000 videos), with the counts as they are and the number
of neighbours that the paper's plan gives each. Vectors are made ones of 1,024 dimensions, and each video of a pool asks for its neighbours.

A bare product is `numpy.matmul` of a pool with a copy of itself on each thread, the pools side by side; it is what any exact search must do
at least, if it does not know that both sides are the same. All rates count the 2 n^2 d operations of that whole product; our search needs
half of them in pools of up to 4,096, where NumPy takes `ssyrk`. FAISS's IndexFlatL2 and scikit-learn search each pool with all threads. The
contenders take turns on each pool size. Rates are by the processor time of all threads, so that what else the machine does does not count;
the last column is the same ratio by wall time, which tells how well the threads are used if the machine is otherwise idle.

With `--gpu`, our search with a GPU stands beside the same on the threads, by pool size, and beside FAISS's `knn_gpu` alone.
"""

import argparse
import csv
import itertools
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from yt8m_data import gpu, neighbors, sampling
from yt8m_data.neighbors import Pool, search
from yt8m_data.sampling.policies import FULL_RECORDS
from yt8m_data.synthetic_world import label_shares

SHARED = Path(os.environ.get("YT8M_SHARED", Path(__file__).resolve().parents[2] / "shared" / "data"))
SIZE = 1024
BUCKETS = (0, 200, 500, 1000, 2000, 4096, 10_000)  # pool sizes, (low, high]
GPU_SIZES, GPU_K = (200, 500, 1000, 2000, 4096, 10_000, 30_000), 5


def main() -> None:
    parser = argparse.ArgumentParser(description="Exact neighbours beside bare products, over the pool sizes of YouTube-8M.")
    parser.add_argument(
        "--vocabulary", default=str(SHARED / "vocabulary-2018.csv"), help="label counts; a law like them where there are none"
    )
    parser.add_argument("--seconds", type=float, default=100, help="about how long to measure")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--gpu", action="store_true", help="compare with a GPU instead")
    options = parser.parse_args()
    if options.gpu:
        beside_gpu(options.threads)
        return
    counts, origin = read_counts(options.vocabulary)
    plan = sampling.plan(counts, FULL_RECORDS, sampling.Settings())
    labels = np.flatnonzero(plan.regime == sampling.OVER)
    labels = labels[counts[labels] > 0]
    print(f"{len(labels):,} pools of {origin}, {options.threads} threads, vectors of {SIZE}; GFLOP/s per core, best of the rounds\n")
    contenders = available()
    print(
        f"{'pool size':>14}{'pools':>7}{'share':>7}" + "".join(f"{name:>14}" for name in contenders) + f"{'ours / bare':>13}{'by wall':>9}"
    )

    weights, times = [], []
    for low, high in itertools.pairwise(BUCKETS):
        inside = labels[(counts[labels] > low) & (counts[labels] <= high)]
        if len(inside):
            work = float((2.0 * counts[inside] ** 2 * SIZE).sum())
            sample = draw(counts[inside], plan.neighbors[inside])
            flops = sum(2.0 * n * n * SIZE for n, _ in sample)
            best = race(contenders, sample, options.threads, options.seconds / (len(BUCKETS) - 1))
            weights.append(work)
            times.append(best * work / flops)
            total = (2.0 * counts[labels] ** 2 * SIZE).sum()
            report(f"{low + 1:,}-{high:,}", len(inside), work / total, work, times[-1])
    whole = np.sum(times, axis=0)
    report("all", len(labels), 1.0, sum(weights), whole)
    print(f"\nall pools of the full set, {sum(weights) / 1e12:.0f} TFLOP, on one core: bare {whole[0, 0]:.0f} s, ours {whole[1, 0]:.0f} s")


def beside_gpu(threads: int) -> None:
    """Print milliseconds of wall time of a pool whose members all ask, best of three rounds of several pools, after one untimed."""
    if not gpu.ready(GPU_K + 2):
        raise SystemExit("there is no GPU, or no FAISS for it: pip install 'yt8m-data[gpu]'")
    print(f"{threads} threads, K = {GPU_K}, vectors of {SIZE}; milliseconds a pool, best of 3\n")
    print(f"{'pool size':>10}{'pools':>7}{'threads':>10}{'with GPU':>10}{'ratio':>7}{'knn_gpu':>10}{'TFLOP/s of it':>15}")
    random = np.random.default_rng(0)
    for size in GPU_SIZES:
        number = max(1, 10_000 // size)
        cpu, ours, knn = contest(made(random, size), [Pool(np.arange(size), np.arange(size), GPU_K)] * number, threads) * 1e3 / number
        row = f"{size:>10,}{number:>7}{cpu:>10.2f}{ours:>10.2f}{cpu / ours:>7.2f}{knn:>10.2f}"
        print(f"{row}{2 * size**2 * SIZE / knn / 1e9:>15.1f}", flush=True)


def contest(vectors: np.ndarray, pools: list[Pool], threads: int) -> np.ndarray:
    """Seconds of all pools on threads, with a GPU, and by `knn_gpu` alone; the first two must find the same."""

    def ours(smallest: int) -> list[neighbors.Found]:
        neighbors.GPU_POOL = smallest
        return search(vectors, np.arange(len(vectors)), pools, threads)

    def alone() -> None:
        for pool in pools:
            gpu.candidates(vectors, vectors, pool.k + 2)

    for one, other in zip(ours(sys.maxsize), ours(1), strict=True):
        assert [a.tobytes() for a in one] == [a.tobytes() for a in other]
    return np.min([[seconds(run) for run in (lambda: ours(sys.maxsize), lambda: ours(1), alone)] for _ in range(3)], axis=0)


def seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def read_counts(path: str) -> tuple[np.ndarray, str]:
    """The videos of each label, int64 [C], and where they come from."""
    if os.path.exists(path):
        with open(path, newline="") as stream:
            rows = list(csv.DictReader(stream))
        key = next(key for key in rows[0] if key.lower().endswith("count"))
        return np.array([int(row[key]) for row in rows]), os.path.basename(path)
    return np.rint(label_shares(3862) * FULL_RECORDS).astype(np.int64), "a law like YouTube-8M's"


def draw(counts: np.ndarray, neighbors: np.ndarray) -> list[tuple[int, int]]:
    """Choose (size, K) of some pools at the quantiles of the work that pools do: at least two, and no more than take a moment."""
    order = np.argsort(counts, kind="stable")
    work = np.cumsum(counts[order].astype(float) ** 2)
    number = int(np.clip(3e7 / counts.mean() ** 2, 2, 40))
    at = np.searchsorted(work, (np.arange(number) + 0.5) / number * work[-1])
    return [(int(counts[order[row]]), int(neighbors[order[row]])) for row in at]


def race(contenders: dict[str, Callable], sample: list[tuple[int, int]], threads: int, seconds: float) -> np.ndarray:
    """Run all contenders on the pools in turn until the time is up, at least twice; the best (CPU, wall) seconds of each."""
    random = np.random.default_rng(0)
    size = max(n for n, _ in sample)
    vectors = made(random, size)
    pools = [Pool(np.sort(random.choice(size, n, replace=False)), np.arange(n), k) for n, k in sample]
    best = np.full((len(contenders), 2), np.inf)
    deadline, rounds = time.monotonic() + seconds, 0
    while rounds < 2 or time.monotonic() < deadline:
        for place, run in enumerate(contenders.values()):
            best[place] = np.minimum(best[place], run(vectors, pools, threads))
        rounds += 1
    return best


def made(random: np.random.Generator, count: int) -> np.ndarray:
    """Vectors about 20 centres, of real mean features' norms (log-normal, median 12.7)."""
    vectors = (
        random.standard_normal((count, SIZE), np.float32) + random.standard_normal((20, SIZE), np.float32)[random.integers(0, 20, count)]
    )
    vectors *= (12.7 * np.exp(0.37 * random.standard_normal((count, 1))) / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(
        np.float32
    )
    return vectors


def report(name: str, pools: int, share: float, work: float, seconds: np.ndarray) -> None:
    rates = "".join(f"{work / taken / 1e9:>14,.0f}" for taken in seconds[:, 0])
    ratio = seconds[0] / seconds[1]
    print(f"{name:>14}{pools:>7,}{share:>7.1%}{rates}{ratio[0]:>13.2f}{ratio[1]:>9.2f}", flush=True)


# --- Contenders: each returns (CPU, wall) seconds ----------------------------------------------------------------------


def now() -> np.ndarray:
    return np.array([time.process_time(), time.perf_counter()])


def available() -> dict[str, Callable]:
    contenders: dict[str, Callable] = {"bare product": bare, "ours": ours}
    try:
        import faiss  # noqa: F401

        contenders["FAISS flat"] = faiss_flat
    except ModuleNotFoundError:
        pass
    try:
        import sklearn  # noqa: F401

        contenders["scikit-learn"] = scikit_learn
    except ModuleNotFoundError:
        pass
    return contenders


def bare(vectors: np.ndarray, pools: list[Pool], threads: int) -> np.ndarray:
    pairs = [(vectors[pool.members], vectors[pool.members]) for pool in pools]
    tasks = [(x[at : at + 2048], y) for x, y in pairs for at in range(0, len(x), 2048)]
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(threads) as executor:
        start = now()
        list(executor.map(lambda task: np.matmul(task[0], task[1].T).shape, tasks))
        return now() - start


def ours(vectors: np.ndarray, pools: list[Pool], threads: int) -> np.ndarray:
    rank = np.arange(len(vectors))
    start = now()
    search(vectors, rank, pools, threads, compiled=True)  # a few pools stand for all, which are much work
    return now() - start


def faiss_flat(vectors: np.ndarray, pools: list[Pool], threads: int) -> np.ndarray:
    import faiss

    faiss.omp_set_num_threads(threads)
    start = now()
    for pool in pools:
        members = vectors[pool.members]
        index = faiss.IndexFlatL2(SIZE)
        index.add(members)
        index.search(members, pool.k + 1)
    return now() - start


def scikit_learn(vectors: np.ndarray, pools: list[Pool], threads: int) -> np.ndarray:
    from sklearn.neighbors import NearestNeighbors

    start = now()
    for pool in pools:
        members = vectors[pool.members]
        NearestNeighbors(n_neighbors=min(pool.k + 1, len(members)), algorithm="brute", n_jobs=threads).fit(members).kneighbors(members)
    return now() - start


if __name__ == "__main__":
    main()
