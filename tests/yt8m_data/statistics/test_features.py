"""Feature moments and label means, against NumPy in float64."""

import itertools

import numpy as np
import pyarrow as pa
import pytest

from yt8m_data.errors import DataError
from yt8m_data.quantize import dequantize
from yt8m_data.schema import Feature, Schema
from yt8m_data.statistics import Records, features

ONE = Schema("video", "id", "labels", (Feature("x", 3),), 7)


def counted(schema, *batches, made=features.Moments):
    accumulator = made(schema)
    state = accumulator.create()
    for batch in batches:
        state = accumulator.add_batch(state, Records(batch, schema))
    return accumulator.extract(accumulator.compact(state))


def batch_of(values, labels=None):
    values = np.asarray(values, np.float32)
    columns = [pa.array([b""] * len(values), pa.binary()), pa.array(labels or [[0]] * len(values), pa.list_(pa.int32()))]
    columns.append(pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), 3))
    return pa.RecordBatch.from_arrays(columns, schema=ONE.arrow)


def frames_of(batch, name):
    codes = b"".join(itertools.chain.from_iterable(batch.column(name).to_pylist()))
    return np.frombuffer(codes, np.uint8)


@pytest.mark.parametrize("records", [1, 127, 128, 129, 700])
def test_video_moments_against_numpy(batches, records):
    batch = batches.video([[0]] * records, seed=records)
    result = counted(batches.video_schema, batch)
    for feature in batches.video_schema.features:
        values = batch.column(feature.name).flatten().to_numpy().reshape(-1, feature.size).astype(np.float64)
        table = result[feature.name]
        assert (table["size"], table["count"], table["nan"]) == (feature.size, records, [0] * feature.size)
        np.testing.assert_allclose(table["mean"], values.mean(axis=0), rtol=1e-6, atol=1e-12)
        np.testing.assert_allclose(table["variance"], values.var(axis=0), rtol=1e-6, atol=1e-12)
        np.testing.assert_allclose(table["min"], values.min(axis=0), rtol=1e-7)
        np.testing.assert_allclose(table["max"], values.max(axis=0), rtol=1e-7)
        np.testing.assert_allclose(table["zeros"], (values == 0).mean(axis=0), rtol=1e-6)


def test_moments_of_values_like_real_ones_are_right_to_seven_digits():
    values = np.random.default_rng(2).normal([0.01, -0.3, 2], [0.4, 0.9, 1.1], (40_000, 3)).astype(np.float32)
    result = counted(ONE, *(batch_of(values[at : at + 1700]) for at in range(0, len(values), 1700)))["x"]
    exact = values.astype(np.float64)
    np.testing.assert_allclose(result["mean"], exact.mean(axis=0), rtol=6e-7)
    np.testing.assert_allclose(result["variance"], exact.var(axis=0), rtol=6e-7)


@pytest.mark.parametrize("offset", [1000.0, -3000.0])
def test_moments_of_values_far_from_zero(offset):
    """The variance is a difference of large sums: it keeps its digits where the mean is thousands of deviations away."""
    values = np.random.default_rng(1).normal(offset, 1, (5000, 3)).astype(np.float32)
    result = counted(ONE, batch_of(values))["x"]
    np.testing.assert_allclose(result["variance"], values.astype(np.float64).var(axis=0), rtol=1e-6)
    np.testing.assert_allclose(result["mean"], values.astype(np.float64).mean(axis=0), rtol=6e-7)


def test_a_constant_has_no_variance():
    assert counted(ONE, batch_of(np.full((300, 3), 0.1)), batch_of(np.full((5, 3), 0.1)))["x"]["variance"] == pytest.approx(
        [0] * 3, abs=1e-12
    )


def test_moments_do_not_depend_on_the_order_of_the_batches(batches):
    """Features of any size: whichever batch comes first, each bit is the same."""
    parts = [batches.video([[0]] * 40, seed, decades=12) for seed in range(45)]  # more than are held back
    random, schema = np.random.default_rng(0), batches.video_schema
    made, results = features.Moments(schema), set()
    for _ in range(6):
        states = [made.create() for _ in range(3)]
        for place, part in enumerate(random.permutation(len(parts))):
            states[place % 3] = made.add_batch(states[place % 3], Records(parts[part], schema))
        state = made.compact(made.merge(made.merge(states[0], states[1]), states[2]))
        results.add(tuple((key, state[key].tobytes()) for key in sorted(state)))
    assert len(results) == 1


def test_values_that_are_not_finite_count_as_such_and_for_nothing_else():
    values = np.array([[1, 2, 3], [np.nan, 5, 0], [7, np.inf, 9], [np.nan, -np.inf, 0]], np.float32)
    result = counted(ONE, batch_of(values), batch_of(values[:1]))["x"]
    assert (result["count"], result["nan"]) == (5, [2, 2, 0])
    assert result["mean"] == pytest.approx([3, 3, 3])
    assert result["variance"] == pytest.approx([8, 2, 10.8])
    assert (result["min"], result["max"]) == ([1, 2, 0], [7, 5, 9])
    assert result["zeros"] == [0, 0, 0.4]


