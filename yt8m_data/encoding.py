"""`pyarrow.RecordBatch` -> Example and SequenceExample bytes: the other half of `codec`.

An entry of a record is a prefix, which depends on the length of its payload alone, and the payload. Both are columns, and Arrow joins those
of each row. Vectors, which are most of a video-level record, may come some rows at a time.
"""

import functools
import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from yt8m_data import wire
from yt8m_data.prefixes import Prefixes, entry_prefixes, frame_header
from yt8m_data.schema import LABEL_WEIGHTS, OTHER, PROVENANCE, SEGMENTS, Feature, Schema
from yt8m_data.tfrecord import Framed
from yt8m_data.varint import encode_varint


class Vectors(NamedTuple):
    """Map entries that begin alike and hold vectors of one size in bytes: the beginning, the size, and the number of the feature."""

    prefix: bytes
    size: int
    feature: int


class Octets(NamedTuple):
    """Bytes of all rows behind one another, uint8, and where those of each begin and the last end, int64 [N + 1]."""

    octets: np.ndarray
    bounds: np.ndarray


_COUNTED = 1 << 14  # lengths and labels are below it: to count them takes a fraction of what sorting does

_Column: TypeAlias = pa.BinaryArray | Vectors | Octets  # some of each row; a null is nothing


def encode(batch: pa.RecordBatch, schema: Schema) -> Framed:
    """Encode the rows of a batch with the columns of `schema.arrow` (and those of `PROVENANCE`, if it has them), ready to be written.

    The bytes are those of the protobuf library's deterministic serialisation: keys in ascending order, and behind them those of the column
    OTHER as they came. A null in a column of `PROVENANCE` or `SEGMENTS` leaves its key out.
    """
    vectors = [_matrix(batch, feature) for feature in schema.features] if schema.kind == "video" else []
    return _assembled(columns_of(batch, schema), slice(0, batch.num_rows), vectors)


def encode_with(heads: pa.RecordBatch, vectors: Iterable[Sequence[np.ndarray]], schema: Schema) -> Iterator[Framed]:
    """Encode video-level records as `encode` does, but for their vectors, which come some rows at a time.

    Args:
      heads: all columns but the features.
      vectors: of some rows after the other, float32 [rows, size] of each feature; only what is given with them is encoded before the next
        are asked for, so that it is still in the cache.
      schema: of the records.
    """
    columns, at = columns_of(heads, schema), 0
    for block in vectors:
        yield _assembled(columns, slice(at, at + len(block[0])), block)
        at += len(block[0])


def _matrix(batch: pa.RecordBatch, feature: Feature) -> np.ndarray:
    """View a video-level feature as float32 [N, size]."""
    values: np.ndarray = batch.column(feature.name).flatten().to_numpy().astype("<f4", copy=False)
    return values.reshape(-1, feature.size)


def columns_of(batch: pa.RecordBatch, schema: Schema) -> list[Vectors | Octets]:
    """Give what each record is put together of, in that order; before vectors there are always octets, with which their entries begin."""
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
    for number, feature in enumerate(schema.features):
        if schema.kind == "video":
            prefix = entry_prefixes(feature.name.encode(), b"\x12", b"\x0a")[4 * feature.size]
            entries[feature.name] = [Vectors(prefix, 4 * feature.size, number)]
        else:
            lists[feature.name] = _encode_frames(batch.column(feature.name), feature)
    columns = [column for key in sorted(entries) for column in entries[key]]
    if OTHER in schema.extras:
        columns.append(batch.column(OTHER))
    message = _message(columns, b"\x0a", batch.num_rows)
    if schema.kind == "frame":
        message += _message([column for key in sorted(lists) for column in lists[key]], b"\x12", batch.num_rows)
    return message


def _message(columns: list[_Column], tag: bytes, count: int) -> list[Vectors | Octets]:
    """Put the field's tag and the length of all its entries before them; what is binary and stands together is joined."""
    sizes = sum((_sizes(column, slice(0, count)) for column in columns), np.zeros(count, np.int64))
    sizes += sum(len(column.prefix) for column in columns if isinstance(column, Vectors))
    joined: list[Vectors | Octets] = []
    together: list[pa.BinaryArray] = [_by_length(Prefixes(tag), sizes)]
    for column in [*columns, None]:
        if isinstance(column, pa.BinaryArray):
            together.append(column)
            continue
        if isinstance(column, Vectors):
            together.append(pa.repeat(pa.scalar(column.prefix), count))
        if together:
            joined.append(_flat(pc.binary_join_element_wise(*together, b"", null_handling="replace", null_replacement=b"")))
        together = []
        if column is not None:
            joined.append(column)
    return joined


