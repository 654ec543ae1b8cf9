"""Where rows go in an output: the shards, by a hash of the id, and the order within them."""

import itertools
import os
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from yt8m_data import shards
from yt8m_data.chunks import Chunks
from yt8m_data.errors import DataError
from yt8m_data.schema import Schema
from yt8m_data.shard_file import TFRECORD, Form, rows_at_a_time

HASH = "hash"  # column: of the id, by which the output is ordered, where a batch brings it along; uint64


class Layout(NamedTuple):
    """Where rows go in an output of `num_shards` shards: the shard, by the upper bits of a hash of the id, and the order within it.

    A shuffle moves `num_partitions` partitions, ranges of that hash. There are fewer of them than shards, each with neighbouring shards, so
    that large batches move; or a multiple, so that a part of a shard fits into memory. A task writes what stands in both: the shards of a
    partition, or one shard from its partitions.
    """

    folder: str
    name: str
    num_shards: int
    num_partitions: int
    seed: int
    form: Form = TFRECORD

    @property
    def num_tasks(self) -> int:
        """The number of tasks."""
        return min(self.num_shards, self.num_partitions)

    def hashes(self, ids: list[bytes]) -> np.ndarray:
        """Hash ids to uint64 [N]; the output is sorted by it."""
        return shards.stable_hash(self.seed, ids, "order")

    def shard(self, hashes: np.ndarray) -> np.ndarray:
        """Return the shard of each hash, int64 [N]."""
        return ((hashes >> np.uint64(32)) * np.uint64(self.num_shards) >> np.uint64(32)).astype(np.int64)

    def partition(self, ids: list[bytes]) -> np.ndarray:
        """Return the partition of each id, int64 [N]."""
        return self.partition_of(self.hashes(ids))

    def partition_of(self, hashes: np.ndarray) -> np.ndarray:
        """Return the partition of each hash, int64 [N]."""
        if self.num_partitions > self.num_shards:
            return self._replace(num_shards=self.num_partitions).shard(hashes)
        return self.shard(hashes) * self.num_partitions // self.num_shards

    def shards_of(self, task: int) -> list[int]:
        """List the shards of a task."""
        return [s for s in range(self.num_shards) if s * self.num_tasks // self.num_shards == task]

    def partitions_of(self, task: int) -> list[int]:
        """List the partitions of a task, whose ranges of the hash follow one another."""
        parts = self.num_partitions // self.num_tasks
        return list(range(task * parts, (task + 1) * parts))

    @staticmethod
    def partitions_for(size: float, num_shards: int, most: int, tasks: int) -> int:
        """Choose a number of partitions: none has more than `most` of the `size`, and there are `tasks` if there are as many shards."""
        shards_of_one = int(most * num_shards / max(size, 1))
        if not shards_of_one:
            return num_shards * -int(-size // (num_shards * most))
        return max(-(-num_shards // shards_of_one), min(num_shards, tasks))

    def path(self, shard: int) -> str:
        """Return the path of a shard."""
        return os.path.join(self.folder, shards.shard_name(self.name, shard, self.num_shards, self.form.suffix))

    def ordered(self, task: int, parts: Iterable[Chunks], schema: Schema) -> Iterator[tuple[int, Iterator[pa.RecordBatch]]]:
        """Put the rows of a task in order: each of its shards, with batches of its rows, to be taken before the next shard.

        Args:
          task: the task.
          parts: the rows of each of its partitions, in the order of these.
          schema: what the records hold.

        Raises:
          DataError: an id comes twice.
        """
        pieces = self._sorted(parts, rows_at_a_time(schema))
        pending = next(pieces, None)

        def of(shard: int) -> Iterator[pa.RecordBatch]:
            nonlocal pending
            while pending is not None and pending[0] == shard:
                yield pending[1]
                pending = next(pieces, None)

        for shard in self.shards_of(task):
            yield shard, of(shard)

    def _sorted(self, parts: Iterable[Chunks], size: int) -> Iterator[tuple[int, pa.RecordBatch]]:
        """Cut the rows of all partitions, in order, into batches of `size` rows of a shard, its last of less; partitions do not show."""
        shard, pending, missing = -1, list[pa.RecordBatch](), size
        for part in filter(len, parts):
            given = HASH in part.names
            hashes = part.column(HASH).to_numpy() if given else self.hashes(part.column("id").to_pylist())
            order = _by_hash(hashes, part.column("id"))
            shard_of = self.shard(hashes)[order]
            for rows in np.split(order, np.flatnonzero(np.diff(shard_of)) + 1):
                if (this := int(self.shard(hashes[rows[:1]])[0])) != shard and pending:
                    yield shard, _joined(pending)
                    pending, missing = [], size
                shard = this
                while len(rows):
                    pending.append(part.take(rows[:missing]))
                    rows, missing = rows[missing:], missing - pending[-1].num_rows
                    if not missing:
                        yield shard, _joined(pending)
                        pending, missing = [], size
            del part  # before the next one is read
        if pending:
            yield shard, _joined(pending)


def _joined(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    return batches[0] if len(batches) == 1 else pa.concat_batches(batches)


def _by_hash(hashes: np.ndarray, ids: pa.BinaryArray) -> np.ndarray:
    """Order rows by (hash, id), int64 [N].

    Raises:
      DataError: an id comes twice.
    """
    order = np.argsort(hashes, kind="stable")
    if (hashes[order][1:] != hashes[order][:-1]).all():
        return order
    order = np.lexsort((np.array(ids.to_pylist(), object), hashes))
    for first, second in itertools.pairwise(order.tolist()):
        if hashes[first] == hashes[second] and ids[first] == ids[second]:
            name = ids[first].as_py().decode(errors="backslashreplace")
            raise DataError(
                f"the id {name!r} would be written twice: the input has it twice (yt8m-data validate tells), or was augmented before"
            )
    return order
