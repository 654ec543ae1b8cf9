"""The books of an augmentation: a count for each entry, which workers add up, and what the manifest tells of them."""

from collections import Counter as Tally
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from yt8m_data import pools, sampling
from yt8m_data.errors import BadRecord, DataError
from yt8m_data.statistics import distinct_labels

# Entries of the books: of synthetic videos (DISTANCE, bin), (LABEL, label), (FILLER, deciding label), and of those that are looked at
# (TO_BASE, bin), (TO_NEIGHBOR, bin) and (TO_OTHER, bin); (OWN, label) of read videos.
DISTANCE, LABEL, FILLER, OWN = "distance", "label", "filler", "own"
TO_BASE, TO_NEIGHBOR, TO_OTHER, NEARER_OTHER = "to base", "to neighbor", "to other", "nearer other"


def entries_of(synthetic: pa.RecordBatch) -> Tally[Any]:
    """Count synthetic videos for the books: by method, and by label."""
    methods = synthetic.column("aug_method").value_counts().to_pylist()
    entries: Tally[Any] = Tally({count["values"].decode(): count["counts"] for count in methods})
    labels, counts = np.unique(distinct_labels(synthetic.column("labels"))[1], return_counts=True)
    entries.update({(LABEL, label): count for label, count in zip(labels.tolist(), counts.tolist(), strict=True)})
    return entries


def tally(part: str, keys: Iterable[Any]) -> Tally[Any]:
    """Count keys for the books, as entries (part, key)."""
    return Tally({(part, key): count for key, count in Tally(keys).items()})


def part_of(books: dict[Any, int], part: str) -> dict[Any, int]:
    """Take the entries (part, key) of the books, by their keys."""
    return {entry[1]: count for entry, count in books.items() if isinstance(entry, tuple) and entry[0] == part}


def per_label(books: dict[Any, int], part: str, plan: sampling.Plan) -> np.ndarray:
    """Lay out the entries (part, label) of the books, int64 [num_classes]."""
    counts = np.zeros(len(plan.counts), np.int64)
    for label, count in part_of(books, part).items():
        counts[label] = count
    return counts


def quality_of(feature: str, books: dict[Any, int]) -> dict[str, Any]:
    """The distances of the synthetic videos that were looked at, a sample by their ids; see `quality.Distances`."""
    parts = {"base": TO_BASE, "neighbor": TO_NEIGHBOR, "other": TO_OTHER}
    return {
        "checked": sum(part_of(books, TO_BASE).values()),
        "nearer_other": books.get(NEARER_OTHER, 0),
        **{name: pools.distance_histogram(feature, part_of(books, part)) for name, part in parts.items()},
    }


def check_forecast(plan: sampling.Plan, forecast: np.ndarray, after: dict[str, Any]) -> None:
    """Hold what was written against what ids and labels alone foretold, where they foretell it exactly."""
    off = np.flatnonzero(forecast != [*after["label_counts"], after["num_records"]])
    if not plan.bound and len(off):
        found, foretold = [*after["label_counts"], after["num_records"]][off[0]], forecast[off[0]]
        what = f"videos of label {off[0]}" if off[0] < len(plan.counts) else "videos"
        raise DataError(f"{found} {what} were written where {foretold:g} were foretold, so records were lost on the way: run it again")


def totals_of(books: dict[Any, int], bad: list[BadRecord], entries: list[dict[str, Any]], methods: Sequence[str]) -> dict[str, Any]:
    """Draw up the books and check that they balance."""
    names = (*sampling.METHODS, sampling.DECOUPLE)
    synthetic = {method: books.get(method, 0) for method in names if method in methods or books.get(method)}
    totals = {
        "read": books.get("read", 0) + len(bad),
        "kept": books.get("kept", 0),
        "dropped": books.get("dropped", 0),
        "bad": len(bad),
        "synthetic": synthetic,
        "written": sum(entry["records"] for entry in entries),
    }
    if totals["read"] != totals["kept"] + totals["dropped"] + totals["bad"] or totals["written"] != totals["kept"] + sum(
        synthetic.values()
    ):
        raise DataError(f"the books do not balance, so records were lost or doubled on the way: {totals}")
    return totals
