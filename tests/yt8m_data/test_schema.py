"""Schemas: what is read off a shard's first records, and the columns that follow from it."""

import pickle
from pathlib import Path

import pyarrow as pa
import pytest
import tensorflow as tf

from yt8m_data import tfrecord
from yt8m_data.errors import DataError
from yt8m_data.schema import PROVENANCE, Feature, Schema, sniff

VIDEO = Schema("video", "id", "labels", (Feature("mean_rgb", 1024), Feature("mean_audio", 128)), 3862)
FRAME = Schema("frame", "id", "labels", (Feature("rgb", 1024), Feature("audio", 128)), 3862)


def features(**values) -> tf.train.Features:
    """A Features message; bytes, ints and floats tell their kind."""
    message = tf.train.Features()
    for key, value in values.items():
        kind = {bytes: "bytes_list", int: "int64_list", float: "float_list"}[type(value[0])]
        getattr(message.feature[key], kind).value.extend(value)
    return message


def video(**values) -> bytes:
    return tf.train.Example(features=features(**values)).SerializeToString()


def frames(context: dict, **lists: list[bytes]) -> bytes:
    message = tf.train.SequenceExample(context=features(**context))
    for key, values in lists.items():
        message.feature_lists.feature_list[key].feature.extend(tf.train.Feature(bytes_list=tf.train.BytesList(value=[v])) for v in values)
    return message.SerializeToString()


def shard(folder: Path, *records: bytes) -> str:
    path = folder / "shard.tfrecord"
    with path.open("wb") as stream:
        tfrecord.write(stream, records)
    return str(path)


# --- Sniffing -------------------------------------------------------------------------------------------------------------


def test_video_level(tmp_path):
    record = video(id=[b"a"], labels=[3], mean_audio=[0.5] * 128, mean_rgb=[0.5] * 1024)
    assert sniff(shard(tmp_path, record)) == VIDEO


def test_frame_level(tmp_path):
    record = frames({"id": [b"a"], "labels": [3]}, audio=[bytes(128)] * 2, rgb=[bytes(1024)] * 2)
    assert sniff(shard(tmp_path, record)) == FRAME


def test_the_keys_of_2017_mean_4716_classes(tmp_path):
    path = shard(tmp_path, video(video_id=[b"a"], labels=[4715], mean_rgb=[0.5] * 1024))
    assert sniff(path) == Schema("video", "video_id", "labels", (Feature("mean_rgb", 1024),), 4716)


def test_audioset(tmp_path):
    path = shard(tmp_path, frames({"video_id": [b"a"], "labels": [3]}, audio_embedding=[bytes(128)]))
    assert sniff(path) == Schema("frame", "video_id", "labels", (Feature("audio_embedding", 128),), 527)


def test_the_number_of_classes_can_be_told(tmp_path):
    assert sniff(shard(tmp_path, video(id=[b"a"], x=[0.5, 1.0])), num_classes=7).num_classes == 7


def test_the_number_of_classes_of_a_written_data_set_stands_in_its_manifest(tmp_path):
    path = shard(tmp_path, video(id=[b"a"], x=[0.5, 1.0]))
    (tmp_path / "manifest.json").write_text('{"num_classes": 11}')
    assert sniff(path).num_classes == 11
    assert sniff(path, num_classes=7).num_classes == 7


def test_a_feature_need_not_be_in_the_first_record(tmp_path):
    path = shard(tmp_path, video(id=[b"a"], rgb=[0.5] * 4), video(id=[b"b"], rgb=[0.5] * 4, audio=[0.5] * 2))
    assert sniff(path).features == (Feature("rgb", 4), Feature("audio", 2))


def test_provenance_and_other_scalars_are_no_features(tmp_path):
    path = shard(tmp_path, video(id=[b"a"], rgb=[0.5] * 4, aug_lambda=[0.5], aug_base=[b"b"], duration=[300]))
    assert sniff(path).features == (Feature("rgb", 4),)


def test_a_video_without_frames_does_not_hide_those_of_the_next(tmp_path):
    context = {"id": [b"a"]}
    path = shard(tmp_path, frames(context, rgb=[]), frames(context, rgb=[bytes(5)]))
    assert sniff(path).features == (Feature("rgb", 5),)


