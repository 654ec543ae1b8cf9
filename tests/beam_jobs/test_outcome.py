"""What an augmentation gives is the same however its parts are gathered."""

import itertools
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_jobs.outcome import HELD_OUT_BAD, PART, PROGRESS, WRITTEN, Gather, Outcome, Progress
from beam_jobs.route import BOOKS, FORECAST, NEAR
from beam_jobs.transforms import BAD, READING
from yt8m_data.errors import BadRecord
from yt8m_data.schema import Schema
from yt8m_data.statistics import Reading, Statistics

SCHEMA = Schema("video", "id", "labels", (), 3)


def written(shard: int, labels: list[int]) -> tuple[list[dict], Statistics]:
    """A shard of one record."""
    statistics = Statistics(SCHEMA)
    statistics.add(pa.RecordBatch.from_pylist([{"id": b"%d" % shard, "labels": labels}], schema=SCHEMA.arrow))
    return [{"name": f"part-{shard}", "records": 1}], statistics


def pairs() -> list[tuple[str, object]]:
    return [
        (WRITTEN, written(1, [0, 2])),
        (WRITTEN, written(0, [2])),
        (BOOKS, Counter({"read": 3, ("label", 2): 2})),
        (BOOKS, Counter({"read": 2, "kept": 1})),
        (READING, Reading(1, 10, 10, "whole", num_records=3)),
        (READING, Reading(1, 20, 20, "whole", num_records=2)),
        (HELD_OUT_BAD, BadRecord("held", 0, 0, "crc", "wrong")),
        (FORECAST, np.array([1.0, 0.0, 2.0, 2.0, 3.0])),
        (FORECAST, np.array([0.5, 0.0, 0.0, 0.5, 2.0])),
        (BAD, BadRecord("b", 0, 0, "crc", "wrong")),
        (BAD, BadRecord("a", 4, 99, "crc", "wrong")),
        (NEAR, (0.2, "x", "y")),
        (NEAR, (0.1, "z", "y")),
        (PROGRESS, Progress("files", True, 3)),
    ]


@given(st.permutations(range(len(pairs()))), st.lists(st.integers(0, len(pairs())), max_size=3))
def test_however_it_is_gathered_the_outcome_is_the_same(order, cuts):
    gather, given_ = Gather(SCHEMA), pairs()
    bounds = [0, *sorted(cuts), len(order)]
    parts = []
    for start, stop in itertools.pairwise(bounds):
        part = gather.create_accumulator()
        for number in order[start:stop]:
            part = gather.add_input(part, given_[number])
        parts.append(gather.compact(part))
    outer = gather.create_accumulator()
    for part in parts[1:]:
        outer = gather.add_input(outer, (PART, gather.extract_output(part)))
    found = gather.extract_output(gather.merge_accumulators([parts[0], outer]))
    assert [entry["name"] for entry in found.entries] == ["part-0", "part-1"]
    assert found.statistics.to_dict()["label_counts"] == [1, 0, 2]
    assert found.books == {"read": 5, ("label", 2): 2, "kept": 1, "files": 2, HELD_OUT_BAD: 1}
    assert [bad.file for bad in found.bad] == ["a", "b"]
    assert found.forecast.tolist() == [1.5, 0.0, 2.0, 2.5, 5.0]
    assert found.near == [(0.1, "z", "y"), (0.2, "x", "y")]
    assert found.progress == [Progress("files", True, 3)]


def test_what_no_step_gives_is_refused():
    with pytest.raises(KeyError, match="features"):
        Outcome(Statistics(SCHEMA), np.zeros(5)).take("features", 1)
