"""The label lists of 980,029 real videos through the kernels, against dictionaries and bincounts."""

import csv
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest

from yt8m_data.schema import Schema
from yt8m_data.statistics import Statistics, accumulators, measures

pytestmark = pytest.mark.shared_data


@pytest.fixture(scope="module")
def lists(shared_data):
    arrays = np.load(shared_data / "label-lists-2018.npz")
    return arrays["labels"].astype(np.int64), arrays["lens"].astype(np.int64)


@pytest.fixture(scope="module")
def counted(lists):
    labels, lengths = lists
    column = pa.ListArray.from_arrays(np.concatenate(([0], np.cumsum(lengths))).astype(np.int32), pa.array(labels, pa.int32()))
    schema = Schema("video", "id", "labels", (), 3862)
    ids = pa.array([b"%d" % i for i in range(len(lengths))], pa.binary())
    batch = pa.RecordBatch.from_arrays([ids, column], schema=schema.arrow)
    statistics = Statistics(schema, accumulators(schema))
    for at in range(0, batch.num_rows, 5000):
        statistics.add(batch.slice(at, 5000))
    return statistics


def test_counts_lengths_and_ids(counted, lists):
    labels, lengths = lists
    result = counted.results()
    assert result["labels"]["per_record"].tolist() == np.bincount(lengths).tolist()
    np.testing.assert_array_equal(result["labels"]["counts"], np.bincount(labels, minlength=3862))
    assert not result["ids"]["exact"]
    assert result["ids"]["duplicates"] == 0
    assert result["ids"]["distinct"] == 980_029


def test_label_sets_are_exact(counted, lists):
    labels, lengths = lists
    sets = Counter(tuple(sorted(each.tolist())) for each in np.split(labels, np.cumsum(lengths)[:-1]))
    found = counted.result("label_sets")
    assert (found.distinct, found.exact) == (len(sets), True)
    assert found.top(20) == [(list(each), count) for each, count in sorted(sets.items(), key=lambda item: (-item[1], item[0]))[:20]]


def test_cooccurrence_of_some_labels(counted, lists):
    labels, lengths = lists
    fields = counted.result("cooccurrence")
    rows = np.repeat(np.arange(len(lengths)), lengths)
    for label in (0, 7, 1500):
        having = np.isin(rows, rows[labels == label])
        expected = np.bincount(labels[having], minlength=3862)
        row = slice(fields["indptr"][label], fields["indptr"][label + 1])
        np.testing.assert_array_equal(np.bincount(fields["indices"][row], fields["data"][row], 3862), expected)


def test_scumble_over_all_records(counted, lists):
    """The mean over the records themselves, not over the distinct sets."""
    labels, lengths = lists
    counts = np.bincount(labels, minlength=3862)
    ratio = counts.max() / np.maximum(counts, 1)
    starts = np.cumsum(lengths) - lengths
    geometric = np.exp(np.add.reduceat(np.log(ratio[labels]), starts) / lengths)
    terms = 1 - geometric / (np.add.reduceat(ratio[labels], starts) / lengths)
    found = measures.scumble(counted.result("label_sets"), counts)
    assert found.mean == pytest.approx(terms.mean(), rel=1e-9)
    assert found.variation == pytest.approx(terms.std(ddof=1) / terms.mean(), rel=1e-6)


def test_shares_of_the_true_counts(shared_data):
    """The facts of the data: the top 10 labels hold 28.9 %, the top 100 61.3 %, the bottom half 4.1 % of the occurrences."""
    with open(shared_data / "vocabulary-2018.csv", newline="", encoding="utf-8") as file:
        counts = np.array([int(row["TrainVideoCount"]) for row in csv.DictReader(file)])
    described = measures.describe_groups(counts)
    assert sum(part["num_labels"] for part in described.values()) == 3862
    assert 10 < described["head"]["num_labels"] < 100  # half lies between 28.9 % and 61.3 %
    assert described["head"]["share"] == pytest.approx(0.5, abs=0.01)
    assert described["torso"]["num_labels"] + described["head"]["num_labels"] < 1931  # the upper half holds 95.9 %
    mean, variation, largest = measures.mean_imbalance(counts)
    assert largest == pytest.approx(788_288 / 123)
    assert mean == pytest.approx(np.mean(788_288 / counts))
    assert 0 < variation < 1.5
    assert 0.8 < measures.gini(counts) < 0.9
