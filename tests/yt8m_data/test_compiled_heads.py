"""What the compiled pass lays down beside vectors: the encoder's own columns are its oracle, byte by byte, and TensorFlow's parser."""

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from yt8m_data.recipes import InBatch, Made, of_originals
from yt8m_data.sampling import Settings
from yt8m_data.schema import OTHER, PROVENANCE, SEGMENTS, Feature, Schema

compiled_heads, compiled_rows = (
    pytest.importorskip(f"yt8m_data.{name}", reason="numba is not installed") for name in ("compiled_heads", "compiled_rows")
)
texts = st.binary(max_size=20) | st.sampled_from([b"", b"x" * 108, b"y" * 127, b"z" * 128, b"w" * 20_000])
integers = st.integers(0, 3861) | st.integers(-(2**63), 2**63 - 1) | st.sampled_from([-1, 127, 128, 2**63 - 1, -(2**63)])
floats = st.floats(width=32)


def lists(values: st.SearchStrategy) -> st.SearchStrategy:
    return st.lists(values, max_size=4) | values.map(lambda value: [value] * 40)


def of_type(kind: pa.DataType) -> st.SearchStrategy:
    if pa.types.is_list(kind):
        return lists(floats if pa.types.is_floating(kind.value_type) else integers)
    return floats if pa.types.is_floating(kind) else texts


@st.composite
def schemas(draw) -> Schema:
    features = [Feature(name, draw(st.sampled_from([2, 3, 1024]))) for name in draw(st.lists(st.sampled_from("aeizé"), unique=True))]
    extras = draw(st.lists(st.sampled_from([*SEGMENTS.names, OTHER]), unique=True))
    id_key, labels_key = draw(st.sampled_from([("id", "labels"), ("video_id", "aa"), ("k" * 200, "aug_c"), ("zz", "zzz")]))
    return Schema("video", id_key, labels_key, tuple(features), 9, tuple(extras))


@st.composite
def columns(draw, kind: pa.DataType, count: int) -> pa.Array:
    """A column of so many rows, in memory alone or a slice of a larger one, with more or fewer nulls."""
    before, behind = draw(st.sampled_from([(0, 0), (1, 0), (3, 9), (17, 1)]))
    few = draw(st.lists(of_type(kind), min_size=1, max_size=6))
    choices = draw(st.sampled_from([few, [None], [*few, None], [None, None, few[0]]]))
    at = np.random.default_rng(draw(st.integers(0, 9))).integers(0, len(choices), before + count + behind)
    return pa.array([choices[n] for n in at.tolist()], kind).slice(before, count)


@st.composite
def heads(draw, schema: Schema) -> pa.RecordBatch:
    count = draw(st.sampled_from([0, 1, 2, 7, 8, 9, 40, 130]))
    names = {"id": pa.binary(), "labels": pa.list_(pa.int64())} | {name: schema.arrow.field(name).type for name in schema.extras}
    names |= {name: PROVENANCE.field(name).type for name in draw(st.sampled_from([PROVENANCE.names, PROVENANCE.names[1:4], []]))}
    return pa.RecordBatch.from_arrays([draw(columns(kind, count)) for kind in names.values()], names=list(names))


def assert_equal(found, expected) -> None:
    for mine, theirs in zip(found, expected, strict=True):
        assert mine.dtype == theirs.dtype
        np.testing.assert_array_equal(mine, theirs)


def refuse(*_) -> None:
    raise AssertionError("this is not the way to encode it")


@settings(max_examples=300)
@given(data=st.data())
def test_the_compiled_pass_gives_the_bytes_of_the_encoder(data):
    schema = data.draw(schemas())
    batch = data.draw(heads(schema))
    expected = compiled_heads.plain(batch, schema)
    with pytest.MonkeyPatch.context() as patch:
        if batch.num_rows:
            patch.setattr(compiled_heads, "plain", refuse)
        assert_equal(compiled_heads.beside_vectors(batch, schema), expected)


@pytest.mark.parametrize("kind", [pa.int8(), pa.uint16(), pa.int32(), pa.uint64()])
def test_labels_of_any_width(kind):
    schema = Schema("video", "id", "labels", (Feature("mean_rgb", 2),), 9)
    labels = pa.array([[1, 127], [], None, [100]], pa.list_(kind))
    batch = pa.RecordBatch.from_arrays([pa.array([b"a", b"b", b"c", b""]), labels], names=["id", "labels"])[1:]
    assert_equal(compiled_heads.beside_vectors(batch, schema), compiled_heads.plain(batch, schema))


def test_lists_that_are_null_over_values_have_none():
    offsets, values = pa.array([0, 2, 4, 5], pa.int32()), pa.array([1, 2, 3, 300, 5], pa.int32())
    labels = pa.ListArray.from_arrays(offsets, values, mask=pa.array([False, True, False]))
    weights = pa.ListArray.from_arrays(offsets, values.cast(pa.float32()), mask=pa.array([True, False, True]))
    ids = pa.array([b"a", b"b", b"c"], pa.binary())
    schema = Schema("video", "id", "labels", (Feature("mean_rgb", 2),), 9)
    batch = pa.RecordBatch.from_arrays([ids, labels, weights], names=["id", "labels", "label_weights"])
    for rows in (batch, batch[1:], batch[:2]):
        assert_equal(compiled_heads.beside_vectors(rows, schema), compiled_heads.plain(rows, schema))