def _sizes(column: _Column, rows: slice) -> np.ndarray:
    """How many bytes each of some rows has of a column, int64 [N]."""
    if isinstance(column, Vectors):
        return np.full(rows.stop - rows.start, column.size)
    if isinstance(column, Octets):
        return np.diff(column.bounds[rows.start : rows.stop + 1])
    return _lengths(column)[rows]


def _assembled(columns: list[Vectors | Octets], rows: slice, vectors: Sequence[np.ndarray]) -> Framed:
    """Lay the entries of each of some rows behind one another; `vectors` are those of the rows, a matrix for each feature."""
    count = rows.stop - rows.start
    sizes = [_sizes(column, rows) for column in columns]
    framed = Framed.of_lengths(sum(sizes, np.zeros(count, np.int64)))
    view, at = framed.data.data, framed.starts.copy()
    for column, size in zip(columns, sizes, strict=True):
        if isinstance(column, Vectors):
            wire.scatter(framed.data, at, vectors[column.feature].view(np.uint8))
        else:
            whole, bounds = column.octets.data, column.bounds[rows.start : rows.stop + 1].tolist()
            for start, end, (begin, stop) in zip(at.tolist(), (at + size).tolist(), itertools.pairwise(bounds), strict=True):
                view[start:end] = whole[begin:stop]
        at += size
    return framed


def _encode_strings(column: pa.BinaryArray, key: str) -> list[_Column]:
    return [_by_length(_of_strings(key), _lengths(column), column), column]


def _encode_integers(column: pa.ListArray, key: str) -> list[_Column]:
    distinct, number = _distinct(column.flatten().to_numpy())
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
def _of_lists(key: str, kind: bytes) -> Prefixes:
    prefixes = entry_prefixes(key.encode(), kind, b"\x0a")
    prefixes[0] = entry_prefixes(key.encode(), kind)[0]  # without values there is no list either
    return prefixes


@functools.cache
def _of_strings(key: str) -> Prefixes:
    return entry_prefixes(key.encode(), b"\x0a", b"\x0a")


def _by_length(prefixes: Prefixes, lengths: np.ndarray, column: pa.Array | None = None) -> pa.BinaryArray:
    """What stands before the payload of each row, by its length (int64 [N]); null where the column is."""
    distinct, number = _distinct(lengths)
    absent = None if column is None or not column.null_count else column.is_null().to_numpy(zero_copy_only=False)
    return pa.array([prefixes[length] for length in distinct.tolist()], pa.binary()).take(pa.array(number, mask=absent))


def _lengths(column: pa.BinaryArray) -> np.ndarray:
    """The length of each value, int64 [N]; 0 for a null."""
    if column.null_count:
        return pc.binary_length(column).fill_null(0).to_numpy().astype(np.int64)
    return np.diff(_flat(column).bounds)


def _flat(column: pa.BinaryArray) -> Octets:
    """View the values of a column."""
    _, bounds, data = column.buffers()
    return Octets(
        np.frombuffer(data or b"", np.uint8), np.frombuffer(bounds, np.int32)[column.offset :][: len(column) + 1].astype(np.int64)
    )


def _bounds(column: pa.ListArray) -> np.ndarray:
    """Where the values of each list start among the flattened ones, and those of the last end, int64 [N + 1]."""
    return np.append(0, np.cumsum(column.value_lengths().fill_null(0).to_numpy()))


def _distinct(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct ones of whole numbers, ascending, and the place of each among them, as `np.unique` gives them."""
    if not len(values) or values.min() < 0 or values.max() >= _COUNTED:
        return np.unique(values, return_inverse=True)
    values = values.astype(np.int64)  # NumPy 2.1 does not count uint64
    present = np.bincount(values) > 0
    return np.flatnonzero(present), (np.cumsum(present) - 1)[values]


@functools.cache
def _varint(value: int) -> bytes:
    return encode_varint(value % 2**64)


def _encode_frames(column: pa.ListArray, feature: Feature) -> list[_Column]:
    header = np.frombuffer(frame_header(feature.size), np.uint8)
    values = column.flatten()
    codes = np.frombuffer(values.buffers()[1], np.uint8)[values.offset * feature.size :][: len(values) * feature.size]
    frames = np.hstack([np.broadcast_to(header, (len(values), len(header))), codes.reshape(-1, feature.size)])
    prefixes, counts = entry_prefixes(feature.name.encode()), column.value_lengths().to_numpy().astype(np.int64)
    sizes = counts * frames.shape[1]
    return [_by_length(prefixes, sizes), Octets(frames.reshape(-1), np.append(0, np.cumsum(sizes)))]
