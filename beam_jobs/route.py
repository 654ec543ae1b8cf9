"""The steps of an augmentation between reading and writing: Route, which says where each video goes, and Synthesize.

Where workers share a disk, features stay in the input's files (`in_place`) or go to a `Store` as soon as they are read, and what moves
through the pipeline are recipes, which name places there. On a service the features move with the rest, and Synthesize makes the videos.
"""

from collections import Counter as Tally
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import apache_beam as beam
import numpy as np
import pyarrow as pa

from beam_jobs import holdout as holdouts
from beam_jobs.books import DISTANCE, FILLER, NEARER_OTHER, OWN, TO_BASE, TO_NEIGHBOR, TO_OTHER, entries_of, tally
from beam_jobs.forecast import expected_counts
from beam_jobs.holdout import Watch
from beam_jobs.layout import HASH, Layout
from beam_jobs.progress import Counter
from beam_jobs.transforms import split_batch
from yt8m_data import deltas, in_place, pools, quality, recipes, sampling, store, synthesis, synthetic_labels
from yt8m_data.in_place import Files, InPlace
from yt8m_data.recipes import InBatch, Rows
from yt8m_data.schema import ORDER, PROVENANCE, Schema
from yt8m_data.store import Store
from yt8m_data.turns import Turns

KEPT, BOOKS, FORECAST, NEAR = "kept", "books", "forecast", "near"

_MADE_ROWS = 1024  # synthetic videos made at a time on a service


