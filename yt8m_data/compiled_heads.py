"""What stands beside the vectors of video-level records, laid down by a compiled pass: `encoding.columns_of` is its oracle, byte by byte.

Each entry is what Arrow has in memory already, or packed integers, behind a few bytes that depend on its key and its length alone. So the
pass first finds the length of each entry, and then copies it to where it belongs. It takes Arrow's arrays to be valid, as Arrow does.
"""

from typing import NamedTuple

import numpy as np
import pyarrow as pa

from yt8m_data import wire
from yt8m_data.compiled import byte_at, copy, int32_at, machine_code
from yt8m_data.encoding import Octets, Vectors, columns_of
from yt8m_data.prefixes import entry_prefixes
from yt8m_data.schema import OTHER, PROVENANCE, SEGMENTS, Schema

_BARE, _VECTOR = 0, -1  # instead of the tag of a Feature's kind: what has no header, and what stands elsewhere

_VARINT_BYTES = 10  # of the longest


class Beside(NamedTuple):
    """What stands beside the vectors of N rows: before each of F, and behind the last.

    Attributes:
      octets: uint8, the bytes.
      bounds: int64 [F + 1, N + 1], where in them those of each row begin and the last end.
      order: int64 [F], the numbers of the features.
    """

    octets: np.ndarray
    bounds: np.ndarray
    order: np.ndarray


class _Entries(NamedTuple):
    """The entries of a key in N rows, whose payloads lie behind one another in memory.

    Attributes:
      text: what is the same in all of them: the key with its tag and length and the tag of the value; all that stands before a vector.
      tag: of the kind inside the Feature, or _BARE or _VECTOR.
      begin, width: where the first value lies in memory, and how many bytes a value has.
      bounds: where int32 [N + 1] lie, the numbers of the values with which each row begins and the last ends; 0 where each has one.
      validity, offset: where the bits lie that tell which rows have an entry, and which of them is that of the first row; 0 where all have.
      owner: what keeps all that in memory, beside the column itself.
    """

    text: bytes
    tag: int
    begin: int
    width: int
    bounds: int = 0
    validity: int = 0
    offset: int = 0
    owner: object = None


def beside_vectors(heads: pa.RecordBatch, schema: Schema) -> Beside:
    """Encode all of video-level records but their vectors, as `encoding.columns_of` does; what this does not serve, that encodes.

    Args:
      heads: the columns of `schema.arrow` but the features, and those of `PROVENANCE`, if it has them.
      schema: of the records.
    """
    columns = _columns(heads, schema)
    return _compiled(columns, schema, heads.num_rows) if _serves(columns, schema) else plain(heads, schema)


def plain(heads: pa.RecordBatch, schema: Schema) -> Beside:
    """As `beside_vectors`, by `encoding.columns_of`."""
    columns = columns_of(heads, schema)
    pieces = [column for column in columns if isinstance(column, Octets)]
    vectors = [column for column in columns if isinstance(column, Vectors)]
    if len(pieces) == len(vectors):
        pieces.append(Octets(np.empty(0, np.uint8), np.zeros_like(pieces[0].bounds)))
    before = np.cumsum([0, *(len(piece.octets) for piece in pieces)])[:-1]
    bounds = np.stack([at + piece.bounds for at, piece in zip(before.tolist(), pieces, strict=True)])
    return Beside(np.concatenate([piece.octets for piece in pieces]), bounds, np.array([each.feature for each in vectors], np.int64))


def _serves(columns: dict[str, pa.Array], schema: Schema) -> bool:
    """Whether the compiled pass can encode these: there are rows, columns are as the schema has them, and no value in a list is null.

    Labels may be integers of any width.
    """
    types = {field.name: field.type for fields in (schema.arrow, PROVENANCE) for field in fields}
    labels = columns["labels"].type
    return (
        len(columns["id"]) > 0
        and pa.types.is_list(labels)
        and pa.types.is_integer(labels.value_type)
        and all(name == "labels" or column.type == types[name] for name, column in columns.items())
        and not any(column.values.null_count for column in columns.values() if pa.types.is_list(column.type))
    )


