"""Beside id, labels and features: segments of the 2019 release, and keys that have no column. TensorFlow is the oracle."""

import io

import pyarrow as pa
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from yt8m_data import codec, tfrecord
from yt8m_data.schema import OTHER, SEGMENTS, Feature, Schema, sniff

FRAME = Schema("frame", "id", "labels", (Feature("rgb", 6), Feature("audio", 3)), 50, (*SEGMENTS.names, OTHER))
VIDEO = Schema("video", "id", "labels", (Feature("mean_rgb", 6),), 50, (*SEGMENTS.names, OTHER))
KINDS = pytest.mark.parametrize("schema", [VIDEO, FRAME], ids=["video", "frame"])

numbers = st.integers(-(2**63), 2**63 - 1)
floats32 = st.floats(width=32, allow_nan=False, allow_infinity=False)
rated = st.lists(st.tuples(numbers, numbers, st.integers(0, 49), floats32), max_size=90)
others = st.dictionaries(
    st.text(min_size=1, max_size=30).filter(lambda key: key not in ("id", "labels", "mean_rgb", *SEGMENTS.names)),
    st.lists(st.binary(max_size=5), max_size=3) | st.lists(floats32, max_size=3) | st.lists(numbers, max_size=3),
    max_size=3,
)


def encode(batch: pa.RecordBatch, schema: Schema) -> list[bytes]:
    """The records of a batch."""
    return codec.encode(batch, schema).records()


def feature(values: list, key: str = "") -> tf.train.Feature:
    if values and isinstance(values[0], bytes):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))
    if isinstance(values[0], float) if values else key == "segment_scores":
        return tf.train.Feature(float_list=tf.train.FloatList(value=values))
    return tf.train.Feature(int64_list=tf.train.Int64List(value=values))


def record(schema: Schema, context: dict[str, list], frames: int = 2, **lists: list[bytes]) -> bytes:
    """A record by TensorFlow, with one vector or `frames` frames of each feature."""
    if schema.kind == "video":
        vectors = {f.name: [float(n) for n in range(f.size)] for f in schema.features}
        features = {key: feature(values, key) for key, values in (context | vectors).items()}
        return tf.train.Example(features={"feature": features}).SerializeToString(deterministic=True)
    lists = {f.name: [bytes(f.size)] * frames for f in schema.features} | lists
    message = tf.train.SequenceExample(context={"feature": {key: feature(values, key) for key, values in context.items()}})
    for name, values in lists.items():
        message.feature_lists.feature_list[name].feature.extend(feature([value]) for value in values)
    return message.SerializeToString(deterministic=True)


def decoded(records: list[bytes], schema: Schema):
    stream = io.BytesIO()
    tfrecord.write(stream, records)
    stream.seek(0)
    [result] = [codec.decode(block, schema) for block in tfrecord.read(stream, "shard")]
    result.batch.validate(full=True)
    assert result.batch.schema == schema.arrow
    return result


def parsed(data: bytes, schema: Schema) -> tuple[dict, dict]:
    """All that TensorFlow finds in a record: the context, and the feature lists."""

    def plain(features) -> dict:
        kinds = {key: value.WhichOneof("kind") for key, value in features.items()}
        return {key: (kind, list(getattr(features[key], kind).value) if kind else None) for key, kind in kinds.items()}

    if schema.kind == "video":
        return plain(tf.train.Example.FromString(data).features.feature), {}
    message = tf.train.SequenceExample.FromString(data)
    lists = {key: [f.bytes_list.value[0] for f in value.feature] for key, value in message.feature_lists.feature_list.items()}
    return plain(message.context.feature), lists


@KINDS
@settings(max_examples=40)
@given(data=st.data())
def test_everything_that_a_record_says_survives(schema, data):
    contexts = []
    for number in range(data.draw(st.integers(1, 4))):
        context = {"id": [b"v%d" % number], "labels": data.draw(st.lists(st.integers(0, 49), max_size=3)), **data.draw(others)}
        if data.draw(st.booleans()):
            pairs = data.draw(rated)
            context |= {name: [pair[place] for pair in pairs] for place, name in enumerate(SEGMENTS.names)}
        contexts.append(context)
    records = [record(schema, context) for context in contexts]
    result = decoded(records, schema)
    assert result.bad == []
    again = encode(result.batch, schema)
    for mine, theirs in zip(again, records, strict=True):
        expected, lists = parsed(theirs, schema)
        found, found_lists = parsed(mine, schema)
        assert (found, found_lists) == (expected, lists)
    for row, context in zip(result.batch.to_pylist(), contexts, strict=True):
        for name in SEGMENTS.names:
            assert row[name] == context.get(name)
    assert encode(decoded(again, schema).batch, schema) == again


def test_the_bytes_are_those_of_protobuf_where_every_key_has_a_column():
    pairs = [(5, 10, 7, 1.0), (40, 45, 49, 0.0)]
    context = {"id": [b"a"], "labels": [1, 2], **{name: [pair[place] for pair in pairs] for place, name in enumerate(SEGMENTS.names)}}
    records = [record(FRAME, context, frames=60), record(FRAME, {"id": [b"b"], "labels": []})]
    assert encode(decoded(records, FRAME).batch, FRAME) == records
    parsed_context, _, _ = tf.io.parse_sequence_example(
        encode(decoded(records, FRAME).batch, FRAME),
        {"segment_labels": tf.io.RaggedFeature(tf.int64), "segment_scores": tf.io.RaggedFeature(tf.float32)},
        {"rgb": tf.io.RaggedFeature(tf.string)},
    )
    assert parsed_context["segment_labels"].to_list() == [[7, 49], []]
    assert parsed_context["segment_scores"].to_list() == [[1.0, 0.0], []]


