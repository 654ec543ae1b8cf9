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


@settings(max_examples=30)
@given(st.lists(st.lists(st.tuples(st.integers(0, 3), st.lists(st.integers(0, 999), max_size=4)), max_size=6), max_size=4))
def test_every_partition_comes_back_in_the_order_of_the_runs(tmp_path_factory, runs):
    folder = str(tmp_path_factory.mktemp("runs"))
    names = [f"{n:03d}" for n in range(len(runs))]
    for name, pieces in zip(names, runs, strict=True):
        with spill.RunWriter(folder, name) as writer:
            for partition, numbers in pieces:
                writer.write(partition, batch(numbers))
            writer.finish()
    assert spill.finished(folder) == names
    located = spill.locate(folder)
    for partition in range(4):
        expected = [n for pieces in runs for p, numbers in pieces if p == partition for n in numbers]
        found = list(spill.read(folder, located.get(partition, np.empty((0, 3), np.int64))))
        assert [row for part in found for row in part.to_pylist()] == batch(expected).to_pylist()


def test_a_slice_is_spilled_as_long_as_it_is(tmp_path):
    with spill.RunWriter(str(tmp_path), "a") as writer:
        writer.write(0, batch(range(100_000)).slice(7, 3))
        writer.finish()
    assert (tmp_path / "a.run").stat().st_size < 2000
    [found] = spill.read(str(tmp_path), spill.locate(str(tmp_path))[0])
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
        write_much(tmp_path)
    assert not spill.is_finished(str(tmp_path), "a")


def write_much(folder):
    with spill.RunWriter(str(folder), "a") as writer:
        writer.write(0, batch(range(10_000)))
        writer.finish()
