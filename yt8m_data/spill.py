"""Runs: what one unit of work gives to each partition of a shuffle, on disk, to be read back partition by partition.

A run is a file of Arrow messages, the schema and one for each piece of a partition, and a list of them beside it. The list comes last,
whole or not at all: a run that has one is finished, and need not be made again after a kill. The runs of a shuffle share a folder.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from yt8m_data import storage


class RunWriter:
    """Writes a run.

    Args:
      folder: where.
      name: of the run; unique among those of the shuffle.

    Raises:
      DataError: on writing, the disk is full.
    """

    def __init__(self, folder: str, name: str) -> None:
        self._list = Path(folder) / f"{name}.json"
        self._stream = storage.open_write(Path(folder) / f"{name}.run")
        self._pieces: list[list[int]] = []

    def __enter__(self) -> "RunWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            self._stream.close()
        except OSError:  # what failed to be written fails again
            if kind is None:
                raise

    def write(self, partition: int, batch: pa.RecordBatch) -> None:
        """Append a piece of a partition."""
        with storage.room(self._list.parent):
            if not self._pieces:
                self._stream.write(batch.schema.serialize())
            message = batch.serialize()
            self._pieces.append([partition, self._stream.tell(), message.size])
            self._stream.write(message)

    def finish(self) -> None:
        """Finish the run."""
        with storage.room(self._list.parent):
            self._stream.flush()
            os.fsync(self._stream.fileno())
        with storage.atomic_write(self._list) as stream:
            stream.write(json.dumps({"bytes": self._stream.tell(), "pieces": self._pieces}).encode())


def is_finished(folder: str, name: str) -> bool:
    """Return whether a run is finished, and as long as it was then."""
    try:
        listed = json.loads((Path(folder) / f"{name}.json").read_bytes())
        return bool(os.path.getsize(Path(folder) / f"{name}.run") == listed["bytes"])
    except FileNotFoundError:
        return False


def finished(folder: str) -> list[str]:
    """List the finished runs of a folder, by name."""
    return sorted(path.stem for path in Path(folder).glob("*.json"))


def locate(folder: str) -> dict[int, np.ndarray]:
    """Find the pieces of all partitions in finished runs: int64 [M, 3] each, of run (its place among `finished`), offset and size."""
    rows = []
    for number, name in enumerate(finished(folder)):
        pieces = np.array(json.loads((Path(folder) / f"{name}.json").read_bytes())["pieces"], np.int64).reshape(-1, 3)
        rows.append(np.column_stack([pieces[:, 0], np.full(len(pieces), number), pieces[:, 1:]]))
    every = np.concatenate(rows) if rows else np.empty((0, 4), np.int64)
    every = every[np.argsort(every[:, 0], kind="stable")]
    partitions, starts = np.unique(every[:, 0], return_index=True)
    return dict(zip(partitions.tolist(), np.split(every[:, 1:], starts[1:]), strict=False))


def read(folder: str, pieces: np.ndarray) -> Iterator[pa.RecordBatch]:
    """Read pieces that `locate` found, with no run finished since.

    They are read rather than mapped: pages of mapped files would count as the process's memory until the system wants them back.
    """
    names = finished(folder) if len(pieces) else []
    for number in np.unique(pieces[:, 0]).tolist():
        with pa.OSFile(str(Path(folder) / f"{names[number]}.run")) as source:
            columns = pa.ipc.read_schema(source)
            for offset, size in pieces[pieces[:, 0] == number, 1:].tolist():
                source.seek(offset)
                yield pa.ipc.read_record_batch(source.read_buffer(size), columns)
