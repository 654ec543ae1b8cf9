"""TFRecord files, gzipped or not: framing and checksums, many records at a time; `heads` reads their first bytes alone.

A file is a run of records, each `length: uint64`, `crc(length): uint32`, `data: length bytes`, `crc(data): uint32`, little-endian, where
crc is the masked CRC-32C of TensorFlow's `core/lib/io/record_writer.h`.
"""

import struct
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple

import google_crc32c
import numpy as np

from yt8m_data import wire
from yt8m_data.checksum import MASK, length_crc, masked_crc, unlocked_crc
from yt8m_data.errors import BadRecord
from yt8m_data.gzipped import MAGIC, GzipStream

BLOCK_BYTES = 8 << 20  # large enough that a block's fixed cost vanishes: half of it costs 10 % of the speed, twice of it gains 5 %
MAX_RECORD_BYTES = 256 << 20  # no record of these formats comes near; a larger claim is a rotten header, not a reason to allocate

_LARGE_BYTES = 64 << 10  # of a record, whose checksum takes some microseconds that other threads can use

_WRITE_BYTES = 1 << 20  # a call of the system per record would cost as much as the checksum

_HEADER = struct.Struct("<QI")
LENGTH, CRC = struct.Struct("<Q"), struct.Struct("<I")
HEADER_BYTES, CRC_BYTES = _HEADER.size, CRC.size
FRAME_BYTES = HEADER_BYTES + CRC_BYTES  # around each record
PROBE_BYTES = HEADER_BYTES  # of a file that `is_gzip` looks at

# Why a file cannot be read on: the kind of the bad record and its reason.
Fault = tuple[str, str]
BAD_HEADER = ("header", "the checksum of the length is wrong: this is no TFRecord file, or a damaged one")
TRUNCATED = ("truncated", "the file ends inside this record")


class Scanned(NamedTuple):
    """The N whole records that a block begins with.

    Attributes:
      bounds: int64 [N + 1], from 0: where they begin, and where the last one ends.
      good: bool [N], whether the checksum of the data is right.
      fault: what is wrong behind the last one.
    """

    bounds: np.ndarray
    good: np.ndarray
    fault: Fault | None


