"""`Statistics`: all accumulators of a job side by side, and what was read."""

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow as pa

from yt8m_data.errors import BadRecord, DataError
from yt8m_data.schema import ORDER, PROVENANCE, Feature, Schema
from yt8m_data.statistics import accumulator as accumulators
from yt8m_data.statistics.accumulator import NUM_FRAMES, Accumulator, Records, State
from yt8m_data.storage import AnyPath, atomic_write, to_path
from yt8m_data.sums import Sums

_ROWS = 8192  # small columns are joined to so many rows: a batch of one shard has a tenth of it, and NumPy a fixed cost per call

FORMAT = 1  # of state.npz; a change of a hash or of a state's arrays raises it


@dataclass(frozen=True)
class Reading:
    """What was read of the input.

    Attributes:
      files, bytes: the files and their sizes.
      bytes_read: bytes that were asked of them.
      how: "whole", or "headers" where the frames were passed over and the checksums of the data not looked at.
      features: whether the features were looked at.
      sample: the share of the videos, by a hash of their ids, that counts.
      num_records: good records met, in or out of the sample.
    """

    files: int = 0
    bytes: int = 0
    bytes_read: int = 0
    how: str = "whole"
    features: bool = True
    sample: float = 1.0
    num_records: int = 0

    def merged(self, other: "Reading") -> "Reading":
        """Add what another job read.

        Raises:
          DataError: the jobs did not do the same.
        """
        for name, option in (("how", "--verify"), ("features", "--features"), ("sample", "--sample")):
            mine, theirs = getattr(self, name), getattr(other, name)
            if mine != theirs:
                raise DataError(
                    f"these statistics were not counted alike: {name} is {mine} and {theirs}; count both with the same {option}"
                )
        totals = {name: getattr(self, name) + getattr(other, name) for name in ("files", "bytes", "bytes_read", "num_records")}
        return replace(self, **totals)

    def to_dict(self) -> dict[str, Any]:
        """Return what `stats.json` holds."""
        return asdict(self) | {"data_checksums": self.how == "whole"}


class Statistics:
    """The statistics of the record batches added so far.

    Whatever the split into batches and the order of merging, the results are the same.

    Args:
      schema: what the batches hold.
      chosen: the accumulators; by default all registered ones that apply and are not optional.

    Attributes:
      bad: the records that were left out.
      reading: what was read; a job that reads shards sets it when it is done.
    """

    def __init__(self, schema: Schema, chosen: Sequence[Accumulator] | None = None) -> None:
        self.schema = schema
        self.accumulators = list(accumulators.accumulators(schema) if chosen is None else chosen)
        self.states: dict[str, State] = {each.name: each.create() for each in self.accumulators}
        self.bad: list[BadRecord] = []
        self.reading = Reading()
        self._small: list[pa.RecordBatch] = []

    @property
    def takes_sums(self) -> bool:
        """Whether the sums of video-level features will do instead of the features."""
        return all(each.takes_sums for each in self.accumulators if each.needs_features)

    def add(self, batch: pa.RecordBatch, sums: Mapping[str, Sums] = MappingProxyType({})) -> None:
        """Add the records of a batch with the columns of `schema.arrow`, but for those whose sums are given."""
        records = Records(batch, self.schema, sums)
        for each in self.accumulators:
            if each.needs_features:
                self.states[each.name] = each.add_batch(self.states[each.name], records)
        self._small.append(_small_columns(batch, self.schema))
        if sum(part.num_rows for part in self._small) >= _ROWS:
            self._add_small()

    def merge(self, other: "Statistics") -> None:
        """Add another's counts to these; `other` keeps its own.

        Raises:
          DataError: the two do not count the same.
        """
        if self._described() != other._described():
            raise DataError(f"these statistics cannot be added up: one is of {self._described()}, the other of {other._described()}")
        other._add_small()
        for each in self.accumulators:
            self.states[each.name] = each.merge(self.states[each.name], other.states[each.name])
        self.bad = sorted([*self.bad, *other.bad])

    def compact(self) -> None:
        """Make them small to send."""
        self._add_small()
        self.states = {each.name: each.compact(self.states[each.name]) for each in self.accumulators}

    def results(self) -> dict[str, Any]:
        """Return what each accumulator has found, by its name."""
        self.compact()
        return {each.name: each.extract(self.states[each.name]) for each in self.accumulators}

    def result(self, name: str) -> Any:
        """Return what one accumulator has found."""
        self.compact()
        return next(each for each in self.accumulators if each.name == name).extract(self.states[name])

    @property
    def num_records(self) -> int:
        """The records that count."""
        return int(self.result("labels")["per_record"].sum())

    @property
    def label_counts(self) -> np.ndarray:
        """The records that carry each label, int64 [num_classes]."""
        return self.result("labels")["counts"]

    def to_dict(self) -> dict[str, Any]:
        """Return what `stats.json` holds."""
        from yt8m_data.statistics.summary import summarize  # scipy, which counting does not need

        return summarize(self)

    def __getstate__(self) -> dict[str, Any]:
        self.compact()
        return self.__dict__

    def _add_small(self) -> None:
        if not self._small:
            return
        batch = self._small[0] if len(self._small) == 1 else pa.concat_batches(self._small)
        self._small = []
        records = Records(batch, self.schema)
        for each in self.accumulators:
            if not each.needs_features:
                self.states[each.name] = each.add_batch(self.states[each.name], records)

    def _described(self) -> str:
        counted = [" ".join([each.name, *map(str, each.settings.values())]) for each in self.accumulators]
        return f"{self.schema} ({', '.join(counted)})"


