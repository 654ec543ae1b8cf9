"""Where files lie: on disk, or in an object store (`gs://`, `s3://`). All that the jobs read and write goes through here.

A path on disk is a `pathlib.Path`, an object an `object_store.ObjectPath` with the same methods, as far as they are used.
"""

import contextlib
import ctypes
import errno
import functools
import glob
import io
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from yt8m_data.errors import DataError
from yt8m_data.object_store import ObjectPath, atomic_object, matches

_BEGIN_BYTES = 8 << 20  # written before the disk is told to begin
_SYNC_FILE_RANGE_WRITE = 2


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


def check_target(path: "AnyPath") -> None:
    """Check that a file can be written under a path, before the work for it begins.

    Raises:
      DataError: the path is a folder, or its own folder is not there or not ours to write in.
    """
    target = to_path(path)
    if isinstance(target, ObjectPath):
        return
    if target.is_dir():
        raise DataError(f"{path} is a folder: give the path of a file")
    if not target.parent.is_dir():
        raise DataError(f"there is no folder {target.parent} for {target.name}: make it, or give another path")
    if not os.access(target.parent, os.W_OK):
        raise DataError(f"the folder {target.parent} may not be written in: give another path for {target.name}")


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
    return [str(path) for path in below.walk(recursive="/" in pattern[len(fixed) :] or "**" in pattern) if matches(str(path), pattern)]


@contextlib.contextmanager
def atomic_write(path: "AnyPath") -> Iterator[BinaryIO]:
    """Open a file that appears under its name whole, at the end of the block, or not at all.

    Raises:
      DataError: the path is none that a file can have (`check_target`), the disk is full, or the store refuses the object.
    """
    with atomic_object(ObjectPath(str(path))) if is_remote(path) else _atomic_file(Path(os.fspath(path))) as stream:  # type: ignore[arg-type]
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
    check_target(target)
    descriptor, temporary = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent)
    try:
        with room(target.parent), open_write(descriptor) as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
            _let_go(stream.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def _let_go(descriptor: int) -> None:
    """Give the memory that caches a large file back: it is on the disk, and what is still to be read needs the room more."""
    if hasattr(os, "posix_fadvise") and os.fstat(descriptor).st_size >= _BEGIN_BYTES:  # not on macOS
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)


@functools.cache
def _sync_file_range() -> Callable[..., int]:
    return getattr(ctypes.CDLL(None), "sync_file_range", lambda *_: 0)  # other systems than Linux lack it


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
