import apache_beam as beam
import apache_beam.testing.util
import pyarrow as pa
import pytest

from beam_jobs.once import MAIN, Chain, Once, Unit, resumption
from beam_jobs.units import Each
from yt8m_data import memory, spill
from yt8m_data.work import open_work


class Split(beam.DoFn):
    """A number n -> pairs of n rows for the partitions 0 and 1, and what else it is told to give."""

    calls: list = []  # noqa: RUF012 (shared on purpose)

    def process(self, number):
        self.calls.append(number)
        for partition in (0, 1):
            yield partition, pa.RecordBatch.from_pydict({"n": [number] * number})
        yield beam.pvalue.TaggedOutput("books", ("read", number))
        if number == 13:
            raise ValueError("unlucky")


@pytest.fixture(autouse=True)
def _no_calls(monkeypatch):
    monkeypatch.setattr(Split, "calls", [])


def once(tmp_path, **options):
    work = open_work(str(tmp_path / "out"), {"job": "test"}, False)
    return Once(Split(), work, {MAIN: work.runs("shuffle")}, **options), work


def do(unit, once_):
    [done] = once_.process(unit)
    return done


def test_a_unit_is_done_once(tmp_path):
    first, work = once(tmp_path)
    assert do(("a", 2), first) == Unit("a", False, {"books": [("read", 2)]})
    second, _ = once(tmp_path)
    assert do(("a", 2), second) == Unit("a", True, {"books": [("read", 2)]})
    assert do(("b", 3), second).found is False
    assert Split.calls == [2, 3]
    folder = work.runs("shuffle")
    assert spill.finished(folder) == ["a", "b"]
    located = spill.locate(folder, spill.finished(folder))
    assert [batch.column("n").to_pylist() for batch in spill.read(folder, located[1])] == [[2, 2], [3, 3, 3]]


@pytest.mark.parametrize(("alike", "times"), [(False, 2), (True, 0)])
def test_memory_is_given_back_after_each_unit_unless_all_are_alike(alike, times, tmp_path, monkeypatch):
    given_back = []
    monkeypatch.setattr(memory, "give_back", lambda: given_back.append(True))
    each, _ = once(tmp_path, alike=alike)
    for unit in (("a", 2), ("b", 3), ("a", 2)):  # the last is found
        do(unit, each)
    assert len(given_back) == times


def test_a_unit_that_fails_is_not_noted(tmp_path):
    first, work = once(tmp_path)
    with pytest.raises(ValueError, match="unlucky"):
        do(("a", 13), first)
    assert spill.finished(work.runs("shuffle")) == []
    assert list(work.done.iterdir()) == []


@pytest.mark.parametrize("harm", ["cut the run", "remove the run", "remove the note"])
def test_a_unit_whose_traces_are_not_whole_is_done_again(harm, tmp_path):
    first, work = once(tmp_path)
    do(("a", 2), first)
    run = work.spill / "shuffle" / "a.run"
    if harm == "cut the run":
        run.write_bytes(run.read_bytes()[:-1])
    elif harm == "remove the run":
        run.unlink()
    else:
        (work.done / "a.pickle").unlink()
    assert not do(("a", 2), first).found
    assert do(("a", 2), first).found
    assert Split.calls == [2, 2]


def test_a_unit_that_fails_in_its_second_part_is_done_again_as_a_whole(tmp_path):
    work = open_work(str(tmp_path / "out"), {"job": "test"}, False)
    several = Once(Each(Split()), work, {MAIN: work.runs("shuffle")})
    with pytest.raises(ValueError, match="unlucky"):
        do(("a", [2, 13, 3]), several)
    assert spill.finished(work.runs("shuffle")) == []
    assert do(("a", [2, 3]), several) == Unit("a", False, {"books": [("read", 2), ("read", 3)]})
    assert do(("a", [2, 3]), several).found
    assert Split.calls == [2, 13, 2, 3]
    located = spill.locate(work.runs("shuffle"), ["a"])
    assert [batch.column("n").to_pylist() for batch in spill.read(work.runs("shuffle"), located[1])] == [[2, 2, 3, 3, 3]]


def test_what_was_written_elsewhere_is_asked_about(tmp_path):
    seen = []
    first, _ = once(tmp_path, whole=lambda made: seen.append(made))
    do(("a", 2), first)
    assert not do(("a", 2), first).found
    assert seen == [{"books": [("read", 2)]}]


def test_a_chain_gives_all_outputs_of_both():
    chain = Chain(Split(), lambda pair: [pair[0], beam.pvalue.TaggedOutput("rows", pair[1].num_rows)])
    found = [(o.tag, o.value) if isinstance(o, beam.pvalue.TaggedOutput) else o for o in chain.process(4)]
    assert found == [0, ("rows", 4), 1, ("rows", 4), ("books", ("read", 4))]


def test_resumption_counts_each_step():
    told = resumption({"files": [True, True, False], "tasks": [False]})
    assert told == "2 of 3 files were found finished, 1 done; 0 of 1 tasks were found finished, 1 done"
