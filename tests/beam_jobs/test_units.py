import apache_beam as beam
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from beam_jobs import units

SIZES = st.one_of(st.integers(0, 1 << 20), st.integers(0, 2 * units.UNIT_BYTES))


@given(st.lists(SIZES, max_size=60), st.integers(1, 40))
def test_a_cut_keeps_every_file_once_and_in_order(sizes, wanted):
    parts = units.cut(sizes, wanted)
    assert [number for part in parts for number in part] == list(range(len(sizes)))
    assert all(len(part) for part in parts)
    assert len(parts) >= min(len(sizes), wanted)
    assert all(len(part) == 1 or sum(sizes[number] for number in part) <= units.UNIT_BYTES for part in parts)
    assert units.cut(sizes, wanted) == parts


@given(st.integers(1, 4000), st.integers(0, 100 << 20), st.integers(1, 64))
@example(13, units.UNIT_BYTES // 3 + 1, 2)  # six units, and one of three files is too large and halved
def test_files_of_one_size_are_dealt_evenly(count, size, wanted):
    lengths = [len(part) for part in units.cut([size] * count, wanted)]
    if size > units.UNIT_BYTES // 2:
        assert max(lengths) == 1
    else:
        assert max(lengths) - min(lengths) <= 1
    if size <= units.UNIT_BYTES // 4:  # one file more than on average fits
        assert len(lengths) == count or not len(lengths) % wanted, "as many for each process"


@pytest.mark.parametrize(
    ("sizes", "wanted", "lengths"),
    [
        ([5 << 20] * 1000, 16, (112, 8, 9)),  # of some 45 MB
        ([1 << 20] * 200, 8, (8, 25, 25)),  # fewer would leave processes idle at the end
        ([1 << 30] * 20, 8, (20, 1, 1)),
        ([5 << 20] * 10, 16, (10, 1, 1)),
        ([0] * 10, 4, (4, 2, 3)),
    ],
)
def test_units_are_large_and_not_too_few(sizes, wanted, lengths):
    found = [len(part) for part in units.cut(sizes, wanted)]
    assert (len(found), min(found), max(found)) == lengths


def test_a_large_file_is_alone_and_its_neighbours_are_not():
    parts = units.cut([1 << 20] * 40 + [1 << 30] + [1 << 20] * 39, 2)
    assert range(40, 41) in parts
    assert len(parts) < 30


def test_units_are_named_by_their_files(tmp_path, monkeypatch):
    monkeypatch.setattr(units, "_UNITS", 1)
    files = []
    for number in range(5):
        (tmp_path / f"{number}").write_bytes(b"x" * number)
        files.append((number, str(tmp_path / f"{number}"), "split"))
    assert units.of_files("files", files, 2) == [("files-000000-000001", files[:2]), ("files-000002-000004", files[2:])]
    assert [name for name, _ in units.of_files("held-out", files, 5)] == [f"held-out-{n:06d}-{n:06d}" for n in range(5)]


def test_a_unit_of_the_same_name_has_the_same_files(tmp_path):
    (tmp_path / "empty").touch()
    files = [(number, str(tmp_path / "empty")) for number in range(100)]
    divided = [dict(units.of_files("files", files, processes)) for processes in (1, 2, 3, 9)]
    for one in divided:
        for other in divided:
            assert all(one[name] == other[name] for name in one.keys() & other.keys())


class Twice(beam.DoFn):
    """A number -> itself and a tagged one; nothing for 0."""

    ready = False

    def setup(self):
        self.ready = True

    def teardown(self):
        self.ready = False

    def process(self, number):
        if not number:
            return None
        return [number, beam.pvalue.TaggedOutput("also", number)]


def test_each_is_done_in_turn():
    do = units.Each(Twice())
    do.setup()
    assert do.do.ready
    found = [(o.tag, o.value) if isinstance(o, beam.pvalue.TaggedOutput) else o for o in do.process([3, 0, 1])]
    assert found == [3, ("also", 3), 1, ("also", 1)]
    do.teardown()
    assert not do.do.ready


def test_each_begins_the_next_when_the_one_before_is_taken():
    seen = []

    class Seen(beam.DoFn):
        def process(self, number):
            seen.append(number)
            yield number

    given_ = units.Each(Seen()).process([1, 2, 3])
    assert next(given_) == 1
    assert seen == [1]