def _small_columns(batch: pa.RecordBatch, schema: Schema) -> pa.RecordBatch:
    """Take the columns that are not features; the number of frames stands for the frames."""
    names = [name for name in ("id", "labels", NUM_FRAMES, ORDER, *PROVENANCE.names) if name in batch.schema.names]
    small = batch.select(names)
    if schema.kind == "frame" and schema.features and NUM_FRAMES not in names:
        lengths = batch.column(schema.features[0].name).value_lengths()
        small = small.append_column(NUM_FRAMES, lengths)
    return small


def save(statistics: Statistics, path: AnyPath, compress: bool = True) -> None:
    """Write the states of all accumulators, so that they can be merged later."""
    statistics.compact()
    header = {
        "format": FORMAT,
        "schema": asdict(statistics.schema),
        "reading": asdict(statistics.reading),
        "accumulators": {each.name: each.settings for each in statistics.accumulators},
        "states": {name: sorted(state) for name, state in statistics.states.items()},
    }
    arrays = {f"{name}/{key}": array for name, state in statistics.states.items() for key, array in sorted(state.items())}
    with atomic_write(path) as stream:
        (np.savez_compressed if compress else np.savez)(stream, allow_pickle=False, header=np.array(json.dumps(header)), **arrays)


def load(path: AnyPath) -> Statistics:
    """Read what `save` wrote.

    Raises:
      DataError: the file is missing, is none of `save`, or has states of accumulators that are not registered here.
    """
    try:
        with np.load(io.BytesIO(to_path(path).read_bytes())) as arrays:
            header = json.loads(str(arrays["header"]))
            states = {name: {key: arrays[f"{name}/{key}"] for key in keys} for name, keys in header["states"].items()}
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{path} holds no states of yt8m-data stats: {error}") from None
    if header["format"] != FORMAT:
        raise DataError(f"{path} has format {header['format']}, and this version writes {FORMAT}: run stats again")
    fields = header["schema"]
    tuples = {"features": tuple(Feature(**feature) for feature in fields["features"]), "extras": tuple(fields.get("extras", ()))}
    schema = Schema(**fields | tuples)
    statistics = Statistics(schema, [_known(name, schema, settings, path) for name, settings in header["accumulators"].items()])
    statistics.states, statistics.reading = states, Reading(**header["reading"])
    return statistics


def _known(name: str, schema: Schema, settings: dict[str, Any], path: AnyPath) -> Accumulator:
    if name not in accumulators.REGISTRY:
        raise DataError(f"{path} holds a statistic {name!r} that is not registered: import its module with --import")
    return accumulators.REGISTRY[name](schema, **settings)
