"""The compiled loops: their plain versions in NumPy and Python are the oracle; what would reach outside an array is refused."""

import io
import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from yt8m_data import checksum, compiled, tfrecord

records_of_a_file = st.lists(st.binary(max_size=300), max_size=30)
damages = st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 7)), max_size=3)


def damaged(records, flips, end) -> bytes:
    """A file of records with some bits flipped, cut somewhere."""
    stream = io.BytesIO()
    tfrecord.write(stream, records)
    data = bytearray(stream.getvalue())
    for place, bit in flips:
        if data:
            data[place % len(data)] ^= 1 << bit
    return bytes(data[: len(data) - end % (len(data) + 1)])


@given(records_of_a_file, damages, st.sampled_from([0, 0, 1, 5, 17, 300]))
def test_a_scan_finds_what_the_plain_one_finds(records, flips, end):
    data = np.frombuffer(damaged(records, flips, end), np.uint8).copy()
    found, plain = compiled.scanner()(data), tfrecord.plain_scan(data)
    np.testing.assert_array_equal(found.bounds, plain.bounds)
    np.testing.assert_array_equal(found.good, plain.good)
    assert found.fault == plain.fault
    assert (found.bounds.dtype, found.good.dtype) == (np.int64, bool)


@given(records_of_a_file, damages, st.sampled_from([0, 0, 1, 5, 17, 300]), st.integers(64, 4096))
def test_a_file_is_read_alike(records, flips, end, block_bytes):
    data = damaged(records, flips, end)

    def blocks(scan):
        for block in tfrecord.read(io.BytesIO(data), "shard", block_bytes, scan=scan):
            yield [block.record(row) for row in range(len(block))], block.indices.tolist(), block.offset, block.bad

    assert list(blocks(compiled.scanner())) == list(blocks(None))


@pytest.mark.parametrize("length", [tfrecord.MAX_RECORD_BYTES + 1, 2**63, 2**64 - 1, 2**64 - 16])
def test_a_length_that_no_record_has_is_a_fault(length):
    packed = length.to_bytes(8, "little")
    data = np.frombuffer(packed + checksum.masked_crc(packed).to_bytes(4, "little") + bytes(99), np.uint8)
    assert compiled.scanner()(data).fault == tfrecord.plain_scan(data).fault == tfrecord.too_long(length)


def test_without_the_c_function_the_plain_scan_serves(monkeypatch):
    monkeypatch.setattr(checksum, "checksum_address", lambda: 0)
    monkeypatch.setattr(compiled, "finds_checksum", compiled.finds_checksum.__wrapped__)
    assert compiled.scanner() is tfrecord.plain_scan


@given(st.integers(1, 70), st.integers(0, 20), st.integers(0, 2**32 - 1))
def test_rows_are_copied_out_of_any_places(size, count, seed):
    rng = np.random.default_rng(seed)
    source = np.lib.stride_tricks.sliding_window_view(rng.integers(0, 256, 200, np.uint8), size)
    places, rows = rng.integers(0, len(source), count), rng.permutation(25)[:count]
    out = rng.integers(0, 256, (25, size), np.uint8)
    wanted = out.copy()
    wanted[rows] = source[places]
    compiled.copy_rows(source, places, out, rows)
    np.testing.assert_array_equal(out, wanted)


@given(st.lists(st.integers(0, 60), max_size=9), st.integers(1, 9))
def test_rows_are_read_until_one_comes_short(tmp_path_factory, places, size):
    content = np.arange(50, dtype=np.uint8)
    path = tmp_path_factory.mktemp("rows") / "file"
    path.write_bytes(content.tobytes())
    out = np.full((len(places), size), 255, np.uint8)
    whole = [place + size <= len(content) for place in places]
    count = whole.index(False) if False in whole else len(whole)
    with open(path, "rb") as stream:
        assert compiled.read_rows(stream.fileno(), np.array(places, np.int64), out) == count
        for wrong in out[:, :0].astype(np.int8), np.zeros((len(places) + 1, size), np.uint8):
            with pytest.raises(ValueError):
                compiled.read_rows(stream.fileno(), np.array(places, np.int64), wrong)
    np.testing.assert_array_equal(out[:count], [content[place : place + size] for place in places[:count]] or out[:0])


@given(st.lists(st.integers(0, 5), max_size=6), st.integers(1, 70), st.integers(0, 9), st.integers(0, 2**32 - 1))
def test_clips_are_copied_with_zeros_behind_them(lengths, size, between, seed):
    rng = np.random.default_rng(seed)
    clips = [rng.integers(0, 256, (length, between + size), np.uint8)[:, between:] for length in lengths]
    rows = rng.permutation(8)[: len(clips)]
    out = rng.integers(0, 256, (8, 5, size), np.uint8)
    wanted = out.copy()
    for row, clip in zip(rows, clips, strict=True):
        wanted[row] = np.pad(clip, ((0, 5 - len(clip)), (0, 0)))
    compiled.copy_clips(clips, out, rows)
    np.testing.assert_array_equal(out, wanted)


def test_nothing_outside_an_array_is_touched():
    source, out, one = np.zeros((3, 4), np.uint8), np.zeros((2, 4), np.uint8), np.array([0])
    for places, rows in ([3], [0]), ([-1], [0]), ([0], [2]), ([0], [-1]):
        with pytest.raises(IndexError):
            compiled.copy_rows(source, np.array(places), out, np.array(rows))
    for wrong in source[:, :3], source.view("<i2"), source[:, ::2], source.astype(np.float32):
        with pytest.raises(ValueError):
            compiled.copy_rows(wrong, one, out, one)
    with pytest.raises(ValueError):
        compiled.copy_rows(source, np.array([0, 1]), out, one)
    room = np.zeros((1, 2, 4), np.uint8)
    with pytest.raises(IndexError):
        compiled.copy_clips([source[:1]], room, np.array([1]))
    for clips in [], [source], [source[:1, :3]], [source[:1].view(np.int8)], [np.zeros((4, 2), np.uint8).T]:
        with pytest.raises(ValueError):
            compiled.copy_clips(clips, room, one)
    assert not out.any()
    assert not room.any()


SCAN = "import numpy as np; from yt8m_data import compiled; print(compiled.scanner()(np.zeros(20, np.uint8)).fault[0])"


def test_processes_that_begin_together_share_a_cache_or_do_without(tmp_path):
    cached = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    without = os.environ | {"NUMBA_CACHE_LOCATOR_CLASSES": "UserProvidedCacheLocator"}  # as where no folder can be written
    without.pop("NUMBA_CACHE_DIR", None)
    started = [
        subprocess.Popen([sys.executable, "-c", SCAN], env=env, stdout=subprocess.PIPE, text=True) for env in (cached, cached, without)
    ]
    assert [process.communicate()[0] for process in started] == ["header\n"] * 3
    assert list((tmp_path / "cache").rglob("*.nbi"))
