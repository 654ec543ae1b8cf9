"""The laws of every registered accumulator: parts merged are what one pass gives, whatever the split, the order and the compaction."""

import dataclasses
import itertools
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yt8m_data import sums
from yt8m_data.errors import DataError
from yt8m_data.statistics import Accumulator, Records, accumulators, features, ids, labels, register, sketch, slices, sparse
from yt8m_data.statistics.accumulator import REGISTRY

ARGUMENTS = {
    "label_means": [{}],
    "slices": [{"by": by, "files": ["a", "b", "c"], "verticals": {0: "Food", 1: "Games", 2: "Games", 5: "Food"}} for by in slices.WAYS],
}


class Longest(Accumulator):
    """A third party's statistic: the most labels of a record."""

    name = "longest"
    needs_features = False

    def create(self):
        return {"labels": np.zeros(1, np.int64)}

    def add_batch(self, state, records):
        return {"labels": np.maximum(state["labels"], records.labels.per_record.max(initial=0))}

    def merge(self, state, other):
        return {"labels": np.maximum(state["labels"], other["labels"])}

    def extract(self, state):
        return int(state["labels"][0])


CASES = [
    (made, kind, arguments)
    for made in [*REGISTRY.values(), Longest]
    for kind in ("video", "frame")
    for arguments in ARGUMENTS.get(made.name, [{}])
    if (made.name, kind) != ("frames", "video")
]


@pytest.fixture(scope="module", params=["roomy", "cramped"])
def room(request):
    """In a cramped room nothing is held back for long, and sketches hold little."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "cramped":
            for module, name, value in (
                (sparse, "PENDING", 2),
                (sketch, "PENDING", 2),
                (features, "_PENDING", 2),
                (sums, "ROWS", 2),
                (slices, "_PENDING", 2),
                (labels, "KEPT_SETS", 4),
                (ids, "KEPT_IDS", 5),
            ):
                patch.setattr(module, name, value)
        yield request.param


@pytest.fixture(scope="module", params=CASES, ids=lambda case: "-".join([case[0].__name__, case[1], *map(str, list(case[2].values())[:1])]))
def accumulator(request, batches, room):
    made, kind, arguments = request.param
    return made(batches.schema(kind), **arguments)


def plain(value):
    """Everything as Python values, which compare with ==, NaN like NaN."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if dataclasses.is_dataclass(value):
        return plain(vars(value))
    return repr(value.tolist()) if isinstance(value, np.ndarray) else repr(value)


def outcome(accumulator, state):
    return plain(accumulator.extract(accumulator.compact(pickle.loads(pickle.dumps(state)))))


def filled(accumulator, rows, compact_after=()):
    """One worker: batches in order, compacted after some of them."""
    state = accumulator.create()
    for number, batch in enumerate(rows):
        state = accumulator.add_batch(state, Records(batch, accumulator.schema))
        if number in compact_after:
            state = accumulator.compact(state)
    return state


def broken_law(accumulator, whole, parts, compact_after=()):
    """Return the first law that does not hold for a batch and its rows dealt to workers; None where all hold."""
    expected = outcome(accumulator, filled(accumulator, [whole]))
    states = [filled(accumulator, part, compact_after) for part in parts]
    merged = accumulator.create()
    for state in states:
        before = outcome(accumulator, state)
        merged = accumulator.merge(merged, pickle.loads(pickle.dumps(state)))
        if outcome(accumulator, state) != before:
            return "the other state is left alone"
    if outcome(accumulator, merged) != expected:
        return "parts merged are one shot"
    compacted = accumulator.create()
    for state in states:
        compacted = accumulator.compact(accumulator.merge(compacted, accumulator.compact(pickle.loads(pickle.dumps(state)))))
    if outcome(accumulator, compacted) != expected:
        return "compact changes nothing"
    if not all(isinstance(value, np.ndarray) for value in compacted.values()):
        return "a compact state is arrays"
    empty = accumulator.add_batch(accumulator.create(), Records(whole.slice(0, 0), accumulator.schema))
    for first, second in itertools.permutations([empty, filled(accumulator, [whole])]):
        if outcome(accumulator, accumulator.merge(pickle.loads(pickle.dumps(first)), second)) != expected:
            return "nothing is added by an empty state"
    return None


LISTS = st.lists(st.lists(st.integers(0, 6), max_size=4), min_size=1, max_size=16)


@settings(max_examples=25)
@given(data=st.data(), lists=LISTS)
def test_laws(accumulator, batches, data, lists):
    names = [b"v%d" % data.draw(st.integers(0, 12)) for _ in lists]  # some ids twice
    whole = batches.of(accumulator.schema.kind, lists, ids=names)
    order = data.draw(st.permutations(range(len(lists))))
    worker = data.draw(st.lists(st.integers(0, 2), min_size=len(lists), max_size=len(lists)))
    parts = [[whole.slice(row, 1) for row in order if worker[row] == number] for number in range(3)]
    assert broken_law(accumulator, whole, parts, compact_after=data.draw(st.sets(st.integers(0, 5)))) is None


@pytest.mark.parametrize("wrong", ["drops", "doubles", "changes the other"])
def test_a_wrong_merge_is_caught(accumulator, batches, wrong):
    right = type(accumulator).merge

    class Wrong(type(accumulator)):
        def merge(self, state, other):
            if wrong == "drops":
                return state
            if wrong == "doubles":
                return right(self, right(self, state, other), other)
            other.clear()
            other.update(self.create())
            return right(self, state, other)

    copy = Wrong(accumulator.schema, **ARGUMENTS.get(accumulator.name, [{}])[0] | accumulator.settings)
    lists = [[0, 1], [1, 2, 3], [], [1, 2], [0, 1], [5], [4, 6], [0, 3, 5]]
    whole = batches.of(accumulator.schema.kind, lists)
    parts = [[whole.slice(0, 3)], [whole.slice(3, 1), whole.slice(4)]]
    assert broken_law(accumulator, whole, parts) is None
    caught = broken_law(copy, whole, parts)
    if (accumulator.name, wrong) == ("longest", "doubles"):
        assert caught is None  # a maximum does not mind
    else:
        assert caught is not None


def test_every_registered_accumulator_is_held_to_the_laws():
    assert {made.name for made, _, _ in CASES} >= set(REGISTRY)
    assert set(REGISTRY) == {"labels", "cooccurrence", "label_sets", "ids", "frames", "features", "label_means", "slices"}


def test_a_name_is_taken_once():
    class Impostor(Longest):
        name = "labels"

    with pytest.raises(DataError, match="there is an accumulator 'labels' already"):
        register(Impostor)
    assert register(REGISTRY["labels"]) is REGISTRY["labels"]  # a module that is imported twice does no harm


def test_which_accumulators_are_made(batches):
    def names(kind, **options):
        return {each.name for each in accumulators(batches.schema(kind), **options)}

    assert names("video") == {"labels", "cooccurrence", "label_sets", "ids", "features"}
    assert names("frame") == names("video") | {"frames"}
    assert names("frame", features=False) == names("frame") - {"features"}
    assert names("video", optional={"label_means": {}, "slices": {"by": "shard"}}) == names("video") | {"label_means", "slices"}
