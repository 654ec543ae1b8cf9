from typing import NamedTuple

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pytest
from apache_beam.coders import registry
from hypothesis import given, settings
from hypothesis import strategies as st

from beam_jobs import runners
from beam_jobs.group import ELEMENT_BYTES, ArrowCoder, GroupBatches, ReadSpilled, SpilledBatches, _pieces
from yt8m_data import spill


def batch_of(numbers):
    lists = pa.array([[n, n + 1] for n in numbers], pa.list_(pa.int32()))
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(np.repeat(np.array(numbers, np.float32), 3)), 3)
    return pa.RecordBatch.from_arrays([pa.array(numbers, pa.int64()), lists, vectors], names=["n", "lists", "vectors"])


def test_beam_takes_the_arrow_coder_for_record_batches():
    assert isinstance(registry.get_coder(pa.RecordBatch), ArrowCoder)


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=50), st.data())
def test_coder_round_trip_of_slices(numbers, data):
    start = data.draw(st.integers(0, len(numbers)))
    part = batch_of(numbers).slice(start, data.draw(st.integers(0, len(numbers) - start)))
    coder = ArrowCoder()
    assert coder.decode(coder.encode(part)).equals(part)
    assert coder.is_deterministic()


def test_a_slice_is_written_as_long_as_it_is():
    whole = batch_of(list(range(100_000)))
    assert len(ArrowCoder().encode(whole.slice(5, 10))) < 2_000


@pytest.mark.parametrize(("rows", "pieces"), [(0, 1), (1, 1), (1000, 1), (100_000, 4)])
def test_large_batches_are_cut_for_beams_shuffle(rows, pieces):
    whole = batch_of(list(range(rows)))
    cut = list(_pieces((7, whole)))
    assert len(cut) == pieces
    assert {partition for partition, _ in cut} == {7}
    assert pa.concat_batches([batch for _, batch in cut]).equals(whole)
    assert all(len(ArrowCoder().encode(batch)) < 1.1 * ELEMENT_BYTES for _, batch in cut)


def test_a_row_larger_than_an_element_is_not_cut():
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(2 * ELEMENT_BYTES, np.float32)), ELEMENT_BYTES)
    cut = list(_pieces((0, pa.RecordBatch.from_arrays([vectors], names=["vectors"]))))
    assert [batch.num_rows for _, batch in cut] == [1, 1]


class _Keys(beam.DoFn):
    """(number of the batch, numbers) -> pairs for partitions n % 4."""

    def process(self, numbers):
        for partition in sorted({n % 4 for n in numbers}):
            yield partition, batch_of([n for n in numbers if n % 4 == partition])


def _contents(element):
    partition, batches = element
    numbers = sorted(n for batch in batches for n in batch.column("n").to_pylist())
    again = sorted(n for batch in batches for n in batch.column("n").to_pylist())
    return partition, numbers, again


def grouped(inputs, spill, workers):
    def build(pipeline, _counter):
        pairs = pipeline | beam.Create(inputs) | beam.ParDo(_Keys())
        return (pairs,) | GroupBatches(spill) | beam.Map(_contents) | beam.combiners.ToList()

    return sorted(runners.run(runners.Engine(workers=workers), "test", 0, None, build, lambda _: 0))


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("spilled", [False, True])
def test_groups_hold_every_row_once(tmp_path, spilled, workers):
    inputs = [list(range(start, start + 7)) for start in range(0, 70, 7)]
    expected = [(p, [n for n in range(70) if n % 4 == p]) for p in range(4)]
    result = grouped(inputs, str(tmp_path / "spill") if spilled else None, workers)
    assert [(partition, numbers) for partition, numbers, _ in result] == expected
    assert all(numbers == again for _, numbers, again in result), "the batches of a partition can be read twice"


@settings(max_examples=5)
@given(st.lists(st.lists(st.integers(0, 40), min_size=1, max_size=6), min_size=1, max_size=6))
def test_both_forms_agree(tmp_path_factory, inputs):
    folder = str(tmp_path_factory.mktemp("spill") / "work")
    assert grouped(inputs, folder, 1) == grouped(inputs, None, 1)


def test_nothing_in_gives_nothing_out(tmp_path):
    assert grouped([], str(tmp_path / "spill"), 1) == []


def test_spilled_batches_read_every_run(tmp_path):
    for name, numbers in (("b", [3]), ("a", [1, 2])):
        with spill.RunWriter(str(tmp_path), name) as writer:
            writer.write(0, batch_of(numbers))
            writer.write(1, batch_of([9]))
            writer.finish()
    spilled = SpilledBatches(str(tmp_path), spill.locate(str(tmp_path), ["b", "a"])[0])
    assert [batch.num_rows for batch in spilled] == [2, 1]
    assert [batch.column("n").to_pylist() for batch in spilled] == [[1, 2], [3]]


class Finished(NamedTuple):
    """What stands for a run, as a unit of work does."""

    name: str


@pytest.mark.parametrize("unit", [str, Finished])
@pytest.mark.parametrize("groups", [None, [[1], [0, 2]]])
def test_only_the_runs_that_are_named_are_read_back(tmp_path, unit, groups):
    for name, numbers in (("a", [1]), ("left by a killed job", [7]), ("b", [2])):
        with spill.RunWriter(str(tmp_path), name) as writer:
            writer.write(0, batch_of(numbers))
            writer.finish()

    def build(pipeline, _counter):
        names = pipeline | beam.Create([unit("b"), unit("a")])
        read = (names,) | ReadSpilled(str(tmp_path), groups)
        return read | beam.MapTuple(_numbers) | beam.combiners.ToList()

    found = sorted(runners.run(runners.Engine(workers=1), "test", 0, None, build, lambda _: 0))
    assert found == ([(0, [1, 2])] if groups is None else [(0, [[]]), (1, [[1, 2], []])])


def _numbers(number, batches):
    if isinstance(batches, list):
        return number, [_numbers(number, part)[1] for part in batches]
    return number, [n for batch in batches for n in batch.column("n").to_pylist()]
