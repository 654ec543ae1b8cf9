"""Statistics: equal to a brute-force count, and the same whatever the split and the order of merging."""

import itertools
import json
import math
import pickle
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st

from yt8m_data.errors import BadRecord
from yt8m_data.quantize import dequantize
from yt8m_data.schema import Feature, Schema
from yt8m_data.statistics import ExactSum, Statistics, distinct_labels

CLASSES = 7
VIDEO = Schema("video", "id", "labels", (Feature("rgb", 3), Feature("audio", 2)), CLASSES)
FRAME = Schema("frame", "id", "labels", (Feature("rgb", 3), Feature("audio", 2)), CLASSES)


def video_batch(labels: list[list[int]], seed: int = 0, decades: int = 0) -> pa.RecordBatch:
    """Features in steps of 1/16, whose sums are exact; with `decades` they are rounded, and of sizes so many powers of ten apart."""
    random = np.random.default_rng(seed)
    columns = [pa.array([b"%d" % i for i in range(len(labels))], pa.binary()), pa.array(labels, pa.list_(pa.int32()))]
    for feature in VIDEO.features:
        values = random.integers(-100, 100, len(labels) * feature.size).astype(np.float32) / 16
        if decades:
            values *= 10 ** random.uniform(-decades / 2, decades / 2, len(values)).astype(np.float32)
        columns.append(pa.FixedSizeListArray.from_arrays(pa.array(values), feature.size))
    return pa.RecordBatch.from_arrays(columns, schema=VIDEO.arrow)


def frame_batch(labels: list[list[int]], lengths: list[int], seed: int = 0) -> pa.RecordBatch:
    random = np.random.default_rng(seed)
    columns = [pa.array([b"%d" % i for i in range(len(labels))], pa.binary()), pa.array(labels, pa.list_(pa.int32()))]
    for feature in FRAME.features:
        frames = [[random.bytes(feature.size) for _ in range(length)] for length in lengths]
        columns.append(pa.array(frames, FRAME.arrow.field(feature.name).type))
    return pa.RecordBatch.from_arrays(columns, schema=FRAME.arrow)


def counted(*batches: pa.RecordBatch, schema: Schema = VIDEO) -> Statistics:
    statistics = Statistics(schema)
    for batch in batches:
        statistics.add(batch)
    return statistics


def everything(statistics: Statistics) -> tuple:
    """All that can be read off, to compare."""
    return statistics.to_dict(), {key: value.tolist() for key, value in statistics.cooccurrence().items()}


LABELS = st.lists(st.integers(0, CLASSES - 1), max_size=5)
LISTS = st.lists(LABELS, max_size=25)


# --- Against brute force ------------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(LISTS)
def test_label_counts(lists):
    statistics = counted(video_batch(lists))
    carried = Counter(itertools.chain.from_iterable(set(labels) for labels in lists))
    assert statistics.num_records == len(lists)
    assert statistics.num_unlabeled == sum(not labels for labels in lists)
    assert statistics.label_counts.tolist() == [carried[label] for label in range(CLASSES)]
    sizes = Counter(len(set(labels)) for labels in lists)
    assert statistics.labels_per_record.tolist() == [sizes[k] for k in range(max([0, *sizes]) + 1)]


@settings(deadline=None)
@given(LISTS)
def test_cooccurrence_against_a_dictionary_of_pairs(lists):
    pairs = Counter((a, b) for labels in lists for a in set(labels) for b in set(labels))
    fields = counted(video_batch(lists)).cooccurrence()
    matrix = scipy.sparse.csr_matrix((fields["data"], fields["indices"], fields["indptr"]), fields["shape"])
    assert matrix.has_canonical_format
    assert matrix.nnz == len(pairs)  # nothing is stored that is zero
    assert matrix.toarray().tolist() == [[pairs[a, b] for b in range(CLASSES)] for a in range(CLASSES)]


def test_cooccurrence_is_a_file_that_scipy_loads(tmp_path):
    statistics = counted(video_batch([[0, 3], [3, 0, 6], [6]]))
    with open(tmp_path / "cooccurrence.npz", "wb") as stream:
        np.savez_compressed(stream, **statistics.cooccurrence())
    matrix = scipy.sparse.load_npz(tmp_path / "cooccurrence.npz")
    assert matrix.shape == (CLASSES, CLASSES)
    assert (matrix != matrix.T).nnz == 0
    assert matrix.diagonal().tolist() == statistics.label_counts.tolist()
    assert matrix[0, 3] == 2


