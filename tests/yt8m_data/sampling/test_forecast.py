"""How many records a plan writes, told from the label sets of those that are read."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from yt8m_data import sampling
from yt8m_data.sampling import Settings
from yt8m_data.statistics.measures import LabelSets

LISTS = st.lists(st.sets(st.integers(0, 5), min_size=1, max_size=4), min_size=1, max_size=12)


def sets_of(lists: list[set[int]], counts: list[int]) -> LabelSets:
    labels = np.array([label for labels in lists for label in sorted(labels)])
    return LabelSets(np.array([len(labels) for labels in lists]), labels, np.array(counts), len(lists), True, 0.0)


@given(lists=LISTS, data=st.data())
def test_growth_is_that_of_all_records(lists, data):
    numbers = data.draw(st.lists(st.integers(1, 30), min_size=len(lists), max_size=len(lists)))
    counts = np.zeros(6, np.int64)
    for labels, number in zip(lists, numbers, strict=True):
        counts[list(labels)] += number
    plan = sampling.plan(counts, sum(numbers), Settings(threshold=1e6))  # all are over-sampled, so no draw of an id has a say
    records = [sorted(labels) for labels, number in zip(lists, numbers, strict=True) for _ in range(number)]
    written = sampling.forecast(plan, [b"%d" % i for i in range(len(records))], pa.array(records, pa.list_(pa.int32()))).sum()
    assert sampling.growth(plan, sets_of(lists, numbers)) == pytest.approx(written / len(records))


def test_without_label_sets_it_is_told_from_counts():
    plan = sampling.plan(np.array([30, 10]), 40, Settings(threshold=20.0))
    assert sampling.growth(plan, None) == sampling.growth(plan, sets_of([], [])) == plan.growth()
