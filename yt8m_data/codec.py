"""Example and SequenceExample bytes -> `pyarrow.RecordBatch`, and back (`encoding`).

Decoding walks the records of a block side by side (`wire`), with no Python per value. A record laid out otherwise than every writer in
use lays it out (unpacked floats, split runs, unknown fields) is legal: the protobuf library re-writes it in that layout first.
"""

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from google.protobuf.message import DecodeError

from yt8m_data import readers, wire
from yt8m_data.encoding import encode
from yt8m_data.errors import BadRecord
from yt8m_data.heads import HeadBlock
from yt8m_data.prefixes import Prefixes, entry_prefixes, frame_header
from yt8m_data.proto import Example, SequenceExample
from yt8m_data.readers import Found, Refused
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
    columns = _columns(found, schema, beside, refused, readers.vectors if schema.kind == "video" else readers.frames)
    batch, good = _sound(columns, pa.schema([*schema.arrow, *beside]), refused)
    return Decoded(batch, block.indices[good], block.bad + refused.bad)


def locate(block: RecordBlock, schema: Schema, beside: pa.Schema = NOTHING) -> Located:
    """Decode a block but for its features, which are looked up and left where they lie.

    What is bad is as in `decode`, but for values that are not finite and frame-level records without a frame, which may pass.

    Args:
      beside: columns of PROVENANCE that are wanted.
    """
    found, refused = _read(block, schema, beside)
    columns = _columns(found, schema, beside, refused, readers.check_vectors if schema.kind == "video" else readers.check_frames)
    batch, good = _sound(columns, pa.schema([*(field for field in schema.arrow if columns[field.name] is not None), *beside]), refused)
    vectors, frames = {}, {}
    for feature in schema.features:
        if schema.kind == "video":
            starts = found.context[feature.name.encode()].starts
            vectors[feature.name] = wire.windows(found.data, 4 * feature.size), starts[good]
        else:
            frames[feature.name] = [found.frames[feature.name][row] for row in good.tolist()]
    return Located(batch, vectors, frames, block.indices[good], block.bad + refused.bad)


def _read(block: RecordBlock, schema: Schema, beside: pa.Schema) -> tuple[Found, Refused]:
    """Find the values of a block's records, and the records in which they cannot be found."""
    refused = Refused(block)
    found = _locate(block.data, block.starts, block.ends, schema, beside)
    if (unusual := found.unusual()).any():
        data, starts, ends = _rewrite(block, schema, unusual, refused)
        found = _locate(data, starts, ends, schema, beside)
        refused.add(found.odd, "parse", "one of its keys has several byte strings where one is wanted")
    return found, refused


def _columns(
    found: Found, schema: Schema, beside: pa.Schema, refused: Refused, of_feature: Callable[[Found, Feature, Refused], Any]
) -> dict[str, Any]:
    """The columns of `schema.arrow` and `beside`, in the order in which records are refused; those of features by `of_feature`."""
    columns = {"id": readers.ids(found, schema, refused), "labels": readers.labels(found, schema, refused)}
    columns |= {feature.name: of_feature(found, feature, refused) for feature in schema.features}
    columns |= readers.segments(found, schema, refused)
    readers.check_others(found, schema, refused)
    if OTHER in schema.extras:
        columns[OTHER] = readers.others(found)
    columns |= {column.name: readers.provenance(found, column, refused) for column in beside}
    if LABEL_WEIGHTS in columns:
        counts, weights = (columns[name].value_lengths() for name in ("labels", LABEL_WEIGHTS))
        unlike = pc.fill_null(pc.not_equal(counts, weights), False).to_numpy(zero_copy_only=False)
        refused.add(unlike, "label", f"{LABEL_WEIGHTS!r} has another number of values than {schema.labels_key!r}")
    return columns


def _sound(columns: dict[str, pa.Array], target: pa.Schema, refused: Refused) -> tuple[pa.RecordBatch, np.ndarray]:
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
    most = int(lengths.max(initial=0)) // sum(len(frame_header(feature.size)) + feature.size for feature in features)
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
            frames = count * (len(frame_header(feature.size)) + feature.size)
            lists += len(entry_prefixes(feature.name.encode())[frames]) + frames
        sizes.append(len(Prefixes(bytes([wire.FIELD_2]))[lists]) + lists)
    return np.array(sizes)


def _locate(data: np.ndarray, starts: np.ndarray, ends: np.ndarray, schema: Schema, beside: pa.Schema) -> Found:
    odd = np.zeros(len(starts), bool)
    first, first_end, second, second_end = wire.message_parts(data, starts, ends, odd)
    found = Found(data, {}, odd)
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
            keys.append(wire.Key(column.name.encode(), readers.kind_of(column)))
    for column in beside:
        kind = (wire.BYTES,) if pa.types.is_binary(column.type) else (wire.FLOAT, 4) if column.type == pa.float32() else (wire.FLOAT,)
        keys.append(wire.Key(column.name.encode(), *kind))
    return tuple(keys)


def _rewrite(block: RecordBlock, schema: Schema, odd: np.ndarray, refused: Refused) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
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
