"""Records that are legal but odd: every layout that protobuf allows, laid by hand, is read as TensorFlow reads it."""

import struct
from collections.abc import Iterator

import tensorflow as tf
from codec_rows import KINDS, ROUNDS, VIDEO, by_tensorflow, decoded, example_row, rows_of
from hypothesis import given, settings
from hypothesis import strategies as st
from protobuf_by_hand import field, varint

from yt8m_data.schema import Schema


class Writer:
    """Lays a row out in any way that protobuf allows, as drawn; `strange_entries` adds unknown fields to map entries."""

    def __init__(self, draw, strange_entries: bool) -> None:
        self.draw, self.strange_entries = draw, strange_entries

    def maybe(self, payload: bytes) -> bytes:
        return payload if self.draw(st.booleans()) else b""

    def field(self, number: int, payload: bytes) -> bytes:
        return field(number, payload, self.draw(st.integers(0, 2)))

    def unknown(self) -> bytes:
        return self.draw(st.sampled_from([b"", b"", field(9, b"unknown"), b"\x48\x96\x01", b"\x4d????", b"\x49????????"]))

    def chunks(self, values: list) -> Iterator[list]:
        cuts = sorted(self.draw(st.lists(st.integers(0, len(values)), max_size=2)))
        return (values[a:b] for a, b in zip([0, *cuts], [*cuts, len(values)], strict=True))

    def numbers(self, values: list) -> bytes:
        """A FloatList or Int64List: packed or not, in one run or several."""
        out = self.unknown()
        for chunk in self.chunks(values):
            floats = bool(chunk) and isinstance(chunk[0], float)
            packed = [struct.pack("<f", v) if floats else varint(v, self.draw(st.integers(0, 2))) for v in chunk]
            if self.draw(st.booleans()):
                out += self.field(1, b"".join(packed))
            else:
                out += b"".join((b"\x0d" if floats else b"\x08") + value for value in packed)
        return out + self.unknown()

    def feature(self, value) -> bytes:
        """The last kind of a Feature counts, and lists of that kind are joined."""
        if isinstance(value, bytes):
            laid = self.field(1, self.unknown() + self.field(1, value) + self.unknown())
            return self.unknown() + self.maybe(field(3, b"\x08\x05")) + laid + self.unknown()
        if not value:
            return self.draw(st.sampled_from([b"", field(3, b""), field(3, field(1, b"")), field(9, b"?"), field(3, b"") + field(9, b"?")]))
        kind = 2 if isinstance(value[0], float) else 3
        return self.maybe(field(1, field(1, b"gone"))) + b"".join(self.field(kind, self.numbers(chunk)) for chunk in self.chunks(value))

    def entry(self, key: str, value: bytes) -> bytes:
        parts = [self.field(1, key.encode()), self.field(2, value)]
        if self.strange_entries:
            parts.append(self.unknown())
        return self.field(1, b"".join(self.draw(st.permutations(parts))))

    def map(self, values: dict[str, bytes], decoy: bytes) -> list[bytes]:
        """Entries in any order, behind an earlier entry of one of their keys, with one of another key among them."""
        entries = [self.entry(key, value) for key, value in values.items()]
        entries = self.draw(st.permutations([*entries, self.maybe(self.entry("other", decoy)), self.unknown()]))
        return [self.maybe(self.entry(self.draw(st.sampled_from(sorted(values))), decoy)), *entries]

    def record(self, row: dict, schema: Schema) -> bytes:
        frames = {f.name for f in schema.features} if schema.kind == "frame" else set()
        context = {key: self.feature(value) for key, value in row.items() if key not in frames}
        if not row["labels"] and self.draw(st.booleans()):
            del context["labels"]
        several = field(1, field(1, b"several") + field(1, b"values"))
        out = b"".join(self.field(1, b"".join(chunk)) for chunk in self.chunks(self.map(context, several)))
        if frames:
            lists = {name: b"".join(self.field(1, self.feature(f)) + self.unknown() for f in row[name]) for name in frames}
            out += b"".join(self.field(2, b"".join(chunk)) for chunk in self.chunks(self.map(lists, field(1, several))))
        return out + self.unknown() + (field(2, b"") if self.draw(st.booleans()) else b"")


def plain(features) -> dict:
    """What a Features message of TensorFlow's holds."""
    return {
        key: list(getattr(value, value.WhichOneof("kind")).value) if value.WhichOneof("kind") else []
        for key, value in features.feature.items()
    }


@KINDS
@settings(max_examples=60)
@given(data=st.data())
def test_any_legal_layout_is_read_right(schema, data):
    rows = data.draw(st.lists(rows_of(schema), min_size=1, max_size=3))
    writer = Writer(data.draw, strange_entries=True)
    assert decoded([writer.record(row, schema) for row in rows], schema) == (dict(enumerate(rows)), [])


@KINDS
@ROUNDS
@given(data=st.data())
def test_tensorflow_reads_the_same_from_any_legal_layout(schema, data):
    """Its Python parser drops map entries that have unknown fields, so there are none here."""
    row = data.draw(rows_of(schema))
    record = Writer(data.draw, strange_entries=False).record(row, schema)
    ours = decoded([record], schema)[0][0]
    context = plain(tf.train.SequenceExample.FromString(record).context)
    assert ([ours["id"]], ours["labels"]) == (context["id"], context.get("labels", []))
    for f in schema.features:
        if schema.kind == "video":
            assert ours[f.name] == context[f.name]
        else:
            frames = tf.train.SequenceExample.FromString(record).feature_lists.feature_list[f.name].feature
            assert ours[f.name] == [frame.bytes_list.value[0] for frame in frames]


def test_an_unknown_field_of_an_example_may_hold_anything():
    """Field 2 is the feature lists of a SequenceExample, and nothing in an Example."""
    row = example_row(VIDEO)
    for tail in (b"\x12\x00", field(2, b"\xff\xff"), field(2, b"\xff\xff") + field(9, b"?")):
        assert decoded([by_tensorflow(row, VIDEO) + tail], VIDEO) == ({0: row}, [])


def test_odd_records_among_others_keep_their_order():
    rows = [example_row(VIDEO, number) for number in range(9)]
    records = [by_tensorflow(row, VIDEO) + (field(9, b"?" * number) if number % 2 else b"") for number, row in enumerate(rows)]
    assert decoded(records, VIDEO) == (dict(enumerate(rows)), [])
