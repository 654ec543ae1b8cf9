"""Bottom-k sketches and sparse counts, against dictionaries."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from yt8m_data.statistics import hashing, sketch, sparse

KEYS = st.lists(st.lists(st.integers(0, 40), max_size=30), max_size=5)


@pytest.fixture(params=[1, 10**6], ids=["count at once", "hold back"], scope="module")
def _pending(request):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sketch, "PENDING", request.param)
        patch.setattr(sparse, "PENDING", request.param)
        yield


def hashes_of(keys):
    return hashing.mix(np.array(keys, np.uint64))


@pytest.mark.usefixtures("_pending")
@given(KEYS, st.integers(1, 50))
def test_a_sketch_holds_the_smallest_hashes_with_their_counts(parts, size):
    state = sketch.zeros()
    for keys in parts:
        sketch.add(state, size, hashes_of(keys))
    state = sketch.compact(state, size)
    counted = Counter(key for keys in parts for key in keys)
    smallest = sorted((int(hashes_of([key])[0]), count) for key, count in counted.items())[:size]
    assert list(zip(state["hashes"].tolist(), state["counts"].tolist(), strict=True)) == smallest
    assert sketch.is_exact(state, size) == (len(counted) < size)
    if len(counted) < size:
        assert sketch.distinct(state, size) == (len(counted), 0.0)


@pytest.mark.usefixtures("_pending")
@given(KEYS, st.integers(1, 50))
def test_what_a_key_says_stays_with_it(parts, size):
    """Key k says the numbers 0 .. k - 1."""
    state = sketch.zeros()
    for keys in parts:
        values = np.concatenate([np.arange(key) for key in keys] + [np.zeros(0, np.int64)])
        sketch.add(state, size, hashes_of(keys), np.array(keys, np.int64), values)
    state = sketch.compact(state, size)
    key_of = {int(hashes_of([key])[0]): key for key in range(41)}
    assert state["lengths"].tolist() == [key_of[each] for each in state["hashes"].tolist()]
    assert state["values"].tolist() == [value for key in state["lengths"].tolist() for value in range(key)]


def test_the_number_of_distinct_keys_is_estimated_within_the_stated_error():
    scores = []
    for trial in range(60):
        state = sketch.zeros()
        sketch.add(state, 256, hashes_of(np.arange(20_000) + trial * 20_000))
        estimate, error = sketch.distinct(sketch.compact(state, 256), 256)
        assert error == pytest.approx(estimate / 254**0.5)
        scores.append((estimate - 20_000) / error)
    assert abs(np.mean(scores)) < 3 / 60**0.5
    assert 0.7 < np.std(scores) < 1.4


def test_memory_is_bounded(monkeypatch):
    monkeypatch.setattr(sketch, "PENDING", 100)
    state = sketch.zeros()
    for start in range(0, 100_000, 50):
        sketch.add(state, 64, hashes_of(np.arange(start, start + 50)))
        assert len(state["hashes"]) + sum(len(part[0]) for part in state["_parts"]) <= 64 + 100 + 50


@pytest.mark.usefixtures("_pending")
@given(KEYS, st.sampled_from([np.int32, np.int64]))
def test_sparse_counts_are_those_of_a_counter(parts, dtype):
    state, other = sparse.zeros(), sparse.zeros()
    for number, keys in enumerate(parts):
        sparse.add(state if number % 2 else other, np.array(keys, dtype))
    sparse.merge(state, other)
    state = sparse.compact(state)
    counted = Counter(key for keys in parts for key in keys)
    assert list(zip(state["keys"].tolist(), state["counts"].tolist(), strict=True)) == sorted(counted.items())
    assert state["keys"].dtype == state["counts"].dtype == np.int64


def test_what_stands_beside_sparse_counts_stays():
    state = sparse.zeros() | {"alone": np.arange(3)}
    sparse.add(state, np.array([2, 2]))
    assert sparse.compact(state)["alone"].tolist() == [0, 1, 2]
