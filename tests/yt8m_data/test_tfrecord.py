"""TFRecord framing: TensorFlow's reader and writer are the oracle; damage of every kind is found, told of, and costs no neighbour."""

import io
import struct
import tracemalloc

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from yt8m_data import checksum, tfrecord
from yt8m_data.errors import BadRecord

records_of_a_file = st.lists(st.binary(max_size=300), max_size=30)
block_sizes = st.integers(64, 65_536)


def framed(records: list[bytes]) -> bytes:
    stream = io.BytesIO()
    assert tfrecord.write(stream, records) == len(stream.getvalue())
    return stream.getvalue()


def header(length: int) -> bytes:
    packed = struct.pack("<Q", length)
    return packed + struct.pack("<I", checksum.masked_crc(packed))


def read(data: bytes, block_bytes: int = tfrecord.BLOCK_BYTES) -> tuple[dict[int, bytes], list[BadRecord]]:
    """All good records by their index, and the bad ones."""
    good: dict[int, bytes] = {}
    bad = []
    for block in tfrecord.read(io.BytesIO(data), "shard", block_bytes):
        good |= {int(index): block.record(row) for row, index in enumerate(block.indices)}
        bad += block.bad
    return good, bad


def where(bad: BadRecord) -> tuple[str, int, int, str]:
    return bad.file, bad.index, bad.offset, bad.kind


class Dribble(io.RawIOBase):
    """A stream whose reads give a few bytes at a time, as a network's do."""

    def __init__(self, data: bytes, step: int) -> None:
        self.rest, self.step = io.BytesIO(data), step

    def readable(self) -> bool:
        return True

    def readinto(self, view) -> int:
        part = self.rest.read(min(self.step, len(view)))
        view[: len(part)] = part
        return len(part)


@pytest.mark.parametrize("size", [(64 << 10) - 1, 64 << 10, 300_000])
def test_the_checksum_of_a_large_record_is_looked_at(size):
    data = bytearray(framed([bytes(size), b"small", bytes(size)]))
    data[5 + size] ^= 1
    records, bad = read(bytes(data))
    assert records == {1: b"small", 2: bytes(size)}
    assert [where(each) for each in bad] == [("shard", 0, 0, "crc")]


# --- TensorFlow, both ways ------------------------------------------------------------------------------------------------


@settings(max_examples=25)
@given(records=records_of_a_file)
def test_tensorflow_reads_what_we_write(records, tmp_path_factory):
    path = tmp_path_factory.mktemp("ours") / "shard.tfrecord"
    path.write_bytes(framed(records))
    assert list(tf.data.TFRecordDataset(str(path)).as_numpy_iterator()) == records


@settings(max_examples=25)
@given(records=records_of_a_file)
def test_we_write_and_read_what_tensorflow_writes(records, tmp_path_factory):
    path = tmp_path_factory.mktemp("theirs") / "shard.tfrecord"
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records:
            writer.write(record)
    assert path.read_bytes() == framed(records)
    assert read(path.read_bytes()) == (dict(enumerate(records)), [])


# --- Blocks ---------------------------------------------------------------------------------------------------------------


@given(records_of_a_file, block_sizes)
def test_block_size_does_not_matter(records, block_bytes):
    assert read(framed(records), block_bytes) == (dict(enumerate(records)), [])


@given(records_of_a_file, block_sizes, st.integers(1, 100))
def test_blocks_do_not_depend_on_how_the_stream_delivers(records, block_bytes, step):
    def cut(stream):
        return [(b.offset, b.starts.tolist(), b.ends.tolist(), b.indices.tolist()) for b in tfrecord.read(stream, "shard", block_bytes)]

    data = framed(records)
    assert cut(Dribble(data, step)) == cut(io.BytesIO(data))


@given(records_of_a_file, block_sizes)
def test_a_block_holds_whole_records_and_as_many_as_fit(records, block_bytes):
    data = framed(records)
    bounds = np.cumsum([0, *(len(record) + 16 for record in records)]).tolist()
    end = 0
    for block in tfrecord.read(io.BytesIO(data), "shard", block_bytes):
        assert block.offset == end
        assert block.data.tobytes() == data[end : end + len(block.data)]
        end += len(block.data)
        assert bounds.index(end) == block.indices[-1] + 1
        assert end == len(data) or bounds[block.indices[-1] + 2] - block.offset > block_bytes
        assert len(block.data) <= max(block_bytes, 2 * max(np.diff(bounds)))
    assert end == len(data)


def test_a_block_is_gone_when_the_next_one_is_asked_for():
    blocks = tfrecord.read(io.BytesIO(framed([b"a" * 50, b"b" * 50, b"c" * 50])), "shard", 70)
    first = next(blocks)
    assert first.record(0) == b"a" * 50
    second = next(blocks)
    assert second.record(0) == b"b" * 50
    with pytest.raises(AttributeError, match="data"):
        first.record(0)


