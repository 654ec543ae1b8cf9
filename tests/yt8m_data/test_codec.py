"""The record codec: TensorFlow's parsers and writers are the oracle, hand-laid wire bytes the adversary."""

import io
import re
import struct
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from yt8m_data import codec, heads, tfrecord
from yt8m_data.encoding import encode_with
from yt8m_data.errors import BadRecord
from yt8m_data.schema import PROVENANCE, Feature, Schema, sniff

VIDEO = Schema("video", "id", "labels", (Feature("mean_rgb", 6), Feature("mean_audio", 3)), 50)
FRAME = Schema("frame", "id", "labels", (Feature("rgb", 6), Feature("audio", 3)), 50)
ROUNDS = settings(max_examples=40, deadline=None)
KINDS = pytest.mark.parametrize("schema", [VIDEO, FRAME], ids=["video", "frame"])


def encode(batch: pa.RecordBatch, schema: Schema) -> list[bytes]:
    """The records of a batch."""
    return codec.encode(batch, schema).records()


def decoded(
    records: list[bytes], schema: Schema, provenance: bool = False, block_bytes: int = 4096
) -> tuple[dict[int, dict], list[BadRecord]]:
    """The rows of a file by their index, and its bad records."""
    stream = io.BytesIO()
    tfrecord.write(stream, records)
    stream.seek(0)
    rows: dict[int, dict] = {}
    bad = []
    for block in tfrecord.read(stream, "shard", block_bytes):
        result = codec.decode(block, schema, provenance)
        assert result.batch.schema == (pa.schema([*schema.arrow, *PROVENANCE]) if provenance else schema.arrow)
        result.batch.validate(full=True)
        rows |= dict(zip(result.indices.tolist(), result.batch.to_pylist(), strict=True))
        bad += result.bad
    return rows, bad


def batch_of(rows: list[dict], schema: Schema) -> pa.RecordBatch:
    with_provenance = rows and "aug_base" in rows[0]
    return pa.RecordBatch.from_pylist(rows, schema=pa.schema([*schema.arrow, *PROVENANCE]) if with_provenance else schema.arrow)


def where(bad: BadRecord) -> tuple[str, int, int, str]:
    return bad.file, bad.index, bad.offset, bad.kind


def feature(value) -> tf.train.Feature:
    if isinstance(value, bytes):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
    if value and isinstance(value[0], float):
        return tf.train.Feature(float_list=tf.train.FloatList(value=value))
    return tf.train.Feature(int64_list=tf.train.Int64List(value=value))


def by_tensorflow(row: dict, schema: Schema) -> bytes:
    """A row as TensorFlow's deterministic serialisation."""
    frames = {f.name for f in schema.features} if schema.kind == "frame" else set()
    context = {
        key: feature(value if not isinstance(value, float) else [value])
        for key, value in row.items()
        if key not in frames and value is not None
    }
    if schema.kind == "video":
        return tf.train.Example(features={"feature": context}).SerializeToString(deterministic=True)
    lists = {name: tf.train.FeatureList(feature=[feature(frame) for frame in row[name]]) for name in frames}
    return tf.train.SequenceExample(context={"feature": context}, feature_lists={"feature_list": lists}).SerializeToString(
        deterministic=True
    )


def parsed_by_tensorflow(records: list[bytes], schema: Schema) -> list[dict]:
    """Rows as TensorFlow's own parser reads them."""
    context = {schema.id_key: tf.io.FixedLenFeature([], tf.string), schema.labels_key: tf.io.RaggedFeature(tf.int64)}
    if schema.kind == "video":
        vectors = {f.name: tf.io.FixedLenFeature([f.size], tf.float32) for f in schema.features}
        columns = tf.io.parse_example(records, context | vectors)
    else:
        lists = {f.name: tf.io.RaggedFeature(tf.string) for f in schema.features}
        first, second, _ = tf.io.parse_sequence_example(records, context, lists)
        columns = first | second
    columns["id"] = columns.pop(schema.id_key)
    lists_of_values = {name: getattr(column, "to_list", lambda c=column: c.numpy().tolist())() for name, column in columns.items()}
    for f in schema.features if schema.kind == "frame" else ():
        lists_of_values[f.name] = [[frame for [frame] in frames] for frames in lists_of_values[f.name]]
    return [{name: values[row] for name, values in lists_of_values.items()} for row in range(len(records))]


