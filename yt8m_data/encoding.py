"""`pyarrow.RecordBatch` -> Example and SequenceExample bytes: the other half of `codec`."""

import functools
import struct
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa

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


_Column = list[bytes] | _Vectors | _Frames  # some of each row


def encode(batch: pa.RecordBatch, schema: Schema) -> Framed:
    """Encode the rows of a batch with the columns of `schema.arrow` (and those of `PROVENANCE`, if it has them), ready to be written.

    The bytes are those of the protobuf library's deterministic serialisation: keys in ascending order, and behind them those of the column
    OTHER as they came. A null in a column of `PROVENANCE` or `SEGMENTS` leaves its key out.
    """
    entries: dict[str, _Column] = {schema.id_key: _encode_strings(batch.column("id"), schema.id_key)}
    entries[schema.labels_key] = _encode_integers(batch.column("labels"), schema.labels_key)
    for column in SEGMENTS.names:
        if column in schema.extras:
            encode_list = _encode_floats if SEGMENTS.field(column).type.value_type == pa.float32() else _encode_integers
            entries[column] = encode_list(batch.column(column), column)
    for column in PROVENANCE.names:
        if column in batch.schema.names and batch.column(column).null_count < batch.num_rows:
            encode_column = _encode_floats if column == LABEL_WEIGHTS else _encode_numbers if column == "aug_lambda" else _encode_strings
            entries[column] = encode_column(batch.column(column), column)
    lists: dict[str, tuple[list[bytes], _Frames]] = {}
    for feature in schema.features:
        if schema.kind == "video":
            entries[feature.name] = _encode_vectors(batch.column(feature.name), feature)
        else:
            lists[feature.name] = _encode_frames(batch.column(feature.name), feature)
    columns = [entries[key] for key in sorted(entries)]
    if OTHER in schema.extras:
        columns.append([other or b"" for other in batch.column(OTHER).to_pylist()])
    message = _message(columns, b"\x0a", batch.num_rows)
    if schema.kind == "frame":
        message += _message([column for key in sorted(lists) for column in lists[key]], b"\x12", batch.num_rows)
    return _assembled(message, batch.num_rows)


def _message(columns: list[_Column], tag: bytes, count: int) -> list[_Column]:
    """Put the field's tag and the length of all its entries before them; what comes byte by byte and stands together is joined."""
    prefixes = wire.Prefixes(tag)
    sizes = sum((_sizes(column) for column in columns), np.zeros(count, np.int64))
    joined: list[_Column] = []
    together: list[list[bytes]] = [[prefixes[size] for size in sizes.tolist()]]
    for column in [*columns, None]:
        if isinstance(column, list):
            together.append(column)
            continue
        if together:
            joined.append([b"".join(parts) for parts in zip(*together, strict=True)])
        together = []
        if column is not None:
            joined.append(column)
    return joined


def _sizes(column: _Column) -> np.ndarray:
    if isinstance(column, _Vectors):
        return np.full(len(column.payloads), len(column.prefix) + column.payloads.shape[1])
    if isinstance(column, _Frames):
        return column.counts * column.frames.shape[1]
    return np.fromiter(map(len, column), np.int64, len(column))


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
            for start, end, some in zip(at.tolist(), (at + size).tolist(), _pieces(column), strict=True):
                view[start:end] = some
        at += size
    return framed


def _pieces(column: list[bytes] | _Frames) -> Iterable[bytes | memoryview]:
    if not isinstance(column, _Frames):
        return column
    ends = np.cumsum(column.counts)
    return (column.frames[start:end].reshape(-1).data for start, end in zip((ends - column.counts).tolist(), ends.tolist(), strict=True))


def _encode_strings(column: pa.Array, key: str) -> list[bytes]:
    prefixes = wire.entry_prefixes(key.encode(), b"\x0a", b"\x0a")
    return [b"" if value is None else prefixes[len(value)] + value for value in column.to_pylist()]


def _encode_numbers(column: pa.Array, key: str) -> list[bytes]:
    prefix = wire.entry_prefixes(key.encode(), b"\x12", b"\x0a")[4]
    return [b"" if value is None else prefix + struct.pack("<f", value) for value in column.to_pylist()]


def _encode_integers(column: pa.ListArray, key: str) -> list[bytes]:
    varints = [_varint(value) for value in column.flatten().to_pylist()]
    return _encode_lists(column, key, b"\x1a", [b"".join(varints[start:end]) for start, end in _bounds(column)])


def _encode_floats(column: pa.ListArray, key: str) -> list[bytes]:
    values = column.flatten().to_numpy().astype("<f4", copy=False)
    return _encode_lists(column, key, b"\x12", [values[start:end].tobytes() for start, end in _bounds(column)])


def _encode_lists(column: pa.ListArray, key: str, kind: bytes, payloads: list[bytes]) -> list[bytes]:
    """Map entries of packed lists; a null has none."""
    prefixes, empty = wire.entry_prefixes(key.encode(), kind, b"\x0a"), wire.entry_prefixes(key.encode(), kind)[0]
    encoded = [prefixes[len(payload)] + payload if payload else empty for payload in payloads]
    for row in np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False)).tolist():
        encoded[row] = b""
    return encoded


def _bounds(column: pa.ListArray) -> Iterator[tuple[int, int]]:
    """Where the values of each list start and end among the flattened ones."""
    ends = np.cumsum(column.value_lengths().fill_null(0).to_numpy()).tolist()
    return zip([0, *ends], ends, strict=False)


@functools.cache
def _varint(value: int) -> bytes:
    return wire.encode_varint(value % 2**64)


def _encode_vectors(column: pa.FixedSizeListArray, feature: Feature) -> _Vectors:
    vectors = column.flatten().to_numpy().astype("<f4", copy=False).view(np.uint8).reshape(-1, 4 * feature.size)
    return _Vectors(wire.entry_prefixes(feature.name.encode(), b"\x12", b"\x0a")[4 * feature.size], vectors)


def _encode_frames(column: pa.ListArray, feature: Feature) -> tuple[list[bytes], _Frames]:
    header = np.frombuffer(wire.frame_header(feature.size), np.uint8)
    values = column.flatten()
    codes = np.frombuffer(values.buffers()[1], np.uint8)[values.offset * feature.size :][: len(values) * feature.size]
    frames = np.hstack([np.broadcast_to(header, (len(values), len(header))), codes.reshape(-1, feature.size)])
    prefixes, counts = wire.entry_prefixes(feature.name.encode()), column.value_lengths().to_numpy().astype(np.int64)
    return [prefixes[size] for size in (counts * frames.shape[1]).tolist()], _Frames(frames, counts)
