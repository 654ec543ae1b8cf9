"""Files of records behind one another as one stream, so that the records of many small ones are decoded together."""

from bisect import bisect_right
from collections.abc import Sequence
from typing import BinaryIO

from yt8m_data import storage, tfrecord
from yt8m_data.errors import DataError
from yt8m_data.gzipped import GzipStream


class Chain:
    """The bytes of files, unpacked where they are gzipped; a file is opened when the one before has come to its end."""

    def __init__(self, paths: Sequence[str]) -> None:
        self._paths, self._starts, self._have_read = paths, list[int](), 0
        self._file: BinaryIO | None = None

    def readinto(self, buffer: memoryview) -> int:
        """Read on; returns the number of bytes, which is 0 at the end of the last file alone.

        Raises:
          DataError: a file cannot be read.
        """
        count = 0
        while not count and (self._file or len(self._starts) < len(self._paths)):
            try:
                count = self._read_on(buffer)
            except OSError as error:
                path = self._paths[len(self._starts) - 1]
                raise DataError(f"{path} cannot be read ({error.strerror or error}): look whether it is still there") from None
        self._have_read += count
        return count

    def read(self, size: int) -> bytes:
        """Nothing: this is how what is lost behind a fault would be counted, and here that could be terabytes of other files."""
        return b""

    def path_at(self, offset: int) -> str:
        """The file in which a byte of the stream stands."""
        return self._paths[max(0, bisect_right(self._starts, offset) - 1)]

    def close(self) -> None:
        """Close the file that is open."""
        if self._file:
            self._file.close()
        self._file = None

    def _read_on(self, buffer: memoryview) -> int:
        """Read on in the file that is open, or else open the next one; 0 where it has ended."""
        if self._file is None:
            self._starts.append(self._have_read)
            self._file = storage.open_read(self._paths[len(self._starts) - 1])
            head = self._file.read(tfrecord.PROBE_BYTES)
            self._unpacked = GzipStream(self._file, head) if tfrecord.is_gzip(head) else None
            if self._unpacked is None:
                buffer[: len(head)] = head
                return len(head)
        count = (self._unpacked or self._file).readinto(buffer)
        if not count:
            if self._unpacked and self._unpacked.damage:
                path = self._paths[len(self._starts) - 1]
                raise DataError(f"{path} cannot be read to its end ({self._unpacked.damage}): fetch it again")
            self.close()
        return count
