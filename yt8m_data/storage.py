"""Where files lie: on disk, or in an object store (`gs://`, `s3://`). All that the jobs read and write goes through here.

A path on disk is a `pathlib.Path`, an object an `ObjectPath` with the same methods, as far as they are used. The stores are pyarrow's, and
take their credentials from where Google's and Amazon's own tools do. STORAGE_EMULATOR_HOST and AWS_ENDPOINT_URL lead to other servers.
"""

import contextlib
import ctypes
import datetime
import errno
import fnmatch
import functools
import glob
import io
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.fs

from yt8m_data.errors import DataError

SCHEMES = ("gs", "s3")

_BEGIN_BYTES = 8 << 20  # written before the disk is told to begin
_SYNC_FILE_RANGE_WRITE = 2
_RETRY = datetime.timedelta(seconds=60)


def is_remote(path: "AnyPath") -> bool:
    """Tell an object's URL from a path on disk."""
    return "://" in str(path)


def to_path(path: "AnyPath") -> "OnePath":
    """Make a path on disk or in a store of what the user wrote.

    Raises:
      DataError: the URL is of no store that we know.
    """
    if isinstance(path, ObjectPath):
        return path
    return ObjectPath(str(path)) if is_remote(path) else Path(path)


def size(path: str) -> int:
    """Return the size of a file in bytes."""
    return ObjectPath(path).size() if is_remote(path) else os.path.getsize(path)


def size_below(folder: str) -> int:
    """Return the size of all files below a folder on a disk in bytes; 0 where there is none."""
    return sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())


def identity(path: str) -> list[str | int]:
    """Return the path, the size and the time of the last change (ns): another file, or a changed one, has another."""
    if is_remote(path):
        info = ObjectPath(path).info()
        return [path, info.size, info.mtime_ns]
    status = os.stat(path)
    return [path, status.st_size, status.st_mtime_ns]


def open_read(path: str) -> BinaryIO:
    """Open a file for reading; reads go to the disk or the store unbuffered, so ask for much at a time."""
    if is_remote(path):
        stream: BinaryIO = ObjectPath(path).open()
        return stream
    return open(path, "rb", buffering=0)


class _Begun(io.FileIO):
    """A file that the disk begins to write while more of it comes: `fsync` waits for the rest alone."""

    _waiting = 0

    def write(self, data: Any) -> int:
        """Write, and now and then tell the disk to begin."""
        written = super().write(data)
        self._waiting += written
        if self._waiting >= _BEGIN_BYTES:
            self._waiting = 0
            _sync_file_range()(self.fileno(), ctypes.c_int64(0), ctypes.c_int64(0), _SYNC_FILE_RANGE_WRITE)  # to the end
        return written


def open_write(file: str | os.PathLike[str] | int) -> BinaryIO:
    """Open a file on a disk, by its path or descriptor, to write one that is large and must be on the disk in the end."""
    return io.BufferedWriter(_Begun(file, "wb"))


def expand(pattern: str) -> list[str]:
    """List the files that match a glob pattern; in a store `*` does not cross a `/`, and `**` does."""
    if not is_remote(pattern):
        return [path for path in glob.glob(os.path.expanduser(pattern), recursive=True) if os.path.isfile(path)]
    fixed = pattern[: min((pattern.find(c) for c in "*?[" if c in pattern), default=len(pattern))]
    if fixed == pattern:
        return [pattern] if ObjectPath(pattern).is_file() else []
    below = ObjectPath(fixed.rpartition("/")[0])
    return [str(path) for path in below.walk(recursive="/" in pattern[len(fixed) :] or "**" in pattern) if _matches(str(path), pattern)]


@contextlib.contextmanager
def atomic_write(path: "AnyPath") -> Iterator[BinaryIO]:
    """Open a file that appears under its name whole, at the end of the block, or not at all.

    Raises:
      DataError: the disk is full, or the store refuses the object.
    """
    with _atomic_object(ObjectPath(str(path))) if is_remote(path) else _atomic_file(Path(os.fspath(path))) as stream:  # type: ignore[arg-type]
        yield stream


@contextlib.contextmanager
def room(folder: Path) -> Iterator[None]:
    """Tell in one sentence that the disk of a folder, into which the block writes, is full."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise DataError(f"the disk of {folder} is full: make room, and run the same command again") from None


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


OnePath = Path | ObjectPath
AnyPath = str | os.PathLike[str] | ObjectPath


def disk_for(folder: AnyPath) -> str:
    """Return where to put what is needed only while an output is made: in its folder, or for a store where temporary files go."""
    return tempfile.gettempdir() if is_remote(folder) else str(folder)


def remove_tree(folder: OnePath) -> None:
    """Remove a folder and all that is in it."""
    if isinstance(folder, ObjectPath):
        folder.rmtree()
    else:
        shutil.rmtree(folder)


@contextlib.contextmanager
def _atomic_file(target: Path) -> Iterator[BinaryIO]:
    descriptor, temporary = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent)
    try:
        with room(target.parent), open_write(descriptor) as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


@contextlib.contextmanager
def _atomic_object(target: ObjectPath) -> Iterator[BinaryIO]:
    """Write to a file on disk and send it when it is whole: an upload that is closed half-way would leave half an object."""
    with tempfile.NamedTemporaryFile() as local:
        yield local  # type: ignore[misc]
        local.flush()
        with _told(target), pa.memory_map(local.name) as whole, _store(target.scheme).open_output_stream(target.key) as remote:
            remote.write(whole.read_buffer())  # one call, which no interrupt divides


def _matches(path: str, pattern: str) -> bool:
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


@functools.cache
def _sync_file_range() -> Callable[..., int]:
    return getattr(ctypes.CDLL(None), "sync_file_range", lambda *_: 0)  # other systems than Linux lack it


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
