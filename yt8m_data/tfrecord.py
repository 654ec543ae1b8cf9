"""TFRecord files: framing and checksums, many records at a time.

A file is a run of records, each `length: uint64`, `crc(length): uint32`, `data: length bytes`, `crc(data): uint32`, little-endian, where
crc is the masked CRC-32C of TensorFlow's `core/lib/io/record_writer.h`.
"""

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

import google_crc32c
import numpy as np

from yt8m_data.errors import BadRecord

BLOCK_BYTES = 8 << 20  # large enough that a block's fixed cost vanishes: half of it costs 15 % of the speed, twice of it gains nothing
MAX_RECORD_BYTES = 1 << 30  # no record of these formats comes near; a larger claim is a rotten header, not a reason to allocate

_WRITE_BYTES = 1 << 20  # a call of the system per record would cost as much as the checksum

_HEADER = struct.Struct("<QI")
_CRC = struct.Struct("<I")
_FRAME_BYTES = _HEADER.size + _CRC.size

# Why a file cannot be read on: the kind of the bad record and its reason.
_Fault = tuple[str, str]
_BAD_HEADER = ("header", "the checksum of the length is wrong: this is no TFRecord file, or a damaged one")
_TRUNCATED = ("truncated", "the file ends inside this record")


def masked_crc(data: bytes) -> int:
    """CRC-32C of `data`, rotated right by 15 bits and shifted by a constant (TensorFlow's mask)."""
    crc = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


@dataclass
class RecordBlock:
    """Consecutive records of one file, undecoded: record i is `data[starts[i]:ends[i]]`.

    Attributes:
      data: uint8, the bytes of the block, framing included.
      starts, ends: int64 [N].
      indices: int64 [N], the records' positions in the file; a record with a bad checksum is missing.
      offset: the position of `data[0]` in the file.
      name: the file's name.
      bad: what was left out.
    """

    data: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    indices: np.ndarray
    offset: int
    name: str
    bad: list[BadRecord]

    def __len__(self) -> int:
        return len(self.starts)

    def record(self, row: int) -> bytes:
        """Return the bytes of record `row`."""
        return self.data[self.starts[row] : self.ends[row]].tobytes()

    def bad_record(self, row: int, kind: str, reason: str) -> BadRecord:
        """Describe what is wrong with record `row`."""
        return BadRecord(self.name, int(self.indices[row]), self.offset + int(self.starts[row]) - _HEADER.size, kind, reason)


def read(stream: BinaryIO, name: str, block_bytes: int = BLOCK_BYTES) -> Iterator[RecordBlock]:
    """Read a file block by block, checking both checksums of every record.

    Which records share a block depends on the file and `block_bytes` alone. A record whose data fails its checksum is reported in
    `RecordBlock.bad` and passed over. A header that fails, or a record that ends past the file, ends the file: where the next record
    starts is unknown, so the remaining bytes are reported as lost.
    """
    offset = index = 0
    while True:
        data, starts, used, fault = _read_block(stream, block_bytes)
        block = _verify(data, starts, name, index, offset)
        index += len(starts)
        if fault:
            kind, reason = fault
            lost = len(data) - used + _count_rest(stream)
            reason = f"{reason}; {lost} bytes from here to the end of the file are lost"
            block.bad.append(BadRecord(name, index, offset + used, kind, reason))
        if len(block) or block.bad:
            yield block
        if fault or not len(data):
            return
        offset += len(data)


def write(stream: BinaryIO, records: Iterable[bytes]) -> int:
    """Append records to `stream`, framed; return the number of bytes written."""
    headers: dict[int, bytes] = {}
    pieces: list[bytes] = []
    written = pending = 0
    for record in records:
        length = len(record)
        header = headers.get(length)
        if header is None:
            packed = struct.pack("<Q", length)
            header = headers[length] = packed + _CRC.pack(masked_crc(packed))
        pieces += (header, record, _CRC.pack(masked_crc(record)))
        pending += length + _FRAME_BYTES
        if pending >= _WRITE_BYTES:
            stream.write(b"".join(pieces))
            pieces.clear()
            written, pending = written + pending, 0
    stream.write(b"".join(pieces))
    return written + pending


