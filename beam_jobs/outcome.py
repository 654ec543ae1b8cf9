"""What comes of an augmentation beside its shards, gathered from all steps into one Outcome."""

from collections import Counter as Tally
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import apache_beam as beam
import numpy as np
from apache_beam.transforms.window import GlobalWindows

from beam_jobs.merging import Merge, PickleCoder
from beam_jobs.route import BOOKS, FORECAST, NEAR
from beam_jobs.transforms import BAD, READING
from yt8m_data.errors import BadRecord
from yt8m_data.schema import Schema
from yt8m_data.statistics import Statistics

WRITTEN, PROGRESS, HELD_OUT_BAD = "written", "progress", "held out: bad"

STEPS = ("files", "pools", "parts of the output")  # of a local run
FILES = "files"  # an entry of the books, as is HELD_OUT_BAD


class Progress(NamedTuple):
    """A unit of work of a step: whether a killed run had done it, the records that it read, and how many parts, such as files, it has."""

    step: str
    found: bool
    read: int
    parts: int = 1


@dataclass
class Outcome:
    """What a job gave.

    Attributes:
      statistics: of the records written.
      forecast: float64 [num_classes + 2], what `expected_counts` says of the input.
      entries: of the manifest, by shard.
      books: see `beam_jobs.books`.
      bad: the bad records of the input.
      near: the near-duplicates of held-out videos.
      progress: of all units of work; none on a service.
    """

    statistics: Statistics
    forecast: np.ndarray
    entries: list[dict[str, Any]] = field(default_factory=list)
    books: Tally[Any] = field(default_factory=Tally)
    bad: list[BadRecord] = field(default_factory=list)
    near: list[Any] = field(default_factory=list)
    progress: list[Progress] = field(default_factory=list)

    def take(self, kind: str, value: Any) -> None:
        """Add what a step gave under one of the names above."""
        if kind == WRITTEN:
            self.entries += value[0]
            self.statistics.merge(value[1])
        elif kind == BOOKS:
            self.books.update(value)
        elif kind == READING:
            self.books[FILES] += value.files
        elif kind == HELD_OUT_BAD:
            self.books[HELD_OUT_BAD] += 1
        elif kind == FORECAST:
            self.forecast = self.forecast + value
        else:
            {BAD: self.bad, NEAR: self.near, PROGRESS: self.progress}[kind].append(value)

    def merge(self, other: "Outcome") -> None:
        """Add what another part of the job gave."""
        self.statistics.merge(other.statistics)
        self.entries += other.entries
        self.books.update(other.books)
        self.bad += other.bad
        self.forecast = self.forecast + other.forecast
        self.near += other.near
        self.progress += other.progress

    def compact(self) -> None:
        """Make it small to send."""
        self.statistics.compact()

    def put_in_order(self) -> None:
        """Make it the same however it was gathered."""
        self.entries.sort(key=lambda entry: entry["name"])
        self.bad.sort()
        self.near.sort()


class OutcomeCoder(PickleCoder):
    """An Outcome."""

    def to_type_hint(self) -> type[Outcome]:
        """Tell what it is for."""
        return Outcome


beam.coders.registry.register_coder(Outcome, OutcomeCoder)


class GatherBundle(beam.DoFn):
    """What a function makes of an element, (kind, value) pairs as `Outcome.take` has them -> one Outcome of each bundle."""

    def __init__(self, schema: Schema, pairs: Callable[[Any], Iterable[tuple[str, Any]]]) -> None:
        self.gather, self.pairs = Gather(schema), pairs

    def start_bundle(self) -> None:
        """Start with nothing."""
        self.outcome = self.gather.create_accumulator()

    def process(self, element: Any) -> None:
        """Take what the element gives."""
        for pair in self.pairs(element):
            self.outcome.take(*pair)

    def finish_bundle(self) -> Iterator[Any]:
        """Give what was gathered."""
        self.outcome.compact()
        yield GlobalWindows.windowed_value(self.outcome)


def together(outcomes: Iterable[Outcome]) -> Outcome:
    """Make one Outcome of one or more, in order."""
    first, *others = outcomes
    for other in others:
        first.merge(other)
    first.put_in_order()
    return first


class Gather(Merge):
    """(kind, value) pairs, as `Outcome.take` has them -> one Outcome."""

    def __init__(self, schema: Schema) -> None:
        self.schema = schema

    def get_accumulator_coder(self) -> beam.coders.Coder:
        """Tell how Beam is to send what was gathered."""
        return OutcomeCoder()

    def create_accumulator(self) -> Outcome:
        """Start with nothing."""
        return Outcome(Statistics(self.schema), np.zeros(self.schema.num_classes + 2))

    def add_input(self, accumulator: Outcome, pair: tuple[str, Any]) -> Outcome:
        """Take one more."""
        accumulator.take(*pair)
        return accumulator

    def extract_output(self, accumulator: Outcome) -> Outcome:
        """Return it, in order."""
        accumulator.put_in_order()
        return accumulator
