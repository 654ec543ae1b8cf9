import gzip
import io
import itertools
import struct
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yt8m_data import gzipped, tfrecord

RECORDS = [b"record %d " % n * (n % 50) for n in range(300)]


def framed(records):
    stream = io.BytesIO()
    tfrecord.write(stream, records)
    return stream.getvalue()


def read(data, block_bytes=4096):
    found, bad = [], []
    for block in tfrecord.read(io.BytesIO(data), "x", block_bytes):
        found += [block.record(row) for row in range(len(block))]
        bad += block.bad
    return found, bad


@given(st.integers(1, 5), st.integers(0, 20), st.integers(16, 5000))
@settings(max_examples=20)
def test_members_are_read_behind_one_another(members, zeros, block_bytes):
    data = framed(RECORDS)
    cuts = [len(data) * n // members for n in range(members + 1)]
    packed = b"".join(gzip.compress(data[a:b], 1) for a, b in itertools.pairwise(cuts)) + bytes(zeros)
    assert read(packed, block_bytes) == (RECORDS, [])


def test_an_empty_gzip_file_has_no_records():
    assert read(gzip.compress(b"")) == ([], [])


@given(st.data())
def test_a_cut_keeps_whole_records_and_says_so(data):
    packed = gzip.compress(framed(RECORDS), 1)
    found, bad = read(packed[: data.draw(st.integers(12, len(packed) - 1))])
    assert found == RECORDS[: len(found)]
    assert [record.kind for record in bad] == ["gzip"]
    assert "the gzip stream ends before its time" in bad[0].reason


@given(st.data())
def test_a_flipped_bit_gives_no_wrong_record(data):
    packed = bytearray(gzip.compress(framed(RECORDS), 1))
    place = data.draw(st.integers(10, len(packed) - 1))
    packed[place] ^= 1 << data.draw(st.integers(0, 7))
    found, bad = read(bytes(packed))
    assert all(record in RECORDS for record in found)
    assert bad or found == RECORDS


def test_trailing_garbage_is_told_of():
    found, bad = read(gzip.compress(framed(RECORDS)) + b"garbage")
    assert found == RECORDS
    assert [record.kind for record in bad] == ["gzip"]


def test_a_first_record_whose_length_looks_like_gzip_is_a_record():
    record = bytes(struct.unpack("<I", b"\x1f\x8b\x08\x00")[0])
    data = framed([record])
    assert data[:3] == gzipped.MAGIC
    assert read(data) == ([record], [])


def test_what_expands_is_read_in_pieces():
    """A hundred megabytes of zeros in a file of a hundred kilobytes: no record, and no memory for them."""
    packer = zlib.compressobj(9, wbits=31)
    bomb = b"".join(packer.compress(bytes(1 << 20)) for _ in range(100)) + packer.flush()
    found, bad = read(bomb, 1 << 16)
    assert found == []
    assert [record.kind for record in bad] == ["header"]
    assert f"{100 << 20} bytes from here" in bad[0].reason
    stream = gzipped.GzipStream(io.BytesIO(bomb), b"")
    assert len(stream.read(64 << 20)) <= 1 << 20


def test_sizes_of_contents(tmp_path):
    data = framed(RECORDS)
    for name, content in (("plain", data), ("packed", gzip.compress(data)), ("short", b"\x1f\x8b\x08"), ("empty", b"")):
        (tmp_path / name).write_bytes(content)
    sizes = [gzipped.content_bytes(str(tmp_path / name)) for name in ("plain", "packed", "short", "empty")]
    assert sizes == [len(data), len(data), 3, 0]


@pytest.mark.parametrize("size", [0, 1])
def test_reading_nothing(size):
    assert gzipped.GzipStream(io.BytesIO(gzip.compress(b"")), b"").read(size) == b""
