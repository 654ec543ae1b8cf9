"""Measures of imbalance and of pairs, against loops that follow the papers' definitions."""

import itertools
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from yt8m_data.statistics import Records, labels, measures

LISTS = st.lists(st.lists(st.integers(0, 6), max_size=5), min_size=1, max_size=25)
COUNTS = st.lists(st.integers(0, 1000), min_size=1, max_size=30)


def counted(batches, lists, made):
    accumulator = made(batches.video_schema)
    state = accumulator.add_batch(accumulator.create(), Records(batches.video(lists), batches.video_schema))
    return accumulator.extract(accumulator.compact(state))


def records_with(lists, *wanted):
    return sum(set(wanted) <= set(each) for each in lists)


@given(COUNTS)
def test_imbalance_ratios(counts):
    ratios = measures.imbalance(np.array(counts))
    assert all(math.isnan(ratio) if not count else ratio == max(counts) / count for ratio, count in zip(ratios, counts, strict=True))
    mean, variation, largest = measures.mean_imbalance(np.array(counts))
    present = [max(counts) / count for count in counts if count]
    if not present:
        assert (mean, variation, largest) == (None, None, None)
        return
    assert mean == pytest.approx(sum(present) / len(present))
    assert largest == max(present)
    if len(present) == 1:
        assert variation is None
    else:
        deviation = math.sqrt(sum((each - mean) ** 2 for each in present) / (len(present) - 1))
        assert variation == pytest.approx(deviation / mean, abs=1e-12)


@given(lists=LISTS)
def test_scumble_is_the_mean_over_records(batches, lists):
    """1 - (product of IRLbl)^(1 / |L|) / (mean of IRLbl), over the labels of each labelled record."""
    counts = np.array([records_with(lists, label) for label in range(7)])
    result = measures.scumble(counted(batches, lists, labels.LabelSets), counts)
    terms = []
    for each in filter(None, map(set, lists)):
        ratios = [max(counts) / counts[label] for label in each]
        terms.append(1 - math.prod(ratios) ** (1 / len(ratios)) / (sum(ratios) / len(ratios)))
    if not terms:
        assert result == (None, None)
        return
    mean = sum(terms) / len(terms)
    assert result.mean == pytest.approx(mean, abs=1e-9)
    if len(terms) > 1 and mean > 1e-9:
        deviation = math.sqrt(sum((term - mean) ** 2 for term in terms) / (len(terms) - 1))
        assert result.variation == pytest.approx(deviation / mean, rel=1e-6)


def test_scumble_by_hand(batches):
    """Three records of a frequent label, one of a rare one, one of both: IRLbl 1 and 2; sqrt(2) / 1.5 for the last."""
    lists = [[0], [0], [0], [1], [0, 1]]
    result = measures.scumble(counted(batches, lists, labels.LabelSets), np.array([4, 2, 0]))
    assert result.mean == pytest.approx((1 - math.sqrt(2) / 1.5) / 5)


def test_labels_that_never_meet_have_no_scumble(batches):
    assert measures.scumble(counted(batches, [[0], [0], [1]], labels.LabelSets), np.array([2, 1])) == (0.0, None)


@given(COUNTS)
def test_gini_is_half_the_relative_mean_difference(counts):
    if not sum(counts):
        assert measures.gini(np.array(counts)) is None
        return
    difference = sum(abs(a - b) for a, b in itertools.product(counts, counts)) / len(counts) ** 2
    assert measures.gini(np.array(counts)) == pytest.approx(difference / (2 * sum(counts) / len(counts)), abs=1e-12)


def test_gini_by_hand():
    assert measures.gini(np.array([5, 5, 5])) == 0
    assert measures.gini(np.array([0, 0, 0, 9])) == 0.75


@given(COUNTS)
def test_groups_hold_half_and_nine_tenths(counts):
    counts = np.array(counts)
    group, total = measures.groups(counts), counts.sum()
    assert (group[counts == 0] == -1).all()
    for shares, inside in ((0.5, group == 0), (0.9, (group == 0) | (group == 1))):
        if total:
            held = counts[inside].sum()
            assert held >= shares * total
            assert held - counts[inside].min() < shares * total, "fewer labels would do"
            rest = counts[~inside & (counts > 0)]
            assert not len(rest) or rest.max() <= counts[inside].min()
    described = measures.describe_groups(counts)
    assert list(described) == ["head", "torso", "tail"]
    assert sum(part["num_labels"] for part in described.values()) == np.count_nonzero(counts)
    assert described["head"]["max_count"] == counts.max()


@given(lists=LISTS, min_count=st.integers(0, 3))
def test_pairs_against_probabilities(batches, lists, min_count):
    table = measures.pairs(counted(batches, lists, labels.Cooccurrence), len(lists), min_count)
    expected = {
        (a, b): records_with(lists, a, b) for a, b in itertools.combinations(range(7), 2) if records_with(lists, a, b) >= max(min_count, 1)
    }
    found = dict(zip(zip(table["first"].tolist(), table["second"].tolist(), strict=True), table["count"].tolist(), strict=True))
    assert found == expected
    for row, ((a, b), both) in enumerate(found.items()):
        first, second = records_with(lists, a), records_with(lists, b)
        lift = (both / len(lists)) / ((first / len(lists)) * (second / len(lists)))
        assert table["lift"][row] == pytest.approx(lift)
        assert table["pmi"][row] == pytest.approx(math.log2(lift), abs=1e-12)
        assert table["p_second_given_first"][row] == pytest.approx(both / first)
        assert table["p_first_given_second"][row] == pytest.approx(both / second)


@given(lists=LISTS, number=st.integers(0, 6))
def test_the_strongest_pairs_come_first(batches, lists, number):
    table = measures.pairs(counted(batches, lists, labels.Cooccurrence), len(lists))
    rows = measures.strongest(table, number)
    key = [(-round(table["lift"][i], 9), -table["count"][i], table["first"][i], table["second"][i]) for i in range(len(table["count"]))]
    assert [key[row] for row in rows] == sorted(key)[:number]


@given(lists=LISTS, top=st.integers(1, 4))
def test_companions_are_those_that_come_most_often(batches, lists, top):
    found, shares = measures.companions(counted(batches, lists, labels.Cooccurrence), top)
    for label in range(7):
        together = Counter(other for each in lists if label in each for other in set(each) - {label})
        best = sorted(together.items(), key=lambda item: (-item[1], item[0]))[:top]
        assert found[label].tolist() == [other for other, _ in best] + [-1] * (top - len(best))
        assert shares[label] == pytest.approx([count / records_with(lists, label) for _, count in best] + [0] * (top - len(best)))