@dataclass
class RecordBlock:
    """Consecutive records of one file, undecoded: record i is `data[starts[i]:ends[i]]`.

    Attributes:
      data: uint8, the bytes of the block, framing included; gone when its buffer is used again, see `read`.
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
        return BadRecord(self.name, int(self.indices[row]), self.offset + int(self.starts[row]) - HEADER_BYTES, kind, reason)


def fresh(size: int) -> np.ndarray:
    """`size` bytes of any content, uint8."""
    return np.empty(size, np.uint8)


def read(
    stream: BinaryIO,
    name: str,
    block_bytes: int = BLOCK_BYTES,
    buffers: int = 1,
    memory: Callable[[int], np.ndarray] = fresh,
    scan: Callable[[np.ndarray], Scanned] | None = None,
) -> Iterator[RecordBlock]:
    """Read a file block by block, checking both checksums of every record.

    A block holds the whole records of the next `block_bytes`, or one larger record. All blocks lie in one buffer, as fresh pages cost more
    than reading into them: when the next block is asked for, the one before loses its `data`. With several buffers the blocks lie in them
    in turn, and a block keeps its data until so many more are asked for. `memory` gives a buffer of so many bytes.
    `scan` finds the records: None is `plain_scan`; that of `compiled` is faster, and leaves Python's lock to other threads.

    Which records share a block depends on the file and `block_bytes` alone. A record whose data fails its checksum is reported in
    `RecordBlock.bad` and passed over. A header that fails, or a record that ends past the file, ends the file: where the next record
    starts is unknown, so the remaining bytes are reported as lost.

    A gzip file is known by its content, and read as what it holds; offsets are then those in the content.
    """
    buffer, *rest = (memory(block_bytes) for _ in range(buffers))
    others = deque[tuple[np.ndarray, RecordBlock | None]]((other, None) for other in rest)
    offset = index = 0
    have, gzipped = _fill(stream, buffer, 0), None
    if is_gzip(buffer[:have]):
        gzipped = GzipStream(stream, buffer[:have].tobytes())
        stream, have = gzipped, 0  # type: ignore[assignment]
    while have := _fill(stream, buffer, have):
        bounds, good, fault = (scan or plain_scan)(buffer[:have])
        used = int(bounds[-1])
        if fault is None and used < have < len(buffer):
            fault = ("gzip", gzipped.damage) if gzipped and gzipped.damage else TRUNCATED
        if fault is None and not used:  # a record larger than a block
            larger = memory(2 * len(buffer))
            larger[:have] = buffer[:have]
            buffer = larger
            continue
        block = _block(buffer[:used], bounds, good, name, index, offset)
        index += len(good)
        offset += used
        if fault:
            kind, reason = fault
            reason = f"{reason}; {have - used + _count_rest(stream)} bytes from here to the end of the file are lost"
            block.bad.append(BadRecord(name, index, offset, kind, reason))
        if len(block) or block.bad:
            yield block
        if fault:
            return
        have -= used
        last = buffer
        others.append((buffer, block))
        buffer, gone = others.popleft()
        if gone is not None:
            del gone.data  # whoever kept the block is not to find other records in it
        if len(buffer) < len(last):  # it has grown for a larger record
            buffer = memory(len(last))
        buffer[:have] = last[used : used + have]
    if gzipped and gzipped.damage:
        block = _block(buffer[:0], np.zeros(1, np.int64), np.ones(0, bool), name, index, offset)
        block.bad.append(BadRecord(name, index, offset, "gzip", f"{gzipped.damage}; what stood behind this place is lost"))
        yield block


def is_gzip(head: np.ndarray | bytes) -> bool:
    """Return whether a file that begins so is a gzip file, and none of records the first of which has a length that looks like one."""
    head = bytes(head[:PROBE_BYTES])
    return head[: len(MAGIC)] == MAGIC and CRC.pack(masked_crc(head[:8])) != head[8:]


@dataclass
class Framed:
    """Records to write: record i is `data[starts[i]:ends[i]]`, with the room of a header before it and of a checksum behind it.

    Attributes:
      data: uint8; `write` fills the rooms in.
      starts, ends: int64 [N], ascending.
      sealed: whether they are filled in.
    """

    data: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    sealed: bool = False

    @classmethod
    def of_lengths(cls, lengths: np.ndarray) -> "Framed":
        """Make room for records of so many bytes, int64 [N]."""
        ends = np.cumsum(lengths + FRAME_BYTES) - CRC_BYTES
        return cls(np.empty(int(ends[-1]) + CRC_BYTES if len(ends) else 0, np.uint8), ends - lengths, ends)

    def __len__(self) -> int:
        return len(self.starts)

    def records(self) -> list[bytes]:
        """Return the records."""
        return [self.data[start:end].tobytes() for start, end in zip(self.starts.tolist(), self.ends.tolist(), strict=True)]


def write(stream: BinaryIO, records: Framed | Iterable[bytes]) -> int:
    """Append records to `stream`, framed; return the number of bytes written."""
    if isinstance(records, Framed):
        return _write_framed(stream, records)
    written = pending = 0
    pieces: list[bytes] = []
    for record in records:
        pieces.append(record)
        pending += len(record)
        if pending >= _WRITE_BYTES:
            written, pending = written + _write_framed(stream, _framed(pieces)), 0
            pieces.clear()
    return written + _write_framed(stream, _framed(pieces))


def _framed(records: list[bytes]) -> Framed:
    framed = Framed.of_lengths(np.fromiter(map(len, records), np.int64, len(records)))
    for start, end, record in zip(framed.starts.tolist(), framed.ends.tolist(), records, strict=True):
        framed.data.data[start:end] = record
    return framed


def _write_framed(stream: BinaryIO, framed: Framed) -> int:
    """Fill in the headers and checksums, and write some of it at a time, while it is in the cache."""
    data, starts, ends = framed.data, framed.starts, framed.ends
    if framed.sealed:
        stream.write(data.data)
        return len(data)
    distinct, number = np.unique(ends - starts, return_inverse=True)
    headers = np.array([_HEADER.pack(length, length_crc(length)) for length in distinct.tolist()], f"S{HEADER_BYTES}")
    wire.scatter(data, starts - HEADER_BYTES, headers.view(np.uint8).reshape(-1, HEADER_BYTES)[number])
    step = max(1, len(starts) * _WRITE_BYTES // max(len(data), 1))
    checksum, begin = google_crc32c.value, 0
    for at in range(0, len(starts), step):
        some = slice(at, at + step)
        crc = np.array(
            [checksum(data[start:end]) for start, end in zip(starts[some].tolist(), ends[some].tolist(), strict=True)], np.uint32
        )
        masked = (crc >> 15 | crc << 17) + np.uint32(MASK)
        wire.scatter(data, ends[some], masked.astype("<u4").view(np.uint8).reshape(-1, CRC_BYTES))
        end = int(ends[some][-1]) + CRC_BYTES
        stream.write(data[begin:end].data)
        begin = end
    return len(data)


def _fill(stream: BinaryIO, buffer: np.ndarray, have: int) -> int:
    """Read on into `buffer[have:]`; return where the bytes end, which is before the end of the buffer only at the end of the file."""
    view = buffer.data
    while have < len(buffer) and (count := stream.readinto(view[have:])):  # type: ignore[attr-defined]
        have += count
    return have


def plain_scan(data: np.ndarray) -> Scanned:
    """Find the whole records in `data`, uint8, which begins with one."""
    bounds: list[int] = [0]
    checksums: list[int] = []
    known: dict[int, int] = {}  # records of one kind share few lengths, so most headers have been checked before
    view, size, end = data.data, len(data), 0
    unpack, checksum, unlocked = _HEADER.unpack_from, google_crc32c.value, unlocked_crc()  # names to look up once, not once per record
    while end + HEADER_BYTES <= size:
        length, crc = unpack(view, end)
        if known.get(length) != crc:
            if masked_crc(bytes(view[end : end + 8])) != crc:
                return _compared(data, bounds, checksums, BAD_HEADER)
            if length > MAX_RECORD_BYTES:
                return _compared(data, bounds, checksums, too_long(length))
            known[length] = crc
        start = end + HEADER_BYTES
        stop = start + length
        end = stop + CRC_BYTES
        if end > size:
            break
        whole = data[start:stop]  # the bytes of an array are read in place, those of a memoryview are not
        checksums.append(checksum(whole) if length < _LARGE_BYTES else unlocked(whole))
        bounds.append(end)
    return _compared(data, bounds, checksums, None)


def too_long(length: int) -> Fault:
    """What is wrong with a header that claims more than MAX_RECORD_BYTES."""
    return "header", f"a length of {length} bytes is more than any record has"


def _compared(data: np.ndarray, bounds: list[int], checksums: list[int], fault: Fault | None) -> Scanned:
    """Compare the checksums of the records with those in the file."""
    edges, crc = np.array(bounds), np.array(checksums, np.uint32)
    given = wire.gather(data, edges[1:] - CRC_BYTES, CRC_BYTES).view("<u4")[:, 0]
    return Scanned(edges, (crc >> 15 | crc << 17) + np.uint32(MASK) == given, fault)


def _block(data: np.ndarray, bounds: np.ndarray, good: np.ndarray, name: str, first_index: int, offset: int) -> RecordBlock:
    """The records between `bounds`, without those whose checksum is wrong."""
    starts, ends = bounds[:-1] + HEADER_BYTES, bounds[1:] - CRC_BYTES
    bad = [
        BadRecord(name, first_index + row, offset + int(bounds[row]), "crc", "the checksum of the data is wrong")
        for row in np.flatnonzero(~good).tolist()
    ]
    indices = first_index + np.arange(len(starts))
    return RecordBlock(data, starts[good], ends[good], indices[good], offset, name, bad)


def _count_rest(stream: BinaryIO) -> int:
    """Count the bytes that are left to read."""
    count = 0
    while chunk := stream.read(1 << 20):
        count += len(chunk)
    return count
