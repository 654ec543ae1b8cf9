"""GroupBatches, the one shuffle of features: (partition, batch) pairs -> (partition, batches).

On a service runner it is Beam's GroupByKey. FnApiRunner would hold all of it in memory, and with several worker processes it has been
seen to lose elements between stages under load. So a local run spills instead: whoever makes a batch writes it to a run (`spill`), in the
same stage, and when all is written the next stage reads whole partitions back. No batch passes through the runner.
"""

import os
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa

from yt8m_data import spill

# Of a batch in Beam's GroupByKey: runners sort in buffers of a few megabytes, and Flink refuses what is larger than one.
ELEMENT_BYTES = 1 << 20


class ArrowCoder(beam.coders.Coder):
    """A record batch as an Arrow IPC stream: a slice is written as long as it is, where pickle would write all that it was cut from."""

    def encode(self, value: pa.RecordBatch) -> bytes:
        """Write the batch, with its schema."""
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, value.schema) as writer:
            writer.write_batch(value)
        return sink.getvalue().to_pybytes()

    def decode(self, encoded: bytes) -> pa.RecordBatch:
        """Read the batch; its columns point into `encoded`."""
        return pa.ipc.open_stream(encoded).read_next_batch()

    def estimate_size(self, value: pa.RecordBatch) -> int:
        """Tell Beam how large a batch is, which it asks of the first ten between any two steps; by default it would encode them to see."""
        return int(value.nbytes)

    def is_deterministic(self) -> bool:
        """Tell Beam that equal batches have equal bytes."""
        return True


beam.coders.registry.register_coder(pa.RecordBatch, ArrowCoder)

PAIR = tuple[int, pa.RecordBatch]  # a step that says it gives these gets the coder above, and not pickle


class GroupBatches(beam.PTransform):
    """Bring the batches of each partition together.

    Args:
      folder: one that all workers share, made where needed and left to the caller to remove; None for Beam's GroupByKey.
    """

    def __init__(self, folder: str | None) -> None:
        super().__init__()
        self.folder = folder

    def expand(self, sources: Any) -> Any:
        """Group the pairs of all sources, a tuple of PCollections, by the first of each pair."""
        if self.folder is None:
            pairs = sources | beam.Flatten()
            typed = pairs | "Cut" >> beam.FlatMap(_pieces).with_output_types(PAIR)
            return typed | beam.GroupByKey()
        runs = [pairs | f"Spill {number}" >> beam.ParDo(_Spill(self.folder)) for number, pairs in enumerate(sources)]
        return tuple(runs) | "Read back" >> ReadSpilled(self.folder)


class ReadSpilled(beam.PTransform):
    """Names of spilled runs -> (partition, batches), when all are there; other runs of the folder are passed over.

    Args:
      folder: that of the runs.
      groups: lists of partitions to give together, even those for which nothing was spilled: (number of the list, batches of each).
    """

    def __init__(self, folder: str, groups: Sequence[Sequence[int]] | None = None) -> None:
        super().__init__()
        self.folder, self.groups = folder, groups

    def expand(self, sources: Any) -> Any:
        """Wait for all elements of the sources, a tuple of PCollections: names, or units of work that bear them."""
        names = tuple(  # no more of what stands for the runs goes through the runner, which would hold it all
            source | f"Finished {number}" >> beam.Map(_name).with_output_types(str) for number, source in enumerate(sources)
        )
        written = names | beam.Flatten()
        start = sources[0].pipeline | "Start" >> beam.Create([self.folder], reshuffle=False)
        return start | "List" >> beam.FlatMap(_listed, self.groups, beam.pvalue.AsIter(written)) | "Spread" >> beam.Reshuffle()


def _pieces(pair: tuple[int, pa.RecordBatch]) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Cut a batch to elements of about ELEMENT_BYTES; one without rows stays one."""
    partition, batch = pair
    rows = max(1, batch.num_rows * ELEMENT_BYTES // max(batch.nbytes, 1))
    for start in range(0, max(batch.num_rows, 1), rows):
        yield partition, batch.slice(start, rows)


@dataclass(frozen=True)
class SpilledBatches:
    """The batches of a partition, read from disk at each iteration."""

    folder: str
    pieces: np.ndarray

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        return spill.read(self.folder, self.pieces)


class _Spill(beam.DoFn):
    """Writes the pairs of a bundle to a run; gives its name."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def start_bundle(self) -> None:
        self.writer: spill.RunWriter | None = None

    def process(self, pair: tuple[int, pa.RecordBatch]) -> None:
        if self.writer is None:
            os.makedirs(self.folder, exist_ok=True)
            self.name = f"{os.getpid()}-{uuid.uuid4().hex}"
            self.writer = spill.RunWriter(self.folder, self.name)
        self.writer.write(*pair)

    def finish_bundle(self) -> Iterable[Any]:
        if self.writer is not None:
            with self.writer:
                self.writer.finish()
            yield beam.utils.windowed_value.WindowedValue(self.name, 0, [beam.transforms.window.GlobalWindow()])


def _name(unit: Any) -> str:
    return unit if isinstance(unit, str) else unit.name


def _listed(folder: str, groups: Sequence[Sequence[int]] | None, written: Iterable[str]) -> Iterator[tuple[int, Any]]:
    """List what was spilled; the names of the runs are an argument that Beam has when all are written."""
    located = spill.locate(folder, written)
    if groups is None:
        yield from ((partition, SpilledBatches(folder, pieces)) for partition, pieces in located.items())
        return
    nothing = np.empty((0, 3), np.int64)
    for number, partitions in enumerate(groups):
        yield number, [SpilledBatches(folder, located.get(partition, nothing)) for partition in partitions]
