"""The first bytes of every record of a TFRecord file: ids and labels stand there, and what lies behind is passed over.

A file is read at the places where its records begin, each of which the one before tells.
"""

import functools
import os
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from yt8m_data import storage, wire
from yt8m_data.errors import BadRecord
from yt8m_data.tfrecord import BAD_HEADER, CRC, CRC_BYTES, HEADER_BYTES, LENGTH, TRUNCATED, RecordBlock, length_crc, masked_crc

HEAD_BYTES = 244  # with the header, a sixteenth of a page: the ids and labels of published records take about sixty
HEAD_RECORDS = 8192  # heads in one block, 2 MB
GAP_BYTES = 8 << 10  # where records are shorter, reading on costs less than another read: nothing in the page cache, a lot on a disk
WINDOW_BYTES = 256 << 10


class Source(Protocol):
    """Bytes that can be read at any place: a local file here, an object of a store elsewhere.

    Attributes:
      name: shown in errors.
      size: in bytes.
    """

    name: str
    size: int

    @property
    def read(self) -> Callable[[int, int], bytes]:
        """The function `read(size, offset)`: `size` bytes from `offset` on, fewer only at the end."""


class LocalFile:
    """A local file as a `Source`."""

    gap_bytes, window_bytes = GAP_BYTES, WINDOW_BYTES

    def __init__(self, path: str) -> None:
        self.name = path
        self._file = os.open(path, os.O_RDONLY)
        self.size = os.fstat(self._file).st_size
        self.read: Callable[[int, int], bytes] = functools.partial(os.pread, self._file)
        if hasattr(os, "posix_fadvise"):  # Linux: otherwise each page that is asked for brings thirty others from the disk
            os.posix_fadvise(self._file, 0, 0, os.POSIX_FADV_RANDOM)

    def __enter__(self) -> "LocalFile":
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._file)


class ObjectFile:
    """An object of a store as a `Source`; a request takes tens of milliseconds, so `scan` reads on over gaps of megabytes."""

    gap_bytes, window_bytes = 4 << 20, 8 << 20

    def __init__(self, url: str) -> None:
        self.name = url
        self._stream = storage.ObjectPath(url).open()
        self.size: int = self._stream.size()

    @property
    def read(self) -> Callable[[int, int], bytes]:
        """The function `read(size, offset)`."""
        read_at: Callable[[int, int], bytes] = self._stream.read_at
        return read_at

    def __enter__(self) -> "ObjectFile":
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()


def open_source(path: str) -> LocalFile | ObjectFile:
    """Open a file to `scan`, on disk or in a store."""
    return ObjectFile(path) if storage.is_remote(path) else LocalFile(path)


@dataclass
class HeadBlock(RecordBlock):
    """The first bytes of consecutive records: record i begins with `data[starts[i]:ends[i]]`, which is all of it where it is short.

    Attributes:
      offsets: int64 [N], the positions of the records' headers in the file.
      lengths: int64 [N], the records' lengths in bytes.
      source: where the rest of a record can be read.
      bytes_read: what this block took from the source.
    """

    offsets: np.ndarray
    lengths: np.ndarray
    source: Source
    bytes_read: int

    def read_more(self, row: int, size: int) -> bytes:
        """Read the first `size` bytes of record `row` anew."""
        data = self.source.read(min(size, int(self.lengths[row])), int(self.offsets[row]) + HEADER_BYTES)
        self.bytes_read += len(data)
        return data

    def bad_record(self, row: int, kind: str, reason: str) -> BadRecord:
        """Describe what is wrong with record `row`."""
        return BadRecord(self.name, int(self.indices[row]), int(self.offsets[row]), kind, reason)


