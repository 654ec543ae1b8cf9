"""`pyarrow.RecordBatch` -> Example and SequenceExample bytes: the other half of `codec`.

An entry of a record is a prefix, which depends on the length of its payload alone, and the payload. Both are columns, and Arrow joins those
of each row.
"""

import functools
import itertools
from typing import NamedTuple, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from yt8m_data import wire
from yt8m_data.schema import LABEL_WEIGHTS, OTHER, PROVENANCE, SEGMENTS, Feature, Schema
from yt8m_data.tfrecord import Framed


class _Vectors(NamedTuple):
    """Map entries that begin alike and hold vectors of one size: the beginning, and uint8 [N, size]."""

    prefix: bytes
    payloads: np.ndarray


class _Frames(NamedTuple):
    """Frames, each with its header, uint8 [frames, size]; how many each row has, int64 [N]."""

    frames: np.ndarray
    counts: np.ndarray


_Column: TypeAlias = pa.BinaryArray | _Vectors | _Frames  # some of each row; a null is nothing


def encode(batch: pa.RecordBatch, schema: Schema) -> Framed:
    """Encode the rows of a batch with the columns of `schema.arrow` (and those of `PROVENANCE`, if it has them), ready to be written.

    The bytes are those of the protobuf library's deterministic serialisation: keys in ascending order, and behind them those of the column
    OTHER as they came. A null in a column of `PROVENANCE` or `SEGMENTS` leaves its key out.
    """
    entries: dict[str, list[_Column]] = {schema.id_key: _encode_strings(batch.column("id"), schema.id_key)}
    entries[schema.labels_key] = _encode_integers(batch.column("labels"), schema.labels_key)
    for column in SEGMENTS.names:
        if column in schema.extras:
            encode_list = _encode_floats if SEGMENTS.field(column).type.value_type == pa.float32() else _encode_integers
            entries[column] = encode_list(batch.column(column), column)
    for column in PROVENANCE.names:
        if column in batch.schema.names and batch.column(column).null_count < batch.num_rows:
            encode_column = _encode_floats if column == LABEL_WEIGHTS else _encode_numbers if column == "aug_lambda" else _encode_strings
            entries[column] = encode_column(batch.column(column), column)
    lists: dict[str, list[_Column]] = {}
    for feature in schema.features:
        if schema.kind == "video":
            entries[feature.name] = [_encode_vectors(batch.column(feature.name), feature)]
        else:
            lists[feature.name] = _encode_frames(batch.column(feature.name), feature)
    columns = [column for key in sorted(entries) for column in entries[key]]
    if OTHER in schema.extras:
        columns.append(batch.column(OTHER))
    message = _message(columns, b"\x0a", batch.num_rows)
    if schema.kind == "frame":
        message += _message([column for key in sorted(lists) for column in lists[key]], b"\x12", batch.num_rows)
    return _assembled(message, batch.num_rows)


def _message(columns: list[_Column], tag: bytes, count: int) -> list[_Column]:
    """Put the field's tag and the length of all its entries before them; what is binary and stands together is joined."""
    sizes = sum((_sizes(column) for column in columns), np.zeros(count, np.int64))
    joined: list[_Column] = []
    together: list[pa.BinaryArray] = [_by_length(wire.Prefixes(tag), sizes)]
    for column in [*columns, None]:
        if isinstance(column, pa.BinaryArray):
            together.append(column)
            continue
        if together:
            joined.append(pc.binary_join_element_wise(*together, b"", null_handling="replace", null_replacement=b""))
        together = []
        if column is not None:
            joined.append(column)
    return joined


def _sizes(column: _Column) -> np.ndarray:
    if isinstance(column, _Vectors):
        return np.full(len(column.payloads), len(column.prefix) + column.payloads.shape[1])
    if isinstance(column, _Frames):
        return column.counts * column.frames.shape[1]
    return _lengths(column)


def _assembled(columns: list[_Column], count: int) -> Framed:
    """Lay the entries of each row behind one another."""
    sizes = [_sizes(column) for column in columns]
    framed = Framed.of_lengths(sum(sizes, np.zeros(count, np.int64)))
    view, at = framed.data.data, framed.starts.copy()
    for column, size in zip(columns, sizes, strict=True):
        if isinstance(column, _Vectors):
            prefix = np.frombuffer(column.prefix, np.uint8)
            wire.scatter(framed.data, at, np.broadcast_to(prefix, (count, len(prefix))))
            wire.scatter(framed.data, at + len(prefix), column.payloads)
        else:
            pieces, bounds = (column.frames, np.append(0, np.cumsum(size))) if isinstance(column, _Frames) else _flat(column)
            whole = pieces.reshape(-1).data
            for start, end, (begin, stop) in zip(at.tolist(), (at + size).tolist(), itertools.pairwise(bounds.tolist()), strict=True):
                view[start:end] = whole[begin:stop]
        at += size
    return framed


