"""Rows to encode, TensorFlow's serialisation and reading of them, and the codec's, for the tests of the codec."""

import io

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf
from hypothesis import settings
from hypothesis import strategies as st

from yt8m_data import codec, tfrecord
from yt8m_data.errors import BadRecord
from yt8m_data.schema import PROVENANCE, Feature, Schema

VIDEO = Schema("video", "id", "labels", (Feature("mean_rgb", 6), Feature("mean_audio", 3)), 50)
FRAME = Schema("frame", "id", "labels", (Feature("rgb", 6), Feature("audio", 3)), 50)
ROUNDS = settings(max_examples=40)
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
