"""Statistics of labels: how many records have each, how many each record has, which come together, and as which sets."""

import functools
from typing import Any

import numpy as np

from yt8m_data.statistics import hashing, measures, sketch, sparse
from yt8m_data.statistics.accumulator import Accumulator, Labels, Records, State, add_histograms, register

KEPT_SETS = 1 << 20  # distinct label sets that are held in memory, 30 MB; the 2018 training set has about half of it
TOP_SETS = 100  # most frequent sets that are told


@register
class LabelCounts(Accumulator):
    """Records with each label, and records with each number of labels; a label listed twice in a record counts once.

    Result: `counts` int64 [num_classes], and `per_record`, an int64 histogram whose entry k is the number of records with k labels.
    """

    name = "labels"
    needs_features = False

    def create(self) -> State:
        """Return the state of nothing."""
        return {"counts": np.zeros(self.schema.num_classes, np.int64), "per_record": np.zeros(1, np.int64)}

    def add_batch(self, state: State, records: Records) -> State:
        """Count the labels of a batch."""
        labels = records.labels
        state["counts"] = state["counts"] + np.bincount(labels.values, minlength=self.schema.num_classes)
        state["per_record"] = add_histograms(state["per_record"], np.bincount(labels.per_record))
        return state

    def merge(self, state: State, other: State) -> State:
        """Add both histograms."""
        return {
            "counts": state["counts"] + other["counts"],
            "per_record": add_histograms(state["per_record"], other["per_record"]),
        }

    def extract(self, state: State) -> dict[str, np.ndarray]:
        """Return `counts` and `per_record`."""
        return state


@register
class Cooccurrence(Accumulator):
    """Records with both of two labels, for every pair that comes.

    Result: a symmetric matrix in the fields of scipy's CSR format, with the label counts on its diagonal.
    """

    name = "cooccurrence"
    needs_features = False

    def create(self) -> State:
        """Return the state of nothing: keys are first * num_classes + second for first < second."""
        return sparse.zeros() | {"alone": np.zeros(self.schema.num_classes, np.int64)}

    def add_batch(self, state: State, records: Records) -> State:
        """Count the pairs of a batch."""
        classes = self.schema.num_classes
        state["alone"] = state["alone"] + np.bincount(records.labels.values, minlength=classes)
        sparse.add(state, _pairs(records.labels, classes))
        return state

    def merge(self, state: State, other: State) -> State:
        """Add the counts of equal pairs."""
        state["alone"] = state["alone"] + other["alone"]
        sparse.merge(state, other)
        return state

    def compact(self, state: State) -> State:
        """Count the pairs that are held back."""
        return sparse.compact(state)

    def extract(self, state: State) -> dict[str, np.ndarray]:
        """Return the fields of the CSR matrix."""
        classes = self.schema.num_classes
        first, second = np.divmod(state["keys"], classes)
        alone = np.flatnonzero(state["alone"])
        rows, columns = np.concatenate((first, second, alone)), np.concatenate((second, first, alone))
        counts = np.concatenate((state["counts"], state["counts"], state["alone"][alone]))
        order = np.lexsort((columns, rows))
        return {
            "indices": columns[order].astype(np.int32),
            "indptr": np.concatenate(([0], np.cumsum(np.bincount(rows, minlength=classes)))).astype(np.int32),
            "format": np.array(b"csr"),
            "shape": np.array([classes, classes]),
            "data": counts[order],
        }


@register
class LabelSets(Accumulator):
    """The distinct sets of labels that records have, and how many records have each; exact up to KEPT_SETS sets, a sample of them beyond.

    Result: a `measures.LabelSets`. Records without labels have no set.
    """

    name = "label_sets"
    needs_features = False

    def create(self) -> State:
        """Return the state of nothing."""
        return sketch.zeros()

    def add_batch(self, state: State, records: Records) -> State:
        """Add the sets of a batch."""
        labels = records.labels
        labelled = labels.per_record > 0
        hashes = hashing.of_sets(labels.values, labels.starts, labels.per_record)[labelled]
        sketch.add(state, KEPT_SETS, hashes, labels.per_record[labelled], labels.values)
        return state

    def merge(self, state: State, other: State) -> State:
        """Add the counts of equal sets."""
        sketch.merge(state, other, KEPT_SETS)
        return state

    def compact(self, state: State) -> State:
        """Add up what is held back."""
        return sketch.compact(state, KEPT_SETS)

    def extract(self, state: State) -> measures.LabelSets:
        """Return the sets."""
        number, error = sketch.distinct(state, KEPT_SETS)
        exact = sketch.is_exact(state, KEPT_SETS)
        return measures.LabelSets(state["lengths"], state["values"], state["counts"], round(number), exact, error)


def _pairs(labels: Labels, classes: int) -> np.ndarray:
    """Return `first * classes + second` for every pair first < second of labels of one record, int32 [M] where that is wide enough."""
    dtype = np.int32 if classes * classes < 2**31 else np.int64
    values, sizes = labels.values.astype(dtype), labels.per_record
    pairs: list[Any] = [np.zeros(0, dtype)]
    for size in np.unique(sizes[sizes > 1]).tolist():
        block = values[labels.starts[sizes == size][:, None] + np.arange(size)]
        first, second = _triangle(size)
        pairs.append((block[:, first] * dtype(classes) + block[:, second]).reshape(-1))
    return np.concatenate(pairs)


@functools.cache
def _triangle(size: int) -> tuple[np.ndarray, np.ndarray]:
    return np.triu_indices(size, 1)
