"""Statistics of labels, ids and lengths, against brute force."""

import itertools
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
import scipy.sparse
from hypothesis import given
from hypothesis import strategies as st

from yt8m_data.statistics import Records, distinct_labels, ids, labels
from yt8m_data.statistics.features import FrameCounts

LISTS = st.lists(st.lists(st.integers(0, 6), max_size=5), max_size=25)


def counted(made, batch, schema):
    accumulator = made(schema)
    state = accumulator.add_batch(accumulator.create(), Records(batch, schema))
    return accumulator.extract(accumulator.compact(state))


@given(lists=LISTS)
def test_label_counts(batches, lists):
    result = counted(labels.LabelCounts, batches.video(lists), batches.video_schema)
    carried = Counter(itertools.chain.from_iterable(set(each) for each in lists))
    assert result["counts"].tolist() == [carried[label] for label in range(7)]
    sizes = Counter(len(set(each)) for each in lists)
    assert result["per_record"].tolist() == [sizes[k] for k in range(max([0, *sizes]) + 1)]


@given(lists=LISTS)
def test_cooccurrence_against_a_dictionary_of_pairs(batches, lists):
    pairs = Counter((a, b) for each in lists for a in set(each) for b in set(each))
    fields = counted(labels.Cooccurrence, batches.video(lists), batches.video_schema)
    matrix = scipy.sparse.csr_matrix((fields["data"], fields["indices"], fields["indptr"]), fields["shape"])
    assert matrix.has_canonical_format
    assert matrix.nnz == len(pairs)  # nothing is stored that is zero
    assert matrix.toarray().tolist() == [[pairs[a, b] for b in range(7)] for a in range(7)]


def test_cooccurrence_is_a_file_that_scipy_loads(batches, tmp_path):
    fields = counted(labels.Cooccurrence, batches.video([[0, 3], [3, 0, 6], [6]]), batches.video_schema)
    with open(tmp_path / "cooccurrence.npz", "wb") as stream:
        np.savez_compressed(stream, **fields)
    matrix = scipy.sparse.load_npz(tmp_path / "cooccurrence.npz")
    assert matrix.shape == (7, 7)
    assert (matrix != matrix.T).nnz == 0
    assert matrix.diagonal().tolist() == [2, 0, 0, 2, 0, 0, 2]
    assert matrix[0, 3] == 2


def test_pairs_of_more_classes_than_32_bits_hold(batches):
    """50,000 classes squared are beyond 2^31."""
    schema = batches.video_schema.__class__("video", "id", "labels", (), 50_000)
    columns = [pa.array([b"a", b"b"], pa.binary()), pa.array([[49_999, 49_998, 7], [49_998, 49_999]], pa.list_(pa.int32()))]
    fields = counted(labels.Cooccurrence, pa.RecordBatch.from_arrays(columns, schema=schema.arrow), schema)
    matrix = scipy.sparse.csr_matrix((fields["data"], fields["indices"], fields["indptr"]), fields["shape"])
    assert matrix[49_998, 49_999] == matrix[49_999, 49_998] == 2
    assert matrix[7, 49_999] == 1


@given(lists=LISTS)
def test_label_sets_against_a_counter(batches, lists):
    result = counted(labels.LabelSets, batches.video(lists), batches.video_schema)
    sets = Counter(tuple(sorted(set(each))) for each in lists if each)
    assert (result.distinct, result.exact, result.standard_error) == (len(sets), True, 0.0)
    assert result.top(100) == [(list(found), count) for found, count in sorted(sets.items(), key=lambda item: (-item[1], item[0]))]
    assert result.top(2) == result.top(100)[:2]


def test_label_sets_beyond_what_is_held(batches, monkeypatch):
    """The sets of all pairs and triples of 7 labels: a sample of them is held, with true counts, and their number is estimated."""
    monkeypatch.setattr(labels, "KEPT_SETS", 20)
    sets = [list(each) for size in (2, 3) for each in itertools.combinations(range(7), size)]
    lists = [each for number, each in enumerate(sets) for _ in range(number % 3 + 1)]
    result = counted(labels.LabelSets, batches.video(lists), batches.video_schema)
    assert not result.exact
    assert len(result.counts) == 20
    assert all(lists.count(each) == count for each, count in result.top(20))
    assert abs(result.distinct - 56) < 3 * result.standard_error
    assert result.standard_error == pytest.approx(result.distinct / 18**0.5, rel=0.05)


def test_a_label_listed_twice_counts_once(batches):
    for made in (labels.LabelCounts, labels.Cooccurrence, labels.LabelSets):
        twice, once = (counted(made, batches.video(lists), batches.video_schema) for lists in ([[2, 5, 2], [5, 5]], [[2, 5], [5]]))
        assert repr(twice) == repr(once)


@pytest.mark.parametrize("lists", [[[6], [1, 4], [], [0]], [[6], [4, 1, 4], [], [0]]])
def test_distinct_labels_of_a_slice(batches, lists):
    rows, values = distinct_labels(batches.video(lists).column("labels").slice(1, 3))
    assert rows.tolist() == [0, 0, 2]
    assert values.tolist() == [1, 4, 0]


# --- Ids --------------------------------------------------------------------------------------------------------------------


@given(numbers=st.lists(st.integers(0, 20), max_size=30))
def test_duplicates_are_counted_while_all_ids_are_held(batches, numbers):
    batch = batches.video([[0]] * len(numbers), ids=[b"id %d" % number for number in numbers])
    result = counted(ids.DuplicateIds, batch, batches.video_schema)
    distinct = len(set(numbers))
    assert result == {"distinct": distinct, "duplicates": len(numbers) - distinct, "exact": True, "standard_error": 0.0}


def test_duplicates_are_estimated_beyond_within_the_stated_error(batches, monkeypatch):
    """Every tenth id comes twice."""
    monkeypatch.setattr(ids, "KEPT_IDS", 200)
    scores = []
    for trial in range(40):
        names = [b"%d/%d" % (trial, number) for number in range(2000)]
        result = counted(ids.DuplicateIds, batches.video([[0]] * 2200, ids=[*names, *names[::10]]), batches.video_schema)
        assert not result["exact"]
        assert result["distinct"] + result["duplicates"] == 2200
        scores.append((result["duplicates"] - 200) / result["standard_error"])
    assert abs(np.mean(scores)) < 0.6
    assert 0.6 < np.std(scores) < 1.6


def test_no_duplicates_are_not_estimated_to_be_some(batches, monkeypatch):
    monkeypatch.setattr(ids, "KEPT_IDS", 50)
    result = counted(ids.DuplicateIds, batches.video([[0]] * 1000), batches.video_schema)
    assert result == {"distinct": 1000, "duplicates": 0, "exact": False, "standard_error": 0.0}


# --- Frames -----------------------------------------------------------------------------------------------------------------


def test_frames_per_record(batches):
    result = counted(FrameCounts, batches.frame([[1], [], [1, 2], [0]], [3, 0, 70, 3]), batches.frame_schema)
    assert result["histogram"].tolist() == [1, 0, 0, 2] + [0] * 66 + [1]
    assert result["num_unknown"] == 0


def test_frames_of_a_header_scan_may_be_unknown(batches):
    columns = {"id": [b"a", b"b", b"c"], "labels": [[0], [], [1]], "num_frames": pa.array([2, None, 2], pa.int32())}
    result = counted(FrameCounts, pa.RecordBatch.from_pydict(columns), batches.frame_schema)
    assert result["histogram"].tolist() == [0, 0, 2]
    assert result["num_unknown"] == 1
