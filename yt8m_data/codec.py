"""Example and SequenceExample bytes -> `pyarrow.RecordBatch`, and back (`encoding`).

Decoding walks the records of a block side by side (`wire`), with no Python per value. A record laid out otherwise than every writer in
use lays it out (unpacked floats, split runs, unknown fields) is legal: the protobuf library re-writes it in that layout first.
"""

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from google.protobuf.message import DecodeError

from yt8m_data import wire
from yt8m_data.encoding import encode
from yt8m_data.errors import BadRecord
from yt8m_data.heads import HeadBlock
from yt8m_data.proto import Example, SequenceExample
from yt8m_data.schema import LABEL_WEIGHTS, OTHER, PROVENANCE, SEGMENTS, Feature, Schema
from yt8m_data.tfrecord import RecordBlock

__all__ = ["Decoded", "Located", "decode", "decode_heads", "encode", "locate"]

NOTHING = pa.schema([])


class Decoded(NamedTuple):
    """The records of a block as columns: `batch`, their positions in the file (`indices` int64 [N]), and what was left out."""

    batch: pa.RecordBatch
    indices: np.ndarray
    bad: list[BadRecord]


class Located(NamedTuple):
    """The records of a block with their features left where they lie, in the block's memory: copy them before the next block is read.

    Attributes:
      batch: the other columns of `schema.arrow`, and those asked for behind them.
      vectors: of video-level records, for each feature a view of the bytes at every place, uint8 [M, 4 size], and the places of the N
        vectors in it, int64 [N].
      frames: of frame-level records, for each feature N views, uint8 [frames, size].
      indices, bad: as in `Decoded`.
    """

    batch: pa.RecordBatch
    vectors: dict[str, tuple[np.ndarray, np.ndarray]]
    frames: dict[str, list[np.ndarray]]
    indices: np.ndarray
    bad: list[BadRecord]


def decode(block: RecordBlock, schema: Schema, provenance: bool = False) -> Decoded:
    """Decode a block to the columns of `schema.arrow`, with those of `PROVENANCE` behind them if asked for.

    A record without labels has an empty list. One that does not parse, lacks its id or a feature, has a feature of another size, a value
    that is not finite, or a label outside 0..num_classes-1 is left out and reported in `bad`, behind those of the block itself. So are one
    whose segment lists do not run parallel, and, where OTHER is among the schema's extras, one with a feature list that has no column: with
    OTHER nothing that a record says is lost. The batch shares no memory with the block.
    """
    beside = PROVENANCE if provenance else NOTHING
    found, refused = _read(block, schema, beside)
    columns = _columns(found, schema, beside, refused, _vectors if schema.kind == "video" else _frames)
    batch, good = _sound(columns, pa.schema([*schema.arrow, *beside]), refused)
    return Decoded(batch, block.indices[good], block.bad + refused.bad)


def locate(block: RecordBlock, schema: Schema, beside: pa.Schema = NOTHING) -> Located:
    """Decode a block but for its features, which are looked up and left where they lie.

    What is bad is as in `decode`, but for values that are not finite and frame-level records without a frame, which may pass.

    Args:
      beside: columns of PROVENANCE that are wanted.
    """
    found, refused = _read(block, schema, beside)
    columns = _columns(found, schema, beside, refused, _check_vectors if schema.kind == "video" else _check_frames)
    batch, good = _sound(columns, pa.schema([*(field for field in schema.arrow if columns[field.name] is not None), *beside]), refused)
    vectors, frames = {}, {}
    for feature in schema.features:
        if schema.kind == "video":
            starts = found.context[feature.name.encode()].starts
            vectors[feature.name] = wire.windows(found.data, 4 * feature.size), starts[good]
        else:
            frames[feature.name] = [found.frames[feature.name][row] for row in good.tolist()]
    return Located(batch, vectors, frames, block.indices[good], block.bad + refused.bad)


def _read(block: RecordBlock, schema: Schema, beside: pa.Schema) -> tuple["_Found", "_Refused"]:
    """Find the values of a block's records, and the records in which they cannot be found."""
    refused = _Refused(block)
    found = _locate(block.data, block.starts, block.ends, schema, beside)
    if (unusual := found.unusual()).any():
        data, starts, ends = _rewrite(block, schema, unusual, refused)
        found = _locate(data, starts, ends, schema, beside)
        refused.add(found.odd, "parse", "one of its keys has several byte strings where one is wanted")
    return found, refused


