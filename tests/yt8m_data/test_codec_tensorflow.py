"""The record codec: TensorFlow's parsers and writers are the oracle, on drawn rows and on published shards."""

import numpy as np
import pytest
import tensorflow as tf
from codec_rows import (
    KINDS,
    ROUNDS,
    VIDEO,
    batch_of,
    by_tensorflow,
    decoded,
    encode,
    example_row,
    parsed_by_tensorflow,
    provenance,
    rows_of,
)
from hypothesis import given
from hypothesis import strategies as st

from yt8m_data import codec, tfrecord
from yt8m_data.schema import PROVENANCE, Feature, Schema, sniff


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


def test_large_values_are_finite_even_where_their_sum_is_not():
    """A sum of finite values may be infinite in float32."""
    row = {"id": b"a", "labels": [1], "mean_rgb": [3e38] * 6, "mean_audio": [-3e38] * 3}
    rows, bad = decoded([by_tensorflow(row, VIDEO)], VIDEO)
    assert bad == []
    assert rows[0]["mean_rgb"] == [np.float32(3e38)] * 6


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
