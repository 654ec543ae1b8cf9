"""Deltas: differences p - q of two neighbouring videos that share a frequent label, to be added to the videos of rare ones.

A rare label has too few videos to show how its videos vary, and what varies within a frequent one carries over. Hariharan and Girshick
("Low-shot Visual Recognition by Shrinking and Hallucinating Features", ICCV 2017) and Schwartz et al. ("Delta-encoder", NeurIPS 2018)
train a network to apply such differences to examples of a class with few; Liu et al. ("Deep Representation Learning on Long-tailed Data",
CVPR 2020) surround these with a cloud of the frequent classes' variance. Here the difference itself is added, scaled: x + l (p - q).

A pass over the videos finds the donors of each frequent label, a bounded sample by a hash of their ids, and each label's donors give pairs.
So the memory depends on the number of pairs that are wanted, and not on that of videos.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from yt8m_data import storage
from yt8m_data.errors import DataError
from yt8m_data.neighbors import nearest
from yt8m_data.schema import Schema
from yt8m_data.shards import atomic_write, stable_hash, unit_interval
from yt8m_data.statistics import distinct_labels

FILE = "deltas.arrow"
POOL = 1024  # donors of a label on average, where it has so many videos and no more pairs are wanted
NEIGHBORS = 8  # q is one of so many nearest donors of p

_PAIR = [("plus", pa.binary()), ("minus", pa.binary()), ("label", pa.int32())]


@dataclass(frozen=True)
class Selection:
    """Which pairs to take.

    Attributes:
      quota: int64 [num_classes], pairs of each label at most; 0 where it is not frequent.
      rates: float64 [num_classes], the share of each label's videos that are donors.
      neighbors: q is drawn from so many nearest donors of p.
    """

    quota: np.ndarray
    rates: np.ndarray
    seed: int = 0
    neighbors: int = NEIGHBORS


class Deltas(NamedTuple):
    """N deltas, labels ascending: `plus` and `minus` are the ids of p and q, `labels` int64 [N], `vectors` {feature: float32 [N, size]}."""

    plus: list[bytes]
    minus: list[bytes]
    labels: np.ndarray
    vectors: dict[str, np.ndarray]


def plan(counts: np.ndarray, threshold: float, most: int, seed: int = 0, neighbors: int = NEIGHBORS) -> Selection:
    """Spread at most `most` pairs evenly over the labels with more than `threshold` videos, what is left over to the commonest.

    Args:
      counts: int64 [num_classes], videos with each label.

    Raises:
      DataError: no pair is wanted, or no label is frequent.
    """
    if most < 1:
        raise DataError(f"{most} deltas are none: ask for at least 1")
    frequent = np.flatnonzero((counts > threshold) & (counts > 1))
    if not frequent.size:
        raise DataError(f"no label has more than {threshold:,.1f} videos, so there are none to take deltas from: lower --threshold")
    frequent = frequent[np.argsort(-counts[frequent], kind="stable")]
    quota = np.zeros(len(counts), np.int64)
    quota[frequent] = most // len(frequent) + (np.arange(len(frequent)) < most % len(frequent))
    rates = np.where(quota > 0, np.minimum(1, np.maximum(POOL, 2 * quota) / np.maximum(counts, 1)), 0.0)
    return Selection(quota, rates, seed, neighbors)


def donors(selection: Selection, batch: pa.RecordBatch) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Find the donors among the videos of a batch: (label, its donors) for each label that has some."""
    draws = unit_interval(stable_hash(selection.seed, batch.column("id").to_pylist(), "donor"))
    rows, labels = distinct_labels(batch.column("labels"))
    donates = draws[rows] < selection.rates[labels]
    labels, rows = labels[donates], rows[donates]
    for label in np.unique(labels).tolist():
        yield label, batch.take(pa.array(rows[labels == label]))


