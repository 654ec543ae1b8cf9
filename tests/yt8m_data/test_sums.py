"""Sums over matrices, and those that the decoder makes without copying features to columns: NumPy in float64 is the oracle."""

import io
from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from yt8m_data import codec, sums, tfrecord
from yt8m_data.schema import sniff
from yt8m_data.synth import write
from yt8m_data.synthetic import SyntheticSpec


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


@settings(deadline=None, max_examples=30)
@given(rows=st.integers(1, 700), size=st.sampled_from([1, 2, 40, 300]), seed=st.integers(0, 99))
def test_pieces_of_the_told_size_give_the_same_bits_as_the_matrix(rows, size, seed):
    values, step = matrix(rows, size, seed), sums.piece_rows(size)
    found = sums.of_pieces(lambda: (values[at : at + step] for at in range(0, rows, step)), size)
    for one, other in zip(found, sums.of_matrix(values), strict=True):
        np.testing.assert_array_equal(one, other)


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


# --- Decoded without columns ----------------------------------------------------------------------------------------------


def blocks_of(records: list[bytes], block_bytes: int = 1 << 20):
    stream = io.BytesIO()
    tfrecord.write(stream, records)
    stream.seek(0)
    return tfrecord.read(stream, "shard", block_bytes)


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sums")
    made = write(SyntheticSpec("video", 400, seed=3), str(folder), 1)
    with open(folder / made["shards"][0]["name"], "rb") as stream:
        return [block.record(row) for block in tfrecord.read(stream, "made") for row in range(len(block))]


@pytest.fixture(scope="module")
def schema(records, tmp_path_factory):
    path = tmp_path_factory.mktemp("one") / "a.tfrecord"
    with open(path, "wb") as stream:
        tfrecord.write(stream, records)
    return sniff(str(path))


@pytest.mark.parametrize("block_bytes", [60_000, 1 << 20])
def test_decoded_sums_are_those_of_the_columns(records, schema, block_bytes):
    for block in blocks_of(records, block_bytes):
        whole = codec.decode(block, schema)
        summed = codec.decode(block, schema, summed=True)
        assert summed.batch.schema.names == ["id", "labels"]
        assert summed.batch.equals(whole.batch.select(["id", "labels"]))
        assert summed.indices.tolist() == whole.indices.tolist()
        assert set(summed.sums) == {feature.name for feature in schema.features}
        for feature in schema.features:
            values = whole.batch.column(feature.name).flatten().to_numpy().reshape(-1, feature.size)
            for one, other in zip(summed.sums[feature.name], sums.of_matrix(values), strict=True):
                np.testing.assert_array_equal(one, other)


def spoiled(record: bytes, how: str) -> bytes:
    example = tf.train.Example.FromString(record)
    values = example.features.feature["mean_audio"].float_list.value
    if how == "not finite":
        values[1] = np.nan
    elif how == "size":
        del values[-1]
    elif how == "label":
        example.features.feature["labels"].int64_list.value.append(1 << 40)
    return example.SerializeToString(deterministic=True)


@pytest.mark.parametrize("how", ["not finite", "size", "label"])
def test_a_block_with_a_bad_record_is_decoded_to_columns(records, schema, how):
    broken = [*records[:7], spoiled(records[7], how), *records[8:20]]
    for block in blocks_of(broken):
        whole, summed = codec.decode(block, schema), codec.decode(block, schema, summed=True)
        assert not summed.sums
        assert summed.batch.equals(whole.batch)
        assert [bad.kind for bad in summed.bad] == [bad.kind for bad in whole.bad] == [how]


def test_records_laid_out_otherwise_are_summed_as_well(records, schema):
    """The bytes of one are re-written, and stand behind the block."""
    odd = records[3] + b"\x0a\x00"  # a second, empty, run of the features: legal, and no writer writes it
    for block in blocks_of([*records[:3], odd, *records[4:30]]):
        whole, summed = codec.decode(block, schema), codec.decode(block, schema, summed=True)
        assert not whole.bad
        for feature in schema.features:
            values = whole.batch.column(feature.name).flatten().to_numpy().reshape(-1, feature.size)
            assert_sums_of(summed.sums[feature.name], values)


def test_without_features_there_are_no_sums(records, schema):
    for block in blocks_of(records[:5]):
        decoded = codec.decode(block, replace(schema, features=()), summed=True)
        assert not decoded.sums
        assert decoded.batch.num_rows == 5
