"""Combining of what workers counted, by the methods of the counts themselves."""

import pickle
from collections.abc import Iterable
from functools import reduce
from typing import Any

import apache_beam as beam

from yt8m_data.statistics import Statistics


class Merge(beam.CombineFn):
    """Combines by the methods `merge` and `compact` of its accumulators.

    A worker merges its own, so no more than a few are held at a time.
    """

    def merge_accumulators(self, accumulators: Iterable[Any]) -> Any:
        """Merge into the first."""
        first, *others = accumulators
        for other in others:
            first.merge(other)
        return first

    def compact(self, accumulator: Any) -> Any:
        """Make it small to send."""
        accumulator.compact()
        return accumulator

    def extract_output(self, accumulator: Any) -> Any:
        """Return it as it is."""
        return accumulator


class PickleCoder(beam.coders.Coder):
    """A value, pickled as it is; Beam's own would compress it."""

    def encode(self, value: Any) -> bytes:
        """Pickle it."""
        return pickle.dumps(value, pickle.HIGHEST_PROTOCOL)

    def decode(self, encoded: bytes) -> Any:
        """Read what a worker pickled."""
        return pickle.loads(encoded)

    def estimate_size(self, value: Any) -> int:
        """Tell Beam some size, which it asks of the first ten between any two steps: by default it would pickle them to see."""
        return 1


class StatisticsCoder(PickleCoder):
    """Statistics."""

    def to_type_hint(self) -> type[Statistics]:
        """Tell what it is for."""
        return Statistics


beam.coders.registry.register_coder(Statistics, StatisticsCoder)


class MergeStatistics(Merge):
    """Statistics of parts, with what was read of each -> one Statistics of all."""

    def get_accumulator_coder(self) -> beam.coders.Coder:
        """Tell how Beam is to send what was merged."""
        return PickleCoder()

    def create_accumulator(self) -> None:
        """Start with nothing."""

    def add_input(self, accumulator: Statistics | None, part: Statistics) -> Statistics:
        """Add a part."""
        return part if accumulator is None else merged(accumulator, part)

    def merge_accumulators(self, accumulators: Iterable[Statistics | None]) -> Statistics | None:
        """Merge into the first."""
        found = [part for part in accumulators if part is not None]
        return reduce(merged, found) if found else None

    def compact(self, accumulator: Statistics | None) -> Statistics | None:
        """Make it small to send."""
        if accumulator is not None:
            accumulator.compact()
        return accumulator


def merged(statistics: Statistics, other: Statistics) -> Statistics:
    """Add another's counts, and what was read for them, to `statistics`."""
    statistics.merge(other)
    statistics.reading = statistics.reading.merged(other.reading)
    return statistics