# --- Rows -----------------------------------------------------------------------------------------------------------------

ids = st.binary(min_size=1, max_size=200)
label_lists = st.lists(st.integers(0, 49), max_size=8)


def vectors(size: int) -> st.SearchStrategy:
    return st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=size, max_size=size)


def frame_lists(count: int, size: int) -> st.SearchStrategy:
    return st.lists(st.binary(min_size=size, max_size=size), min_size=count, max_size=count)


provenance = st.fixed_dictionaries(
    {
        "aug_method": st.sampled_from([None, b"", b"noise", b"interpolate"]),
        "aug_base": st.none() | st.binary(max_size=20),
        "aug_neighbor": st.none() | st.binary(max_size=20),
        "aug_lambda": st.none() | st.floats(width=32, allow_nan=False, allow_infinity=False),
        "aug_origin": st.none() | st.binary(max_size=20),
        "label_weights": st.none() | vectors(8),
    }
)
videos = st.fixed_dictionaries({"id": ids, "labels": label_lists, "mean_rgb": vectors(6), "mean_audio": vectors(3)})
clips = st.integers(1, 5).flatmap(
    lambda count: st.fixed_dictionaries({"id": ids, "labels": label_lists, "rgb": frame_lists(count, 6), "audio": frame_lists(count, 3)})
)


def rows_of(schema: Schema) -> st.SearchStrategy:
    return videos if schema is VIDEO else clips


def example_row(schema: Schema, number: int = 0, num_frames: int = 2) -> dict:
    row: dict = {"id": b"video%d" % number, "labels": [number % 50, 7, 49]}
    for place, f in enumerate(schema.features):
        values = np.random.default_rng([number, place]).integers(0, 256, (num_frames, f.size), np.uint8)
        row[f.name] = [value.tobytes() for value in values] if schema.kind == "frame" else (values[0] / 64 - 2).astype(np.float32).tolist()
    return row


# --- TensorFlow, both ways ------------------------------------------------------------------------------------------------


@KINDS
@ROUNDS
@given(data=st.data())
def test_we_encode_and_decode_as_tensorflow_does(schema, data):
    rows = data.draw(st.lists(rows_of(schema), min_size=1, max_size=6))
    records = [by_tensorflow(row, schema) for row in rows]
    assert encode(batch_of(rows, schema), schema) == records
    assert decoded(records, schema) == (dict(enumerate(rows)), [])
    assert parsed_by_tensorflow(records, schema) == rows


@KINDS
@ROUNDS
@given(data=st.data())
def test_provenance_comes_back_with_its_nulls(schema, data):
    rows = [a | b for a, b in data.draw(st.lists(st.tuples(rows_of(schema), provenance), min_size=1, max_size=6))]
    for row in rows:  # as many as labels
        row["label_weights"] = (row["label_weights"] and row["labels"] and row["label_weights"][: len(row["labels"])]) or None
    batch = batch_of(rows, schema)
    records = encode(batch, schema)
    assert records == [by_tensorflow(row, schema) for row in rows]
    assert decoded(records, schema, provenance=True) == (dict(enumerate(rows)), [])
    real = [{key: value for key, value in row.items() if key not in PROVENANCE.names} for row in rows]
    assert decoded(records, schema) == (dict(enumerate(real)), [])
    without = decoded(encode(batch_of(real, schema), schema), schema, provenance=True)[0]
    assert [without[i] for i in range(len(rows))] == [row | dict.fromkeys(PROVENANCE.names) for row in real]


@KINDS
def test_weights_of_another_number_than_labels_are_bad(schema):
    row = example_row(schema) | dict.fromkeys(PROVENANCE.names)
    records = [by_tensorflow(row | {"label_weights": weights}, schema) for weights in ([0.5, 1.0], [0.5, 1.0, 0.25], None)]
    rows, bad = decoded(records, schema, provenance=True)
    assert [rows[i]["label_weights"] for i in rows] == [[0.5, 1.0, 0.25], None]
    assert [(each.index, each.kind) for each in bad] == [(0, "label")]
    assert "'label_weights' has another number of values than 'labels'" in bad[0].reason
    assert len(decoded(records, schema)[0]) == 3  # whoever does not ask for them is not troubled


