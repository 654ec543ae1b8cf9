"""GroupBatches, the one shuffle of features: (partition, batch) pairs -> (partition, batches).

On a service runner it is Beam's GroupByKey. FnApiRunner would hold all of it in memory, and with several worker processes it has been
seen to lose elements between stages under load. So a local run spills instead: whoever makes a batch writes it to an Arrow IPC file of its
partition, in the same stage, and when all is written the next stage reads whole partitions back. No batch passes through the runner.
"""

import os
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apache_beam as beam
import pyarrow as pa

ELEMENT_BYTES = (
    1 << 20
)  # of a batch in Beam's GroupByKey: runners sort in buffers of a few megabytes, and Flink refuses what is larger than one


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

    def is_deterministic(self) -> bool:
        """Tell Beam that equal batches have equal bytes."""
        return True


beam.coders.registry.register_coder(pa.RecordBatch, ArrowCoder)


class GroupBatches(beam.PTransform):
    """Bring the batches of each partition together.

    Args:
      spill: a folder that all workers share, made where needed and left to the caller to remove; None for Beam's GroupByKey.
    """

    def __init__(self, spill: str | None) -> None:
        super().__init__()
        self.spill = spill

    def expand(self, sources: Any) -> Any:
        """Group the pairs of all sources, a tuple of PCollections, by the first of each pair."""
        if self.spill is None:
            pairs = sources | beam.Flatten()
            typed = pairs | "Cut" >> beam.FlatMap(_pieces).with_output_types(tuple[int, pa.RecordBatch])  # takes the Arrow coder
            return typed | beam.GroupByKey()
        files = [pairs | f"Spill {number}" >> beam.ParDo(_Spill(self.spill)) for number, pairs in enumerate(sources)]
        written = files | beam.Flatten() | "All" >> beam.combiners.Count.Globally()
        start = sources[0].pipeline | "Start" >> beam.Create([self.spill], reshuffle=False)
        spilled = start | "List" >> beam.FlatMap(_spilled_partitions, beam.pvalue.AsSingleton(written))
        return spilled | "Spread" >> beam.Reshuffle()


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

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        for path in sorted(Path(self.folder).iterdir()):
            with pa.memory_map(str(path)) as source:
                yield from pa.ipc.open_stream(source)


class _Spill(beam.DoFn):
    """Writes each pair to its partition's folder, in a file for this bundle; gives the name of each file."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def start_bundle(self) -> None:
        self.name = f"{os.getpid()}-{uuid.uuid4().hex}.arrow"
        self.writers: dict[int, pa.ipc.RecordBatchStreamWriter] = {}

    def process(self, pair: tuple[int, pa.RecordBatch]) -> None:
        partition, batch = pair
        writer = self.writers.get(partition)
        if writer is None:
            path = Path(self.folder) / str(partition) / self.name
            path.parent.mkdir(parents=True, exist_ok=True)
            writer = self.writers[partition] = pa.ipc.new_stream(str(path), batch.schema)
        writer.write_batch(batch)

    def finish_bundle(self) -> Iterable[Any]:
        for writer in self.writers.values():
            writer.close()
        for partition in self.writers:
            yield beam.utils.windowed_value.WindowedValue(partition, 0, [beam.transforms.window.GlobalWindow()])


def _spilled_partitions(folder: str, _written: int) -> Iterator[tuple[int, Any]]:
    """List what was spilled; the count of files is an argument so that Beam writes them all first."""
    if os.path.isdir(folder):
        for name in sorted(os.listdir(folder)):
            yield int(name), SpilledBatches(os.path.join(folder, name))
