import itertools

import numpy as np
import planted_segments
import pytest
import tensorflow as tf

from trainers import inputs
from trainers.inputs import layout
from trainers.recipe import Training
from trainers.segments.reader import count_ratings, evaluation_batches, every_segment, training_batches
from yt8m_data.errors import DataError

SIZES = {"rgb": 12, "audio": 4}


def video(name: bytes, num_frames: int, ratings, labels=(1,)):
    """A record whose frame t holds the byte t in every place."""
    frames = np.repeat(np.arange(num_frames, dtype=np.uint8)[:, None], 16, axis=1)
    return planted_segments.record(name, list(labels), frames, ratings)


@pytest.fixture
def shard(tmp_path):
    def write(*records: bytes) -> tuple[list[str], object]:
        path = str(tmp_path / "shard.tfrecord")
        with tf.io.TFRecordWriter(path) as writer:
            for record in records:
                writer.write(record)
        return [path], layout([path], 9)

    return write


def pairs_of(batch) -> list[tuple[bytes, int, int, float]]:
    """Video, start, class and rating of every rated pair of a batch."""
    places = zip(batch["features"]["segment_video"].numpy(), batch["features"]["segment_start"].numpy(), strict=True)
    rows = zip(places, batch["rated"].numpy(), batch["ratings"].numpy(), strict=True)
    ids = batch["id"]
    return [(ids[v], int(s), int(c), float(r)) for (v, s), rated, ratings in rows for c, r in zip(rated, ratings, strict=True) if c >= 0]


RATINGS = {
    b"many": [(10, 3, 1.0), (0, 3, 0.0), (10, 5, 0.0), (35, 4, 1.0), (10, 4, 1.0)],  # not by start, several of one segment
    b"none": [],
    b"odd": [(-7, 8, 1.0), (11, 0, 0.0), (400, 2, 1.0)],  # before the first frame, over the end, far behind it
}


def test_the_rated_pairs_are_those_of_the_records(shard):
    """Against the lists that were written: each segment once, its pairs with it, and videos without a rating left out."""
    files, data = shard(*(video(name, 12, ratings) for name, ratings in RATINGS.items()))
    (batch,) = evaluation_batches(files, data, 300)
    assert batch["id"].tolist() == [b"many", b"odd"]
    assert sorted(pairs_of(batch)) == sorted((name, *pair) for name, ratings in RATINGS.items() for pair in ratings)
    features = batch["features"]
    assert len(features["segment_start"]) == 6
    assert features["rgb"].shape == (2, 12, 12)
    assert (features["rgb"].dtype, features["audio"].dtype) == (tf.uint8, tf.uint8)  # bytes to the device
    assert {features[name].dtype for name in ("num_frames", "segment_video", "segment_start")} == {tf.int32}
    assert count_ratings(files, data) == (2, [0, 0, 1, 1, 2, 0, 0, 0, 1])


def test_listed_classes_become_rows_and_others_are_left_out(shard, tmp_path):
    files, data = shard(*(video(name, 12, ratings) for name, ratings in RATINGS.items()))
    data = data.model_copy(update={"classes": (4, 3), "num_classes": 2})
    (batch,) = evaluation_batches(files, data, 300)
    assert sorted(pairs_of(batch)) == [(b"many", 0, 1, 0.0), (b"many", 10, 0, 1.0), (b"many", 10, 1, 1.0), (b"many", 35, 0, 1.0)]
    assert count_ratings(files, data) == (1, [2, 1])


def test_training_gives_each_rated_video_once_an_epoch_and_can_begin_anywhere(shard):
    names = [b"v%d" % i for i in range(10)]
    files, data = shard(*(video(name, 7, [(0, i % 9, 1.0)] if i % 5 else []) for i, name in enumerate(names)))
    training = Training(batch_size=4, steps=1)

    def ids(first_step: int, count: int) -> list[bytes]:
        batches = itertools.islice(training_batches(files, data, 8, training, first_step, 300), count)
        return [name for batch in batches for name in batch["id"].tolist()]

    seen = ids(0, 4)
    assert sorted(seen[:8]) == sorted(seen[8:]) == [name for i, name in enumerate(names) if i % 5]
    assert seen[:8] != seen[8:]
    assert ids(3, 3) == ids(0, 6)[12:]


@pytest.mark.parametrize(("num_frames", "starts"), [(12, [0, 5, 10]), (10, [0, 5]), (1, [0]), (0, [])])
def test_a_video_is_cut_into_back_to_back_segments(num_frames, starts, shard):
    """12 frames are 3 segments: of 5, 5 and 2 frames."""
    files, data = shard(video(b"first", 5, []), video(b"second", num_frames, []))
    (batch,) = every_segment(files, data, 300)
    features = batch["features"]
    found = list(zip(features["segment_video"].numpy().tolist(), features["segment_start"].numpy().tolist(), strict=True))
    assert found == [(0, 0), *((1, start) for start in starts)]


def test_frames_beyond_the_limit_are_cut_off(shard):
    files, data = shard(video(b"long", 40, [(35, 1, 1.0)]))
    (batch,) = evaluation_batches(files, data, 20)
    assert batch["features"]["num_frames"].numpy().tolist() == [20]
    (batch,) = every_segment(files, data, 20)
    assert batch["features"]["segment_start"].numpy().tolist() == [0, 5, 10, 15]


@pytest.mark.parametrize(
    ("ratings", "message"),
    [
        ([], r"no segment in .*shard\.tfrecord \(1 files\) is rated: give shards with segment_start_times"),
        ([(0, 3, 0.0)], "is rated 1: there is nothing to find"),
        ([(0, 12, 1.0)], "label 12 is beyond the 9 classes"),
        ([(0, -3, 1.0)], "segment label -3 is below 0"),
    ],
)
def test_ratings_to_learn_nothing_from_are_told(ratings, message, shard):
    files, data = shard(video(b"a", 9, ratings))
    with pytest.raises(DataError, match=message):
        count_ratings(files, data)


def test_lists_that_are_not_parallel_are_told(shard):
    example = tf.train.SequenceExample.FromString(video(b"bad", 9, [(0, 1, 1.0), (5, 1, 0.0)]))
    del example.context.feature["segment_scores"].float_list.value[1:]
    files, data = shard(example.SerializeToString())
    with pytest.raises(DataError, match=r"shard\.tfrecord: record 0 at byte 0: 'segment_scores' has not as many values"):
        count_ratings(files, data)


def test_frame_level_training_reads_the_same_records(shard):
    """What the segments' keys say is passed over, so a run of whole videos can be trained on these shards."""
    files, data = shard(*(video(name, 12, ratings, labels=[2, 4]) for name, ratings in RATINGS.items()))
    (batch,) = inputs.evaluation_batches(files, data)
    assert batch["labels"].numpy()[:, :2].tolist() == [[2, 4]] * 3
    assert (batch["labels"].numpy()[:, 2:] == -1).all()
