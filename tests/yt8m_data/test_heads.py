"""The first bytes of records: what a whole reader finds is the oracle, and what is asked of the file is counted."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from yt8m_data import heads, tfrecord
from yt8m_data.errors import BadRecord


def framed(records: list[bytes]) -> bytes:
    stream = io.BytesIO()
    tfrecord.write(stream, records)
    return stream.getvalue()


class Memory:
    """A source in memory that remembers what it was asked for."""

    def __init__(self, data: bytes) -> None:
        self.name, self.data, self.size, self.asked = "shard", data, len(data), []

    def read(self, size: int, offset: int) -> bytes:
        assert 0 <= offset <= self.size
        self.asked.append((offset, size))
        return self.data[offset : offset + size]


def scanned(source: Memory, **options: int) -> tuple[list[tuple[int, int, int, bytes]], list[BadRecord], int]:
    """Of all records index, position, length and first bytes; the bad ones; the bytes that were asked for."""
    found, bad, size = [], [], 0
    for block in heads.scan(source, **options):
        rows = zip(block.indices.tolist(), block.offsets.tolist(), block.lengths.tolist(), strict=True)
        found += [(*row, block.record(number)) for number, row in enumerate(rows)]
        bad += block.bad
        size += block.bytes_read
    return found, bad, size


@given(st.lists(st.binary(max_size=2000), max_size=30), st.integers(1, 400), st.integers(0, 2500), st.integers(1, 3000), st.integers(1, 9))
def test_a_scan_gives_the_first_bytes_of_every_record(records, head, gap, window, block):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(heads, "HEAD_RECORDS", block)
        source = Memory(framed(records))
        found, bad, size = scanned(source, head_bytes=head, gap_bytes=gap, window_bytes=max(window, 12 + head))
    places = np.cumsum([0] + [len(record) + 16 for record in records]).tolist()
    assert found == [(i, places[i], len(record), record[:head]) for i, record in enumerate(records)]
    assert bad == []
    assert size == sum(min(length, source.size - offset) for offset, length in source.asked)


def test_a_scan_passes_over_what_it_does_not_need():
    source = Memory(framed([bytes([i]) * 100_000 for i in range(50)]))
    found, _, size = scanned(source)
    assert len(found) == len(source.asked) - 1 == 50  # one look at how long the first one is
    assert size == 50 * (heads.HEAD_BYTES + 12) + 8 < 0.02 * source.size


def test_a_scan_of_short_records_reads_on_in_windows():
    source = Memory(framed([bytes(1500)] * 2000))
    found, _, size = scanned(source)
    assert len(found) == 2000
    assert len(source.asked) < 2 + source.size / heads.WINDOW_BYTES * 1.1
    assert size < 1.1 * source.size


@pytest.mark.parametrize("gap", [0, 10**9], ids=["seeks", "windows"])
@given(data=st.data())
def test_a_scan_finds_the_damage_that_a_reader_finds(gap, data):
    """A wrong length or a short file: the same record, place and reason. Damage of the data is not looked for."""
    records = data.draw(st.lists(st.binary(max_size=60), min_size=1, max_size=8))
    whole = framed(records)
    places = np.cumsum([0] + [len(record) + 16 for record in records]).tolist()
    if data.draw(st.booleans()):
        damaged = whole[: data.draw(st.integers(1, len(whole) - 1))]
    else:
        at = data.draw(st.sampled_from(places[:-1])) + data.draw(st.integers(0, 11))
        damaged = whole[:at] + bytes([whole[at] ^ 1 << data.draw(st.integers(0, 7))]) + whole[at + 1 :]
    blocks = list(tfrecord.read(io.BytesIO(damaged), "shard"))
    good, expected = [i for block in blocks for i in block.indices.tolist()], [bad for block in blocks for bad in block.bad]
    found, bad, _ = scanned(Memory(damaged), head_bytes=30, gap_bytes=gap)
    assert bad == expected
    assert [head[0] for head in found] == good


def test_more_of_a_record_can_be_read():
    source = Memory(framed([b"short", bytes(range(256)) * 9]))
    [block] = heads.scan(source, head_bytes=8)
    before = block.bytes_read
    assert block.read_more(1, 300) == (bytes(range(256)) * 9)[:300]
    assert block.read_more(0, 300) == b"short"
    assert block.bytes_read == before + 305
    assert block.bad_record(1, "label", "why") == BadRecord("shard", 1, 5 + 16, "label", "why")


def test_a_local_file_is_a_source(tmp_path):
    (tmp_path / "x").write_bytes(framed([b"abc", b"defg"]))
    with heads.LocalFile(str(tmp_path / "x")) as source:
        assert source.size == 39
        found, bad, _ = scanned(source)
    assert [head[3] for head in found] == [b"abc", b"defg"]
    assert bad == []
    with pytest.raises(OSError, match="Bad file descriptor"):
        source.read(1, 0)
    (tmp_path / "empty").write_bytes(b"")
    with heads.LocalFile(str(tmp_path / "empty")) as source:
        assert list(heads.scan(source)) == []
