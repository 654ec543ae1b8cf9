"""Example and SequenceExample bytes <-> `pyarrow.RecordBatch`.

Decoding walks the records of a block side by side (`wire`), with no Python per value. A record laid out otherwise than every writer in
use lays it out (unpacked floats, split runs, unknown fields) is legal: the protobuf library re-writes it in that layout first.
"""

import functools
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from google.protobuf.message import DecodeError

from yt8m_data import wire
from yt8m_data.errors import BadRecord
from yt8m_data.proto import Example, SequenceExample
from yt8m_data.schema import LABEL_WEIGHTS, PROVENANCE, Feature, Schema
from yt8m_data.tfrecord import HeadBlock, RecordBlock

_Buffer = bytes | memoryview


class Decoded(NamedTuple):
    """The records of a block as columns: `batch`, their positions in the file (`indices` int64 [N]), and what was left out."""

    batch: pa.RecordBatch
    indices: np.ndarray
    bad: list[BadRecord]


def decode(block: RecordBlock, schema: Schema, provenance: bool = False) -> Decoded:
    """Decode a block to the columns of `schema.arrow`, with those of `PROVENANCE` behind them if asked for.

    A record without labels has an empty list. One that does not parse, lacks its id or a feature, has a feature of another size, a value
    that is not finite, or a label outside 0..num_classes-1 is left out and reported in `bad`, behind those of the block itself. The batch
    shares no memory with the block.
    """
    refused = _Refused(block)
    found = _locate(block.data, block.starts, block.ends, schema, provenance)
    if (unusual := found.unusual()).any():
        data, starts, ends = _rewrite(block, schema, unusual, refused)
        found = _locate(data, starts, ends, schema, provenance)
        refused.add(found.odd, "parse", "one of its keys has several byte strings where one is wanted")

    target = schema.arrow
    columns = [_ids(found, schema, refused), _labels(found, schema, target.field("labels").type, refused)]
    for feature in schema.features:
        columns.append((_vectors if schema.kind == "video" else _frames)(found, feature, target.field(feature.name).type, refused))
    if provenance:
        columns += [_provenance(found, column, refused) for column in PROVENANCE]
        counts, weights = (column.value_lengths() for column in (columns[1], columns[-1]))
        unlike = pc.fill_null(pc.not_equal(counts, weights), False).to_numpy(zero_copy_only=False)
        refused.add(unlike, "label", f"{LABEL_WEIGHTS!r} has another number of values than {schema.labels_key!r}")
        target = pa.schema([*target, *PROVENANCE])

    batch = pa.RecordBatch.from_arrays(columns, schema=target)
    good = np.flatnonzero(~refused.rows)
    if len(good) < len(block):
        batch = batch.take(pa.array(good))
    return Decoded(batch, block.indices[good], block.bad + refused.bad)


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
    decoded = decode(contexts, replace(schema, kind="video", features=()), provenance)  # a context alone is an Example
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

    def unusual(self) -> np.ndarray:
        """Mark the records to read the slow way: the odd ones, and those whose frames make no matrix (bool [N])."""
        unusual = self.odd.copy()
        for videos in self.frames.values():
            unusual |= np.array([video is None for video in videos], bool)
        return unusual


def _locate(data: np.ndarray, starts: np.ndarray, ends: np.ndarray, schema: Schema, provenance: bool) -> _Found:
    odd = np.zeros(len(starts), bool)
    first, first_end, second, second_end = wire.message_parts(data, starts, ends, odd)
    found = _Found(data, wire.features(data, first, first_end, _keys(schema, provenance), odd), odd)
    if schema.kind == "frame":
        lists = wire.feature_lists(data, second, second_end, [feature.name.encode() for feature in schema.features], odd)
        for feature in schema.features:
            runs = zip(*(x.tolist() for x in lists[feature.name.encode()]), strict=True)
            found.frames[feature.name] = [wire.frames(data, start, length, feature.size) for start, length in runs]
    return found


def _keys(schema: Schema, provenance: bool) -> tuple[wire.Key, ...]:
    """The keys of a record's context."""
    keys = [wire.Key(schema.id_key.encode(), wire.BYTES), wire.Key(schema.labels_key.encode(), wire.INT64)]
    if schema.kind == "video":
        keys += [wire.Key(feature.name.encode(), wire.FLOAT, 4 * feature.size) for feature in schema.features]
    if provenance:
        for column in PROVENANCE:
            kind = (wire.BYTES,) if pa.types.is_binary(column.type) else (wire.FLOAT, 4) if column.type == pa.float32() else (wire.FLOAT,)
            keys.append(wire.Key(column.name.encode(), *kind))
    return tuple(keys)


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


