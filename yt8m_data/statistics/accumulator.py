"""What a statistic is: five methods on a state that any number of workers fill and merge.

    class Longest(Accumulator):
        name = "longest"                                     # of its entry in stats.json

        def create(self):
            return {"labels": np.zeros(1, np.int64)}

        def add_batch(self, state, records):
            state["labels"] = np.maximum(state["labels"], records.labels.per_record.max(initial=0))
            return state

        def merge(self, state, other):
            state["labels"] = np.maximum(state["labels"], other["labels"])
            return state

        def extract(self, state):
            return int(state["labels"][0])

    register(Longest)

The laws that every accumulator keeps, whatever the split into batches and the order of merging: parts merged give what one pass gives, an
empty state and an empty batch change nothing, `compact` changes nothing that `extract` tells, and states pickle.
"""

import abc
import functools
import importlib
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple

import numpy as np
import pyarrow as pa

from yt8m_data.errors import DataError
from yt8m_data.schema import Schema
from yt8m_data.statistics import hashing
from yt8m_data.sums import Sums

NUM_FRAMES = "num_frames"  # column of a header scan: int32, null where it is not known

State = dict[str, Any]


class Labels(NamedTuple):
    """The labels of N records, each once: of `rows` (ascending) the `values` (ascending within a row), two int64 [M].

    `per_record` int64 [N] is how many each record has, `starts` int64 [N] where they begin.
    """

    rows: np.ndarray
    values: np.ndarray
    per_record: np.ndarray
    starts: np.ndarray


class Records:
    """A record batch with the columns of `schema.arrow` (or some of them), and what several statistics want of it, computed once.

    `sums` holds the sums of features that are not among the columns.
    """

    def __init__(self, batch: pa.RecordBatch, schema: Schema, sums: Mapping[str, Sums] = MappingProxyType({})) -> None:
        self.batch, self.schema, self.sums = batch, schema, sums

    def __len__(self) -> int:
        return int(self.batch.num_rows)

    @functools.cached_property
    def labels(self) -> Labels:
        """The distinct labels of each record."""
        rows, values = distinct_labels(self.batch.column("labels"))
        per_record = np.bincount(rows, minlength=len(self))
        return Labels(rows, values, per_record, np.cumsum(per_record) - per_record)

    @functools.cached_property
    def id_hashes(self) -> np.ndarray:
        """A hash of each id, uint64 [N]."""
        return hashing.of_binary(self.batch.column("id"))

    @functools.cached_property
    def num_frames(self) -> np.ndarray:
        """Frames of each record, int64 [N]; -1 where a header scan could not tell."""
        if NUM_FRAMES in self.batch.schema.names:
            return self.batch.column(NUM_FRAMES).fill_null(-1).to_numpy().astype(np.int64)
        return self.batch.column(self.schema.features[0].name).value_lengths().to_numpy().astype(np.int64)


class Accumulator(abc.ABC):
    """A mergeable statistic of record batches.

    A state is a dictionary. After `compact` all its values are NumPy arrays: so it is sent, and saved in `state.npz`. Until then it may
    hold back what is costly to add bit by bit, under keys that begin with an underscore.

    Attributes:
      name: names the state and the result.
      needs_features: False for what looks at ids, labels and the number of frames alone; it then gets small batches joined to larger ones.
      takes_sums: True for what looks at video-level features through `Records.sums` alone, where they are given: no column is made then.
      optional: computed only where it is asked for.
      settings: arguments beside the schema that make an equal accumulator when a state is read back, ready for JSON.
    """

    name: ClassVar[str]
    needs_features: ClassVar[bool] = True
    takes_sums: ClassVar[bool] = False
    optional: ClassVar[bool] = False

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        self.settings: dict[str, Any] = {}

    @classmethod
    def applies(cls, schema: Schema) -> bool:
        """Return whether there is such a statistic of such records."""
        return True

    @abc.abstractmethod
    def create(self) -> State:
        """Return the state of nothing."""

    @abc.abstractmethod
    def add_batch(self, state: State, records: Records) -> State:
        """Add the records of a batch; may change `state`, and returns what to go on with."""

    @abc.abstractmethod
    def merge(self, state: State, other: State) -> State:
        """Add another state; may change `state`, never `other`, and returns what to go on with."""

    def compact(self, state: State) -> State:
        """Bring the state to NumPy arrays alone, as small as they get."""
        return state

    @abc.abstractmethod
    def extract(self, state: State) -> Any:
        """Return the result of a compact state; what a third party's accumulator returns goes into stats.json as it is."""


REGISTRY: dict[str, type[Accumulator]] = {}


def register(accumulator: type[Accumulator]) -> type[Accumulator]:
    """Add a class of accumulators to those that `stats` computes; a decorator.

    Raises:
      DataError: the name is taken.
    """
    if accumulator.name in REGISTRY and REGISTRY[accumulator.name] is not accumulator:
        raise DataError(f"there is an accumulator {accumulator.name!r} already: give yours another name")
    REGISTRY[accumulator.name] = accumulator
    return accumulator


def import_modules(names: Sequence[str]) -> None:
    """Import modules that register accumulators of their own.

    Raises:
      DataError: there is no such module.
    """
    for name in names:
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise DataError(f"the module {name!r} cannot be imported ({error}): install it, or put its folder into PYTHONPATH") from None


def accumulators(
    schema: Schema, features: bool = True, optional: Mapping[str, Mapping[str, Any]] = MappingProxyType({})
) -> list[Accumulator]:
    """Make one of each registered class that applies to the records.

    Args:
      schema: what the records hold.
      features: whether to take those that need the features.
      optional: the optional ones to take, each with its arguments beside the schema.
    """
    chosen = [made for made in REGISTRY.values() if (features or not made.needs_features) and made.applies(schema)]
    return [made(schema, **optional.get(made.name, {})) for made in chosen if not made.optional or made.name in optional]


def distinct_labels(column: pa.ListArray) -> tuple[np.ndarray, np.ndarray]:
    """Return the (row, label) pairs of a label column, each once, ascending: two int64 [M]."""
    lengths = column.value_lengths().to_numpy()
    keys = np.repeat(np.arange(len(lengths)) << 32, lengths) | column.flatten().to_numpy()
    if not (keys[1:] > keys[:-1]).all():  # most writers sort them
        keys = np.unique(keys)
    return keys >> 32, keys & 0xFFFFFFFF


def add_histograms(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Add two histograms, int64, of any lengths."""
    total = np.zeros(max(len(a), len(b)), np.int64)
    total[: len(a)] += a
    total[: len(b)] += b
    return total
