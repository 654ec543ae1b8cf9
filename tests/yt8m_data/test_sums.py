"""Sums over matrices and over vectors where they lie: NumPy in float64 is the oracle."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yt8m_data import sums, wire


def matrix(rows: int, size: int, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    values = random.normal(0.3, 2, (rows, size)).astype(np.float32)
    values[random.random(values.shape) < 0.1] = 0
    return values


def assert_sums_of(found: sums.Sums, values: np.ndarray) -> None:
    exact = values.astype(np.float64)
    assert found.rows == len(values)
    scale = np.abs(exact).sum(axis=0) + 1e-30
    np.testing.assert_allclose((found.total - exact.sum(axis=0)) / scale, 0, atol=1e-6)
    np.testing.assert_allclose(found.squares, (exact**2).sum(axis=0), rtol=1e-5)
    np.testing.assert_array_equal(found.zeros, (values == 0).sum(axis=0))
    np.testing.assert_array_equal(found.low, values.min(axis=0))
    np.testing.assert_array_equal(found.high, values.max(axis=0))
    assert not found.nan.any()


@pytest.mark.parametrize("size", [1, 3, 128, 600, 1024, 1500])
@pytest.mark.parametrize("rows", [1, 5, 127, 128, 129, 1100])
def test_sums_of_a_matrix(rows, size):
    values = matrix(rows, size, rows + size)
    assert_sums_of(sums.of_matrix(values), values)


@settings(max_examples=30)
@given(rows=st.integers(1, 700), size=st.sampled_from([1, 2, 40, 300]), seed=st.integers(0, 99))
def test_pieces_of_the_told_size_give_the_same_bits_as_the_matrix(rows, size, seed):
    values, step = matrix(rows, size, seed), sums.piece_rows(size)
    found = sums.of_pieces(lambda: (values[at : at + step] for at in range(0, rows, step)), size)
    for one, other in zip(found, sums.of_matrix(values), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("rows", [100, 127, 128, 129, 1000, 1024, 2500])
def test_matrices_that_pass_by_give_the_same_bits(rows):
    sizes = {"rgb": 1024, "audio": 128, "three": 3}
    values = {name: matrix(rows, size, size) for name, size in sizes.items()}
    beside = np.hstack(list(values.values()))  # as they are made: the rows of one are not behind one another
    parts = np.split(beside, np.cumsum(list(sizes.values()))[:-1], axis=1)
    passing, blocks = sums.Passing(sizes), [[part[at : at + 128] for part in parts] for at in range(0, rows, 128)]
    for given_on, block in zip(passing.watch(blocks), blocks, strict=True):
        assert given_on is block
    found = passing.sums()
    for name in sizes:
        for one, other in zip(found[name], sums.of_matrix(values[name]), strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, 3e38, 3000])
def test_matrices_that_must_be_gone_over_once_more_have_no_sums_when_they_have_passed(wrong):
    good, bad = matrix(300, 4, 0), matrix(300, 2, 0)
    bad[:, 1] = wrong
    passing = sums.Passing({"good": 4, "bad": 2})
    list(passing.watch([[good[at : at + 128], bad[at : at + 128]] for at in (0, 128, 256)]))
    assert passing.sums() is None


def test_pieces_with_a_value_that_is_not_finite_have_no_sums():
    for wrong in (np.nan, np.inf, -np.inf):
        values = matrix(300, 4, 0)
        values[299, 2] = wrong
        assert sums.of_pieces(lambda values=values: [values], 4) is None


def test_a_column_far_from_zero_is_summed_with_more_digits():
    values = np.random.default_rng(1).normal(-3000, 1, (5000, 3)).astype(np.float32)
    found = sums.of_matrix(values)
    variance = found.squares / found.rows - (found.total / found.rows) ** 2
    np.testing.assert_allclose(variance, values.astype(np.float64).var(axis=0), rtol=1e-6)


def test_vectors_are_summed_where_they_lie():
    values = matrix(300, 5, 1)
    random = np.random.default_rng(2)
    order = random.permutation(300)
    gaps = random.integers(0, 9, 300)
    data, places = [], np.zeros(300, np.int64)
    for row in order.tolist():
        data.append(bytes(gaps[row]))
        places[row] = sum(map(len, data))
        data.append(values[row].tobytes())
    source = wire.windows(np.frombuffer(b"".join(data), np.uint8), 20)
    for one, other in zip(sums.of_places(source, places), sums.of_matrix(values), strict=True):
        np.testing.assert_array_equal(one, other)
