"""The values of single columns, out of where they lie in the records of a block, and the records that are refused for them.

`codec` finds the values (`Found`) and puts the columns together.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from google.protobuf.message import DecodeError

from yt8m_data import wire
from yt8m_data.errors import BadRecord
from yt8m_data.prefixes import Prefixes
from yt8m_data.proto import Example, SequenceExample
from yt8m_data.schema import OTHER, SEGMENTS, Feature, Schema
from yt8m_data.tfrecord import RecordBlock
from yt8m_data.varint import varints


class Refused:
    """The records of a block that are bad: a mask, and why."""

    def __init__(self, block: RecordBlock) -> None:
        self.block = block
        self.rows = np.zeros(len(block), bool)
        self.bad: list[BadRecord] = []

    def add(self, rows: np.ndarray, kind: str, reason: str) -> None:
        """Refuse the records of a mask; the first reason stands."""
        for row in np.flatnonzero(rows & ~self.rows).tolist():
            self.rows[row] = True
            self.bad.append(self.block.bad_record(row, kind, reason))

    def add_row(self, row: int, kind: str, reason: str) -> None:
        """Refuse one record."""
        self.add(np.arange(len(self.rows)) == row, kind, reason)


@dataclass
class Found:
    """Where the values of N records lie in `data`; `odd` (bool [N]) marks the records that are laid out otherwise."""

    data: np.ndarray
    context: dict[bytes, wire.Values]
    odd: np.ndarray
    frames: dict[str, list[np.ndarray | None]] = field(default_factory=dict)  # per record uint8 [frames, size]; None where sizes differ
    others: list[wire.Spans] = field(default_factory=list)  # entries of the context that have no column
    other_lists: list[wire.Spans] = field(default_factory=list)  # feature lists that have none

    def unusual(self) -> np.ndarray:
        """Mark the records to read the slow way: the odd ones, and those whose frames make no matrix (bool [N])."""
        unusual = self.odd.copy()
        for videos in self.frames.values():
            unusual |= np.array([video is None for video in videos], bool)
        return unusual


def kind_of(column: pa.Field) -> int:
    """The kind of the values of a list column."""
    return wire.FLOAT if pa.types.is_float32(column.type.value_type) else wire.INT64


def ids(found: Found, schema: Schema, refused: Refused) -> pa.Array:
    """The ids, binary."""
    values = found.context[schema.id_key.encode()]
    absent = (values.kind != wire.BYTES) | (values.lengths == 0)
    refused.add(absent, "parse", f"it has no id under the key {schema.id_key!r}")
    return _binary(found.data, values, absent)


def labels(found: Found, schema: Schema, refused: Refused) -> pa.Array:
    """The label lists, list<int32>; empty where a record has none."""
    values, counts = _integers(found, schema.labels_key, refused)
    _check_labels(values, counts, "label", schema, refused)
    return pa.ListArray.from_arrays(_offsets(counts), values.astype(np.int32), type=schema.arrow.field("labels").type)


def _integers(found: Found, key: str, refused: Refused) -> tuple[np.ndarray, np.ndarray]:
    """The lists of integers of a key behind one another, int64, and how many each record has (0 where it is refused)."""
    lists, not_integers = found.context[key.encode()], f"{key!r} is not a list of integers"
    refused.add((lists.kind != wire.INT64) & (lists.kind != 0), "label", not_integers)
    lengths = np.where(refused.rows, 0, lists.lengths)
    values, counts, malformed = varints(wire.concatenate(found.data, lists.starts, lengths), lengths)
    if malformed.any():  # a run that does not end spoils the one behind it: leave it out and read the others again
        refused.add(malformed, "label", not_integers)
        return _integers(found, key, refused)
    return values, counts


def _check_labels(values: np.ndarray, counts: np.ndarray, name: str, schema: Schema, refused: Refused) -> None:
    outside = np.flatnonzero(values.view(np.uint64) >= schema.num_classes)  # a negative one is huge as well
    for place in outside.tolist():
        row = int(np.searchsorted(np.cumsum(counts), place, side="right"))
        reason = f"{name} {values[place]} is outside 0..{schema.num_classes - 1}; --num-classes gives the true number of classes"
        if values[place] < 0:
            reason = f"{name} {values[place]} is below 0, where class numbers begin"
        refused.add_row(row, "label", reason)


def segments(found: Found, schema: Schema, refused: Refused) -> dict[str, pa.Array]:
    """The columns of SEGMENTS among the extras, null where a record has none; all lists of a record must have as many values."""
    columns: dict[str, pa.Array] = {}
    length_of_first = None
    for column in SEGMENTS:
        if column.name not in schema.extras:
            continue
        if kind_of(column) == wire.INT64:
            values, counts = _integers(found, column.name, refused)
            if column.name == "segment_labels":
                _check_labels(values, counts, "segment label", schema, refused)
        else:
            values, counts = _floats(found, column.name, refused)
        length_of_first = counts if length_of_first is None else length_of_first
        refused.add(counts != length_of_first, "size", f"{column.name!r} has not as many values as the segment lists before it")
        absent = found.context[column.name.encode()].kind == 0
        columns[column.name] = pa.ListArray.from_arrays(_offsets(counts), values, type=column.type, mask=pa.array(absent))
    return columns


def _floats(found: Found, key: str, refused: Refused) -> tuple[np.ndarray, np.ndarray]:
    """The lists of floats of a key behind one another, float32, and how many each record has (0 where it is refused)."""
    lists = found.context[key.encode()]
    wrong = ((lists.kind != wire.FLOAT) & (lists.kind != 0)) | (lists.lengths % 4 != 0)
    refused.add(wrong, "size", f"{key!r} is not a list of floats")
    lengths = np.where(refused.rows, 0, lists.lengths)
    values, counts = wire.concatenate(found.data, lists.starts, lengths).view("<f4"), lengths // 4
    infinite = np.zeros(len(counts), bool)
    infinite[np.repeat(np.arange(len(counts)), counts)[~np.isfinite(values)]] = True
    refused.add(infinite, "not finite", f"{key!r} has a value that is not finite")
    return values, counts


def check_others(found: Found, schema: Schema, refused: Refused) -> None:
    """Refuse records that protobuf would, for what stands under keys that nobody asked for; and, with OTHER, unknown feature lists."""
    prefixes = Prefixes(b"\x0a")
    for row, entry in _entries(found, found.others, plain=False):
        try:
            Example.FromString(prefixes[len(entry)] + entry)
        except DecodeError:
            refused.add_row(row, "parse", "one of its further keys holds no tf.Feature")
    prefixes = Prefixes(b"\x12")
    for row, entry in _entries(found, found.other_lists, plain=False):
        try:
            [read] = SequenceExample.FromString(prefixes[len(entry)] + entry).feature_lists.feature_list
        except DecodeError:
            refused.add_row(row, "parse", "one of its further keys holds no tf.FeatureList")
            continue
        if OTHER in schema.extras and read.value.feature:
            known = ", ".join(repr(feature.name) for feature in schema.features)
            refused.add_row(row, "parse", f"it has the feature list {read.key!r}, and the first records have {known} only")


def others(found: Found) -> pa.Array:
    """The column OTHER: the entries of the context that have no column, one behind the other; null where there are none."""
    texts: dict[int, bytes] = {}
    for row, entry in _entries(found, found.others):
        texts[row] = texts.get(row, b"") + entry
    return pa.array([texts.get(row) for row in range(len(found.odd))], pa.binary())


def _entries(found: Found, spans: list[wire.Spans], plain: bool = True) -> Iterator[tuple[int, bytes]]:
    """The rows and bytes of entries of further keys: all of them, or those that are not plain."""
    for part in spans:
        chosen = np.arange(len(part.rows)) if plain else np.flatnonzero(~part.plain)
        for row, start, end in zip(part.rows[chosen].tolist(), part.starts[chosen].tolist(), part.ends[chosen].tolist(), strict=True):
            yield row, found.data[start:end].tobytes()


def check_vectors(found: Found, feature: Feature, refused: Refused) -> None:
    """Refuse records without a vector of the feature's size."""
    values = found.context[feature.name.encode()]
    for row in np.flatnonzero((values.kind != wire.FLOAT) | (values.lengths != 4 * feature.size)).tolist():
        has = f"{values.lengths[row] // 4} values" if values.kind[row] == wire.FLOAT else "no float values"
        refused.add_row(row, "size", f"{feature.name!r} has {has}, not {feature.size}")


