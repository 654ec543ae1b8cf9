"""Mergeable statistics of record batches: label counts, co-occurrence, lengths, feature moments.

Whatever the split into batches and the order of merging, counts come out equal. The sums behind the moments are carried with their
rounding error, to about 30 digits, so the float64 that is read off at the end does not depend on the number of workers.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from yt8m_data import zipf
from yt8m_data.errors import BadRecord
from yt8m_data.quantize import dequantize
from yt8m_data.schema import Feature, Schema

_ROWS = 64  # rows summed at a time: as float64 they stay in a core's nearest caches
_PENDING = 1 << 20  # pairs kept before they are counted


class ExactSum:
    """A sum of float64 vectors with its rounding error (Knuth's two-sum), so that the order of adding does not show."""

    def __init__(self, size: int) -> None:
        self.high = np.zeros(size)
        self.low = np.zeros(size)

    def add(self, value: np.ndarray, error: np.ndarray | float = 0.0) -> None:
        """Add a vector, float64 [size], and the error that it carries."""
        total = self.high + value
        shadow = total - self.high
        self.low += (self.high - (total - shadow)) + (value - shadow) + error
        self.high = total

    def value(self) -> np.ndarray:
        """Return the sum, float64 [size]."""
        return self.high + self.low


class Moments:
    """Mean and variance per dimension of a feature, over videos (video level) or over frames (frame level)."""

    def __init__(self, size: int) -> None:
        self.count = 0
        self.sum = ExactSum(size)
        self.squares = ExactSum(size)

    def add(self, column: pa.Array, feature: Feature) -> None:
        """Add a feature's column of a record batch."""
        for rows in _blocks(column, feature):
            self.count += len(rows)
            self.sum.add(rows.sum(axis=0))
            self.squares.add(np.einsum("ij,ij->j", rows, rows))

    def merge(self, other: "Moments") -> None:
        """Add another's sums to these."""
        self.count += other.count
        self.sum.add(other.sum.high, other.sum.low)
        self.squares.add(other.squares.high, other.squares.low)

    def to_dict(self) -> dict[str, Any]:
        """Return size, mean and (population) variance, rounded to the precision of float32 features."""
        count = max(self.count, 1)
        mean = self.sum.value() / count
        variance = np.maximum(self.squares.value() / count - mean**2, 0)
        return {"size": len(mean), "mean": _rounded(mean), "variance": _rounded(variance)}


@dataclass
class Statistics:
    """What `yt8m-data stats` counts, over the record batches added so far.

    Attributes:
      label_counts: int64 [num_classes], the records that carry each label (a label repeated in a record counts once).
      labels_per_record, frames_per_record: int64 histograms; entry k is the number of records with k of them.
      moments: per feature.
      bad: the records that were left out.
    """

    schema: Schema
    num_records: int = 0
    label_counts: np.ndarray = field(init=False)
    labels_per_record: np.ndarray = field(default_factory=lambda: np.zeros(1, np.int64))
    frames_per_record: np.ndarray = field(default_factory=lambda: np.zeros(1, np.int64))
    moments: dict[str, Moments] = field(init=False)
    bad: list[BadRecord] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.label_counts = np.zeros(self.schema.num_classes, np.int64)
        self.moments = {feature.name: Moments(feature.size) for feature in self.schema.features}
        self._pairs = np.zeros(0, np.int64)
        self._pair_counts = np.zeros(0, np.int64)
        self._pending: list[np.ndarray] = []

    def add(self, batch: pa.RecordBatch) -> None:
        """Add the records of a batch with the columns of `schema.arrow`."""
        self.num_records += batch.num_rows
        rows, labels = distinct_labels(batch.column("labels"))
        per_record = np.bincount(rows, minlength=batch.num_rows)
        self.label_counts += np.bincount(labels, minlength=len(self.label_counts))
        self.labels_per_record = _add_histograms(self.labels_per_record, np.bincount(per_record))
        self._pending.append(_pairs(labels, per_record, len(self.label_counts)))
        if sum(map(len, self._pending)) > _PENDING:
            self._count_pairs()
        for feature in self.schema.features:
            self.moments[feature.name].add(batch.column(feature.name), feature)
        if self.schema.kind == "frame":
            lengths = batch.column(self.schema.features[0].name).value_lengths().to_numpy()
            self.frames_per_record = _add_histograms(self.frames_per_record, np.bincount(lengths))

    def merge(self, other: "Statistics") -> None:
        """Add another's counts to these; `other` keeps its own."""
        self.num_records += other.num_records
        self.label_counts = self.label_counts + other.label_counts
        self.labels_per_record = _add_histograms(self.labels_per_record, other.labels_per_record)
        self.frames_per_record = _add_histograms(self.frames_per_record, other.frames_per_record)
        for name, moments in self.moments.items():
            moments.merge(other.moments[name])
        self.bad = sorted([*self.bad, *other.bad])
        other._count_pairs()
        self._count_pairs(other._pairs, other._pair_counts)

    def compact(self) -> None:
        """Count what is pending, so that the statistics are small to send."""
        self._count_pairs()

    @property
    def num_unlabeled(self) -> int:
        """The records without a label."""
        return int(self.labels_per_record[0])

    def cooccurrence(self) -> dict[str, np.ndarray]:
        """Return how many records carry both labels, and the label counts on the diagonal: the fields of a symmetric scipy CSR matrix."""
        self._count_pairs()
        classes = len(self.label_counts)
        first, second = np.divmod(self._pairs, classes)
        off = first != second
        rows, columns = np.concatenate((first, second[off])), np.concatenate((second, first[off]))
        counts = np.concatenate((self._pair_counts, self._pair_counts[off]))
        order = np.lexsort((columns, rows))
        return {
            "indices": columns[order].astype(np.int32),
            "indptr": np.concatenate(([0], np.cumsum(np.bincount(rows, minlength=classes)))).astype(np.int32),
            "format": np.array(b"csr"),
            "shape": np.array([classes, classes]),
            "data": counts[order],
        }

    def to_dict(self) -> dict[str, Any]:
        """Return what `stats.json` holds."""
        counted = int(self.labels_per_record @ np.arange(len(self.labels_per_record)))
        result: dict[str, Any] = {
            "kind": self.schema.kind,
            "num_records": self.num_records,
            "num_unlabeled": self.num_unlabeled,
            "num_classes": self.schema.num_classes,
            "labels_per_record": {"mean": round(counted / max(self.num_records, 1), 6), "histogram": self.labels_per_record.tolist()},
        }
        if self.schema.kind == "frame":
            frames = int(self.frames_per_record @ np.arange(len(self.frames_per_record)))
            histogram = self.frames_per_record.tolist()
            result["frames_per_record"] = {"mean": round(frames / max(self.num_records, 1), 6), "histogram": histogram}
        kinds = sorted({record.kind for record in self.bad})
        by_kind = {kind: sum(record.kind == kind for record in self.bad) for kind in kinds}
        return result | {
            "bad_records": {"total": len(self.bad), "by_reason": by_kind},
            "zipf": zipf.fit(self.label_counts).to_dict(),
            "label_counts": self.label_counts.tolist(),
            "features": {name: moments.to_dict() for name, moments in self.moments.items()},
        }

    def _count_pairs(self, *more: np.ndarray) -> None:
        """Count the pending pairs, and those of `more` (pairs, counts), into the sorted arrays."""
        if not (self._pending or more):
            return
        fresh = np.concatenate([np.zeros(0, np.int64), *self._pending])
        extra, extra_counts = more or (np.zeros(0, np.int64), np.zeros(0, np.int64))
        pairs = np.concatenate((self._pairs, fresh, extra))
        counts = np.concatenate((self._pair_counts, np.ones(len(fresh), np.int64), extra_counts))
        self._pairs, inverse = np.unique(pairs, return_inverse=True)
        self._pair_counts = np.zeros(len(self._pairs), np.int64)
        np.add.at(self._pair_counts, inverse, counts)
        self._pending = []


def distinct_labels(column: pa.ListArray) -> tuple[np.ndarray, np.ndarray]:
    """Return the (row, label) pairs of a label column, each once, ascending: two int64 [M]."""
    lengths = column.value_lengths().to_numpy()
    rows = np.repeat(np.arange(len(lengths)), lengths)
    keys = np.unique(rows << 32 | column.flatten().to_numpy())
    return keys >> 32, keys & 0xFFFFFFFF


def _pairs(labels: np.ndarray, per_record: np.ndarray, classes: int) -> np.ndarray:
    """Return `first * classes + second` for every pair first <= second of labels of one record; `labels` ascend within a record."""
    starts = np.cumsum(per_record) - per_record
    pairs = []
    for size in np.unique(per_record[per_record > 0]).tolist():
        block = labels[starts[per_record == size][:, None] + np.arange(size)]
        first, second = np.triu_indices(size)
        pairs.append((block[:, first] * classes + block[:, second]).reshape(-1))
    return np.concatenate(pairs) if pairs else np.zeros(0, np.int64)


def _blocks(column: pa.Array, feature: Feature) -> Iterator[np.ndarray]:
    """Split a feature's column into float64 blocks of a few rows: videos, or dequantised frames."""
    values = column.flatten()
    if pa.types.is_floating(values.type):
        matrix = values.to_numpy().reshape(-1, feature.size)
        for at in range(0, len(matrix), _ROWS):
            yield matrix[at : at + _ROWS].astype(np.float64)
        return
    codes = np.frombuffer(values.buffers()[1], np.uint8)[values.offset * feature.size :][: len(values) * feature.size]
    matrix = codes.reshape(-1, feature.size)
    for at in range(0, len(matrix), _ROWS):
        yield dequantize(matrix[at : at + _ROWS]).astype(np.float64)


def _add_histograms(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    total = np.zeros(max(len(a), len(b)), np.int64)
    total[: len(a)] += a
    total[: len(b)] += b
    return total


def _rounded(values: np.ndarray) -> list[float]:
    return [float(f"{value:.7g}") for value in values.tolist()]