@pytest.mark.parametrize("pending", [1, 10])
def test_pairs_are_counted_alike_however_often_they_are_gathered(monkeypatch, pending):
    lists = [[1, 2, 3], [2, 3], [], [3], [1, 3, 6], [0, 1, 2, 3, 4, 5, 6]]
    batches = [video_batch([labels]) for labels in lists]
    once = everything(counted(*batches))
    monkeypatch.setattr("yt8m_data.statistics._PENDING", pending)
    assert everything(counted(*batches)) == once


def test_a_label_listed_twice_counts_once():
    twice, once = counted(video_batch([[2, 5, 2], [5, 5]])), counted(video_batch([[2, 5], [5]]))
    assert everything(twice) == everything(once)


def test_distinct_labels_of_a_slice():
    column = video_batch([[6], [4, 1, 4], [], [0]]).column("labels").slice(1, 3)
    rows, labels = distinct_labels(column)
    assert rows.tolist() == [0, 0, 2]
    assert labels.tolist() == [1, 4, 0]


@pytest.mark.parametrize("records", [1, 63, 64, 65, 300])
def test_video_moments_against_numpy(records):
    batch = video_batch([[0]] * records, seed=records)
    features = counted(batch).to_dict()["features"]
    for feature in VIDEO.features:
        values = batch.column(feature.name).flatten().to_numpy().reshape(-1, feature.size).astype(np.float64)
        assert features[feature.name]["size"] == feature.size
        np.testing.assert_allclose(features[feature.name]["mean"], values.mean(axis=0), rtol=1e-6, atol=1e-12)
        np.testing.assert_allclose(features[feature.name]["variance"], values.var(axis=0), rtol=1e-6, atol=1e-12)


def test_moments_of_values_far_from_zero():
    """The variance is a difference of large sums: it keeps its seven digits where the mean is a thousand deviations away."""
    values = np.random.default_rng(1).normal(1000, 1, (5000, 3)).astype(np.float32)
    schema = Schema("video", "id", "labels", (Feature("x", 3),), CLASSES)
    columns = [pa.array([b""] * 5000, pa.binary()), pa.array([[0]] * 5000, pa.list_(pa.int32()))]
    columns.append(pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), 3))
    statistics = counted(pa.RecordBatch.from_arrays(columns, schema=schema.arrow), schema=schema)
    np.testing.assert_allclose(statistics.to_dict()["features"]["x"]["variance"], values.astype(np.float64).var(axis=0), rtol=1e-6)


def test_frame_moments_are_over_frames_and_lengths_over_records():
    lengths = [3, 0, 70, 3]
    batch = frame_batch([[1], [], [1, 2], [0]], lengths)
    result = counted(batch, schema=FRAME).to_dict()
    assert result["kind"] == "frame"
    assert result["frames_per_record"] == {"mean": 19.0, "histogram": [1, 0, 0, 2] + [0] * 66 + [1]}
    for feature in FRAME.features:
        frames = b"".join(itertools.chain.from_iterable(batch.column(feature.name).to_pylist()))
        values = dequantize(np.frombuffer(frames, np.uint8)).reshape(-1, feature.size).astype(np.float64)
        assert len(values) == 76
        np.testing.assert_allclose(result["features"][feature.name]["mean"], values.mean(axis=0), rtol=1e-6)
        np.testing.assert_allclose(result["features"][feature.name]["variance"], values.var(axis=0), rtol=1e-6)


@pytest.mark.parametrize("kind", ["video", "frame"])
def test_a_slice_of_a_batch_counts_as_what_it_holds(kind):
    lists = [[i % CLASSES, (i * i) % CLASSES] for i in range(20)]
    schema = VIDEO if kind == "video" else FRAME
    batch = video_batch(lists) if kind == "video" else frame_batch(lists, [i % 4 for i in range(20)])
    part = batch.slice(5, 9)
    copy = batch.take(pa.array(range(5, 14)))
    assert everything(counted(part, schema=schema)) == everything(counted(copy, schema=schema))


# --- Laws of merging ----------------------------------------------------------------------------------------------------------


@st.composite
def splits(draw: st.DrawFn) -> tuple[pa.RecordBatch, list[list[int]]]:
    """A batch, and its rows dealt to workers in some order."""
    lists = draw(LISTS)
    order = draw(st.permutations(range(len(lists))))
    workers = draw(st.lists(st.integers(0, 3), min_size=len(lists), max_size=len(lists)))
    return video_batch(lists), [[row for row, at in zip(order, workers, strict=True) if at == worker] for worker in range(4)]


