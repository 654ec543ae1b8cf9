"""Slices, against filters in plain Python."""

from collections import Counter

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given
from hypothesis import strategies as st

from yt8m_data.errors import DataError
from yt8m_data.statistics import Records
from yt8m_data.statistics.slices import Slices

VERTICALS = {0: "Food", 1: "Games", 2: "Games", 5: "Food", 6: ""}
FILES = ["x/a", "x/b", "x/c"]
LISTS = st.lists(st.lists(st.integers(0, 6), max_size=4), max_size=14)


def counted(batches, lists, by):
    made = Slices(batches.video_schema, by, FILES, VERTICALS)
    state = made.add_batch(made.create(), Records(batches.of("video", lists), batches.video_schema))
    return made.extract(made.compact(state))


def members(number, labels, by):
    if by == "shard":
        return {FILES[number % 3]}
    if by == "synthetic":
        return {("real", "noise", "interpolate")[number % 3]}
    return {VERTICALS.get(label) or "(none)" for label in labels} or {"(none)"}


@pytest.mark.parametrize("by", ["shard", "vertical", "synthetic"])
@given(lists=LISTS)
def test_slices_are_counted_like_filtered_records(batches, by, lists):
    result = counted(batches, lists, by)
    inside = {}
    for number, labels in enumerate(lists):
        for name in members(number, labels, by):
            inside.setdefault(name, []).append(set(labels))
    assert result["by"] == by
    assert result["names"] == sorted(inside)
    assert result["num_records"].tolist() == [len(inside[name]) for name in sorted(inside)]
    assert result["num_unlabeled"].tolist() == [sum(not labels for labels in inside[name]) for name in sorted(inside)]
    fields = result["label_counts"]
    matrix = scipy.sparse.csr_matrix((fields["data"], fields["indices"], fields["indptr"]), fields["shape"])
    assert matrix.shape == (len(inside), 7)
    for row, name in enumerate(sorted(inside)):
        carried = Counter(label for labels in inside[name] for label in labels)
        np.testing.assert_array_equal(matrix.toarray()[row], [carried[label] for label in range(7)])


def test_slices_that_nobody_knows(batches):
    with pytest.raises(DataError, match="no slices by 'colour': choose one of shard, vertical, synthetic"):
        Slices(batches.video_schema, "colour")