def vectors(found: Found, feature: Feature, refused: Refused) -> pa.Array:
    """A video-level feature, fixed_size_list<float32>."""
    check_vectors(found, feature, refused)
    wrong, values = refused.rows, found.context[feature.name.encode()]
    if wrong.all():
        vectors = np.zeros((len(wrong), feature.size), np.float32)
    else:
        some = values.starts[~wrong][0]  # a place that is sure to hold a whole vector
        vectors = wire.gather(found.data, np.where(wrong, some, values.starts), 4 * feature.size).view("<f4")
    infinite = np.zeros(len(vectors), bool)
    with np.errstate(invalid="ignore", over="ignore"):
        if not np.isfinite(vectors.sum(axis=0)).all():  # by columns, which is faster; large values may only have a sum that is too large
            infinite[:] = ~np.isfinite(vectors).all(axis=1)
    refused.add(infinite, "not finite", f"{feature.name!r} has a value that is not finite")
    return pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), feature.size)


def check_frames(found: Found, feature: Feature, refused: Refused) -> None:
    """Refuse records whose frames are not of the feature's size, or not as many as those of the first feature."""
    reference = next(iter(found.frames.values()))
    for row, (video, other) in enumerate(zip(found.frames[feature.name], reference, strict=True)):
        if video is None:
            refused.add_row(row, "size", f"{feature.name!r} has frames that are not of {feature.size} bytes")
        elif other is not None and len(video) != len(other):
            refused.add_row(row, "size", f"{feature.name!r} has {len(video)} frames, not {len(other)} as the feature before it")


