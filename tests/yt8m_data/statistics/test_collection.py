"""`Statistics`: all accumulators side by side, saved, loaded and merged."""

import itertools
import json
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yt8m_data.errors import BadRecord, DataError
from yt8m_data.statistics import Reading, Statistics, accumulators, collection, load, save

LISTS = st.lists(st.lists(st.integers(0, 6), max_size=4), max_size=20)


def counted(schema, *batches, **options):
    statistics = Statistics(schema, accumulators(schema, **options))
    for batch in batches:
        statistics.add(batch)
    return statistics


def everything(statistics):
    """All that is told, to compare."""
    fields = {key: value.tolist() for key, value in statistics.result("cooccurrence").items()}
    return statistics.to_dict(), fields


@pytest.fixture(scope="module", params=[1, 5, 8192])
def _rows(request):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(collection, "_ROWS", request.param)
        yield


@pytest.mark.usefixtures("_rows")
@pytest.mark.parametrize("kind", ["video", "frame"])
@settings(max_examples=20)
@given(data=st.data(), lists=LISTS)
def test_merged_parts_equal_one_shot(batches, kind, data, lists):
    whole, schema = batches.of(kind, lists), batches.schema(kind)
    worker = data.draw(st.lists(st.integers(0, 2), min_size=len(lists), max_size=len(lists)))
    merged = Statistics(schema)
    for number in data.draw(st.permutations(range(3))):
        part = counted(schema, *(whole.slice(row, 1) for row in range(len(lists)) if worker[row] == number))
        sent = pickle.loads(pickle.dumps(part)) if data.draw(st.booleans()) else part
        before = everything(part)
        merged.merge(sent)
        assert everything(part) == before  # what is merged keeps its own
    assert everything(merged) == everything(counted(schema, whole))


def test_merging_does_not_tie_the_two_together(batches):
    schema = batches.video_schema
    first, second = counted(schema, batches.video([[1]])), counted(schema, batches.video([[2, 3]]))
    second.bad = [BadRecord("a", 0, 0, "crc", "")]
    before = everything(second)
    first.merge(second)
    first.add(batches.video([[4, 5]]))
    first.merge(third := counted(schema, batches.video([[6]])))
    assert everything(second) == before
    assert third.num_records == 1
    assert first.num_records == 4
    assert first.bad == second.bad


def test_what_was_not_counted_alike_cannot_be_merged(batches):
    video = batches.video_schema
    pairs = [
        (counted(video), counted(batches.frame_schema)),
        (counted(video), counted(video, features=False)),
        *itertools.combinations([counted(video, optional={"slices": {"by": by}}) for by in ("shard", "synthetic")], 2),
    ]
    for one, other in pairs:
        with pytest.raises(DataError, match="cannot be added up"):
            one.merge(other)


def test_features_may_be_left_out(batches):
    lists = [[1, 2], [], [2]]
    without = counted(batches.frame_schema, batches.frame(lists), features=False).to_dict()
    with_them = counted(batches.frame_schema, batches.frame(lists)).to_dict()
    assert without["features"] == {}
    assert without | {"features": with_them["features"]} == with_them


def test_an_empty_batch_changes_nothing(batches):
    batch, empty = batches.video([[1, 2], []]), batches.video([])
    assert everything(counted(batches.video_schema, empty, batch, empty)) == everything(counted(batches.video_schema, batch))
    nothing = Statistics(batches.frame_schema).to_dict()
    assert (nothing["num_records"], nothing["labels_per_record"]) == (0, {"mean": 0.0, "histogram": [0]})


# --- Saved ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["video", "frame"])
def test_what_is_saved_is_loaded(batches, kind, tmp_path):
    optional = {"label_means": {}, "slices": {"by": "shard", "files": ["a", "b", "c"]}}
    whole = batches.of(kind, [[0, 1], [], [1, 5], [0, 1], [6]])
    statistics = counted(batches.schema(kind), whole, optional=optional)
    statistics.reading = Reading(files=3, bytes=70, bytes_read=70, num_records=5)
    save(statistics, tmp_path / "state.npz")
    loaded = load(tmp_path / "state.npz")
    assert loaded.schema == statistics.schema
    assert loaded.reading == statistics.reading
    assert everything(loaded) == everything(statistics)
    assert loaded.to_dict()["slices"]["names"] == ["a", "b", "c"]
    np.testing.assert_array_equal(loaded.result("label_means")["rgb"], statistics.result("label_means")["rgb"])
    loaded.merge(statistics)
    assert loaded.num_records == 10


def test_the_same_statistics_are_saved_as_the_same_bytes(batches, tmp_path):
    parts = [counted(batches.video_schema, batches.video([[1, 2], [3]], seed)) for seed in range(3)]
    for name, order in (("a", [0, 1, 2]), ("b", [2, 0, 1])):
        merged = Statistics(batches.video_schema)
        for number in order:
            merged.merge(parts[number])
        save(merged, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_files_that_hold_no_states(tmp_path, batches):
    with pytest.raises(DataError, match="holds no states"):
        load(tmp_path / "missing.npz")
    (tmp_path / "text.npz").write_text("hello")
    with pytest.raises(DataError, match="holds no states"):
        load(tmp_path / "text.npz")
    np.savez(tmp_path / "other.npz", x=np.zeros(3))
    with pytest.raises(DataError, match="holds no states"):
        load(tmp_path / "other.npz")


def rewrite(path, change):
    with np.load(path) as arrays:
        held = dict(arrays)
    header = json.loads(str(held["header"]))
    change(header)
    held["header"] = np.array(json.dumps(header))
    np.savez(path, **held)


def test_states_of_another_time_or_of_a_statistic_that_is_not_here(tmp_path, batches):
    save(counted(batches.video_schema), tmp_path / "s.npz")
    rewrite(tmp_path / "s.npz", lambda header: header.update(format=0))
    with pytest.raises(DataError, match="has format 0, and this version writes 1"):
        load(tmp_path / "s.npz")
    save(counted(batches.video_schema), tmp_path / "s.npz")
    rewrite(tmp_path / "s.npz", lambda header: header["accumulators"].update(colours={}))
    with pytest.raises(DataError, match="'colours' that is not registered: import its module with --import"):
        load(tmp_path / "s.npz")


def test_what_was_read_adds_up():
    one = Reading(2, 100, 30, "headers", False, 0.5, 7)
    assert one.merged(Reading(1, 50, 5, "headers", False, 0.5, 3)) == Reading(3, 150, 35, "headers", False, 0.5, 10)
    for name, other in (("how", "whole"), ("features", True), ("sample", 1.0)):
        with pytest.raises(DataError, match=f"not counted alike: {name} is"):
            one.merged(Reading(**vars(one) | {name: other}))
    assert one.to_dict()["data_checksums"] is False
    assert Reading().to_dict()["data_checksums"] is True
