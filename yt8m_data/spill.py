"""Runs: what one unit of work gives to each partition of a shuffle, on disk, to be read back partition by partition.

A run is a file of Arrow messages, the schema and one for each piece of a partition, and a list of them beside it. The list comes last,
whole or not at all: a run that has one is finished, and need not be made again after a kill. The runs of a shuffle share a folder.

What a message costs beside its bytes is the same for one row and for thousands. So a run is given small batches, and has larger pieces.
"""

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from yt8m_data import storage

FLUSH_BYTES = 16 << 20  # given to a run, of all partitions, before it writes: so much is in memory
_JOINED_BYTES = 256 << 10  # of a batch: to copy so much costs more than a message of its own


class RunWriter:
    """Writes a run, the batches of a partition joined as far as they are small.

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
        self._held: dict[int, list[tuple[int, pa.RecordBatch]]] = {}  # by partition, with sizes
        self._given = 0

    def __enter__(self) -> "RunWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            self._stream.close()
        except OSError:  # what failed to be written fails again
            if kind is None:
                raise

    def write(self, partition: int, batch: pa.RecordBatch) -> None:
        """Append rows to a partition. A slice keeps in memory what it was cut from, so the rest of that is best given too, and soon."""
        size = pa.ipc.get_record_batch_size(batch)  # of a slice its own, and told in less than half of the time that `nbytes` takes
        self._held.setdefault(partition, []).append((size, batch))
        self._given += size
        if self._given >= FLUSH_BYTES:
            self._flush()

    def finish(self) -> None:
        """Finish the run."""
        self._flush()
        with storage.room(self._list.parent):
            self._stream.flush()
            os.fsync(self._stream.fileno())
        with storage.atomic_write(self._list) as stream:
            stream.write(json.dumps({"bytes": self._stream.tell(), "pieces": self._pieces}).encode())

    def _flush(self) -> None:
        """Write what is held."""
        with storage.room(self._list.parent):
            for partition in sorted(self._held):
                sizes, batches = zip(*self._held[partition], strict=True)
                joined = len(batches) > 1 and sum(sizes) < _JOINED_BYTES * len(batches)
                for piece in [pa.concat_batches(batches)] if joined else batches:
                    self._append(partition, piece)
        self._held, self._given = {}, 0

    def _append(self, partition: int, piece: pa.RecordBatch) -> None:
        if not self._pieces:
            self._stream.write(piece.schema.serialize())
        message = piece.serialize()
        self._pieces.append([partition, self._stream.tell(), message.size])
        self._stream.write(message)


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


def locate(folder: str, names: Iterable[str]) -> dict[int, np.ndarray]:
    """Find the pieces of all partitions in runs of these names: int64 [M, 3] each, of run (its place among `finished`), offset and size."""
    rows, wanted = [], set(names)
    for number, name in enumerate(finished(folder)):
        if name not in wanted:  # a killed job left it, which cut its work otherwise
            continue
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