def test_a_dimension_without_any_finite_value_is_all_zeros():
    result = counted(ONE, batch_of([[np.nan, 1, 2]]))["x"]
    assert [result[key][0] for key in ("mean", "variance", "min", "max", "nan", "zeros")] == [0, 0, 0, 0, 1, 0]


def test_sums_beyond_all_reason_are_refused():
    with pytest.raises(DataError, match="scale the features down"):
        counted(ONE, batch_of(np.full((3, 3), 1e15)))


@pytest.mark.parametrize("rows", [1, 254, 255, 256, 600])
def test_frame_moments_are_over_dequantised_frames(batches, rows):
    batch = batches.frame([[1], [], [1, 2]], [rows - rows // 3, 0, rows // 3], seed=rows)
    result = counted(batches.frame_schema, batch)
    for feature in batches.frame_schema.features:
        codes = frames_of(batch, feature.name).reshape(-1, feature.size)
        values, table = dequantize(codes).astype(np.float64), result[feature.name]
        assert table["count"] == len(values) == rows
        np.testing.assert_allclose(table["mean"], values.mean(axis=0), rtol=1e-6, atol=1e-7)
        np.testing.assert_allclose(table["variance"], values.var(axis=0), rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(table["min"], values.min(axis=0), rtol=1e-6)
        np.testing.assert_allclose(table["max"], values.max(axis=0), rtol=1e-6)
        np.testing.assert_allclose(table["zeros"], (codes == 0).mean(axis=0), rtol=1e-6)


@pytest.mark.parametrize("code", [0, 255])
def test_extreme_codes_are_summed_without_loss(batches, code):
    """255 squares of 255 are just below 2^24, where float32 begins to drop bits."""
    lengths = [2000]
    column = {f.name: pa.array([[bytes([code]) * f.size] * lengths[0]], pa.list_(pa.binary(f.size))) for f in batches.frame_schema.features}
    arrays = [pa.array([b"a"], pa.binary()), pa.array([[0]], pa.list_(pa.int32())), *column.values()]
    state = features.Moments(batches.frame_schema).create()
    state = features.Moments(batches.frame_schema).add_batch(
        state, Records(pa.RecordBatch.from_arrays(arrays, schema=batches.frame_schema.arrow), batches.frame_schema)
    )
    assert state["rgb/sum"].tolist() == [2000 * code] * 3
    assert state["rgb/squares"].tolist() == [2000 * code**2] * 3
    assert state["rgb/zeros"].tolist() == [2000 * (code == 0)] * 3


@pytest.mark.parametrize("kind", ["video", "frame"])
def test_a_slice_of_a_batch_counts_as_what_it_holds(batches, kind):
    lists = [[i % 7, (i * i) % 7] for i in range(20)]
    whole, schema = batches.of(kind, lists), batches.schema(kind)
    copy = whole.take(pa.array(range(5, 14)))
    for made in (features.Moments, features.LabelMeans):
        assert repr(counted(schema, whole.slice(5, 9), made=made)) == repr(counted(schema, copy, made=made))


def test_no_records_are_all_zeros(batches):
    for kind in ("video", "frame"):
        table = counted(batches.schema(kind), batches.of(kind, []))["audio"]
        zero = [0.0, 0.0]
        assert table == {"size": 2, "count": 0, "mean": zero, "variance": zero, "min": zero, "max": zero, "nan": [0, 0], "zeros": zero}


# --- Label means ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["video", "frame"])
def test_label_means_against_a_loop(batches, kind):
    lists = [[0, 1], [1], [], [1, 5, 5], [0, 6]] * 3
    batch, schema = batches.of(kind, lists, seed=3), batches.schema(kind)
    result = counted(schema, batch.slice(0, 4), batch.slice(4), made=features.LabelMeans)
    for feature in schema.features:
        if kind == "video":
            vectors = batch.column(feature.name).flatten().to_numpy().reshape(-1, feature.size)
        else:
            frames = [
                np.frombuffer(b"".join(video), np.uint8).reshape(-1, feature.size) for video in batch.column(feature.name).to_pylist()
            ]
            vectors = np.array([dequantize(each).mean(axis=0) if len(each) else np.zeros(feature.size) for each in frames])
        for label in range(7):
            having = [row for row, each in enumerate(lists) if label in each]
            assert result["counts"][label] == len(having)
            expected = vectors[having].mean(axis=0) if having else np.full(feature.size, np.nan)
            np.testing.assert_allclose(result[feature.name][label], expected, rtol=1e-5, atol=1e-6)


def test_label_means_of_values_that_do_not_fit_are_refused():
    with pytest.raises(DataError, match="leave out --label-means"):
        counted(ONE, batch_of(np.full((2, 3), 3e7)), made=features.LabelMeans)