def _read_block(stream: BinaryIO, block_bytes: int) -> tuple[np.ndarray, list[int], int, _Fault | None]:
    """Read at least `block_bytes` and on to the end of a record: the bytes, each record's start of data, the bytes they fill, the fault."""
    buffer = np.empty(block_bytes + block_bytes // 8, np.uint8)  # room for the record that stands across the end
    have = _fill(stream, buffer, 0, block_bytes)
    starts, used, fault = _scan(buffer, 0, have)
    while fault is None and used < have:
        want = used + _HEADER.size
        if want <= have:
            want = used + _FRAME_BYTES + _HEADER.unpack_from(buffer.data, used)[0]
        if want > len(buffer):
            buffer = np.concatenate((buffer[:have], np.empty(want - have, np.uint8)))
        have = _fill(stream, buffer, have, want)
        if have < want:
            fault = _TRUNCATED
        else:
            more, used, fault = _scan(buffer, used, have)
            starts += more
    return buffer[:have], starts, used, fault


def _fill(stream: BinaryIO, buffer: np.ndarray, start: int, end: int) -> int:
    """Read into `buffer[start:end]`; return where the bytes end, which is before `end` only at the end of the file."""
    view = buffer.data
    while start < end and (count := stream.readinto(view[start:end])):  # type: ignore[attr-defined]
        start += count
    return start


def _scan(buffer: np.ndarray, pos: int, end: int) -> tuple[list[int], int, _Fault | None]:
    """Find the whole records in `buffer[pos:end]`: where the data of each starts, where the last one ends, what is wrong behind it."""
    starts: list[int] = []
    view = buffer.data
    known: dict[int, int] = {}  # records of one kind share few lengths, so most headers have been checked before
    while pos + _HEADER.size <= end:
        length, crc = _HEADER.unpack_from(view, pos)
        if known.get(length) != crc:
            if masked_crc(bytes(view[pos : pos + 8])) != crc:
                return starts, pos, _BAD_HEADER
            if length > MAX_RECORD_BYTES:
                return starts, pos, ("header", f"a length of {length} bytes is more than any record has")
            known[length] = crc
        if pos + _FRAME_BYTES + length > end:
            break
        starts.append(pos + _HEADER.size)
        pos += _FRAME_BYTES + length
    return starts, pos, None


def _verify(data: np.ndarray, starts: list[int], name: str, first_index: int, offset: int) -> RecordBlock:
    """Check the data checksum of every record of a block, and leave out those that fail."""
    begin = np.array(starts, np.int64)
    end = begin + _little_endian(data, begin - _HEADER.size)
    view = data.data
    crc = np.array([google_crc32c.value(bytes(view[a:b])) for a, b in zip(starts, end.tolist(), strict=True)], np.uint32)
    good = (crc >> 15 | crc << 17) + np.uint32(0xA282EAD8) == _little_endian(data, end)
    bad = [
        BadRecord(name, first_index + row, offset + starts[row] - _HEADER.size, "crc", "the checksum of the data is wrong")
        for row in np.flatnonzero(~good).tolist()
    ]
    indices = first_index + np.arange(len(begin))
    return RecordBlock(data, begin[good], end[good], indices[good], offset, name, bad)


def _little_endian(data: np.ndarray, pos: np.ndarray) -> np.ndarray:
    """Read four bytes at each position as one number: int64 [N]; the lengths of records fit, by MAX_RECORD_BYTES."""
    windows = np.ndarray((max(len(data) - 3, 0), 4), np.uint8, data, strides=(1, 1))  # four bytes from every place
    return windows[pos].view("<u4")[:, 0].astype(np.int64)


def _count_rest(stream: BinaryIO) -> int:
    """Count the bytes that are left to read."""
    count = 0
    while chunk := stream.read(1 << 20):
        count += len(chunk)
    return count