def _columns(heads: pa.RecordBatch, schema: Schema) -> dict[str, pa.Array]:
    """The columns with something to encode, by name."""
    present, count = set(heads.schema.names), heads.num_rows
    carried = [name for name in (*SEGMENTS.names, OTHER) if name in schema.extras]
    columns = {name: heads.column(name) for name in ("id", "labels", *carried)}
    noted = {name: heads.column(name) for name in PROVENANCE.names if name in present}
    return columns | {name: column for name, column in noted.items() if column.null_count < count}


def _compiled(columns: dict[str, pa.Array], schema: Schema, count: int) -> Beside:
    renamed = {"id": schema.id_key, "labels": schema.labels_key}
    keys = {renamed.get(name, name): column for name, column in columns.items() if name != OTHER}
    entries = {key: _entries(column, entry_prefixes(key.encode()).headers[-1]) for key, column in keys.items()}
    numbers = {feature.name: number for number, feature in enumerate(schema.features)}
    for feature in schema.features:
        size = 4 * feature.size
        prefix = entry_prefixes(feature.name.encode(), bytes([wire.FLOAT]), b"\x0a")[size]
        entries[feature.name] = _Entries(prefix, _VECTOR, 0, size)
    ordered = [entries[key] for key in sorted(entries)]
    if OTHER in columns:
        ordered.append(_entries(columns[OTHER], b"")._replace(tag=_BARE))
    texts = [np.frombuffer(each.text, np.uint8) for each in ordered]
    table = [(each.tag, text.ctypes.data, len(text), *each[2:-1]) for each, text in zip(ordered, texts, strict=True)]
    octets, bounds = _laid(np.array(table, np.int64), count)
    return Beside(octets, bounds, np.array([numbers[key] for key in sorted(entries) if key in numbers], np.int64))


def _entries(column: pa.Array, text: bytes) -> _Entries:
    """The entries of a column: byte strings, lists of integers or floats, or lone floats."""
    buffers, offset = column.buffers(), column.offset
    valid = {"validity": _address(buffers[0]) if column.null_count else 0, "offset": offset}
    if pa.types.is_binary(column.type):
        return _Entries(text, wire.BYTES, _address(buffers[2]), 1, _address(buffers[1]) + 4 * offset, **valid)
    if not pa.types.is_list(column.type):
        return _Entries(text, wire.FLOAT, _address(buffers[1]) + 4 * offset, 4, **valid)
    values = column.values
    if not pa.types.is_integer(column.type.value_type):
        begin = _address(buffers[3]) + 4 * values.offset
        return _Entries(text, wire.FLOAT, begin, 4, _address(buffers[1]) + 4 * offset, **valid)
    bounds = np.frombuffer(buffers[1], np.int32)[offset:][: len(column) + 1].astype(np.int64)
    some = values.slice(bounds[0], bounds[-1] - bounds[0]).to_numpy().astype(np.int64, copy=False)
    owner = _packed(some, bounds - bounds[0])
    return _Entries(text, wire.INT64, owner[0].ctypes.data, 1, owner[1].ctypes.data, **valid, owner=owner)


def _address(buffer: pa.Buffer | None) -> int:
    return buffer.address if buffer else 0


@machine_code
def _laid(entries, count):  # type: ignore[no-untyped-def]
    """`Beside.octets` and `bounds` of so many rows.

    Entries are those of C keys, int64 [C, 8]: the tag, where the text lies and how long it is, and what follows in `_Entries`.
    """
    bounds, wholes = _bounds(entries, count)
    octets = np.empty(bounds[-1, -1], np.uint8)
    to = octets.ctypes.data
    for row in range(count):
        piece, at = 0, _put_header(octets, bounds[0, row], wire.FIELD_1, wholes[row])
        for number in range(len(entries)):
            place, size = _payload(entries[number], row)
            if size < 0:
                continue
            tag = entries[number, 0]
            at = _put_head(octets, at, tag, entries[number, 1], entries[number, 2], size)
            if tag == _VECTOR:
                piece += 1
                at = bounds[piece, row]
            else:
                copy(to + at, place, size)
                at += size
    return octets, bounds