def _columns(
    found: "_Found", schema: Schema, beside: pa.Schema, refused: "_Refused", of_feature: Callable[["_Found", Feature, "_Refused"], Any]
) -> dict[str, Any]:
    """The columns of `schema.arrow` and `beside`, in the order in which records are refused; those of features by `of_feature`."""
    columns = {"id": _ids(found, schema, refused), "labels": _labels(found, schema, refused)}
    columns |= {feature.name: of_feature(found, feature, refused) for feature in schema.features}
    columns |= _segments(found, schema, refused)
    _check_others(found, schema, refused)
    if OTHER in schema.extras:
        columns[OTHER] = _others(found)
    columns |= {column.name: _provenance(found, column, refused) for column in beside}
    if LABEL_WEIGHTS in columns:
        counts, weights = (columns[name].value_lengths() for name in ("labels", LABEL_WEIGHTS))
        unlike = pc.fill_null(pc.not_equal(counts, weights), False).to_numpy(zero_copy_only=False)
        refused.add(unlike, "label", f"{LABEL_WEIGHTS!r} has another number of values than {schema.labels_key!r}")
    return columns


def _sound(columns: dict[str, pa.Array], target: pa.Schema, refused: "_Refused") -> tuple[pa.RecordBatch, np.ndarray]:
    """The columns as a batch of those records that are not refused, and their rows, int64."""
    batch = pa.RecordBatch.from_arrays([columns[field.name] for field in target], schema=target)
    good = np.flatnonzero(~refused.rows)
    return (batch if len(good) == len(batch) else batch.take(pa.array(good))), good


def decode_heads(block: HeadBlock, schema: Schema, provenance: bool = False) -> Decoded:
    """Decode ids, labels and the number of frames of frame-level records from their first bytes and their lengths.

    In a SequenceExample the context comes first. What is behind it is as long as so many frames of the schema's features are, for one
    number of frames or for none; whether they are frames, nobody looks.

    Returns the columns `id`, `labels` and `num_frames` (int32; null where no number fits), with those of `PROVENANCE` behind them if asked
    for. What is bad about a context is reported as `decode` does.
    """
    starts, ends = block.starts.copy(), block.ends
    _, context_ends = wire.delimited(block.data, starts, wire.FIELD_1)
    behind = np.where(context_ends < 0, -1, block.lengths - (context_ends - starts))
    num_frames = _frames_by_length(behind, schema.features)
    pieces, size = [block.data], len(block.data)
    for row in np.flatnonzero((context_ends < 0) | (context_ends > ends)).tolist():  # a long context, or one that does not come first
        whole = context_ends[row] - starts[row] if context_ends[row] > 0 else block.lengths[row]
        pieces.append(np.frombuffer(block.read_more(row, int(whole)), np.uint8))
        starts[row], context_ends[row] = size, size + len(pieces[-1])
        size += len(pieces[-1])
    contexts = replace(block, data=np.concatenate(pieces) if len(pieces) > 1 else block.data, starts=starts, ends=context_ends)
    decoded = decode(contexts, replace(schema, kind="video", features=(), extras=()), provenance)  # a context alone is an Example
    kept = num_frames[np.searchsorted(block.indices, decoded.indices)]
    return decoded._replace(batch=decoded.batch.append_column("num_frames", pa.array(kept, mask=kept < 0)))


def _frames_by_length(lengths: np.ndarray, features: tuple[Feature, ...]) -> np.ndarray:
    """Number of frames whose feature lists are so many bytes long, int32 [N]; -1 where there is none."""
    most = int(lengths.max(initial=0)) // sum(len(wire.frame_header(feature.size)) + feature.size for feature in features)
    sizes = _sizes_by_frames(features, 1 << most.bit_length())
    found = np.searchsorted(sizes, lengths).clip(max=len(sizes) - 1)  # a negative length finds 0 frames, whose lists are not as short
    return np.where(sizes[found] == lengths, found, -1).astype(np.int32)


@functools.cache
def _sizes_by_frames(features: tuple[Feature, ...], most: int) -> np.ndarray:
    """Bytes that the feature lists of 0, 1, 2 ... `most` frames take, int64 [most + 1]."""
    sizes = []
    for count in range(most + 1):
        lists = 0
        for feature in features:
            frames = count * (len(wire.frame_header(feature.size)) + feature.size)
            lists += len(wire.entry_prefixes(feature.name.encode())[frames]) + frames
        sizes.append(len(wire.Prefixes(bytes([wire.FIELD_2]))[lists]) + lists)
    return np.array(sizes)


class _Refused:
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
        self.add(np.arange(len(self.rows)) == row, kind, reason)


@dataclass
class _Found:
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


def _locate(data: np.ndarray, starts: np.ndarray, ends: np.ndarray, schema: Schema, beside: pa.Schema) -> _Found:
    odd = np.zeros(len(starts), bool)
    first, first_end, second, second_end = wire.message_parts(data, starts, ends, odd)
    found = _Found(data, {}, odd)
    found.context = wire.features(data, first, first_end, _keys(schema, beside), odd, found.others)
    if schema.kind == "frame":
        names = [feature.name.encode() for feature in schema.features]
        lists = wire.feature_lists(data, second, second_end, names, odd, found.other_lists)
        for feature in schema.features:
            runs = zip(*(x.tolist() for x in lists[feature.name.encode()]), strict=True)
            found.frames[feature.name] = [wire.frames(data, start, length, feature.size) for start, length in runs]
    return found