def _labels(found: _Found, schema: Schema, column: pa.DataType, refused: _Refused) -> pa.Array:
    """The label lists, list<int32>; empty where a record has none."""
    lists = found.context[schema.labels_key.encode()]
    not_integers = f"{schema.labels_key!r} is not a list of integers"
    refused.add((lists.kind != wire.INT64) & (lists.kind != 0), "label", not_integers)
    lengths = np.where(refused.rows, 0, lists.lengths)
    values, counts, malformed = wire.varints(wire.concatenate(found.data, lists.starts, lengths), lengths)
    if malformed.any():  # a run that does not end spoils the one behind it: leave it out and read the others again
        refused.add(malformed, "label", not_integers)
        return _labels(found, schema, column, refused)
    outside = np.flatnonzero(values.view(np.uint64) >= schema.num_classes)  # a negative one is huge as well
    for place in outside.tolist():
        row = int(np.searchsorted(np.cumsum(counts), place, side="right"))
        reason = f"label {values[place]} is outside 0..{schema.num_classes - 1}; --num-classes gives the true number of classes"
        refused.add_row(row, "label", reason)
    return pa.ListArray.from_arrays(_offsets(counts), values.astype(np.int32), type=column)


def _vectors(found: _Found, feature: Feature, column: pa.DataType, refused: _Refused) -> pa.Array:
    """A video-level feature, fixed_size_list<float32>."""
    values = found.context[feature.name.encode()]
    wrong = (values.kind != wire.FLOAT) | (values.lengths != 4 * feature.size)
    for row in np.flatnonzero(wrong).tolist():
        has = f"{values.lengths[row] // 4} values" if values.kind[row] == wire.FLOAT else "no float values"
        refused.add_row(row, "size", f"{feature.name!r} has {has}, not {feature.size}")
    if wrong.all():
        vectors = np.zeros((len(wrong), feature.size), np.float32)
    else:
        some = values.starts[~wrong][0]  # a place that is sure to hold a whole vector
        vectors = wire.gather(found.data, np.where(wrong, some, values.starts), 4 * feature.size).view("<f4")
    with np.errstate(invalid="ignore", over="ignore"):
        sums = vectors.sum(axis=1)  # a product with BLAS is no faster, and wakes its threads, which wait for more at full speed
    infinite = ~np.isfinite(sums)
    infinite[infinite] = ~np.isfinite(vectors[infinite]).all(axis=1)  # large values may only have a sum that is too large
    refused.add(infinite, "not finite", f"{feature.name!r} has a value that is not finite")
    return pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), type=column)


def _frames(found: _Found, feature: Feature, column: pa.DataType, refused: _Refused) -> pa.Array:
    """A frame-level feature, list<fixed_size_binary>; it must have as many frames as the first one."""
    reference = next(iter(found.frames.values()))
    kept = []
    for row, (video, other) in enumerate(zip(found.frames[feature.name], reference, strict=True)):
        if video is None:
            refused.add_row(row, "size", f"{feature.name!r} has frames that are not of {feature.size} bytes")
        elif not len(video):
            refused.add_row(row, "size", f"{feature.name!r} has no frames")
        elif other is not None and len(video) != len(other):
            refused.add_row(row, "size", f"{feature.name!r} has {len(video)} frames, not {len(other)} as the feature before it")
        kept.append(np.empty((0, feature.size), np.uint8) if video is None else video)
    frames = np.concatenate(kept) if kept else np.empty((0, feature.size), np.uint8)
    values = pa.Array.from_buffers(pa.binary(feature.size), len(frames), [None, pa.py_buffer(frames)])
    return pa.ListArray.from_arrays(_offsets(np.array([len(video) for video in kept], np.int64)), values, type=column)


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


