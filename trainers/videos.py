"""Videos as columns: the records of a shard, decoded many at a time by the toolkit's own codec."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import tensorflow as tf

from trainers.ahead import ahead
from trainers.chain import Chain
from trainers.frames import draw
from trainers.recipe import DataSchema, Frames
from yt8m_data import classes, codec, compiled, storage, tfrecord
from yt8m_data.errors import BadRecord, DataError
from yt8m_data.schema import LABEL_WEIGHTS, PROVENANCE, Feature, Schema

SEGMENT_KEYS = {"starts": "segment_start_times", "rated": "segment_labels", "ratings": "segment_scores"}
FILL = {"labels": -1, LABEL_WEIGHTS: 1, "starts": 0, "rated": -1, "ratings": 0}  # the columns that are lists, and what pads them

_BESIDE = pa.schema([PROVENANCE.field(LABEL_WEIGHTS)])
_ANY_CLASS = 2**31  # which classes there are is looked at elsewhere
_BLOCK_BYTES = tfrecord.BLOCK_BYTES
_LABELS = 8  # the width of padded lists is a multiple of it, so that batches have few shapes, for each of which XLA compiles a step anew

Rows = np.ndarray | slice


class Vectors(NamedTuple):
    """A feature of N video-level records, where it lies: `source[places]`, of uint8 [M, bytes] and int64 [N]."""

    source: np.ndarray
    places: np.ndarray

    def take(self, rows: Rows) -> "Vectors":
        """Those of some videos."""
        return Vectors(self.source, self.places[rows])

    def copy_to(self, out: np.ndarray, rows: np.ndarray) -> None:
        """Copy them to rows of `out`, uint8 [R, bytes]."""
        compiled.copy_rows(self.source, self.places, out, rows)


class Clips(NamedTuple):
    """A feature of N frame-level records, where it lies: uint8 [T, size] each."""

    frames: list[np.ndarray]

    def take(self, rows: Rows) -> "Clips":
        """Those of some videos."""
        return Clips(self.frames[rows] if isinstance(rows, slice) else [self.frames[row] for row in rows.tolist()])

    def copy_to(self, out: np.ndarray, rows: np.ndarray) -> None:
        """Copy them to rows of `out`, uint8 [R, at least T, size], with zeros behind them."""
        compiled.copy_clips(self.frames, out, rows)


@dataclass
class Videos:
    """N videos.

    Attributes:
      columns: "id", object [N], bytes. "labels", int32 [N, L], padded with -1: class ids, or their rows in the list of classes where there
        is one; "label_weights", float32 [N, L], how much each counts, 1 where a record says nothing. Of frame-level records "num_frames",
        int32 [N]. Where rated segments are asked for, "starts" int64 [N, P], "rated" int32 [N, P], padded with -1, and "ratings" float32
        [N, P], one for each pair of a segment and a class.
      features: by name; they lie in memory that is written over when the next block but one is read.
    """

    columns: dict[str, np.ndarray]
    features: dict[str, Vectors] | dict[str, Clips]

    def __len__(self) -> int:
        return len(self.columns["id"])

    def take(self, rows: Rows) -> "Videos":
        """Some of them: numbers, or a slice."""
        columns = {name: column[rows] for name, column in self.columns.items()}
        return Videos(columns, {name: feature.take(rows) for name, feature in self.features.items()})

    def carrying(self, name: str) -> "Videos":
        """Those that have something in a column of lists padded with -1."""
        some = (self.columns[name] >= 0).any(axis=1)
        return self if some.all() else self.take(np.flatnonzero(some))


class Block(NamedTuple):
    """Records of some files, not yet decoded."""

    records: tfrecord.RecordBlock
    files: Chain


def read(paths: Sequence[str], data: DataSchema, frames: Frames, rated: bool = False) -> Iterator[Videos]:
    """The videos of shards, in their order, as many at a time as lie in a block; they are gone when the next ones are asked for.

    The files are read ahead on a thread of its own. Arguments and errors are those of `blocks` and `decoded`.
    """
    return (decoded(block, data, frames, rated) for block in ahead(blocks(paths), 1))


def blocks(paths: Sequence[str], memory: Callable[[int], np.ndarray] = tfrecord.fresh) -> Iterator[Block]:
    """The records of shards, block by block; one is gone when two more are asked for.

    Args:
      memory: gives a buffer of so many bytes.

    Raises:
      DataError: a file cannot be read.
    """
    with closing(Chain(paths)) as chain:
        for records in tfrecord.read(chain, "", _BLOCK_BYTES, 2, memory, compiled.scanner()):
            yield Block(records, chain)


def decoded(block: Block, data: DataSchema, frames: Frames, rated: bool = False) -> Videos:
    """The videos of a block.

    Args:
      data: keys that it does not name are ignored.
      frames: those behind `max_frames` of a video are left out; which are drawn of the rest is not looked at.
      rated: also give the pairs of segments and classes that were rated.

    Raises:
      DataError: a record cannot be read.
    """
    schema = schema_of(data, tuple(SEGMENT_KEYS.values()) if rated else ())
    located = codec.locate(block.records, schema, _BESIDE)
    if located.bad:
        path = block.files.path_at(located.bad[0].offset)
        raise unreadable(_first_bad(path, schema) or replace(located.bad[0], file=path))
    return _videos(located, data, frames.max_frames)


def _first_bad(path: str, schema: Schema) -> BadRecord | None:
    """The first bad record of a file, with its place there."""
    with storage.open_read(path) as stream:
        located = (codec.locate(block, schema, _BESIDE) for block in tfrecord.read(stream, path))
        return next((bad for found in located for bad in found.bad), None)


def schema_of(data: DataSchema, extras: tuple[str, ...] = ()) -> Schema:
    """The layout as the codec takes it; labels may be of any class."""
    features = tuple(Feature(*each) for each in data.features.items())
    return Schema(data.kind, data.id_key, data.labels_key, features, _ANY_CLASS, extras)


def unreadable(bad: BadRecord) -> DataError:
    """The error for a bad record."""
    return DataError(f"a record cannot be read ({bad}): find it with `yt8m-data validate`")


def drawer(data: DataSchema, frames: Frames, seed: int) -> Callable[[Videos, int], Videos]:
    """A function that gives videos the frames that are drawn of them in a repetition; see `trainers.frames.draw`."""
    if data.kind == "video" or frames.sample == "all":
        return lambda videos, repetition: videos

    def drawn(videos: Videos, repetition: int) -> Videos:
        lengths = videos.columns["num_frames"]
        with tf.device("CPU"):
            rows = draw(frames, tf.constant(videos.columns["id"]), lengths, seed, tf.fill([len(videos)], tf.constant(repetition, tf.int64)))
        rows = [chosen[: len(chosen) * (length > 0)] for chosen, length in zip(rows.numpy(), lengths.tolist(), strict=True)]
        features = {
            name: Clips([whole[chosen] for whole, chosen in zip(clips.frames, rows, strict=True)])
            for name, clips in videos.features.items()
        }
        return Videos(videos.columns | {"num_frames": np.array([len(chosen) for chosen in rows], np.int32)}, features)

    return drawn


def _videos(located: codec.Located, data: DataSchema, max_frames: int) -> Videos:
    batch = located.batch
    lists, given = batch.column("labels"), batch.column(LABEL_WEIGHTS)
    counts, values = lists.value_lengths().to_numpy(), lists.values.to_numpy()
    rows = listed_rows(values, data)
    columns = {"id": batch.column("id").to_numpy(zero_copy_only=False), "labels": _padded("labels", rows, counts, rows >= 0)}
    if given.null_count == len(given):
        columns[LABEL_WEIGHTS] = np.ones(columns["labels"].shape, np.float32)
    else:
        weights = np.ones(len(values), np.float32)
        weights[np.repeat(given.is_valid().to_numpy(zero_copy_only=False), counts)] = given.flatten().to_numpy()
        columns[LABEL_WEIGHTS] = _padded(LABEL_WEIGHTS, weights, counts, rows >= 0)
    if SEGMENT_KEYS["rated"] in batch.schema.names:
        columns |= _pairs({name: batch.column(key) for name, key in SEGMENT_KEYS.items()}, data)
    if data.kind == "video":
        return Videos(columns, {name: Vectors(*located.vectors[name]) for name in data.features})
    clips = {name: Clips([frames[:max_frames] for frames in located.frames[name]]) for name in data.features}
    columns["num_frames"] = np.array(list(map(len, next(iter(clips.values())).frames)), np.int32)
    return Videos(columns, clips)


def _pairs(lists: dict[str, pa.ListArray], data: DataSchema) -> dict[str, np.ndarray]:
    """The columns of rated segments."""
    counts = lists["rated"].value_lengths().fill_null(0).to_numpy()
    rows = listed_rows(lists["rated"].flatten().to_numpy(), data)
    flat = {name: column.flatten().to_numpy() for name, column in lists.items()} | {"rated": rows}
    return {name: _padded(name, values, counts, rows >= 0) for name, values in flat.items()}


def listed_rows(ids: np.ndarray, data: DataSchema) -> np.ndarray:
    """Class ids [N], from 0 up, as the layout's classes, int32 [N]; -1 for those that are not in its list of classes."""
    if data.classes is None:
        return ids.astype(np.int32)
    size = max(data.classes) + 1
    rows = np.append(classes.rows_of(data.classes, size), -1)  # the last one stands for all from `size` up
    return rows[np.minimum(ids, size)].astype(np.int32)


