import numpy as np
import planted
import pytest
import tensorflow as tf
from planted import SIZES, sequence_example

from trainers.frames import draw
from trainers.parse import parser
from trainers.recipe import DataSchema, Frames

SCHEMA = DataSchema(kind="frame", id_key="id", labels_key="labels", features=SIZES, num_classes=planted.NUM_CLASSES)


def parse(records, data=SCHEMA, frames=None, seed=0):
    """As an exported model does it: in a graph."""
    return tf.function(parser(data, frames or Frames(), seed))(tf.constant(records))


def records_of(videos):
    rows = range(len(videos.ids))
    contexts = [{"id": videos.ids[row], "labels": videos.labels[row]} for row in rows]
    return [sequence_example(contexts[row], {name: [f.tobytes() for f in videos.frames[name][row]] for name in SIZES}) for row in rows]


def clip(length, video=b"a", **sizes):
    """A record whose frame t holds the byte t + 1."""
    lists = {name: [bytes([t + 1]) * size for t in range(length)] for name, size in (SIZES | sizes).items()}
    return sequence_example({"id": video, "labels": [1]}, lists)


def by_tensorflow(record):
    """The oracle: TensorFlow's parser of single records."""
    context, lists = tf.io.parse_single_sequence_example(
        record,
        {"id": tf.io.FixedLenFeature([], tf.string), "labels": tf.io.VarLenFeature(tf.int64)},
        {name: tf.io.FixedLenSequenceFeature([], tf.string) for name in SIZES},
    )
    frames = {name: tf.io.decode_raw(lists[name], tf.uint8).numpy().reshape(-1, size) for name, size in SIZES.items()}
    return context["id"].numpy(), context["labels"].values.numpy().tolist(), frames


@pytest.fixture(scope="module")
def records():
    return records_of(planted.make(50, 3))


def test_a_batch_equals_its_records(records):
    batch = parse(records)
    oracle = [by_tensorflow(record) for record in records]
    longest = max(len(frames["rgb"]) for _, _, frames in oracle)
    assert batch["features"].keys() == {"rgb", "audio", "num_frames"}
    assert batch["id"].numpy().tolist() == [video for video, _, _ in oracle]
    assert batch["features"]["num_frames"].dtype == tf.int32
    assert batch["features"]["num_frames"].numpy().tolist() == [len(frames["rgb"]) for _, _, frames in oracle]
    for name, size in SIZES.items():
        assert batch["features"][name].dtype == tf.uint8
        assert batch["features"][name].shape == (len(records), longest, size)
        for row, (_, _, frames) in enumerate(oracle):
            np.testing.assert_array_equal(batch["features"][name][row, : len(frames[name])], frames[name])


def test_what_the_planted_videos_hold_is_what_was_written(records):
    videos, batch = planted.make(50, 3), parse(records)
    for row in range(50):
        for name in SIZES:
            matrix = videos.frames[name][row]
            np.testing.assert_array_equal(batch["features"][name][row, : len(matrix)], matrix)


@pytest.mark.parametrize("length", [1, 4, 19, 40])
def test_long_videos_are_cut(records, length):
    whole, cut = parse(records)["features"], parse(records, frames=Frames(max_frames=length))["features"]
    longest = min(length, int(whole["num_frames"].numpy().max()))
    np.testing.assert_array_equal(cut["num_frames"], np.minimum(whole["num_frames"], length))
    for name in SIZES:
        np.testing.assert_array_equal(cut[name], whole[name][:, :longest])


@pytest.mark.parametrize(
    "frames",
    [
        Frames(sample="random", count=5),
        Frames(sample="random", count=5, sort=True),
        Frames(sample="random", count=100, max_frames=9),  # many: they are decoded before they are drawn, not after
        Frames(sample="sequence", count=6),
        Frames(sample="sequence", count=70, max_frames=3),
    ],
)
def test_drawn_frames(records, frames):
    batch, whole = parse(records, frames=frames, seed=7), parse(records)["features"]
    lengths = tf.minimum(whole["num_frames"], frames.max_frames)
    chosen = draw(frames, batch["id"], lengths, 7, tf.zeros(50, tf.int64)).numpy()
    assert batch["features"]["num_frames"].numpy().tolist() == [frames.count] * 50
    for name in SIZES:
        expected = np.take_along_axis(whole[name].numpy(), chosen[:, :, None], axis=1)
        np.testing.assert_array_equal(batch["features"][name], expected)