@given(st.lists(st.binary(min_size=1, max_size=300), min_size=1, max_size=30), block_sizes, st.integers(1, 4))
def test_with_several_buffers_a_block_stays_until_so_many_more_are_asked_for(records, block_bytes, buffers):
    held = []
    for block in tfrecord.read(io.BytesIO(framed(records)), "shard", block_bytes, buffers):
        held.append(block)
        for earlier in held[-buffers:]:
            assert [earlier.record(row) for row in range(len(earlier))] == [records[index] for index in earlier.indices]
        assert not any(hasattr(earlier, "data") for earlier in held[:-buffers])


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=30), block_sizes)
def test_a_bad_record_tells_its_place_in_the_file(records, block_bytes):
    data = framed(records)
    for block in tfrecord.read(io.BytesIO(data), "shard", block_bytes):
        for row in range(len(block)):
            bad = block.bad_record(row, "size", "too small")
            assert struct.unpack_from("<Q", data, bad.offset)[0] == len(records[bad.index])
            assert data[bad.offset + 12 :].startswith(records[bad.index])
            assert str(bad) == f"shard: record {bad.index} at byte {bad.offset}: too small"


# --- Damage ---------------------------------------------------------------------------------------------------------------

SMALL = [b"first", b"", b"the third record", b"last"]
OFFSETS = np.cumsum([0, *(len(record) + 16 for record in SMALL)]).tolist()


def test_an_empty_file_has_no_records():
    assert list(tfrecord.read(io.BytesIO(), "shard")) == []


def test_a_text_file_is_one_bad_header():
    text = b"id,labels\n" * 1000
    good, [bad] = read(text)
    assert good == {}
    assert where(bad) == ("shard", 0, 0, "header")
    assert "no TFRecord file" in bad.reason
    assert "10000 bytes from here to the end of the file are lost" in bad.reason


@given(st.binary(min_size=1, max_size=2000), block_sizes)
def test_garbage_is_one_bad_record(garbage, block_bytes):
    good, [bad] = read(framed(SMALL) + garbage, block_bytes)
    assert good == dict(enumerate(SMALL))
    assert where(bad) == ("shard", 4, OFFSETS[-1], "truncated" if len(garbage) < 12 else "header")
    assert f"{len(garbage)} bytes" in bad.reason


@pytest.mark.parametrize("block_bytes", [64, 4096])
@pytest.mark.parametrize("size", range(OFFSETS[-1]))
def test_a_file_cut_anywhere_keeps_its_whole_records(size, block_bytes):
    good, bad = read(framed(SMALL)[:size], block_bytes)
    whole = sum(offset <= size for offset in OFFSETS[1:])
    assert good == dict(enumerate(SMALL[:whole]))
    lost = size - OFFSETS[whole]
    if lost:
        assert [where(b) for b in bad] == [("shard", whole, OFFSETS[whole], "truncated")]
        assert f"; {lost} bytes from here" in bad[0].reason
    else:
        assert bad == []


@pytest.mark.parametrize("bit", [0, 7])
@pytest.mark.parametrize("place", range(OFFSETS[-1]))
def test_a_flipped_bit_costs_its_record_or_the_rest_of_the_file(place, bit):
    data = bytearray(framed(SMALL))
    data[place] ^= 1 << bit
    hit = sum(offset <= place for offset in OFFSETS[1:])
    in_header = place - OFFSETS[hit] < 12
    kept = [row for row in range(len(SMALL)) if row < hit or (row > hit and not in_header)]
    for block_bytes in (64, 4096):
        good, bad = read(bytes(data), block_bytes)
        assert good == {row: SMALL[row] for row in kept}
        assert [where(b) for b in bad] == [("shard", hit, OFFSETS[hit], "header" if in_header else "crc")]


@pytest.mark.parametrize("length", [1 << 60, (1 << 64) - 1, tfrecord.MAX_RECORD_BYTES + 1])
def test_a_length_that_lies_allocates_nothing(length):
    tracemalloc.start()
    good, [bad] = read(framed(SMALL) + header(length) + b"data", 4096)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert good == dict(enumerate(SMALL))
    assert where(bad) == ("shard", 4, OFFSETS[-1], "header")
    assert f"a length of {length} bytes" in bad.reason
    assert peak < 4 << 20


def test_several_bad_records_in_one_file():
    data = bytearray(framed([bytes([i]) * 100 for i in range(10)]))
    for row in (0, 3, 4, 9):
        data[row * 116 + 50] ^= 1
    good, bad = read(bytes(data), 300)
    assert sorted(good) == [1, 2, 5, 6, 7, 8]
    assert [(b.index, b.offset, b.kind) for b in bad] == [(row, row * 116, "crc") for row in (0, 3, 4, 9)]


def test_a_record_larger_than_the_block_is_read_whole():
    big = np.random.default_rng(0).bytes(1 << 20)
    assert read(framed([b"a", big, b"b"]), 64) == ({0: b"a", 1: big, 2: b"b"}, [])


def test_a_file_of_several_writes(tmp_path):
    """`write` hands its stream about a megabyte at a time: what lies between two such pieces is whole too."""
    random = np.random.default_rng(0)
    records = [random.bytes(int(size)) for size in random.integers(0, 200_000, 40)]
    path = tmp_path / "shard.tfrecord"
    with path.open("wb") as stream:
        assert tfrecord.write(stream, iter(records)) == sum(len(record) + 16 for record in records)
    assert list(tf.data.TFRecordDataset(str(path)).as_numpy_iterator()) == records


# --- Header scan ------------------------------------------------------------------------------------------------------------