def _keys(schema: Schema, beside: pa.Schema) -> tuple[wire.Key, ...]:
    """The keys of a record's context."""
    keys = [wire.Key(schema.id_key.encode(), wire.BYTES), wire.Key(schema.labels_key.encode(), wire.INT64)]
    if schema.kind == "video":
        keys += [wire.Key(feature.name.encode(), wire.FLOAT, 4 * feature.size) for feature in schema.features]
    for column in SEGMENTS:
        if column.name in schema.extras:
            keys.append(wire.Key(column.name.encode(), _kind(column)))
    for column in beside:
        kind = (wire.BYTES,) if pa.types.is_binary(column.type) else (wire.FLOAT, 4) if column.type == pa.float32() else (wire.FLOAT,)
        keys.append(wire.Key(column.name.encode(), *kind))
    return tuple(keys)


def _kind(column: pa.Field) -> int:
    """The kind of the values of a list column."""
    return wire.FLOAT if pa.types.is_float32(column.type.value_type) else wire.INT64


def _rewrite(block: RecordBlock, schema: Schema, odd: np.ndarray, refused: _Refused) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Let the protobuf library re-write the odd records, behind the block's own: data, starts and ends of all."""
    starts, ends = block.starts.copy(), block.ends.copy()
    pieces, size = [block.data], len(block.data)
    for row in np.flatnonzero(odd).tolist():
        record = b""
        try:
            record = _usual_layout(block.record(row), schema)
        except DecodeError:
            refused.add_row(row, "parse", "it is no tf.Example or tf.SequenceExample")
        pieces.append(np.frombuffer(record, np.uint8))
        starts[row], ends[row] = size, size + len(record)
        size += len(record)
    return np.concatenate(pieces), starts, ends


def _usual_layout(record: bytes, schema: Schema) -> bytes:
    """Parse one record and serialise it again: no unknown fields, lists in one run, one entry per key, every key and value written out."""
    message = (Example if schema.kind == "video" else SequenceExample).FromString(record)
    message.DiscardUnknownFields()
    first = message.features if schema.kind == "video" else message.context
    first.SetInParent()
    for entries in [first.feature] if schema.kind == "video" else [first.feature, message.feature_lists.feature_list]:
        last = {entry.key: entry.value for entry in entries if entry.key}
        del entries[:]
        for key, value in last.items():
            entries.add(key=key, value=value)
    return message.SerializeToString()


def _ids(found: _Found, schema: Schema, refused: _Refused) -> pa.Array:
    values = found.context[schema.id_key.encode()]
    absent = (values.kind != wire.BYTES) | (values.lengths == 0)
    refused.add(absent, "parse", f"it has no id under the key {schema.id_key!r}")
    return _binary(found.data, values, absent)


def _labels(found: _Found, schema: Schema, refused: _Refused) -> pa.Array:
    """The label lists, list<int32>; empty where a record has none."""
    values, counts = _integers(found, schema.labels_key, refused)
    _check_labels(values, counts, "label", schema, refused)
    return pa.ListArray.from_arrays(_offsets(counts), values.astype(np.int32), type=schema.arrow.field("labels").type)


def _integers(found: _Found, key: str, refused: _Refused) -> tuple[np.ndarray, np.ndarray]:
    """The lists of integers of a key behind one another, int64, and how many each record has (0 where it is refused)."""
    lists, not_integers = found.context[key.encode()], f"{key!r} is not a list of integers"
    refused.add((lists.kind != wire.INT64) & (lists.kind != 0), "label", not_integers)
    lengths = np.where(refused.rows, 0, lists.lengths)
    values, counts, malformed = wire.varints(wire.concatenate(found.data, lists.starts, lengths), lengths)
    if malformed.any():  # a run that does not end spoils the one behind it: leave it out and read the others again
        refused.add(malformed, "label", not_integers)
        return _integers(found, key, refused)
    return values, counts


def _check_labels(values: np.ndarray, counts: np.ndarray, name: str, schema: Schema, refused: _Refused) -> None:
    outside = np.flatnonzero(values.view(np.uint64) >= schema.num_classes)  # a negative one is huge as well
    for place in outside.tolist():
        row = int(np.searchsorted(np.cumsum(counts), place, side="right"))
        reason = f"{name} {values[place]} is outside 0..{schema.num_classes - 1}; --num-classes gives the true number of classes"
        if values[place] < 0:
            reason = f"{name} {values[place]} is below 0, where class numbers begin"
        refused.add_row(row, "label", reason)