def scan(source: Source, head_bytes: int = HEAD_BYTES, gap_bytes: int = GAP_BYTES, window_bytes: int = WINDOW_BYTES) -> Iterator[HeadBlock]:
    """Read the header and the first `head_bytes` of every record, and pass over the rest; blocks of HEAD_RECORDS records.

    Checks the checksums of the lengths, and that the last record ends with the file; not those of the data. A header that fails ends the
    file, as in `read`.

    Args:
      source: the file.
      head_bytes: of each record.
      gap_bytes: while records are shorter than this the file is read on in windows, as one read costs more than the bytes between the
        heads.
      window_bytes: of one read there.
    """
    position = first = 0
    span, windows = HEADER_BYTES + head_bytes, _Windows(source, window_bytes)
    probe = source.read(LENGTH.size, 0)
    length = LENGTH.unpack(probe)[0] if len(probe) == LENGTH.size else 0
    while position < source.size:
        in_windows, windows.bytes_read = length < gap_bytes, 0
        heads = _follow(windows.read if in_windows else source.read, position, source.size, span)
        block = _head_block(source, heads, first, position)
        block.bytes_read = windows.bytes_read if in_windows else sum(map(len, heads))
        block.bytes_read += len(probe) if first == 0 else 0
        if len(block):
            length = int(block.lengths[-1])
            position = int(block.offsets[-1]) + length + HEADER_BYTES + CRC_BYTES
        first += len(block)
        if len(block) == len(heads):
            yield block
            continue
        head = heads[len(block)]  # the record behind it cannot be found
        wrong = len(head) >= HEADER_BYTES and CRC.pack(masked_crc(head[:8])) != head[8:HEADER_BYTES]
        kind, reason = BAD_HEADER if wrong else TRUNCATED
        reason = f"{reason}; {source.size - position} bytes from here to the end of the file are lost"
        block.bad.append(BadRecord(source.name, first, position, kind, reason))
        yield block
        return


class _Windows:
    """Reads a source in windows, for who asks for a little of it here and a little there, forwards."""

    def __init__(self, source: Source, size: int) -> None:
        self.source, self.size = source, size
        self.window, self.start, self.bytes_read = b"", 0, 0

    def read(self, size: int, offset: int) -> bytes:
        """Read as the source does."""
        at = offset - self.start
        if at + size > len(self.window):
            self.window, self.start, at = self.source.read(max(size, self.size), offset), offset, 0
            self.bytes_read += len(self.window)
        return self.window[at : at + size]


def _follow(read: Callable[[int, int], bytes], position: int, size: int, span: int) -> list[bytes]:
    """Read the heads of up to HEAD_RECORDS records, each where the length of the one before says; whether it says true is not looked at."""
    heads: list[bytes] = []
    append, unpack = heads.append, LENGTH.unpack_from
    try:
        for _ in range(HEAD_RECORDS):
            if position >= size:
                break
            head = read(span, position)
            append(head)
            position += unpack(head)[0] + HEADER_BYTES + CRC_BYTES
    except struct.error:  # the file ends within a length
        pass
    return heads


def _head_block(source: Source, heads: list[bytes], first: int, offset: int) -> HeadBlock:
    """Make a block of heads, headers included, of which the first stands at `offset`; it ends before the first that is not sound."""
    data = np.frombuffer(b"".join(heads), np.uint8)
    sizes = np.fromiter(map(len, heads), np.int64, len(heads))
    sizes = sizes[: len(heads) - (sizes[-1] < HEADER_BYTES)]
    starts = np.cumsum(sizes) - sizes
    headers = wire.gather(data, starts, HEADER_BYTES)
    lengths = headers[:, :8].copy().view("<i8")[:, 0]
    distinct, number = np.unique(lengths, return_inverse=True)
    crcs = np.array([length_crc(length) for length in distinct.tolist()], np.uint32)
    framed = lengths + (HEADER_BYTES + CRC_BYTES)
    behind = offset + np.cumsum(framed)
    sound = (headers[:, 8:].copy().view("<u4")[:, 0] == crcs[number]) & (lengths >= 0) & (lengths < source.size) & (behind <= source.size)
    good = slice(0, len(sound) if sound.all() else int(np.argmin(sound)))
    starts, lengths = starts[good] + HEADER_BYTES, lengths[good]
    return HeadBlock(
        data=data,
        starts=starts,
        ends=starts + np.minimum(sizes[good] - HEADER_BYTES, lengths),
        indices=first + np.arange(len(starts)),
        offset=offset,
        name=source.name,
        bad=[],
        offsets=(behind - framed)[good],
        lengths=lengths,
        source=source,
        bytes_read=0,
    )
