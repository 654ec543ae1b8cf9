"""Objects of a store (`gs://`, `s3://`), by the methods of `pathlib.Path`, as far as they are used.

The stores are pyarrow's, and take their credentials from where Google's and Amazon's own tools do. STORAGE_EMULATOR_HOST and
AWS_ENDPOINT_URL lead to other servers.
"""

import contextlib
import datetime
import fnmatch
import functools
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.fs

from yt8m_data.errors import DataError

SCHEMES = ("gs", "s3")

_RETRY = datetime.timedelta(seconds=60)


class ObjectPath:
    """An object of a store, or what would be a folder: all objects whose names begin alike. Methods are those of `pathlib.Path`.

    Raises:
      DataError: the URL is of no store that we know, or names no bucket.
    """

    def __init__(self, url: str) -> None:
        self.scheme, _, key = url.partition("://")
        self.key = key.rstrip("/")
        if self.scheme not in SCHEMES:
            raise DataError(f"{url} is in no store that is known: give a path, or a URL that begins with {' or '.join(SCHEMES)}://")
        if not self.key:
            raise DataError(f"{url} names no bucket: give {self.scheme}://BUCKET/...")

    def __str__(self) -> str:
        return f"{self.scheme}://{self.key}"

    def __repr__(self) -> str:
        return f"ObjectPath({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ObjectPath) and str(self) == str(other)

    def __lt__(self, other: "ObjectPath") -> bool:
        return str(self) < str(other)

    def __hash__(self) -> int:
        return hash(str(self))

    def __truediv__(self, name: str) -> "ObjectPath":
        return ObjectPath(f"{self}/{name}")

    @property
    def name(self) -> str:
        """The last part."""
        return self.key.rpartition("/")[2]

    @property
    def stem(self) -> str:
        """The last part without its suffix."""
        return Path(self.name).stem

    @property
    def parent(self) -> "ObjectPath":
        """What would be the folder."""
        return ObjectPath(f"{self.scheme}://{self.key.rpartition('/')[0]}")

    def with_name(self, name: str) -> "ObjectPath":
        """Return the path of another object beside this one."""
        return self.parent / name

    def exists(self) -> bool:
        """Return whether there is an object of this name, or below it."""
        return self._info().type != pa.fs.FileType.NotFound

    def is_file(self) -> bool:
        """Return whether there is an object of this name."""
        return bool(self._info().type == pa.fs.FileType.File)

    def is_dir(self) -> bool:
        """Return whether there are objects below."""
        return bool(self._info().type == pa.fs.FileType.Directory)

    def size(self) -> int:
        """Return the object's size in bytes.

        Raises:
          DataError: there is none.
        """
        return int(self.info().size)

    def info(self) -> pa.fs.FileInfo:
        """Return what the store says of the object.

        Raises:
          DataError: there is none.
        """
        info = self._info()
        if info.type != pa.fs.FileType.File:
            raise DataError(f"there is no object {self}")
        return info

    def open(self) -> Any:
        """Open the object for reading, as a pyarrow.NativeFile; each read asks the store once."""
        with _told(self):
            return _store(self.scheme).open_input_file(self.key)

    def read_bytes(self) -> bytes:
        """Return the object's contents."""
        with self.open() as stream:
            contents: bytes = stream.read()
            return contents

    def walk(self, recursive: bool = False) -> Iterator["ObjectPath"]:
        """List the objects below: at the next level, or at all."""
        with _told(self):
            found = _store(self.scheme).get_file_info(pa.fs.FileSelector(self.key, allow_not_found=True, recursive=recursive))
        for info in sorted(found, key=lambda info: info.path):
            if info.type == pa.fs.FileType.File:
                yield ObjectPath(f"{self.scheme}://{info.path}")

    def iterdir(self) -> Iterator["ObjectPath"]:
        """List what is at the next level: objects, and what would be folders, which not every store lists."""
        names = {str(path)[len(str(self)) + 1 :].partition("/")[0] for path in self.walk(recursive=True)}
        return (self / name for name in sorted(names))

    def glob(self, pattern: str) -> Iterator["ObjectPath"]:
        """List the objects at the next level that match."""
        return (path for path in self.walk() if fnmatch.fnmatchcase(path.name, pattern))

    def mkdir(self, parents: bool = False, exist_ok: bool = False) -> None:
        """Do nothing: a store has no folders."""

    def unlink(self, missing_ok: bool = False) -> None:
        """Remove the object."""
        if missing_ok and not self.is_file():
            return
        with _told(self):
            _store(self.scheme).delete_file(self.key)

    def rmtree(self) -> None:
        """Remove all objects below, if there are any."""
        if not self.is_dir():
            return
        with _told(self), contextlib.suppress(FileNotFoundError):  # which Google's store says of the folder itself, when all in it is gone
            _store(self.scheme).delete_dir(self.key)

    def _info(self) -> pa.fs.FileInfo:
        with _told(self):
            return _store(self.scheme).get_file_info(self.key)


@contextlib.contextmanager
def atomic_object(target: ObjectPath) -> Iterator[BinaryIO]:
    """Write to a file on disk and send it when it is whole: an upload that is closed half-way would leave half an object."""
    with tempfile.NamedTemporaryFile() as local:
        yield local  # type: ignore[misc]
        local.flush()
        with _told(target), pa.memory_map(local.name) as whole, _store(target.scheme).open_output_stream(target.key) as remote:
            remote.write(whole.read_buffer())  # one call, which no interrupt divides


def matches(path: str, pattern: str) -> bool:
    """Match part by part; `**` stands for any number of parts."""
    return _match_parts(path.split("/"), pattern.split("/"))


def _match_parts(parts: list[str], patterns: list[str]) -> bool:
    if not patterns:
        return not parts
    if patterns[0] == "**":
        return any(_match_parts(parts[skip:], patterns[1:]) for skip in range(len(parts) + 1))
    return bool(parts) and fnmatch.fnmatchcase(parts[0], patterns[0]) and _match_parts(parts[1:], patterns[1:])


@contextlib.contextmanager
def _told(path: ObjectPath) -> Iterator[None]:
    """Say in one sentence what the store answers."""
    try:
        yield
    except FileNotFoundError:
        raise DataError(f"there is no object {path}, or no such bucket") from None
    except (OSError, pa.ArrowException) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"the store does not give {path}: {reason[:300]} (check the name, the network and the credentials)") from None


@functools.cache
def _store(scheme: str) -> pa.fs.FileSystem:
    """Connect to a store, once per process."""
    if scheme == "s3":
        return pa.fs.S3FileSystem(endpoint_override=os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL"))
    emulator = os.environ.get("STORAGE_EMULATOR_HOST")
    if emulator is None:
        return pa.fs.GcsFileSystem(retry_time_limit=_RETRY)
    scheme, _, host = emulator.rpartition("://")
    return pa.fs.GcsFileSystem(anonymous=True, scheme=scheme or "http", endpoint_override=host.rstrip("/"), retry_time_limit=_RETRY)
