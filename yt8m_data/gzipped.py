"""Gzip files as streams of their content, whatever they are called; damage ends the stream instead of raising."""

import os
import zlib
from typing import BinaryIO

from yt8m_data import storage

MAGIC = b"\x1f\x8b\x08"

_CHUNK_BYTES = 256 << 10
_MAX_PIECE = 1 << 20  # of content taken at a time: a small file may say that it holds a terabyte


class GzipStream:
    """The content of a gzip stream, of one member or several.

    Args:
      stream: the rest of the compressed bytes.
      head: those that were read of it already.

    Attributes:
      damage: why the content ends before its time; None where it does not.
    """

    def __init__(self, stream: BinaryIO, head: bytes) -> None:
        self._stream, self._pending = stream, head
        self._member = zlib.decompressobj(wbits=31)
        self.damage: str | None = None

    def readinto(self, target: memoryview) -> int:
        """Fill some of `target`; 0 at the end of the content, or where damage begins."""
        while True:
            piece = self._inflate(min(len(target), _MAX_PIECE))
            if piece is None:
                return 0
            if piece:
                target[: len(piece)] = piece
                return len(piece)

    def read(self, size: int) -> bytes:
        """Return up to `size` bytes of content; none at its end."""
        target = bytearray(size)
        return bytes(target[: self.readinto(memoryview(target))])

    def _inflate(self, size: int) -> bytes | None:
        """Return some content, or nothing yet; None at the end."""
        if self.damage or not size:
            return None
        if self._member.eof:
            self._pending = self._member.unused_data.lstrip(b"\0")  # another member may follow, or zeros that fill a block
            while not self._pending:
                data = self._stream.read(_CHUNK_BYTES)
                if not data:
                    return None
                self._pending = data.lstrip(b"\0")
            self._member = zlib.decompressobj(wbits=31)
        data = self._pending or self._stream.read(_CHUNK_BYTES)
        if not data:
            self.damage = "the gzip stream ends before its time"
            return None
        try:
            piece = self._member.decompress(data, size)
        except zlib.error:
            self.damage = "the gzip stream is damaged"
            return None
        self._pending = self._member.unconsumed_tail
        return piece


def content_bytes(path: str) -> int:
    """Estimate the size of a file's content: that of a gzip file as its last four bytes say (modulo 4 GiB), and of others their own."""
    size = storage.size(path)
    with storage.open_read(path) as stream:
        if stream.read(len(MAGIC)) != MAGIC or size < 18:
            return size
        stream.seek(-4, os.SEEK_END)
        said = int.from_bytes(stream.read(4), "little")
    return said + (max(size - said, 0) >> 32 << 32)
