"""`yt8m-data stats`: one pass over the shards -> the statistics of their records."""

import copy
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
from apache_beam.transforms.window import GlobalWindows

from beam_jobs import runners
from beam_jobs.inputs import Input
from beam_jobs.merging import MergeStatistics, merged
from beam_jobs.progress import Counter
from beam_jobs.transforms import BAD, ReadShard, Spread
from yt8m_data import codec, shards, sums
from yt8m_data.errors import DataError
from yt8m_data.schema import PROVENANCE
from yt8m_data.statistics import Reading, Statistics, accumulators, folder
from yt8m_data.tfrecord import RecordBlock


@dataclass(frozen=True)
class Request:
    """What to count.

    Attributes:
      features: look at the features; None: at video level, where they are read anyway.
      verify: read frame-level records whole and check all their checksums, even where the features are not looked at.
      sample: share of the videos to count, chosen by a hash of their ids.
      label_means: count the mean vector of the records with each label as well.
      slice_by: count parts of the data as well; one of `slices.WAYS`.
      verticals: the vertical of each label, for slices by them.

    Raises:
      DataError: the sample is no share, or what is wanted needs something that is not given.
    """

    features: bool | None = None
    verify: bool = False
    sample: float = 1.0
    label_means: bool = False
    slice_by: str | None = None
    verticals: Mapping[int, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 0 < self.sample <= 1:
            raise DataError(f"a sample of {self.sample:g} is no share of the videos: give more than 0, and at most 1")
        if self.label_means and self.features is False:
            raise DataError("label means are of features: leave out --no-features, or --label-means")
        if self.slice_by == "vertical" and not self.verticals:
            raise DataError("slices by vertical need to know them: give a --vocabulary with the column 'Vertical1'")

    def reads_features(self, kind: str) -> bool:
        """Return whether the features of records of this kind are looked at."""
        return self.label_means or kind == "video" if self.features is None else self.features


EVERYTHING = Request()


def run(
    source: Input, out: str, names: dict[int, str] | None, engine: runners.Engine, overwrite: bool = False, request: Request = EVERYTHING
) -> dict[str, Any]:
    """Compute the statistics of `source`, write them into the folder `out`, and return what `stats.json` holds.

    Raises:
      DataError: `out` holds statistics already and `overwrite` is not set, or the input is bad.
    """
    folder.check(out, overwrite)
    return folder.write(compute(source, engine, request), out, names)


def compute(source: Input, engine: runners.Engine, request: Request = EVERYTHING) -> Statistics:
    """Run the pipeline and return what it counted.

    Of frame-level records whose features are not asked for the first bytes alone are read.

    Raises:
      DataError: the input is rotten, or what was counted is not what was read.
    """
    engine.check_reach(source.files[0])
    schema, features = replace(source.schema, extras=()), request.reads_features(source.schema.kind)
    heads = schema.kind == "frame" and not features and not request.verify
    read_schema = replace(schema, features=()) if schema.kind == "video" and not features else schema
    chosen = accumulators(schema, features, _optional(source, request))

    nothing = Statistics(schema, chosen)
    nothing.reading = Reading(how="headers" if heads else "whole")

    def build(pipeline: beam.Pipeline, counter: Counter) -> Any:
        read = ReadShard(read_schema, source.skip_bad, counter, bool(request.slice_by), heads)
        count = beam.ParDo(CountShard(read, nothing, request.sample)).with_output_types(Statistics)
        counted = pipeline | Spread(source.files) | "Count" >> count
        if engine.runner == "local":
            return [counted]
        return [counted | "Merge" >> beam.CombineGlobally(MergeStatistics()).without_defaults().with_output_types(Statistics)]

    statistics: Statistics = runners.run(
        engine,
        "stats",
        source.bytes,
        source.estimated_records,
        build,
        lambda result: result.reading.num_records,
        lambda parts: reduce(merged, parts),
    )
    statistics.reading = replace(statistics.reading, features=features, sample=request.sample)
    statistics.bad.sort()
    _reconcile(statistics, source, request)
    return statistics


class CountShard(ReadShard):
    """(number, path) of a file -> statistics, those of all files of a bundle together, with what is bad and what was read.

    Args:
      read: how to read.
      nothing: statistics of no records, and of no reading yet.
      sample: share of the videos to count.
    """

    def __init__(self, read: ReadShard, nothing: Statistics, sample: float) -> None:
        super().__init__(read.schema, read.skip_bad, read.counter, read.augmentable, read.heads)
        self.nothing, self.sample = nothing, sample

    def start_bundle(self) -> None:
        """Start with nothing."""
        self.statistics = copy.deepcopy(self.nothing)
        self.sums: dict[str, sums.Sums] = {}

    def process(self, element: tuple[int, str]) -> Iterator[Any]:
        """Read the file, and count its records; nothing is given before the bundle ends."""
        for output in super().process(element):
            if output.tag == BAD:
                self.statistics.bad.append(output.value)
            else:
                self.statistics.reading = self.statistics.reading.merged(output.value)
        return iter(())

    def decode(self, block: RecordBlock) -> codec.Decoded:
        """Decode a block; where their sums will do, video-level features are summed up where they lie, and not copied to columns."""
        if self.schema.kind == "video" and self.nothing.takes_sums and self.sample == 1:
            located = codec.locate(block, self.schema, PROVENANCE if self.augmentable else codec.NOTHING)
            if not located.bad and (found := _summed(located)) is not None:
                self.sums = found
                return codec.Decoded(located.batch, located.indices, [])
        self.sums = {}
        return super().decode(block)

    def give(self, batch: pa.RecordBatch) -> Iterable[Any]:
        """Count the records of a batch."""
        self.statistics.add(batch if self.sample == 1 else _sampled(batch, self.sample), self.sums)
        return []

    def finish_bundle(self) -> Iterator[Any]:
        """Give what was counted."""
        yield GlobalWindows.windowed_value(self.statistics)


def _summed(located: codec.Located) -> dict[str, sums.Sums] | None:
    """The sums of video-level features of one record or more; None where a value is not finite."""
    found = {}
    for name, (source, places) in located.vectors.items():
        of_feature = sums.of_places(source, places)
        if of_feature is None:
            return None
        found[name] = of_feature
    return found


def _optional(source: Input, request: Request) -> dict[str, dict[str, Any]]:
    """The optional accumulators that are asked for, with their arguments."""
    chosen: dict[str, dict[str, Any]] = {"label_means": {}} if request.label_means else {}
    if request.slice_by:
        chosen["slices"] = {"by": request.slice_by, "files": source.files, "verticals": request.verticals}
    return chosen


def _sampled(batch: pa.RecordBatch, share: float) -> pa.RecordBatch:
    """Keep the records whose ids fall into the share: the same ones in every job."""
    chosen = shards.unit_interval(shards.stable_hash(0, batch.column("id").to_pylist(), "stats sample")) < share
    return batch.take(pa.array(np.flatnonzero(chosen)))


def _reconcile(statistics: Statistics, source: Input, request: Request) -> None:
    """Hold what was counted against what was read."""
    read, counted = statistics.reading, statistics.num_records
    source.check_bad(statistics.bad, read.num_records)
    if read.files != len(source.files) or (counted != read.num_records and request.sample == 1):
        found = f"{len(source.files)} files, {read.files} of them read, {read.num_records} records read and {counted} counted"
        raise DataError(f"the books do not balance, so records were lost on the way: {found}; run it again")