def test_slices_and_taken_rows_encode_as_their_rows():
    contexts = [
        {"id": [b"a"], "labels": [1], **{name: [[1, 2], [3, 4], [5, 6], [0.5, 1.0]][place] for place, name in enumerate(SEGMENTS.names)}},
        {"id": [b"b"], "labels": [2], "url": [b"x", b"y"]},
        {"id": [b"c"], "labels": [], **{name: [[9], [9], [9], [0.25]][place] for place, name in enumerate(SEGMENTS.names)}, "n": [7]},
    ]
    records = [record(FRAME, context) for context in contexts]
    batch = decoded(records, FRAME).batch
    whole = encode(batch, FRAME)
    assert encode(batch.slice(1), FRAME) == whole[1:]
    assert encode(batch.take(pa.array([2, 0, 1, 2])), FRAME) == [whole[2], whole[0], whole[1], whole[2]]


def rating(**changed) -> dict[str, list]:
    good = {"segment_start_times": [5], "segment_end_times": [10], "segment_labels": [7], "segment_scores": [1.0]}
    return {"id": [b"x"], "labels": [1]} | good | changed


@KINDS
@pytest.mark.parametrize(
    ("context", "kind", "said"),
    [
        (rating(segment_labels=[50]), "label", "segment label 50 is outside 0..49"),
        (rating(segment_labels=[-1]), "label", "segment label -1 is below 0"),
        (rating(segment_labels=[1.0]), "label", "'segment_labels' is not a list of integers"),
        (rating(segment_scores=[1]), "size", "'segment_scores' is not a list of floats"),
        (rating(segment_scores=[float("nan")]), "not finite", "'segment_scores' has a value that is not finite"),
        (rating(segment_labels=[7, 8]), "size", "'segment_labels' has not as many values as the segment lists before it"),
        (rating(segment_scores=[]), "size", "'segment_scores' has not as many values"),
    ],
)
def test_segments_that_do_not_fit(schema, context, kind, said):
    good = {"id": [b"y"], "labels": [1]}
    result = decoded([record(schema, good), record(schema, context), record(schema, rating())], schema)
    assert result.indices.tolist() == [0, 2]
    [bad] = result.bad
    assert (bad.index, bad.kind) == (1, kind)
    assert said in bad.reason
    assert result.batch.column("segment_labels").to_pylist() == [None, [7]]


def test_a_feature_list_without_a_column_is_not_lost_in_silence():
    result = decoded([record(FRAME, {"id": [b"a"]}, depth=[b"1", b"2"]), record(FRAME, {"id": [b"b"]}, depth=[])], FRAME)
    assert result.indices.tolist() == [1]
    assert "it has the feature list 'depth', and the first records have 'rgb', 'audio' only" in result.bad[0].reason
    without = Schema("frame", "id", "labels", FRAME.features, 50)
    assert decoded([record(FRAME, {"id": [b"a"]}, depth=[b"1", b"2"])], without).bad == []


def test_a_further_key_that_holds_no_feature_makes_a_record_bad():
    """TensorFlow refuses such a record as a whole."""
    data = record(VIDEO, {"id": [b"a"], "url": [b"abc"]})
    place = data.index(b"abc") - 4  # the tag of the Feature's list
    broken = data[:place] + b"\xff" + data[place + 1 :]
    with pytest.raises(Exception, match="Error parsing message"):
        tf.train.Example.FromString(broken)
    result = decoded([data, broken], VIDEO)
    assert result.indices.tolist() == [0]
    assert result.bad[0].kind == "parse"


def shard(path, *records: bytes) -> str:
    with path.open("wb") as stream:
        tfrecord.write(stream, records)
    return str(path)


def test_the_extras_are_sniffed_where_they_are_asked_for(tmp_path):
    path = shard(tmp_path / "x", record(FRAME, rating()), record(FRAME, {"id": [b"b"], "other": [1.0, 2.0]}))
    assert sniff(path, 50) == Schema("frame", "id", "labels", FRAME.features, 50)
    assert sniff(path, 50, extras=True) == FRAME
    assert "segments" in str(FRAME)
    plain = shard(tmp_path / "y", record(FRAME, {"id": [b"b"]}))
    assert sniff(plain, 50, extras=True).extras == (OTHER,)
    scores = rating(segment_start_times=[5, 6], segment_end_times=[1, 2], segment_labels=[1, 2], segment_scores=[0.5, 1.0])
    assert sniff(shard(tmp_path / "z", record(VIDEO, scores)), 50).features == VIDEO.features


@pytest.mark.shared_data
def test_published_shards_lose_nothing(shared_data):
    files = [*sorted(shared_data.glob("audioset/*.tfrecord"))[:8], shared_data / "yt8m-2018-video" / "validate0000.tfrecord"]
    further = 0
    for path in map(str, files):
        schema = sniff(path, extras=True)
        records = list(tf.data.TFRecordDataset(path).as_numpy_iterator())
        with open(path, "rb") as stream:
            results = [codec.decode(block, schema) for block in tfrecord.read(stream, path)]
        again = [data for result in results for data in encode(result.batch, schema)]
        assert [parsed(data, schema) for data in again] == [parsed(data, schema) for data in records]
        further += sum(result.batch.column(OTHER).null_count < len(result.batch) for result in results)
        assert not any(result.bad for result in results)
    assert further, "AudioSet has times beside the ids"