def _encode_strings(column: pa.BinaryArray, key: str) -> list[_Column]:
    return [_by_length(_of_strings(key), _lengths(column), column), column]


def _encode_integers(column: pa.ListArray, key: str) -> list[_Column]:
    distinct, number = np.unique(column.flatten().to_numpy(), return_inverse=True)
    varints, bounds = _flat(pa.array([_varint(value) for value in distinct.tolist()], pa.binary()).take(pa.array(number)))
    return _encode_lists(column, key, b"\x1a", varints, bounds[_bounds(column)])


def _encode_floats(column: pa.ListArray, key: str) -> list[_Column]:
    values = column.flatten().to_numpy().astype("<f4", copy=False)
    return _encode_lists(column, key, b"\x12", values, 4 * _bounds(column))


def _encode_numbers(column: pa.FloatArray, key: str) -> list[_Column]:
    bounds = np.append(0, np.cumsum(column.is_valid().to_numpy(zero_copy_only=False)))
    values = column.drop_null().to_numpy().astype("<f4", copy=False)
    return _encode_lists(column, key, b"\x12", values, 4 * bounds)


def _encode_lists(column: pa.Array, key: str, kind: bytes, packed: np.ndarray, bounds: np.ndarray) -> list[_Column]:
    """Map entries of packed lists, which lie behind one another, with these bounds (int64 [N + 1]); a null has none."""
    payloads = pa.Array.from_buffers(pa.binary(), len(column), [None, pa.py_buffer(bounds.astype(np.int32)), pa.py_buffer(packed)])
    return [_by_length(_of_lists(key, kind), np.diff(bounds), column), payloads]


@functools.cache
def _of_lists(key: str, kind: bytes) -> wire.Prefixes:
    prefixes = wire.entry_prefixes(key.encode(), kind, b"\x0a")
    prefixes[0] = wire.entry_prefixes(key.encode(), kind)[0]  # without values there is no list either
    return prefixes


@functools.cache
def _of_strings(key: str) -> wire.Prefixes:
    return wire.entry_prefixes(key.encode(), b"\x0a", b"\x0a")


def _by_length(prefixes: wire.Prefixes, lengths: np.ndarray, column: pa.Array | None = None) -> pa.BinaryArray:
    """What stands before the payload of each row, by its length (int64 [N]); null where the column is."""
    distinct, number = np.unique(lengths, return_inverse=True)
    absent = None if column is None or not column.null_count else column.is_null().to_numpy(zero_copy_only=False)
    return pa.array([prefixes[length] for length in distinct.tolist()], pa.binary()).take(pa.array(number, mask=absent))


def _lengths(column: pa.BinaryArray) -> np.ndarray:
    """The length of each value, int64 [N]; 0 for a null."""
    if column.null_count:
        return pc.binary_length(column).fill_null(0).to_numpy().astype(np.int64)
    return np.diff(_flat(column)[1])


def _flat(column: pa.BinaryArray) -> tuple[np.ndarray, np.ndarray]:
    """All values behind one another, uint8, and where they start and the last ends, int64 [N + 1]."""
    _, bounds, data = column.buffers()
    return np.frombuffer(data or b"", np.uint8), np.frombuffer(bounds, np.int32)[column.offset :][: len(column) + 1].astype(np.int64)


def _bounds(column: pa.ListArray) -> np.ndarray:
    """Where the values of each list start among the flattened ones, and those of the last end, int64 [N + 1]."""
    return np.append(0, np.cumsum(column.value_lengths().fill_null(0).to_numpy()))


@functools.cache
def _varint(value: int) -> bytes:
    return wire.encode_varint(value % 2**64)


def _encode_vectors(column: pa.FixedSizeListArray, feature: Feature) -> _Vectors:
    vectors = column.flatten().to_numpy().astype("<f4", copy=False).view(np.uint8).reshape(-1, 4 * feature.size)
    return _Vectors(wire.entry_prefixes(feature.name.encode(), b"\x12", b"\x0a")[4 * feature.size], vectors)


def _encode_frames(column: pa.ListArray, feature: Feature) -> list[_Column]:
    header = np.frombuffer(wire.frame_header(feature.size), np.uint8)
    values = column.flatten()
    codes = np.frombuffer(values.buffers()[1], np.uint8)[values.offset * feature.size :][: len(values) * feature.size]
    frames = np.hstack([np.broadcast_to(header, (len(values), len(header))), codes.reshape(-1, feature.size)])
    prefixes, counts = wire.entry_prefixes(feature.name.encode()), column.value_lengths().to_numpy().astype(np.int64)
    return [_by_length(prefixes, counts * frames.shape[1]), _Frames(frames, counts)]