@settings(deadline=None)
@given(splits(), st.booleans(), st.booleans())
def test_merged_parts_equal_one_shot(split, compact, send):
    batch, parts = split
    merged = Statistics(VIDEO)
    for rows in parts:
        part = counted(*(batch.slice(row, 1) for row in rows))
        if compact:
            part.compact()
        before = everything(pickle.loads(pickle.dumps(part)))
        merged.merge(pickle.loads(pickle.dumps(part)) if send else part)
        assert everything(part) == before  # what is merged keeps its own
    assert everything(merged) == everything(counted(batch))


def test_merging_does_not_tie_the_two_together():
    first, second = counted(video_batch([[1]])), counted(video_batch([[2, 3]]))
    second.bad = [BadRecord("a", 0, 0, "crc", "")]
    before = everything(second)
    first.merge(second)
    first.add(video_batch([[4, 5]]))
    first.merge(first_of_its_own := counted(video_batch([[6]])))
    assert everything(second) == before
    assert first_of_its_own.num_records == 1
    assert first.bad == second.bad


def test_moments_do_not_depend_on_the_order_of_merging():
    """Features of any size: whichever worker comes first, each bit is the same."""
    parts = [counted(video_batch([[0]] * 40, seed, decades=12)) for seed in range(12)]
    random = np.random.default_rng(0)
    results = []
    for _ in range(20):
        merged = Statistics(VIDEO)
        for part in random.permutation(len(parts)):
            merged.merge(parts[part])
        results.append([(m.sum.value().tobytes(), m.squares.value().tobytes()) for m in merged.moments.values()])
    assert all(result == results[0] for result in results)


def test_an_empty_batch_changes_nothing():
    batch = video_batch([[1, 2], []])
    empty = video_batch([])
    assert everything(counted(empty, batch, empty)) == everything(counted(batch))
    assert counted(frame_batch([], []), schema=FRAME).to_dict()["num_records"] == 0
    nothing = Statistics(VIDEO).to_dict()
    assert nothing["labels_per_record"] == {"mean": 0.0, "histogram": [0]}
    assert nothing["features"]["audio"] == {"size": 2, "mean": [0.0, 0.0], "variance": [0.0, 0.0]}


def test_stats_json():
    statistics = counted(video_batch([[0, 1], [1], []]))
    statistics.bad = [BadRecord("a", 3, 0, "crc", ""), BadRecord("a", 4, 9, "parse", ""), BadRecord("b", 0, 0, "crc", "")]
    result = statistics.to_dict()
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    assert {
        "num_records",
        "num_unlabeled",
        "num_classes",
        "label_counts",
        "labels_per_record",
        "zipf",
        "features",
        "bad_records",
    } <= result.keys()
    assert (result["num_records"], result["num_unlabeled"], result["num_classes"]) == (3, 1, CLASSES)
    assert result["label_counts"] == [1, 2, 0, 0, 0, 0, 0]
    assert result["labels_per_record"] == {"mean": 1.0, "histogram": [1, 1, 1]}
    assert result["zipf"]["num_empty"] == 5
    assert result["bad_records"] == {"total": 3, "by_reason": {"crc": 2, "parse": 1}}
    assert "frames_per_record" not in result


# --- Exact sums -----------------------------------------------------------------------------------------------------------------

# Mantissas and exponents for which the carried error is exact too, so that the sum must be math.fsum's to the last bit.
FLOATS = st.builds(lambda mantissa, exponent: math.ldexp(mantissa, exponent), st.integers(-(2**53), 2**53), st.integers(-10, 10))


@settings(deadline=None)
@given(st.lists(FLOATS, max_size=40), st.randoms())
def test_exact_sum_is_fsum_in_any_order(values, random):
    for _ in range(3):
        random.shuffle(values)
        total = ExactSum(1)
        for value in values:
            total.add(np.array([value]))
        assert total.value()[0] == math.fsum(values)


@settings(deadline=None)
@given(st.lists(st.lists(FLOATS, max_size=8), max_size=6))
def test_exact_sums_merge(parts):
    merged = ExactSum(1)
    for part in parts:
        total = ExactSum(1)
        for value in part:
            total.add(np.array([value]))
        merged.add(total.high, total.low)
    assert merged.value()[0] == math.fsum(itertools.chain.from_iterable(parts))


@settings(max_examples=5, deadline=None)
@given(st.permutations([1e16, 1.0, -1e16, 2.0**-40, 1e16, -1e16, 3.0]))
def test_exact_sum_survives_cancellation(values):
    total = ExactSum(2)
    for value in values:
        total.add(np.array([value, -value]))
    assert total.value().tolist() == [4 + 2.0**-40, -4 - 2.0**-40]