def _segments(found: _Found, schema: Schema, refused: _Refused) -> dict[str, pa.Array]:
    """The columns of SEGMENTS among the extras, null where a record has none; all lists of a record must have as many values."""
    columns: dict[str, pa.Array] = {}
    length_of_first = None
    for column in SEGMENTS:
        if column.name not in schema.extras:
            continue
        if _kind(column) == wire.INT64:
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


def _floats(found: _Found, key: str, refused: _Refused) -> tuple[np.ndarray, np.ndarray]:
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


def _check_others(found: _Found, schema: Schema, refused: _Refused) -> None:
    """Refuse records that protobuf would, for what stands under keys that nobody asked for; and, with OTHER, unknown feature lists."""
    prefixes = wire.Prefixes(b"\x0a")
    for row, entry in _entries(found, found.others, plain=False):
        try:
            Example.FromString(prefixes[len(entry)] + entry)
        except DecodeError:
            refused.add_row(row, "parse", "one of its further keys holds no tf.Feature")
    prefixes = wire.Prefixes(b"\x12")
    for row, entry in _entries(found, found.other_lists, plain=False):
        try:
            [read] = SequenceExample.FromString(prefixes[len(entry)] + entry).feature_lists.feature_list
        except DecodeError:
            refused.add_row(row, "parse", "one of its further keys holds no tf.FeatureList")
            continue
        if OTHER in schema.extras and read.value.feature:
            known = ", ".join(repr(feature.name) for feature in schema.features)
            refused.add_row(row, "parse", f"it has the feature list {read.key!r}, and the first records have {known} only")


def _others(found: _Found) -> pa.Array:
    """The column OTHER: the entries of the context that have no column, one behind the other; null where there are none."""
    texts: dict[int, bytes] = {}
    for row, entry in _entries(found, found.others):
        texts[row] = texts.get(row, b"") + entry
    return pa.array([texts.get(row) for row in range(len(found.odd))], pa.binary())


def _entries(found: _Found, spans: list[wire.Spans], plain: bool = True) -> Iterator[tuple[int, bytes]]:
    """The rows and bytes of entries of further keys: all of them, or those that are not plain."""
    for part in spans:
        chosen = np.arange(len(part.rows)) if plain else np.flatnonzero(~part.plain)
        for row, start, end in zip(part.rows[chosen].tolist(), part.starts[chosen].tolist(), part.ends[chosen].tolist(), strict=True):
            yield row, found.data[start:end].tobytes()


def _check_vectors(found: _Found, feature: Feature, refused: _Refused) -> None:
    """Refuse records without a vector of the feature's size."""
    values = found.context[feature.name.encode()]
    for row in np.flatnonzero((values.kind != wire.FLOAT) | (values.lengths != 4 * feature.size)).tolist():
        has = f"{values.lengths[row] // 4} values" if values.kind[row] == wire.FLOAT else "no float values"
        refused.add_row(row, "size", f"{feature.name!r} has {has}, not {feature.size}")


def _vectors(found: _Found, feature: Feature, refused: _Refused) -> pa.Array:
    """A video-level feature, fixed_size_list<float32>."""
    _check_vectors(found, feature, refused)
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


def _check_frames(found: _Found, feature: Feature, refused: _Refused) -> None:
    """Refuse records whose frames are not of the feature's size, or not as many as those of the first feature."""
    reference = next(iter(found.frames.values()))
    for row, (video, other) in enumerate(zip(found.frames[feature.name], reference, strict=True)):
        if video is None:
            refused.add_row(row, "size", f"{feature.name!r} has frames that are not of {feature.size} bytes")
        elif other is not None and len(video) != len(other):
            refused.add_row(row, "size", f"{feature.name!r} has {len(video)} frames, not {len(other)} as the feature before it")


def _frames(found: _Found, feature: Feature, refused: _Refused) -> pa.Array:
    """A frame-level feature, list<fixed_size_binary>, with a frame at least."""
    empty = np.array([video is not None and not len(video) for video in found.frames[feature.name]], bool)
    refused.add(empty, "size", f"{feature.name!r} has no frames")
    _check_frames(found, feature, refused)
    kept = [np.empty((0, feature.size), np.uint8) if video is None else video for video in found.frames[feature.name]]
    frames = np.concatenate(kept) if kept else np.empty((0, feature.size), np.uint8)
    values = pa.Array.from_buffers(pa.binary(feature.size), len(frames), [None, pa.py_buffer(frames)])
    offsets = pa.array(_offsets(np.array([len(video) for video in kept], np.int64)))
    return pa.ListArray.from_arrays(offsets, values)


def _provenance(found: _Found, column: pa.Field, refused: _Refused) -> pa.Array:
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