def test_an_unreadable_record_among_the_first_is_passed_over(tmp_path):
    path = shard(tmp_path, b"\xff\xff", video(id=[b"a"], rgb=[0.5] * 4))
    assert sniff(path).features == (Feature("rgb", 4),)


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ([], "is empty"),
        ([b"\xff\xff", b"\x0a\x05"], "no tf.Example"),
        ([video(key=[b"a"], rgb=[0.5, 1.0])], r"no key 'id' or 'video_id' but 'key', 'rgb'"),
        ([video(id=[b"a"], labels=[1])], r"no features but 'id', 'labels'"),
        ([frames({"id": [b"a"]}, rgb=[])], "no features but 'id'"),
    ],
)
def test_a_file_that_is_no_shard_is_told_of_by_name(tmp_path, records, message):
    with pytest.raises(DataError, match=rf"^\S*shard\.tfrecord.*{message}"):
        sniff(shard(tmp_path, *records))


def test_a_text_file_is_no_shard(tmp_path):
    path = tmp_path / "notes.tfrecord"
    path.write_text("not a record\n" * 9)
    with pytest.raises(DataError, match=r"notes\.tfrecord: record 0 at byte 0: .*no TFRecord file"):
        sniff(str(path))


# --- Columns --------------------------------------------------------------------------------------------------------------


def test_columns_of_a_video():
    assert VIDEO.arrow.names == ["id", "labels", "mean_rgb", "mean_audio"]
    assert VIDEO.arrow.field("id").type == pa.binary()
    assert VIDEO.arrow.field("labels").type == pa.list_(pa.int32())
    vector = VIDEO.arrow.field("mean_audio").type
    assert (pa.types.is_fixed_size_list(vector), vector.list_size, vector.value_type) == (True, 128, pa.float32())


def test_columns_of_frames():
    assert FRAME.arrow.names == ["id", "labels", "rgb", "audio"]
    frame_list = FRAME.arrow.field("audio").type
    assert (pa.types.is_list(frame_list), frame_list.value_type) == (True, pa.binary(128))


def test_ids_are_one_column_whatever_their_key():
    renamed = Schema("video", "video_id", "labels", VIDEO.features, 4716)
    assert renamed.arrow == VIDEO.arrow


def test_only_provenance_may_be_null():
    assert not any(column.nullable for column in (*VIDEO.arrow, *FRAME.arrow))
    assert all(column.nullable for column in PROVENANCE)


def test_a_schema_is_a_value():
    assert pickle.loads(pickle.dumps(VIDEO)) == VIDEO
    assert len({VIDEO, FRAME, pickle.loads(pickle.dumps(FRAME))}) == 2


def test_a_schema_can_be_printed():
    assert str(VIDEO) == "video-level records: id key 'id', labels key 'labels', mean_rgb[1024], mean_audio[128], 3862 classes"


# --- Published shards -----------------------------------------------------------------------------------------------------


@pytest.mark.shared_data
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("yt8m-2018-video/validate0000.tfrecord", VIDEO),
        ("yt8m-2017-video/validatea0.tfrecord", Schema("video", "video_id", "labels", VIDEO.features, 4716)),
        ("yt8m-2017-video/testa0.tfrecord", Schema("video", "video_id", "labels", VIDEO.features, 4716)),
        ("audioset/bal_train-0000.tfrecord", Schema("frame", "video_id", "labels", (Feature("audio_embedding", 128),), 527)),
    ],
)
def test_published_shards(shared_data, name, expected):
    assert sniff(str(shared_data / name)) == expected


def test_one_bad_record_among_the_first_does_not_mislead(tmp_path):
    path = tmp_path / "x.tfrecord"
    records = []
    for number, size in enumerate([8, 8, 8, 5]):
        example = tf.train.Example()
        example.features.feature["id"].bytes_list.value.append(b"v%d" % number)
        example.features.feature["mean_rgb"].float_list.value.extend([0.5] * size)
        records.append(example.SerializeToString())
    with path.open("wb") as stream:
        tfrecord.write(stream, records)
    assert sniff(str(path)).features == (Feature("mean_rgb", 8),)


@pytest.mark.parametrize("text", ["[]", "{}", '{"num_classes": "many"}'])
def test_a_foreign_manifest_beside_the_shard_says_nothing(text, tmp_path):
    example = tf.train.Example()
    example.features.feature["id"].bytes_list.value.append(b"v")
    example.features.feature["mean_rgb"].float_list.value.extend([0.5] * 4)
    with (tmp_path / "x.tfrecord").open("wb") as stream:
        tfrecord.write(stream, [example.SerializeToString()])
    (tmp_path / "manifest.json").write_text(text)
    assert sniff(str(tmp_path / "x.tfrecord")).num_classes == 3862
