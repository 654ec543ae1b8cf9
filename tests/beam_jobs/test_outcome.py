"""What an augmentation gives is the same however its parts are gathered."""

import itertools
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_jobs.outcome import HELD_OUT_BAD, PROGRESS, WRITTEN, Gather, GatherBundle, Outcome, Progress, together
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


def bundle(given_: list[tuple[str, object]]) -> Outcome:
    """What a worker gathers of elements that each give a pair."""
    do = GatherBundle(SCHEMA, lambda pair: [pair])
    do.start_bundle()
    for pair in given_:
        do.process(pair)
    [gathered] = do.finish_bundle()
    return gathered.value


def combined(parts: list[list[tuple[str, object]]]) -> Outcome:
    """What Beam combines of them on a service."""
    gather = Gather(SCHEMA)
    accumulators = []
    for part in parts:
        accumulator = gather.create_accumulator()
        for pair in part:
            accumulator = gather.add_input(accumulator, pair)
        accumulators.append(gather.compact(accumulator))
    return gather.extract_output(gather.merge_accumulators(accumulators))


@pytest.mark.parametrize("gathered", [combined, lambda parts: together(map(bundle, parts))], ids=["combined", "by bundles"])
@given(st.permutations(range(len(pairs()))), st.lists(st.integers(0, len(pairs())), max_size=3))
def test_however_it_is_gathered_the_outcome_is_the_same(gathered, order, cuts):
    given_ = pairs()
    bounds = [0, *sorted(cuts), len(order)]
    found = gathered([[given_[number] for number in order[start:stop]] for start, stop in itertools.pairwise(bounds)])
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