@machine_code
def _bounds(entries, count):  # type: ignore[no-untyped-def]
    """`Beside.bounds`, and the length of each row's entries and vectors, int64 [N]."""
    bounds, wholes = np.zeros((np.sum(entries[:, 0] == _VECTOR) + 1, count + 1), np.int64), np.zeros(count, np.int64)
    for row in range(count):
        piece = 0
        for number in range(len(entries)):
            _, size = _payload(entries[number], row)
            if size < 0:
                continue
            tag = entries[number, 0]
            head = _head_bytes(tag, entries[number, 2], size)
            wholes[row] += head + size
            bounds[piece, row + 1] += head
            if tag == _VECTOR:
                piece += 1
            else:
                bounds[piece, row + 1] += size
        bounds[0, row + 1] += 1 + _varint_bytes(wholes[row])
    end = 0
    for piece in range(len(bounds)):
        for row in range(count + 1):
            end += bounds[piece, row]
            bounds[piece, row] = end
    return bounds, wholes


@machine_code
def _payload(entry, row):  # type: ignore[no-untyped-def]
    """Where in memory the payload of a row is, and its size in bytes; -1 where there is no entry."""
    begin, width, bounds, validity, bit = entry[3], entry[4], entry[5], entry[6], entry[7] + row
    if validity != 0 and not byte_at(validity + (bit >> 3)) >> (bit & 7) & 1:
        return 0, -1
    if bounds == 0:
        return begin + width * row, width
    first = int32_at(bounds + 4 * row)
    return begin + width * first, width * (int32_at(bounds + 4 * row + 4) - first)


@machine_code
def _packed(values, bounds):  # type: ignore[no-untyped-def]
    """Lists of integers (int64, with bounds int64 [N + 1]) as varints: the bytes behind one another, and their bounds, int32 [N + 1]."""
    octets, ends, at = np.empty(_VARINT_BYTES * len(values), np.uint8), np.zeros(len(bounds), np.int32), 0
    for row in range(len(bounds) - 1):
        for number in range(bounds[row], bounds[row + 1]):
            at = _put_varint(octets, at, values[number])
        ends[row + 1] = at
    return octets, ends


@machine_code
def _head_bytes(tag, text, size):  # type: ignore[no-untyped-def]
    """How long the head is that `_put_head` writes, with a text of so many bytes."""
    if tag <= _BARE:
        return text
    entry = _nested(tag, text, size)[2]
    return 1 + _varint_bytes(entry) + entry - size


@machine_code
def _nested(tag, text, size):  # type: ignore[no-untyped-def]
    """The lengths of the messages around a payload: the list of values, the Feature, and the entry behind its own length.

    Without numbers there is no field of them either, but an empty string is one.
    """
    values = size if size == 0 and tag != wire.BYTES else 1 + _varint_bytes(size) + size
    feature = 1 + _varint_bytes(values) + values
    return values, feature, text + _varint_bytes(feature) + feature


@machine_code
def _put_head(octets, at, tag, text, length, size):  # type: ignore[no-untyped-def]
    """Write what stands before a payload; return where it ends."""
    if tag > _BARE:
        values, feature, entry = _nested(tag, length, size)
        at = _put_header(octets, at, wire.FIELD_1, entry)
    copy(octets.ctypes.data + at, text, length)
    at += length
    if tag > _BARE:
        at = _put_header(octets, _put_varint(octets, at, feature), tag, values)
        if values > 0:
            at = _put_header(octets, at, wire.FIELD_1, size)
    return at


@machine_code
def _put_header(octets, at, tag, size):  # type: ignore[no-untyped-def]
    octets[at] = tag
    return _put_varint(octets, at + 1, size)


@machine_code
def _put_varint(octets, at, value):  # type: ignore[no-untyped-def]
    """Write an int64 as a varint; return where it ends."""
    rest = np.uint64(value)
    while rest > np.uint64(0x7F):
        octets[at] = np.uint8(rest & np.uint64(0x7F) | np.uint64(0x80))
        rest >>= np.uint64(7)
        at += 1
    octets[at] = np.uint8(rest)
    return at + 1


@machine_code
def _varint_bytes(value):  # type: ignore[no-untyped-def]
    """How long the varint of a number from 0 up is."""
    size = 1
    while value > 0x7F:
        value >>= 7
        size += 1
    return size