class Work(NamedTuple):
    """What the steps share.

    Attributes:
      plan, packed: what happens to each video, and where the pools are.
      layout: of the output.
      schema: of the records.
      store: the path of the features; None on a service.
      bank: the path of the deltas, for the method delta.
      mapped: whether there is memory for the store.
      compiled: whether so much is sought and written that the import of what compiles the loops is worth it.
      files: where features are left in the files that have them; else None.
    """

    plan: sampling.Plan
    packed: pools.Pools
    layout: Layout
    schema: Schema
    store: str | None
    bank: str | None
    mapped: bool = False
    compiled: bool = False
    files: Files | None = None

    @property
    def written(self) -> pa.Schema:
        """The columns of what is written."""
        return pa.schema([*self.schema.arrow, *PROVENANCE])

    @property
    def sent(self) -> pa.Schema:
        """The columns of what is sent to be written."""
        if self.store is None:
            return self.written
        features = {feature.name for feature in self.schema.features}
        return pa.schema([*(c for c in self.written if c.name not in features), *synthesis.MOVES, pa.field(HASH, pa.uint64())])

    def send(self, batch: pa.RecordBatch, hashes: np.ndarray | None = None) -> Iterator[tuple[int, pa.RecordBatch]]:
        """Yield (partition of the output, rows that go there), by the hashes of their ids, uint64 [N].

        They are in the order of these, as the output is: rows that are written together then lie together in what is to be sorted.
        """
        hashes = self.layout.hashes(batch.column("id").to_pylist()) if hashes is None else hashes
        if self.store is not None:
            batch = batch.append_column(HASH, pa.array(hashes))
        order = np.argsort(hashes)
        yield from split_batch(batch.take(pa.array(order)), self.layout.partition_of(hashes[order]))

    def put(self, batch: pa.RecordBatch, rows: np.ndarray) -> pa.RecordBatch:
        """Put the features of some rows (int64, each once) where all workers find them; the batch with their PLACE instead."""
        assert self.store is not None
        if self.files is None:
            return store.put(self.store, batch, rows, self.schema)
        return in_place.put(self.files, batch, rows, self.schema)

    def originals(self, batch: pa.RecordBatch, suffix: bytes) -> pa.RecordBatch:
        """Drop the ORDER column; the policy `authors` marks the ids of originals as the published scripts do."""
        batch = batch.drop_columns([ORDER])
        if self.plan.settings.policy != "authors":
            return batch
        ids = pa.array([i + suffix for i in batch.column("id").to_pylist()], pa.binary())
        return batch.set_column(0, batch.schema.field(0), ids)

    def as_they_are(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Make of original videos what is sent."""
        if self.store is None:
            return batch
        return recipes.of_originals(batch.drop_columns([store.PLACE]), batch.column(store.PLACE).to_numpy())

    def maker(self) -> Callable[[pa.RecordBatch], recipes.Made]:
        """Open the store, and return what makes of recipes the videos to write."""
        rows, bank = self.stored(), self.deltas()
        return lambda batch: recipes.Made(batch, rows, self.schema, self.plan.settings, bank)

    def stored(self) -> Rows:
        """Open what was put, when that is all."""
        assert self.store is not None
        if self.files is not None:
            return InPlace(self.files, self.schema)
        return Store(self.store, self.schema, self.mapped, self.compiled)

    def deltas(self) -> deltas.Deltas | None:
        """Open the deltas."""
        return None if self.bank is None else deltas.read(self.bank)


class Route(beam.DoFn):
    """Batches -> (partition of pools, batch).

    Outputs: `kept` (partition of the output, batch), `books`, and `forecast`, what `expected_counts` says of the batch.
    """

    def __init__(self, work: Work, chunk_shards: int | None) -> None:
        self.work, self.chunk_shards = work, chunk_shards

    def process(self, batch: pa.RecordBatch) -> Iterator[Any]:
        """Say where each video goes."""
        work, plan = self.work, self.work.plan
        as_is, over, rows, partitions = pools.route(plan, work.packed, batch)
        count = len(as_is) + len(over)
        books: Tally[Any] = Tally({"read": batch.num_rows, "kept": count, "dropped": batch.num_rows - count})
        yield beam.pvalue.TaggedOutput(FORECAST, expected_counts(batch, plan))
        own = np.bincount(plan.decide(batch.column("labels")) + 1, minlength=2)[1:]
        books.update({(OWN, label): int(own[label]) for label in np.flatnonzero(own).tolist()})
        if work.store is not None:
            batch = work.put(batch, np.union1d(as_is, rows))
        kept, copies = synthetic_labels.decouple(work.originals(batch.take(pa.array(as_is)), b"_s00"), plan)
        books.update(entries_of(copies))
        yield beam.pvalue.TaggedOutput(BOOKS, books)
        for part in (kept, copies):
            for pair in work.send(work.as_they_are(part)):
                yield beam.pvalue.TaggedOutput(KEPT, pair)
        if self.chunk_shards is not None:  # each chunk has partitions of its own
            chunk = (batch.column(ORDER).to_numpy()[rows] >> 32) // self.chunk_shards
            partitions = chunk * work.packed.count + partitions
        yield from split_batch(batch, partitions, rows)


class Synthesize(beam.DoFn):
    """(partition of pools, batches) -> (partition of the output, batch) of its over-sampled videos and of what is made of them.

    Args:
      work: what the steps share.
      threads: for large pools.
      counter: counts the synthetic videos.
      near: of `HoldOut`, where videos are held out.
      turns: of the processes that share a memory budget; None on a service.
    """

    def __init__(self, work: Work, threads: int, counter: Counter, near: float | None, turns: Turns | None = None) -> None:
        self.work, self.threads, self.counter, self.near, self.turns = work, threads, counter, near, turns

    def setup(self) -> None:
        """Open the store, once for all partitions."""
        self.stored = self.work.stored() if self.work.store else None

    def process(self, element: tuple[int, Iterable[pa.RecordBatch]]) -> Iterator[Any]:
        """Make what a partition's bases give."""
        partition, batches = element
        everything = pa.concat_batches(list(batches))
        if self.turns is None:
            yield from self._make(partition, everything)
            return
        size = self.work.schema.features[0].size
        with self.turns.take(pools.memory(self.work.plan, everything.num_rows, size, self.threads)):
            yield from self._make(partition, everything)

    def _make(self, partition: int, everything: pa.RecordBatch) -> Iterator[Any]:
        work, plan = self.work, self.work.plan
        everything = everything.take(pa.array(np.argsort(everything.column(ORDER).to_numpy())))
        order = everything.column(ORDER).to_numpy()
        keys = everything.column(store.PLACE).to_numpy() if work.store else np.arange(len(order))
        rows: Rows = self.stored if self.stored else InBatch(everything, work.schema)
        vectors = rows.sought(keys)
        held_out = int((order < 0).sum())  # these come first
        watch = None if self.near is None else Watch(self.near, everything, vectors, held_out, plan)
        heads, vectors, keys, order = everything.slice(held_out), vectors[held_out:], keys[held_out:], order[held_out:]

        deciding = pools.bases(plan, work.packed, partition % work.packed.count, heads)
        originals = heads.take(pa.array(np.flatnonzero(deciding >= 0)))
        yield from work.send(work.as_they_are(work.originals(originals, b"_o00")))
        books: Tally[Any] = Tally()
        near: list[Any] = []
        sample = Sample(-(-quality.CHECKED // work.packed.count))
        bank = work.deltas()
        for made in pools.synthesize(plan, heads, vectors, deciding, order, work.schema, self.threads, bank, work.compiled):
            self.counter.add(made.recipes.num_rows)
            books.update(entries_of(made.recipes))
            books.update(tally(DISTANCE, pools.distance_bins(made.apart)))
            books.update(tally(FILLER, made.deciding[made.filler].tolist()))
            hashes = work.layout.hashes(made.recipes.column("id").to_pylist())
            sample.offer(made, hashes)
            moved = recipes.moved_by(made.recipes, keys)
            if watch:
                near += watch.look(moved, made.deciding, partial(self._look, rows=rows, bank=bank))
            yield from self._send(moved, hashes, rows, bank)
        books.update(self._gates(sample, vectors, keys, plan.decide(heads.column("labels")), rows, bank))
        books[NEAR] += len(near)
        for each in sorted(near)[: holdouts.LISTED]:
            yield beam.pvalue.TaggedOutput(NEAR, each)
        yield beam.pvalue.TaggedOutput(BOOKS, books)

    def _send(self, moved: pa.RecordBatch, hashes: np.ndarray, rows: Rows, bank: Any) -> Iterator[tuple[int, pa.RecordBatch]]:
        """Send recipes; or on a service the videos that are made by them, some at a time."""
        if self.work.store is not None:
            yield from self.work.send(moved, hashes)
            return
        by_destination = np.argsort(self.work.layout.partition_of(hashes), kind="stable")
        for at in range(0, len(hashes), _MADE_ROWS):
            some = by_destination[at : at + _MADE_ROWS]
            made = recipes.Made(moved.take(pa.array(some)), rows, self.work.schema, self.work.plan.settings, bank).whole()
            yield from self.work.send(made, hashes[some])

    def _look(self, moved: pa.RecordBatch, rows: Rows, bank: Any) -> np.ndarray:
        """Make of synthetic videos the vectors by which distances are taken, float32 [M, D]."""
        visual = replace(self.work.schema, features=self.work.schema.features[:1], extras=())
        made = recipes.Made(moved, rows, visual, self.work.plan.settings, bank).whole()
        return InBatch(made, visual).sought(np.arange(made.num_rows))

    def _gates(self, sample: "Sample", vectors: np.ndarray, keys: np.ndarray, deciding: np.ndarray, rows: Rows, bank: Any) -> Tally[Any]:
        """Take the distances of the sample."""
        books: Tally[Any] = Tally()
        for moved, label in sample.taken():
            looked_at = self._look(recipes.moved_by(moved, keys), rows, bank)
            base, other = (moved.column(name).to_numpy() for name in ("move_base", "move_other"))
            found = quality.distances(looked_at, base, other, label, vectors, deciding)
            for part, squared in zip((TO_BASE, TO_NEIGHBOR, TO_OTHER), found, strict=True):
                books.update(tally(part, pools.distance_bins(squared)))
            books[NEARER_OTHER] += int((found.other < found.base).sum())
        return books


class Sample:
    """Some of the synthetic videos of a partition, by the hashes of their ids, as they come."""

    def __init__(self, number: int) -> None:
        self.number = number
        self._parts: list[tuple[pa.RecordBatch, np.ndarray, np.ndarray]] = []

    def offer(self, made: pools.Made, hashes: np.ndarray) -> None:
        """Look at some more."""
        rows = quality.checked(hashes, self.number)
        self._parts.append((made.recipes.take(pa.array(rows)), made.deciding[rows], hashes[rows]))

    def taken(self) -> Iterator[tuple[pa.RecordBatch, np.ndarray]]:
        """Give the recipes chosen, and their deciding labels; nothing where none were offered."""
        if self._parts:
            batches, deciding, hashes = zip(*self._parts, strict=True)
            rows = quality.checked(np.concatenate(hashes), self.number)
            yield pa.concat_batches(list(batches)).take(pa.array(rows)), np.concatenate(deciding)[rows]