def pairs(selection: Selection, label: int, donors: pa.RecordBatch, schema: Schema, threads: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Choose the pairs of a label from all its donors: rows of p and of q, int64 [at most the label's quota].

    p are the donors with the smallest hashes; q is one of the nearest of each by the first feature, drawn by a hash. The pairs come in the
    order of the hashes, whatever the order of the donors.
    """
    ids, visual = donors.column("id").to_pylist(), schema.features[0]
    hashes = stable_hash(selection.seed, ids, f"delta {label}")
    plus = np.lexsort((np.array(ids, object), hashes))[: selection.quota[label]]
    vectors = donors.column(visual.name).flatten().to_numpy().reshape(-1, visual.size)
    rows, _ = nearest(vectors, np.array(ids, object), plus, selection.neighbors, threads)
    found = (rows >= 0).sum(axis=1)
    plus, rows, found = plus[found > 0], rows[found > 0], found[found > 0]
    draw = stable_hash(selection.seed, [ids[row] for row in plus.tolist()], f"minus {label}") % found.astype(np.uint64)
    return plus, rows[np.arange(len(rows)), draw.astype(np.int64)]


def subtract(label: int, donors: pa.RecordBatch, plus: np.ndarray, minus: np.ndarray, schema: Schema) -> pa.RecordBatch:
    """Make the deltas of a label's pairs: a batch with the columns of `arrow`."""
    ids = donors.column("id")
    columns = [ids.take(pa.array(plus)), ids.take(pa.array(minus)), pa.array(np.full(len(plus), label), pa.int32())]
    for feature in schema.features:
        values = donors.column(feature.name).flatten().to_numpy().reshape(-1, feature.size)
        columns.append(pa.FixedSizeListArray.from_arrays(pa.array((values[plus] - values[minus]).reshape(-1)), feature.size))
    return pa.RecordBatch.from_arrays(columns, schema=arrow(schema))


def select(selection: Selection, batches: Iterable[pa.RecordBatch], schema: Schema, threads: int = 1) -> pa.RecordBatch:
    """Do it all in memory: the deltas of the videos of all batches, whatever their order."""
    pools: dict[int, list[pa.RecordBatch]] = {}
    for batch in batches:
        for label, some in donors(selection, batch):
            pools.setdefault(label, []).append(some)
    made = []
    for label, parts in pools.items():
        pool = pa.concat_batches(parts)
        made.append(subtract(label, pool, *pairs(selection, label, pool, schema, threads), schema))
    return gather(made, schema)


def draw(bank: Deltas, seed: int, labels: pa.ListArray, ids: list[bytes]) -> np.ndarray:
    """Draw a delta for each of N synthetic videos by its id: rows of the bank, int64 [N].

    First a label: one of the base's own (`labels`, the bases' [N]) that the bank has deltas of, since what varies within these is known to
    vary in such a video; one of all the bank's where it has none. Then one of its deltas.
    """
    known, starts, sizes = np.unique(bank.labels, return_index=True, return_counts=True)
    rows, values = distinct_labels(labels)
    place = np.searchsorted(known, values).clip(max=len(known) - 1)
    own = known[place] == values
    rows, place = rows[own], place[own]
    count = np.bincount(rows, minlength=len(ids))
    which = stable_hash(seed, ids, "delta label")
    candidate = (which % np.where(count > 0, count, len(known)).astype(np.uint64)).astype(np.int64)
    first = np.cumsum(count) - count
    chosen = np.where(count > 0, np.append(place, 0)[np.minimum(first + candidate, len(place))], candidate)
    within = stable_hash(seed, ids, "delta") % sizes[chosen].astype(np.uint64)
    return starts[chosen] + within.astype(np.int64)


def gather(made: Iterable[pa.RecordBatch], schema: Schema) -> pa.RecordBatch:
    """Put the deltas of all labels into one batch, labels ascending.

    Raises:
      DataError: there are none, since no donor has a neighbour.
    """
    parts = sorted((part for part in made if part.num_rows), key=lambda part: part.column("label")[0].as_py())
    if not parts:
        raise DataError("no two videos share a frequent label, so there are no deltas: lower --threshold")
    return pa.concat_batches(parts).cast(arrow(schema))


def arrow(schema: Schema) -> pa.Schema:
    """The columns of deltas: ids `plus` and `minus` binary, `label` int32, and one column per feature."""
    return pa.schema([*_PAIR, *(field for field in schema.arrow if field.name not in ("id", "labels"))])


def write(path: str, deltas: pa.RecordBatch) -> None:
    """Write deltas as an Arrow IPC file."""
    with atomic_write(path) as stream, pa.ipc.new_file(stream, deltas.schema) as writer:
        writer.write_batch(deltas)


def read(path: str) -> Deltas:
    """Read what `write` wrote; the vectors point into the file, which is mapped where it is on a disk.

    Raises:
      DataError: there is no such file, or it holds something else.
    """
    try:
        file = storage.to_path(path).read_bytes() if storage.is_remote(path) else pa.memory_map(path)
        table = pa.ipc.open_file(file).read_all()
    except FileNotFoundError:
        raise DataError(f"there is no file {path}: make it with `yt8m-data deltas`") from None
    except pa.ArrowInvalid:
        raise DataError(f"{path} is no file of deltas: make one with `yt8m-data deltas`") from None
    if table.schema.names[:3] != [name for name, _ in _PAIR] or not table.num_rows:
        raise DataError(f"{path} has the columns {', '.join(table.schema.names)}: it is no file of deltas")
    batch = table.combine_chunks().to_batches()[0]
    vectors = {}
    for field in batch.schema:
        if pa.types.is_fixed_size_list(field.type):
            vectors[field.name] = batch.column(field.name).flatten().to_numpy().reshape(-1, field.type.list_size)
    labels = batch.column("label").to_numpy().astype(np.int64)
    return Deltas(batch.column("plus").to_pylist(), batch.column("minus").to_pylist(), labels, vectors)