def _padded(name: str, values: np.ndarray, counts: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Lists of `counts` [N] values, less those that are not `kept`, side by side: [N, L]."""
    if not kept.all():
        counts = np.bincount(np.repeat(np.arange(len(counts)), counts)[kept], minlength=len(counts))
        values = values[kept]
    padded = np.full((len(counts), _width(counts)), FILL[name], values.dtype)
    padded[np.arange(padded.shape[1]) < counts[:, None]] = values
    return padded


def _width(counts: np.ndarray) -> int:
    return -(-int(counts.max(initial=0)) // _LABELS) * _LABELS


def widened(name: str, column: np.ndarray, width: int) -> np.ndarray:
    """A column of lists that is at least so wide."""
    missing = width - column.shape[1]
    return np.pad(column, ((0, 0), (0, missing)), constant_values=FILL[name]) if missing > 0 else column


def trimmed(columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Columns whose lists are no wider than the longest one needs."""
    for first, *others in (("labels", LABEL_WEIGHTS), ("rated", "starts", "ratings")):
        if first in columns:
            width = _LABELS * int((columns[first][:, ::_LABELS] >= 0).any(axis=0).sum())
            columns = columns | {name: columns[name][:, :width] for name in (first, *others)}
    return columns


def row_shapes(data: DataSchema, frames: Frames) -> dict[str, tuple[int, ...]]:
    """The shape of each feature of a video, as bytes: (4 size,) or (most frames, size)."""
    if data.kind == "video":
        return {name: (4 * size,) for name, size in data.features.items()}
    return {name: (frames.count or frames.max_frames, size) for name, size in data.features.items()}