def frames(found: Found, feature: Feature, refused: Refused) -> pa.Array:
    """A frame-level feature, list<fixed_size_binary>, with a frame at least."""
    empty = np.array([video is not None and not len(video) for video in found.frames[feature.name]], bool)
    refused.add(empty, "size", f"{feature.name!r} has no frames")
    check_frames(found, feature, refused)
    kept = [np.empty((0, feature.size), np.uint8) if video is None else video for video in found.frames[feature.name]]
    frames = np.concatenate(kept) if kept else np.empty((0, feature.size), np.uint8)
    values = pa.Array.from_buffers(pa.binary(feature.size), len(frames), [None, pa.py_buffer(frames)])
    offsets = pa.array(_offsets(np.array([len(video) for video in kept], np.int64)))
    return pa.ListArray.from_arrays(offsets, values)


def provenance(found: Found, column: pa.Field, refused: Refused) -> pa.Array:
    """One provenance column, null where the record has none."""
    values = found.context[column.name.encode()]
    if pa.types.is_binary(column.type):
        return _binary(found.data, values, refused.rows | (values.kind != wire.BYTES), nullable=True)
    if pa.types.is_list(column.type):
        absent = refused.rows | (values.kind != wire.FLOAT) | (values.lengths % 4 != 0)
        lengths = np.where(absent, 0, values.lengths)
        weights = pa.array(wire.concatenate(found.data, values.starts, lengths).view("<f4"))
        valid = pa.py_buffer(np.packbits(~absent, bitorder="little"))
        return pa.Array.from_buffers(column.type, len(lengths), [valid, pa.py_buffer(_offsets(lengths // 4))], children=[weights])
    absent = refused.rows | (values.kind != wire.FLOAT) | (values.lengths != 4)
    numbers = wire.gather(found.data, np.where(absent, 0, values.starts), 4).view("<f4").reshape(-1)
    return pa.array(numbers, mask=absent)


def _binary(data: np.ndarray, values: wire.Values, absent: np.ndarray, nullable: bool = False) -> pa.Array:
    lengths = np.where(absent, 0, values.lengths)
    valid = pa.py_buffer(np.packbits(~absent, bitorder="little")) if nullable else None
    text = wire.concatenate(data, values.starts, lengths)
    return pa.Array.from_buffers(pa.binary(), len(lengths), [valid, pa.py_buffer(_offsets(lengths)), pa.py_buffer(text)])


def _offsets(lengths: np.ndarray) -> np.ndarray:
    return np.concatenate(([0], np.cumsum(lengths))).astype(np.int32)
