"""Mergeable statistics of record batches, in one pass: `Statistics` holds the accumulators of a job, `register` adds to them."""

from yt8m_data.statistics import features, ids, labels, slices  # noqa: F401  they register their accumulators
from yt8m_data.statistics.accumulator import Accumulator, Records, State, accumulators, distinct_labels, import_modules, register
from yt8m_data.statistics.collection import Reading, Statistics, load, save

__all__ = [
    "Accumulator",
    "Reading",
    "Records",
    "State",
    "Statistics",
    "accumulators",
    "distinct_labels",
    "import_modules",
    "load",
    "register",
    "save",
]