@KINDS
@ROUNDS
@given(data=st.data())
def test_blocks_of_any_size_decode_alike(schema, data):
    rows = data.draw(st.lists(rows_of(schema), max_size=8))
    block_bytes = data.draw(st.integers(64, 65_536))
    assert decoded([by_tensorflow(row, schema) for row in rows], schema, block_bytes=block_bytes) == (dict(enumerate(rows)), [])


@KINDS
def test_a_batch_outlives_its_block(schema):
    rows = [example_row(schema, number) for number in range(20)]
    stream = io.BytesIO()
    tfrecord.write(stream, [by_tensorflow(row, schema) for row in rows])
    stream.seek(0)
    batches = [codec.decode(block, schema).batch for block in tfrecord.read(stream, "shard", 512)]
    assert len(batches) > 2
    assert [row for batch in batches for row in batch.to_pylist()] == rows


@pytest.mark.parametrize("num_frames", [1, 7, 300, 301])
def test_frames_of_the_published_sizes(num_frames):
    schema = Schema("frame", "id", "labels", (Feature("rgb", 1024), Feature("audio", 128)), 3862)
    rows = [example_row(schema, number, count) for number, count in enumerate((num_frames, 1, num_frames))]
    records = encode(batch_of(rows, schema), schema)
    assert parsed_by_tensorflow(records, schema) == rows
    assert decoded(records, schema) == (dict(enumerate(rows)), [])


