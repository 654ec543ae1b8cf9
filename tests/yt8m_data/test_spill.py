import json
import os

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yt8m_data import spill
from yt8m_data.errors import DataError

COLUMNS = pa.schema([("n", pa.int64()), ("frames", pa.list_(pa.binary(2)))])


def batch(numbers):
    rows = [{"n": n, "frames": [bytes([n % 256, k]) for k in range(n % 3)]} for n in numbers]
    return pa.RecordBatch.from_pylist(rows, schema=COLUMNS)


def sizes(folder, name="a"):
    """The sizes of a run's pieces, by partition, in the order of the run."""
    found = {}
    for partition, _, size in json.loads((folder / f"{name}.json").read_bytes())["pieces"]:
        found.setdefault(partition, []).append(size)
    return found


def write(folder, pieces, name="a"):
    with spill.RunWriter(str(folder), name) as writer:
        for partition, part in pieces:
            writer.write(partition, part)
        writer.finish()


def read(folder, partition, names=("a",)):
    return list(spill.read(str(folder), spill.locate(str(folder), names).get(partition, np.empty((0, 3), np.int64))))


RUNS = st.lists(st.lists(st.tuples(st.integers(0, 3), st.lists(st.integers(0, 999), max_size=4)), max_size=6), max_size=4)


@settings(max_examples=60)
@given(RUNS, st.sampled_from([1, 300, 1000, spill.FLUSH_BYTES]), st.sampled_from([1, 250, 1000]))
def test_every_partition_comes_back_in_the_order_of_the_runs(tmp_path_factory, runs, flushed, joined):
    folder = tmp_path_factory.mktemp("runs")
    names = [f"{n:03d}" for n in range(len(runs))]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spill, "FLUSH_BYTES", flushed)
        patch.setattr(spill, "_JOINED_BYTES", joined)
        for name, pieces in zip(names, runs, strict=True):
            write(folder, [(partition, batch(numbers)) for partition, numbers in pieces], name)
    assert spill.finished(str(folder)) == names
    for partition in range(4):
        expected = [n for pieces in runs for p, numbers in pieces if p == partition for n in numbers]
        assert [row for part in read(folder, partition, names) for row in part.to_pylist()] == batch(expected).to_pylist()


def test_small_batches_of_a_partition_are_one_piece(tmp_path):
    write(tmp_path, [(n % 3, batch([n])) for n in range(300)])
    assert {partition: len(pieces) for partition, pieces in sizes(tmp_path).items()} == {0: 1, 1: 1, 2: 1}
    assert [part.column("n").to_pylist() for part in read(tmp_path, 1)] == [list(range(1, 300, 3))]


def test_pieces_stand_by_partition(tmp_path):
    write(tmp_path, [(n % 7, batch([n])) for n in range(50, 0, -1)])
    assert list(sizes(tmp_path)) == list(range(7))


def test_large_batches_stay_pieces_of_their_own(tmp_path, monkeypatch):
    wide = pa.RecordBatch.from_pydict({"n": np.zeros(40_000)})  # 320 kB
    monkeypatch.setattr(spill.pa, "concat_batches", lambda _: pytest.fail("copied"))
    write(tmp_path, [(0, wide), (1, wide), (0, wide.slice(7)), (0, wide)])
    assert {partition: len(pieces) for partition, pieces in sizes(tmp_path).items()} == {0: 3, 1: 1}
    assert [part.num_rows for part in read(tmp_path, 0)] == [40_000, 39_993, 40_000]


def test_a_partition_is_joined_by_what_its_batches_have_on_average(tmp_path):
    wide, narrow = (pa.RecordBatch.from_pydict({"n": np.zeros(rows)}) for rows in (40_000, 10))
    write(tmp_path, [(0, narrow), (0, wide), (1, narrow), (1, narrow)])
    assert {partition: len(pieces) for partition, pieces in sizes(tmp_path).items()} == {0: 1, 1: 1}
    write(tmp_path, [(0, wide), (0, narrow), (0, wide), (0, wide), (0, wide), (0, wide), (0, wide)], "b")
    assert len(sizes(tmp_path, "b")[0]) == 7


def test_what_is_held_is_bounded_by_what_was_given(tmp_path, monkeypatch):
    monkeypatch.setattr(spill, "FLUSH_BYTES", 100_000)
    whole = pa.RecordBatch.from_pydict({"n": np.zeros(100_000)})
    with spill.RunWriter(str(tmp_path), "a") as writer:
        for n in range(100):
            before = pa.total_allocated_bytes()
            writer.write(n % 2, whole.slice(n * 100, 100))  # of some 1,000 bytes
            assert pa.total_allocated_bytes() - before < 100_000
            assert sum(size for batches in writer._held.values() for size, _ in batches) < 100_000
        writer.finish()
    assert not writer._held
    pieces = sizes(tmp_path)
    assert len(pieces[0]) == len(pieces[1]) == 1 + 100 * 800 // 100_000
    assert sum(part.num_rows for part in read(tmp_path, 0)) == 5000


def test_runs_of_other_names_are_passed_over(tmp_path):
    for name, numbers in (("a", [1]), ("b", [2]), ("c", [3])):
        write(tmp_path, [(0, batch(numbers))], name)
    assert [part.column("n").to_pylist() for part in read(tmp_path, 0, ("c", "a"))] == [[1], [3]]
    assert read(tmp_path, 0, ()) == []


def test_a_slice_is_spilled_as_long_as_it_is(tmp_path):
    write(tmp_path, [(0, batch(range(100_000)).slice(7, 3))])
    assert (tmp_path / "a.run").stat().st_size < 2000
    [found] = read(tmp_path, 0)
    assert found.to_pylist() == batch([7, 8, 9]).to_pylist()


def test_a_run_counts_when_it_is_whole(tmp_path):
    assert not spill.is_finished(str(tmp_path), "a")
    with spill.RunWriter(str(tmp_path), "a") as writer:  # as one that is killed before it has finished
        writer.write(0, batch([1]))
    assert not spill.is_finished(str(tmp_path), "a")
    with spill.RunWriter(str(tmp_path), "a") as writer:
        writer.write(0, batch([2]))
        writer.finish()
    assert spill.is_finished(str(tmp_path), "a")
    with open(tmp_path / "a.run", "r+b") as stream:
        stream.truncate(10)
    assert not spill.is_finished(str(tmp_path), "a")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full on this system")
def test_a_full_disk_is_told_of_in_one_sentence(tmp_path):
    (tmp_path / "a.run").symlink_to("/dev/full")
    with pytest.raises(DataError, match=f"the disk of {tmp_path} is full: make room, and run the same command again"):
        write(tmp_path, [(0, batch(range(10_000)))])
    assert not spill.is_finished(str(tmp_path), "a")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full on this system")
def test_a_disk_that_is_full_before_the_end_is_told_of_so_too(tmp_path, monkeypatch):
    monkeypatch.setattr(spill, "FLUSH_BYTES", 100_000)
    (tmp_path / "a.run").symlink_to("/dev/full")
    monkeypatch.setattr(spill.RunWriter, "finish", lambda _: pytest.fail("came to the end"))
    with pytest.raises(DataError, match="is full: make room"):
        write(tmp_path, [(0, batch(range(10_000)))] * 10)