def test_shapes_are_static_where_frames_are_drawn():
    shapes = {}
    for frames in (Frames(), Frames(sample="random", count=5), Frames(sample="random", count=90)):
        function = tf.function(parser(SCHEMA, frames, 0))
        traced = function.get_concrete_function(tf.TensorSpec([None], tf.string))
        shapes[frames.count] = traced.structured_outputs["features"]["rgb"].shape.as_list()
    assert shapes == {None: [None, None, 12], 5: [None, 5, 12], 90: [None, 90, 12]}


@pytest.mark.parametrize(
    "frames", [Frames(), Frames(sample="random", count=3), Frames(sample="random", count=80), Frames(sample="sequence", count=3)]
)
@pytest.mark.parametrize("lengths", [[0], [0, 0], [0, 2], [2, 0, 1]])
def test_videos_without_frames(lengths, frames):
    """They have none to show, and leave the others as they are; there is always a frame to mask, even if no video of the batch has one."""
    features = parse([clip(length) for length in lengths], frames=frames)["features"]
    count = frames.count or max(1, *lengths)
    assert features["rgb"].shape == (len(lengths), count, 12)
    assert features["audio"].shape == (len(lengths), count, 4)
    assert features["num_frames"].numpy().tolist() == [n if frames.count is None else count * (n > 0) for n in lengths]
    for row, length in enumerate(lengths):
        if length:
            assert features["rgb"][row, 0, 0] in range(1, length + 1)


def test_feature_lists_that_are_not_there_have_no_frames():
    record = sequence_example({"id": b"a", "labels": [1]}, {})
    assert parse([record, clip(2)])["features"]["num_frames"].numpy().tolist() == [0, 2]


def test_other_keys_and_features_are_ignored():
    """As those of the segment shards: what the layout does not name."""
    lists = {"audio": [b"abcd"], "rgb": [bytes(12)], "flow": [b"x"] * 3}
    segments = {"segment_start_times": [5], "segment_labels": [1, 2], "segment_end_times": [10]}
    data = SCHEMA.model_copy(update={"id_key": "video_id", "features": {"audio": 4, "rgb": 12}})
    batch = parse([sequence_example({"video_id": b"a", **segments}, lists)], data)
    assert list(batch["features"]) == ["audio", "rgb", "num_frames"]
    assert bytes(batch["features"]["audio"][0, 0].numpy()) == b"abcd"


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (
            sequence_example({"id": b"odd"}, {"rgb": [bytes(12)] * 3, "audio": [bytes(4)] * 2}),
            "video odd has 2 frames of audio, but 3 of rgb",
        ),
        (sequence_example({"id": b"odd"}, {"rgb": [bytes(12)] * 3}), "video odd has 0 frames of audio, but 3 of rgb"),
        (sequence_example({"id": b"odd"}, {"audio": [bytes(4)]}), "video odd has 1 frames of audio, but 0 of rgb"),
        (clip(3, b"odd", rgb=11), "video odd has frames of rgb that are not of 12 bytes"),
        (clip(3, b"odd", audio=5), "video odd has frames of audio that are not of 4 bytes"),
        (
            sequence_example({"id": b"odd"}, {"rgb": [bytes(12)] * 2, "audio": [bytes(4), b""]}),
            "video odd has frames of audio that are not",
        ),
        (sequence_example({"name": b"odd"}, {"rgb": [bytes(12)], "audio": [bytes(4)]}), "id"),
        (b"no record", "Invalid protocol message|parse"),
    ],
    ids=["fewer audio", "no audio", "no rgb", "short rgb", "long audio", "short audio", "no id", "no record"],
)
@pytest.mark.parametrize("frames", [Frames(), Frames(sample="random", count=2), Frames(sample="random", count=70)])
def test_bad_records(bad, message, frames):
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        parse([clip(3), bad, clip(2)], frames=frames)


@pytest.mark.parametrize("count", [3, 70])
def test_the_sentence_comes_before_what_it_entails(count):
    """Frames are drawn by the number of the first feature: the other may not have them, and has not even one here."""
    record = sequence_example({"id": b"odd"}, {"rgb": [bytes(12)] * 20})
    for _ in range(3):
        with pytest.raises(tf.errors.InvalidArgumentError, match="video odd has 0 frames of audio, but 20 of rgb"):
            parse([record], frames=Frames(sample="random", count=count))


def test_frames_of_a_wrong_size_behind_the_cut_do_no_harm():
    record = sequence_example({"id": b"a"}, {"rgb": [bytes(12)] * 2 + [b"x"], "audio": [bytes(4)] * 3})
    assert parse([record], frames=Frames(max_frames=2))["features"]["rgb"].shape == (1, 2, 12)
