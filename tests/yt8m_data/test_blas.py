"""Matrix products that leave other cores alone."""

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from yt8m_data import blas, quality


def of_numpy():
    return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]


@pytest.fixture(autouse=True)
def two_threads():
    with threadpool_limits(2, "blas"):
        yield


def test_one_thread_to_the_end_of_the_block():
    with blas.one_thread():
        assert set(of_numpy()) == {1}
    assert set(of_numpy()) == {2}


def test_the_gates_multiply_on_one_thread():
    seen = []

    class Watched(np.ndarray):
        def __array_ufunc__(self, ufunc, method, *inputs, **options):
            if ufunc is np.matmul:
                seen.append(set(of_numpy()))
            return getattr(ufunc, method)(*(np.asarray(each) for each in inputs), **options)

    rows = np.random.default_rng(0).normal(size=(50, 8)).astype(np.float32)
    best, _ = quality.closest(rows.view(Watched), rows, np.eye(50, dtype=bool))
    assert seen == [{1}]
    distances = ((rows[:, None] - rows) ** 2).sum(axis=2) + np.diag(np.full(50, np.inf))
    assert (best == distances.argmin(axis=1)).all()