@pytest.mark.parametrize("length", [1, 127, 128, 20_000])
def test_ids_of_any_length(length):
    row = example_row(VIDEO) | {"id": bytes(range(256)) * (length // 256) + b"\xff" * (length % 256)}
    assert encode(batch_of([row], VIDEO), VIDEO) == [by_tensorflow(row, VIDEO)]
    assert decoded([by_tensorflow(row, VIDEO)], VIDEO)[0] == {0: row}


def test_the_keys_and_classes_of_2017():
    schema = Schema("video", "video_id", "labels", VIDEO.features, 4716)
    row = example_row(schema) | {"labels": [0, 127, 128, 4715]}
    record = by_tensorflow({"video_id": row["id"], **{k: v for k, v in row.items() if k != "id"}}, schema)
    assert encode(batch_of([row], schema), schema) == [record]
    assert decoded([record], schema) == ({0: row}, [])


def test_a_data_set_without_audio():
    schema = Schema("video", "id", "labels", VIDEO.features[:1], 50)
    row = {key: value for key, value in example_row(VIDEO).items() if key != "mean_audio"}
    assert decoded([by_tensorflow(row, VIDEO)], schema) == ({0: row}, [])
    assert decoded([by_tensorflow(example_row(VIDEO), VIDEO)], schema) == ({0: row}, [])


# --- Batches that are views -----------------------------------------------------------------------------------------------


def some_batch(schema: Schema) -> pa.RecordBatch:
    """Seven rows of different lengths in every column, with nulls where they may be."""
    rows = []
    for number in range(7):
        row = example_row(schema, number, num_frames=1 + number % 3) | {"labels": list(range(number % 4))}
        weights = [number / 16] * (number % 4) or None
        values = [b"noise", b"base%d" % number, None, number / 8, b"origin", weights] if number % 3 else [None] * 6
        rows.append(row | dict(zip(PROVENANCE.names, values, strict=True)))
    return batch_of(rows, schema)


@KINDS
def test_slices_encode_as_their_rows(schema):
    batch = some_batch(schema)
    records = encode(batch, schema)
    for start in range(8):
        for length in range(8 - start):
            assert encode(batch.slice(start, length), schema) == records[start : start + length]
    assert encode(batch.slice(1, 6).slice(2, 3), schema) == records[3:6]


@KINDS
def test_taken_joined_and_stored_batches_encode_as_their_rows(schema):
    batch = some_batch(schema)
    records = encode(batch, schema)
    order = [5, 0, 0, 6, 2]
    assert encode(batch.take(pa.array(order)), schema) == [records[row] for row in order]
    [joined] = pa.Table.from_batches([batch.slice(4), batch.slice(1, 2)]).combine_chunks().to_batches()
    assert encode(joined, schema) == records[4:] + records[1:3]
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch.slice(2, 4))
    stored = pa.ipc.open_stream(sink.getvalue()).read_next_batch()
    assert encode(stored, schema) == records[2:6]


@pytest.mark.parametrize("rows", [1, 3, 7, 50])
def test_vectors_may_come_some_rows_at_a_time(rows):
    batch, sizes = some_batch(VIDEO), [feature.size for feature in VIDEO.features]
    matrices = [np.array(batch.column(f.name).to_pylist(), np.float32).reshape(-1, f.size) for f in VIDEO.features]
    both, ends = np.hstack(matrices), np.cumsum(sizes)
    parts = [both[:, end - size : end] for size, end in zip(sizes, ends, strict=True)]
    vectors = ([part[at : at + rows] for part in parts] for at in range(0, batch.num_rows, rows))
    found = [framed.records() for framed in encode_with(batch.drop_columns([f.name for f in VIDEO.features]), vectors, VIDEO)]
    assert [len(records) for records in found] == [min(rows, batch.num_rows - at) for at in range(0, batch.num_rows, rows)]
    assert [record for records in found for record in records] == encode(batch, VIDEO)


@KINDS
def test_an_empty_batch_has_no_records(schema):
    assert encode(batch_of([], schema), schema) == []
    assert encode(some_batch(schema).slice(3, 0), schema) == []


# --- Legal but odd --------------------------------------------------------------------------------------------------------


def varint(value: int, padding: int = 0) -> bytes:
    groups = [value & 0x7F]
    while value := value >> 7:
        groups.append(value & 0x7F)
    groups += [0] * padding
    return bytes([*(group | 0x80 for group in groups[:-1]), groups[-1]])


def field(number: int, payload: bytes, padding: int = 0) -> bytes:
    return bytes([number << 3 | 2]) + varint(len(payload), padding) + payload


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
@settings(max_examples=60, deadline=None)
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


# --- Bad records ----------------------------------------------------------------------------------------------------------


def floats(*values: float) -> bytes:
    return field(2, field(1, struct.pack(f"<{len(values)}f", *values)))


def integers(*values: int) -> bytes:
    return field(3, field(1, b"".join(varint(value % 2**64) for value in values)))


def text(*values: bytes) -> bytes:
    return field(1, b"".join(field(1, value) for value in values))


def entries(values: dict[str, bytes | None]) -> bytes:
    return b"".join(field(1, field(1, key.encode()) + field(2, value)) for key, value in values.items() if value is not None)


GOOD = {"id": text(b"x"), "labels": integers(3), "mean_rgb": floats(*range(6)), "mean_audio": floats(*range(3))}
BAD_VIDEOS = {
    "nothing": (b"", "parse", "no id under the key 'id'"),
    "garbage": (b"\xff\xff\xff", "parse", "no tf.Example"),
    "cut": (field(1, entries(GOOD))[:-1], "parse", "no tf.Example"),
    "no features": (field(9, b"?"), "parse", "no id"),
    **{
        name: (field(1, entries({**GOOD, key: value})), kind, reason)
        for name, (key, value, kind, reason) in {
            "no id": ("id", None, "parse", "no id"),
            "empty id": ("id", text(b""), "parse", "no id"),
            "id of two": ("id", text(b"a", b"b"), "parse", "several byte strings"),
            "id of integers": ("id", integers(5), "parse", "no id"),
            "labels of floats": ("labels", floats(3.0), "label", "not a list of integers"),
            "labels of bytes": ("labels", text(b"3"), "label", "not a list of integers"),
            "labels that do not end": ("labels", field(3, field(1, b"\x83")), "label", "not a list of integers"),
            "a label of eleven bytes": ("labels", field(3, field(1, b"\x80" * 10 + b"\x01")), "label", "not a list of integers"),
            "a negative label": ("labels", integers(3, -1), "label", "label -1 is below 0"),
            "a label too large": ("labels", integers(50), "label", "label 50 is outside"),
            "a label that wraps to 3 in 32 bits": ("labels", integers(2**32 + 3), "label", "label 4294967299 is outside"),
            "the largest label": ("labels", integers(2**63 - 1), "label", "is outside"),
            "no audio": ("mean_audio", None, "size", "'mean_audio' has no float values, not 3"),
            "unset audio": ("mean_audio", b"", "size", "'mean_audio' has no float values"),
            "empty audio": ("mean_audio", field(2, b""), "size", "'mean_audio' has 0 values, not 3"),
            "too few values": ("mean_rgb", floats(1, 2, 3, 4, 5), "size", "'mean_rgb' has 5 values, not 6"),
            "too many values": ("mean_rgb", floats(*range(7)), "size", "'mean_rgb' has 7 values, not 6"),
            "a feature of bytes": ("mean_audio", text(bytes(12)), "size", "'mean_audio' has no float values"),
            "half a float": ("mean_audio", field(2, field(1, bytes(11))), "size", "'mean_audio' has 2 values"),
            "not a number": ("mean_rgb", floats(0, 0, np.nan, 0, 0, 0), "not finite", "'mean_rgb' has a value that is not finite"),
            "infinite": ("mean_audio", floats(0, np.inf, 0), "not finite", "'mean_audio'"),
            "minus infinite": ("mean_audio", floats(0, 0, -np.inf), "not finite", "'mean_audio'"),
        }.items()
    },
}


def frame_list(*frames: bytes) -> bytes:
    return b"".join(field(1, text(frame)) for frame in frames)


def clip(**lists: bytes) -> bytes:
    return field(1, entries({"id": text(b"x"), "labels": integers(3)})) + field(2, entries(lists))


AUDIO = frame_list(b"abc", b"def")
BAD_CLIPS = {
    "unequal counts": (clip(rgb=frame_list(bytes(6)), audio=AUDIO), "size", "'audio' has 2 frames, not 1"),
    "a frame too short": (clip(rgb=frame_list(bytes(6), bytes(5)), audio=AUDIO), "size", "'rgb' has frames that are not of 6 bytes"),
    "frames too long": (clip(rgb=frame_list(bytes(7), bytes(7)), audio=AUDIO), "size", "'rgb' has frames"),
    "wrong sizes of the right sum": (clip(rgb=frame_list(bytes(5), bytes(7)), audio=AUDIO), "size", "'rgb' has frames"),
    "no audio": (clip(rgb=frame_list(bytes(6))), "size", "'audio' has no frames"),
    "no frames": (clip(rgb=b"", audio=b""), "size", "'rgb' has no frames"),
    "no feature lists": (field(1, entries({"id": text(b"x")})), "size", "'rgb' has no frames"),
    "a frame of two": (clip(rgb=field(1, text(bytes(6), bytes(6))), audio=AUDIO), "size", "'rgb' has frames"),
    "a frame of none": (clip(rgb=field(1, b""), audio=AUDIO), "size", "'rgb' has frames"),
    "frames of integers": (clip(rgb=field(1, integers(*range(6))), audio=AUDIO), "size", "'rgb' has frames"),
    "no id": (field(2, entries({"rgb": frame_list(bytes(6)), "audio": frame_list(bytes(3))})), "parse", "no id"),
    "garbage": (field(1, entries({"id": text(b"x")})) + field(2, b"\xff"), "parse", "no tf.Example"),
}


@pytest.mark.parametrize("block_bytes", [64, 4096])
@pytest.mark.parametrize(("schema", "name"), [*((VIDEO, name) for name in BAD_VIDEOS), *((FRAME, name) for name in BAD_CLIPS)])
@pytest.mark.filterwarnings("error")
def test_a_bad_record_is_told_of_and_costs_no_neighbour(schema, name, block_bytes):
    record, kind, reason = (BAD_VIDEOS if schema is VIDEO else BAD_CLIPS)[name]
    rows = {number: example_row(schema, number) for number in (0, 2, 3)}
    records = [by_tensorflow(rows[number], schema) if number in rows else record for number in range(5)]
    good, bad = decoded(records, schema, block_bytes=block_bytes)
    assert good == rows
    offsets = np.cumsum([0, *(len(r) + 16 for r in records)]).tolist()
    assert [where(b) for b in bad] == [("shard", 1, offsets[1], kind), ("shard", 4, offsets[4], kind)]
    for b in bad:
        assert re.search(reason, b.reason)


def test_a_block_of_bad_records_has_no_rows():
    good, bad = decoded([record for record, _, _ in BAD_VIDEOS.values()], VIDEO, block_bytes=1 << 20)
    assert good == {}
    assert sorted(b.index for b in bad) == list(range(len(BAD_VIDEOS)))


def test_bad_checksums_and_bad_contents_in_one_file():
    """Indices and offsets count the records that the checksum refused."""
    stream = io.BytesIO()
    rows = [example_row(VIDEO, number) for number in range(6)]
    records = [by_tensorflow(row, VIDEO) for row in rows]
    records[4] = BAD_VIDEOS["no id"][0]
    tfrecord.write(stream, records)
    data = bytearray(stream.getvalue())
    offsets = np.cumsum([0, *(len(r) + 16 for r in records)]).tolist()
    data[offsets[1] + 20] ^= 4
    [block] = tfrecord.read(io.BytesIO(bytes(data[:-1])), "shard")
    result = codec.decode(block, VIDEO)
    assert result.indices.tolist() == [0, 2, 3]
    assert result.batch.to_pylist() == [rows[i] for i in (0, 2, 3)]
    assert [where(b)[1:] for b in result.bad] == [(1, offsets[1], "crc"), (5, offsets[5], "truncated"), (4, offsets[4], "parse")]


@KINDS
def test_a_flipped_bit_behind_a_right_checksum_is_read_as_tensorflow_reads_it(schema):
    """Either the record is refused, or both parsers see the same values. Never an exception, and never a neighbour's bytes.

    A flip may turn the labels into an unknown field. That is legal and leaves the record unlabelled; TensorFlow's parser is stricter than
    protobuf's here, and refuses it.
    """
    row = example_row(schema)
    record = by_tensorflow(row, schema)
    flipped = [record[:place] + bytes([record[place] ^ 1 << bit]) + record[place + 1 :] for place in range(len(record)) for bit in range(8)]
    good, bad = decoded(flipped, schema, block_bytes=1 << 20)
    assert sorted([*good, *(b.index for b in bad)]) == list(range(len(flipped)))
    assert len(good) > len(record)  # most flips change a value and no more
    for index, ours in good.items():
        try:
            theirs = parsed_by_tensorflow([flipped[index]], schema)
        except tf.errors.InvalidArgumentError:
            theirs = [row | {"labels": []}]
        assert [ours] == theirs


# --- Published shards -----------------------------------------------------------------------------------------------------


@pytest.mark.shared_data
@pytest.mark.parametrize(
    ("pattern", "count"),
    [
        ("yt8m-2018-video/validate000[0-2].tfrecord", None),
        ("yt8m-2017-video/*.tfrecord", 531),
        ("audioset/*.tfrecord", 285),
    ],
)
def test_published_shards_are_read_as_tensorflow_reads_them(shared_data, pattern, count):
    num_records = 0
    for path in map(str, sorted(shared_data.glob(pattern))):
        schema = sniff(path)
        records = list(tf.data.TFRecordDataset(path).as_numpy_iterator())
        with open(path, "rb") as stream:
            results = [codec.decode(block, schema) for block in tfrecord.read(stream, path)]
        assert [bad for result in results for bad in result.bad] == []
        assert [row for result in results for row in result.batch.to_pylist()] == parsed_by_tensorflow(records, schema)
        ours = [record for result in results for record in encode(result.batch, schema)]
        message_class = tf.train.Example if schema.kind == "video" else tf.train.SequenceExample
        for mine, theirs in zip(ours, map(message_class.FromString, records), strict=True):
            theirs.DiscardUnknownFields()
            context = (theirs.features if schema.kind == "video" else theirs.context).feature
            context["labels"].int64_list.SetInParent()
            for key in set(context) - {schema.id_key, "labels", *(f.name for f in schema.features)}:
                del context[key]
            assert mine == theirs.SerializeToString(deterministic=True)
        num_records += len(records)
    assert num_records == count or (count is None and num_records > 800)


# --- First bytes ------------------------------------------------------------------------------------------------------------


class Memory:
    """The records of a file as a source."""

    def __init__(self, records: list[bytes]) -> None:
        stream = io.BytesIO()
        self.name, self.size = "shard", tfrecord.write(stream, records)
        self.read = lambda size, offset: stream.getvalue()[offset : offset + size]


def test_large_values_are_finite_even_where_their_sum_is_not():
    """A sum of finite values may be infinite in float32."""
    row = {"id": b"a", "labels": [1], "mean_rgb": [3e38] * 6, "mean_audio": [-3e38] * 3}
    rows, bad = decoded([by_tensorflow(row, VIDEO)], VIDEO)
    assert bad == []
    assert rows[0]["mean_rgb"] == [np.float32(3e38)] * 6


def heads_of(records: list[bytes], head_bytes: int = 500, provenance: bool = False) -> tuple[dict[int, dict], list[BadRecord]]:
    rows: dict[int, dict] = {}
    bad = []
    for block in heads.scan(Memory(records), head_bytes):
        result = codec.decode_heads(block, FRAME, provenance)
        result.batch.validate(full=True)
        rows |= dict(zip(result.indices.tolist(), result.batch.to_pylist(), strict=True))
        bad += result.bad
    return rows, bad


def frame_row(name: bytes, labels: list[int], num_frames: int, **more) -> dict:
    frames = {f.name: [bytes([i % 256]) * f.size for i in range(num_frames)] for f in FRAME.features}
    return {"id": name, "labels": labels} | frames | more


@ROUNDS
@given(st.lists(st.tuples(st.binary(min_size=1, max_size=200), st.lists(st.integers(0, 49), max_size=90), st.integers(1, 400)), max_size=8))
@pytest.mark.parametrize("head_bytes", [20, 500])
def test_heads_tell_what_the_whole_records_tell(head_bytes, parts):
    """Contexts that are longer than the first bytes are read on."""
    records = [by_tensorflow(frame_row(*part), FRAME) for part in parts]
    rows, bad = heads_of(records, head_bytes)
    assert bad == []
    assert rows == {i: {"id": name, "labels": labels, "num_frames": count} for i, (name, labels, count) in enumerate(parts)}


def test_heads_without_labels_or_with_other_keys():
    records = [
        tf.train.SequenceExample(
            context={"feature": {"id": feature(b"a"), "segment_start_times": feature([5] * 300)}},
            feature_lists={"feature_list": {"rgb": tf.train.FeatureList(feature=[feature(b"x" * 6)] * 2)}},
        ).SerializeToString()
    ]
    rows, bad = heads_of(records)
    assert bad == []
    assert rows == {0: {"id": b"a", "labels": [], "num_frames": None}}  # one feature of two is missing


def test_a_length_that_no_number_of_frames_has_tells_no_number():
    odd = frame_row(b"a", [1], 3)
    odd["audio"] = odd["audio"][:2]
    extra = tf.train.SequenceExample.FromString(by_tensorflow(frame_row(b"b", [1], 3), FRAME))
    extra.feature_lists.feature_list["depth"].feature.add().bytes_list.value.append(b"123456789")
    rows, _ = heads_of([by_tensorflow(odd, FRAME), extra.SerializeToString(), by_tensorflow(frame_row(b"c", [1], 3), FRAME)])
    assert [rows[i]["num_frames"] for i in range(3)] == [None, None, 3]


def test_a_context_that_does_not_come_first_is_found_all_the_same():
    message = tf.train.SequenceExample.FromString(by_tensorflow(frame_row(b"late", [3, 7], 40), FRAME))
    context = tf.train.SequenceExample(context=message.context).SerializeToString()
    lists = tf.train.SequenceExample(feature_lists=message.feature_lists).SerializeToString()
    rows, bad = heads_of([lists + context, context + lists], head_bytes=60)
    assert bad == []
    assert [rows[i]["labels"] for i in (0, 1)] == [[3, 7], [3, 7]]
    assert rows[1]["num_frames"] == 40


@pytest.mark.parametrize(
    ("record", "kind", "said"),
    [
        (by_tensorflow(frame_row(b"a", [50], 2), FRAME), "label", "label 50 is outside 0..49"),
        (by_tensorflow({"labels": [1], "rgb": [b"x" * 6], "audio": [b"x" * 3]}, FRAME), "parse", "it has no id under the key 'id'"),
        (b"", "parse", "it has no id"),
        (b"\xff" * 700, "parse", "it is no tf.Example"),
    ],
)
def test_bad_contexts_are_reported_with_their_place(record, kind, said):
    good = by_tensorflow(frame_row(b"g", [1], 5), FRAME)
    rows, bad = heads_of([good, record, good])
    assert sorted(rows) == [0, 2]
    assert where(bad[0]) == ("shard", 1, len(good) + 16, kind)
    assert said in bad[0].reason


def test_heads_with_provenance():
    made = frame_row(b"v_o01", [2], 4, aug_method=b"noise", aug_base=b"v")
    rows, _ = heads_of([by_tensorflow(made, FRAME), by_tensorflow(frame_row(b"v", [2], 4), FRAME)], provenance=True)
    assert (rows[0]["aug_method"], rows[0]["aug_base"], rows[0]["aug_lambda"], rows[0]["num_frames"]) == (b"noise", b"v", None, 4)
    assert rows[1]["aug_method"] is None