def encode(batch: pa.RecordBatch, schema: Schema) -> list[bytes]:
    """Encode the rows of a batch with the columns of `schema.arrow` (and those of `PROVENANCE`, if it has them).

    The bytes are those of the protobuf library's deterministic serialisation: keys in ascending order. A null in a provenance column
    leaves its key out.
    """
    count = batch.num_rows
    entries: dict[str, Sequence[_Buffer]] = {schema.id_key: _encode_strings(batch.column("id"), schema.id_key)}
    entries[schema.labels_key] = _encode_labels(batch.column("labels"), schema.labels_key)
    for column in PROVENANCE.names:
        if column in batch.schema.names:
            values = batch.column(column)
            encode_column = _encode_weights if column == LABEL_WEIGHTS else _encode_numbers if column == "aug_lambda" else _encode_strings
            entries[column] = encode_column(values, column)
    lists: dict[str, Sequence[_Buffer]] = {}
    for feature in schema.features:
        if schema.kind == "video":
            entries[feature.name] = _encode_vectors(batch.column(feature.name), feature)
        else:
            lists[feature.name] = _encode_frames(batch.column(feature.name), feature)
    contexts = _encode_messages(entries, b"\x0a", count)
    if schema.kind == "video":
        return contexts
    return [context + frames for context, frames in zip(contexts, _encode_messages(lists, b"\x12", count), strict=True)]


def _encode_messages(entries: dict[str, Sequence[_Buffer]], tag: bytes, count: int) -> list[bytes]:
    """Join the map entries of each row, in the order of their keys, to one field."""
    columns = [entries[key] for key in sorted(entries)]
    prefixes = wire.Prefixes(tag)
    records = []
    for row in range(count):
        parts = [column[row] for column in columns]
        records.append(b"".join([prefixes[sum(map(len, parts))], *parts]))
    return records


def _encode_strings(column: pa.Array, key: str) -> list[bytes]:
    prefixes = wire.entry_prefixes(key.encode(), b"\x0a", b"\x0a")
    return [b"" if value is None else prefixes[len(value)] + value for value in column.to_pylist()]


def _encode_numbers(column: pa.Array, key: str) -> list[bytes]:
    prefix = wire.entry_prefixes(key.encode(), b"\x12", b"\x0a")[4]
    return [b"" if value is None else prefix + struct.pack("<f", value) for value in column.to_pylist()]


def _encode_weights(column: pa.Array, key: str) -> list[bytes]:
    prefixes = wire.entry_prefixes(key.encode(), b"\x12", b"\x0a")
    return [b"" if value is None else prefixes[4 * len(value)] + struct.pack(f"<{len(value)}f", *value) for value in column.to_pylist()]


def _encode_labels(column: pa.ListArray, key: str) -> list[bytes]:
    prefixes, empty = wire.entry_prefixes(key.encode(), b"\x1a", b"\x0a"), wire.entry_prefixes(key.encode(), b"\x1a")[0]
    values = [_label_bytes(label) for label in column.flatten().to_pylist()]
    ends = np.cumsum(column.value_lengths().to_numpy()).tolist()
    encoded = []
    for start, end in zip([0, *ends], ends, strict=False):
        payload = b"".join(values[start:end])
        encoded.append(prefixes[len(payload)] + payload if payload else empty)
    return encoded


@functools.cache
def _label_bytes(label: int) -> bytes:
    return wire.encode_varint(label)


def _encode_vectors(column: pa.FixedSizeListArray, feature: Feature) -> list[memoryview]:
    prefix = np.frombuffer(wire.entry_prefixes(feature.name.encode(), b"\x12", b"\x0a")[4 * feature.size], np.uint8)
    vectors = column.flatten().to_numpy().astype("<f4", copy=False).view(np.uint8).reshape(-1, 4 * feature.size)
    entries = np.hstack([np.broadcast_to(prefix, (len(vectors), len(prefix))), vectors])
    data, size = entries.reshape(-1).data, entries.shape[1]
    return [data[at : at + size] for at in range(0, len(data), size)]


def _encode_frames(column: pa.ListArray, feature: Feature) -> list[bytes]:
    header = np.frombuffer(wire.frame_header(feature.size), np.uint8)
    frames = column.flatten()
    codes = np.frombuffer(frames.buffers()[1], np.uint8)[frames.offset * feature.size :][: len(frames) * feature.size]
    matrix = np.hstack([np.broadcast_to(header, (len(frames), len(header))), codes.reshape(-1, feature.size)])
    prefixes = wire.entry_prefixes(feature.name.encode())
    encoded, at = [], 0
    for count in column.value_lengths().to_pylist():
        payload = matrix[at : at + count].tobytes()
        encoded.append(prefixes[len(payload)] + payload)
        at += count
    return encoded
