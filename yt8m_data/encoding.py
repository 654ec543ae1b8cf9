"""`pyarrow.RecordBatch` -> Example and SequenceExample bytes: the other half of `codec`."""

import functools
import struct
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from yt8m_data import wire
from yt8m_data.schema import LABEL_WEIGHTS, OTHER, PROVENANCE, SEGMENTS, Feature, Schema

_Buffer = bytes | memoryview


def encode(batch: pa.RecordBatch, schema: Schema) -> list[bytes]:
    """Encode the rows of a batch with the columns of `schema.arrow` (and those of `PROVENANCE`, if it has them).

    The bytes are those of the protobuf library's deterministic serialisation: keys in ascending order, and behind them those of the column
    OTHER as they came. A null in a column of `PROVENANCE` or `SEGMENTS` leaves its key out.
    """
    count = batch.num_rows
    entries: dict[str, Sequence[_Buffer]] = {schema.id_key: _encode_strings(batch.column("id"), schema.id_key)}
    entries[schema.labels_key] = _encode_integers(batch.column("labels"), schema.labels_key)
    for column in SEGMENTS.names:
        if column in schema.extras:
            encode_list = _encode_floats if SEGMENTS.field(column).type.value_type == pa.float32() else _encode_integers
            entries[column] = encode_list(batch.column(column), column)
    for column in PROVENANCE.names:
        if column in batch.schema.names:
            encode_column = _encode_floats if column == LABEL_WEIGHTS else _encode_numbers if column == "aug_lambda" else _encode_strings
            entries[column] = encode_column(batch.column(column), column)
    lists: dict[str, Sequence[_Buffer]] = {}
    for feature in schema.features:
        if schema.kind == "video":
            entries[feature.name] = _encode_vectors(batch.column(feature.name), feature)
        else:
            lists[feature.name] = _encode_frames(batch.column(feature.name), feature)
    others = batch.column(OTHER).to_pylist() if OTHER in schema.extras else ()
    contexts = _encode_messages(entries, b"\x0a", count, others)
    if schema.kind == "video":
        return contexts
    return [context + frames for context, frames in zip(contexts, _encode_messages(lists, b"\x12", count), strict=True)]


def _encode_messages(entries: dict[str, Sequence[_Buffer]], tag: bytes, count: int, others: Sequence[bytes | None] = ()) -> list[bytes]:
    """Join the map entries of each row, in the order of their keys, to one field; `others` are entries of each row to add behind."""
    columns = [entries[key] for key in sorted(entries)]
    if any(others):
        columns.append([other or b"" for other in others])
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