def test_columns_may_lie_anywhere_in_memory():
    data = b"?" + np.array([0, 1, 3], np.int32).tobytes()
    ids = pa.Array.from_buffers(pa.binary(), 2, [None, pa.py_buffer(data)[1:], pa.py_buffer(b"abc")])
    schema = Schema("video", "id", "labels", (Feature("mean_rgb", 2),), 9)
    batch = pa.RecordBatch.from_arrays([ids, pa.array([[1], [2]], pa.list_(pa.int32()))], names=["id", "labels"])
    aligned = batch.set_column(0, "id", pa.array([b"a", b"bc"]))
    assert_equal(compiled_heads.beside_vectors(batch, schema), compiled_heads.plain(aligned, schema))


def test_lists_whose_values_are_a_slice():
    values = pa.array([9, 8, 1, 2, 300, 4], pa.int32())
    labels = pa.ListArray.from_arrays(pa.array([1, 2, 4], pa.int32()), values[2:])
    weights = pa.ListArray.from_arrays(pa.array([0, 1, 3], pa.int32()), values.cast(pa.float32())[1:])
    batch = pa.RecordBatch.from_arrays([pa.array([b"a", b"b"]), labels, weights], names=["id", "labels", "label_weights"])
    schema = Schema("video", "id", "labels", (Feature("mean_rgb", 2),), 9)
    assert_equal(compiled_heads.beside_vectors(batch, schema), compiled_heads.plain(batch, schema))


@pytest.mark.parametrize(
    ("name", "column"),
    [
        ("aug_lambda", pa.array([0.5, None], pa.float64())),
        ("label_weights", pa.array([[0.5], None], pa.list_(pa.float64()))),
        ("label_weights", pa.array([[0.5, 1], None], pa.list_(pa.float32(), 2))),
    ],
)
def test_columns_of_other_types_are_encoded_in_the_plain_way(name, column, monkeypatch):
    monkeypatch.setattr(compiled_heads, "_compiled", refuse)
    schema = Schema("video", "id", "labels", (Feature("mean_rgb", 2),), 9)
    labels = pa.array([[1], [2]], pa.list_(pa.int32()))
    batch = pa.RecordBatch.from_arrays([pa.array([b"a", b"b"]), labels, column], names=["id", "labels", name])
    assert_equal(compiled_heads.beside_vectors(batch, schema), compiled_heads.plain(batch, schema))


def test_a_null_among_labels_is_refused_as_by_the_encoder():
    schema = Schema("video", "id", "labels", (Feature("mean_rgb", 2),), 9)
    labels = pa.array([[1, None]], pa.list_(pa.int32()))
    batch = pa.RecordBatch.from_arrays([pa.array([b"a"]), labels], names=["id", "labels"])
    with pytest.raises(pa.ArrowInvalid):
        compiled_heads.beside_vectors(batch, schema)


def test_tensorflow_reads_what_the_records_hold(monkeypatch):
    monkeypatch.setattr(compiled_heads, "plain", refuse)
    schema = Schema("video", "video_id", "labels", (Feature("mean_rgb", 4), Feature("audio", 2)), 5000, ("segment_scores", OTHER))
    more = tf.train.Features(feature={"zz": tf.train.Feature(bytes_list=tf.train.BytesList(value=[b"1", b"2"]))})
    rows = {
        "id": [b"one", b"", b"\xff" * 300],
        "labels": [[4999, 0, 128], [], [-1, 2**31 - 1]],
        "mean_rgb": [[1.5, 2, 3, 4]] * 3,
        "audio": [[0.25, -1]] * 3,
        "segment_scores": [[0.5, 1.0], None, []],
        OTHER: [None, more.SerializeToString(), None],
        "aug_method": [None, b"interpolate", b""],
        "aug_base": [None, b"base", b"b"],
        "aug_neighbor": [None, b"other", None],
        "aug_lambda": [None, 0.5, 0.0],
        "aug_origin": [None, None, b"o"],
        "label_weights": [[1.0, 0.5, 0.25], [], None],
    }
    batch = pa.RecordBatch.from_pydict(rows, schema=pa.schema([*schema.arrow, *PROVENANCE]))
    recipes = of_originals(batch.drop_columns(["mean_rgb", "audio"]), np.arange(3))
    made = compiled_rows.Compiled(Made(recipes, InBatch(batch, schema), schema, Settings()), compiled_rows.Room())
    records = [record for framed in made.records() for record in framed.records()]
    for record, row in zip(records, batch.to_pylist(), strict=True):
        found = {key: list(getattr(value, value.WhichOneof("kind")).value) for key, value in parsed(record).items()}
        row["video_id"] = row.pop("id")
        if row.pop(OTHER):
            row["zz"] = [b"1", b"2"]
        assert found == {key: value if isinstance(value, list) else [value] for key, value in row.items() if value is not None}


def parsed(record: bytes) -> dict[str, tf.train.Feature]:
    message = tf.train.Example.FromString(record)
    assert message.SerializeToString(deterministic=True) == record
    return dict(message.features.feature)
