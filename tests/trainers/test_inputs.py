from itertools import islice
from pathlib import Path

import numpy as np
import planted
import pytest
import tensorflow as tf

from trainers.inputs import count_labels, evaluation_batches, layout, layout_for, training_batches
from trainers.recipe import Frames
from yt8m_data.errors import DataError
from yt8m_data.shards import expand


@pytest.fixture
def files(made):
    return expand([made.train])


def order(files, data, steps, batch_size=64, seed=0, first_step=0, shuffle_buffer=100, num_records=600):
    batches = training_batches(files, data, num_records, batch_size, seed, shuffle_buffer, first_step)
    return [batch["id"].tolist() for batch in islice(batches, steps)]


def test_layout(files):
    data = layout(files, num_classes=30)
    assert data.model_dump() == {
        "kind": "video",
        "id_key": "id",
        "labels_key": "labels",
        "features": {"mean_rgb": 12, "mean_audio": 4},
        "num_classes": 30,
        "classes": None,
    }


def test_evaluation_holds_every_record_once_and_in_order(made, files):
    data = layout(files, 30)
    batches = list(evaluation_batches(files, data, batch_size=256))
    assert [len(batch["id"]) for batch in batches] == [256, 256, 88]
    ids = [video for batch in batches for video in batch["id"].tolist()]
    assert ids == [f"train{shard}_{i:03d}".encode() for shard in range(3) for i in range(200)]


def test_values_and_padded_labels_equal_the_records(files):
    data = layout(files, 30)
    records = iter(r for path in files for r in tf.data.TFRecordDataset(path).as_numpy_iterator())
    for batch in evaluation_batches(files, data, 100):
        assert batch["labels"].dtype == tf.int32
        for row in range(len(batch["id"])):
            keys = tf.train.Example.FromString(next(records)).features.feature
            labels = batch["labels"][row].numpy()
            assert labels[labels >= 0].tolist() == list(keys["labels"].int64_list.value)
            assert (labels[(labels >= 0).sum() :] == -1).all()
            for name in ("mean_rgb", "mean_audio"):
                np.testing.assert_array_equal(batch["features"][name][row], np.float32(keys[name].float_list.value))


def test_training_order_is_a_function_of_seed_and_step(files):
    data = layout(files, 30)
    tf.random.set_seed(1)
    whole = order(files, data, steps=25)  # 2.7 epochs
    tf.random.set_seed(2)
    assert order(files, data, steps=25) == whole
    assert order(files, data, steps=25, seed=1) != whole
    for first in (1, 9, 10, 24):  # 600 records: the tenth batch reaches over the end of the epoch
        assert order(files, data, steps=25 - first, first_step=first) == whole[first:]


def test_every_epoch_holds_every_record_once_in_an_order_of_its_own(files):
    data = layout(files, 30)
    flat = [video for batch in order(files, data, steps=12, batch_size=150) for video in batch]
    epochs = [flat[:600], flat[600:1200], flat[1200:1800]]
    assert len(set(epochs[0])) == 600
    assert set(epochs[0]) == set(epochs[1]) == set(epochs[2])
    assert epochs[0] != epochs[1] != epochs[2]
    assert epochs[0] != sorted(epochs[0])


def test_augmented_records_read_as_any_other(tmp_path, write_shard):
    x = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    provenance = {
        "aug_method": tf.train.Feature(bytes_list=tf.train.BytesList(value=[b"interpolate"])),
        "aug_lambda": tf.train.Feature(float_list=tf.train.FloatList(value=[0.5])),
    }
    plain = {"mean_rgb": x}
    write_shard(tmp_path / "a.tfrecord", [b"a", b"b"], [[1], [0, 2]], {"mean_rgb": x[:2]}, provenance)
    write_shard(tmp_path / "b.tfrecord", [b"c", b"d"], [[1], []], {"mean_rgb": x[2:]})
    files = expand([str(tmp_path / "*.tfrecord")])
    data = layout(files, 3)
    assert data.features == {"mean_rgb": 3}
    (batch,) = evaluation_batches(files, data)
    np.testing.assert_array_equal(batch["features"]["mean_rgb"], plain["mean_rgb"])
    assert batch["labels"].numpy()[:, :2].tolist() == [[1, -1], [0, 2], [1, -1], [-1, -1]]
    assert batch["labels"].shape == (4, 8)  # few widths, so that a compiled step is compiled few times
    assert (batch["labels"].numpy()[:, 2:] == -1).all()


def test_counts(made, files):
    data = layout(files, 30)
    total, counts = count_labels(files, data)
    expected = np.zeros(30, int)
    for batch in evaluation_batches(files, data):
        labels = batch["labels"].numpy()
        expected += np.bincount(labels[labels >= 0], minlength=30)
    assert total == 600
    assert counts == expected.tolist()


def test_a_label_given_twice_counts_once(tmp_path, write_shard):
    write_shard(tmp_path / "a", [b"a"], [[1, 1]], {"mean_rgb": np.ones((1, 2))})
    assert count_labels([str(tmp_path / "a")], layout([str(tmp_path / "a")], 3)) == (1, [0, 1, 0])


def test_wrong_data(made, files, tmp_path, write_shard):
    write_shard(tmp_path / "negative", [b"a", b"b"], [[1], [2, -3]], {"mean_rgb": np.ones((2, 2))})
    with pytest.raises(DataError, match=r"negative: record 1 at byte .*: label -3 is below 0, where class numbers begin"):
        count_labels([str(tmp_path / "negative")], layout([str(tmp_path / "negative")], 5))
    with pytest.raises(DataError, match="is beyond the 5 classes"):
        count_labels(files, layout(files, 5))
    unlabelled = expand([made.unlabelled])
    with pytest.raises(DataError, match=r"there are no labels in .*: give shards of a labelled split"):
        count_labels(unlabelled, layout(unlabelled, 30))

    other = str(tmp_path / "wide.tfrecord")
    write_shard(other, [b"a"], [[1]], {"mean_rgb": np.ones((1, 13)), "mean_audio": np.ones((1, 4))})
    with pytest.raises(DataError, match=r"'mean_rgb': 13.* trained on .*'mean_rgb': 12"):
        layout_for(layout(files, 30), [other])
    with pytest.raises(
        DataError,
        match=r"cannot be read \(.*wide.tfrecord: record 0 at byte 0: 'mean_rgb' has 13 values, not 12\): find it with",
    ):
        list(evaluation_batches([files[0], other], layout(files, 30)))

    broken = tmp_path / "broken.tfrecord"
    broken.write_bytes(Path(files[0]).read_bytes()[:-7])
    with pytest.raises(DataError, match=r"broken\.tfrecord: record 199 at byte .*: the file ends inside this record"):
        list(evaluation_batches([files[1], str(broken), files[2]], layout(files, 30)))


@pytest.fixture
def frame_files(made_frames):
    return expand([made_frames.train])


def contents(batches, steps):
    """Everything in a number of batches: (id, labels, bytes of each feature's real frames) for every video."""
    found = []
    for batch in islice(batches, steps):
        ids, labels, features = batch["id"], batch["labels"].numpy(), {k: v.numpy() for k, v in batch["features"].items()}
        for row, length in enumerate(features["num_frames"]):
            frames = [features[name][row, :length].tobytes() for name in planted.SIZES]
            found.append((ids[row], [label for label in labels[row].tolist() if label >= 0], *frames))
    return found


DRAWN = [Frames(), Frames(sample="random", count=4), Frames(sample="sequence", count=4)]


def test_layout_of_frame_level_shards(frame_files):
    data = layout(frame_files, 10)
    assert (data.kind, data.features, data.num_classes, data.classes) == ("frame", {"rgb": 12, "audio": 4}, 10, None)


def test_a_model_of_one_kind_is_not_given_the_other(files, frame_files):
    message = r"train0.tfrecord holds frame-level records, but .* trained on others: give video-level shards \(mean_rgb, mean_audio\)"
    with pytest.raises(DataError, match=message):
        layout_for(layout(files, 30), frame_files)
    with pytest.raises(DataError, match=r"holds video-level records, but .*: give frame-level shards \(rgb, audio\)"):
        layout_for(layout(frame_files, 10), files)


@pytest.mark.parametrize("frames", DRAWN)
def test_frame_level_training_is_a_function_of_seed_and_step(frame_files, frames):
    """As for video-level records, and the frames drawn with it: resumed is unbroken."""
    data = layout(frame_files, 10)

    def batches(seed=5, first_step=0):
        return training_batches(frame_files, data, 400, 64, seed, 100, first_step, frames)

    tf.random.set_seed(1)
    whole = contents(batches(), 15)  # 2.4 epochs
    tf.random.set_seed(2)
    assert contents(batches(), 15) == whole
    assert contents(batches(seed=6), 15) != whole
    for first in (1, 6, 14):  # 400 records: the seventh batch reaches over the end of the epoch
        assert contents(batches(first_step=first), 15 - first) == whole[64 * first :]


def test_each_epoch_holds_every_video_once_and_draws_its_frames_anew(frame_files):
    data, frames = layout(frame_files, 10), Frames(sample="random", count=10)
    drawn = contents(training_batches(frame_files, data, 400, 60, 0, frames=frames), 20)
    epochs = [{video[0]: video[2] for video in drawn[start : start + 400]} for start in (0, 400, 800)]
    assert len(epochs[0]) == 400
    assert epochs[0].keys() == epochs[1].keys() == epochs[2].keys()
    videos = planted.make(400, 0, "train")
    lengths = {video: len(frames) for video, frames in zip(videos.ids, videos.frames["rgb"], strict=True)}
    for one, other in ((0, 1), (0, 2), (1, 2)):
        same = [video for video in epochs[one] if epochs[one][video] == epochs[other][video]]
        assert all(lengths[video] <= 3 for video in same)  # of 4 frames, 10 draws are the same twice once in a million


def test_the_shuffle_of_frame_level_records_holds_1024(tmp_path):
    """A thirtieth of what it holds of video-level records, as they are so much larger."""
    with tf.io.TFRecordWriter(str(tmp_path / "many")) as writer:
        for i in range(1300):
            writer.write(planted.sequence_example({"id": b"v%d" % i, "labels": [0]}, {"rgb": [bytes(2)]}))
    files = [str(tmp_path / "many")]
    first, *others = [order(files, layout(files, 2), 13, 100, shuffle_buffer=size, num_records=1300) for size in (None, 1024, 1000, 2048)]
    assert [first == other for other in others] == [True, False, False]


@pytest.mark.parametrize("frames", DRAWN)
def test_evaluation_draws_the_same_frames_in_every_pass_and_batch(frame_files, frames):
    data = layout(frame_files, 10)
    passes = [contents(evaluation_batches(frame_files, data, size, frames, seed=3), None) for size in (None, 400, 7)]
    assert [video for video, *_ in passes[0]] == planted.make(400, 0, "train").ids
    assert passes[0] == passes[1] == passes[2]
    assert (contents(evaluation_batches(frame_files, data, 400, frames, seed=4), None) == passes[0]) == (frames.count is None)


def test_evaluation_draws_what_the_first_epoch_draws(frame_files):
    """Repetition 0 is that of the first epoch, whatever the order."""
    data, frames = layout(frame_files, 10), Frames(sample="sequence", count=3)
    trained = contents(training_batches(frame_files, data, 400, 100, 8, frames=frames), 4)
    assert sorted(trained) == contents(evaluation_batches(frame_files, data, 100, frames, seed=8), None)


def test_all_frames_are_those_of_the_records(frame_files):
    videos = planted.make(400, 0, "train")
    found = contents(evaluation_batches(frame_files, layout(frame_files, 10)), None)
    rows = range(400)
    assert found == [(videos.ids[r], videos.labels[r], *(videos.frames[name][r].tobytes() for name in planted.SIZES)) for r in rows]


def test_counts_of_frame_level_shards(frame_files):
    labels = planted.make(400, 0, "train").labels
    expected = [sum(c in video for video in labels) for c in range(10)]
    assert count_labels(frame_files, layout(frame_files, 10)) == (400, expected)


def test_videos_of_none_of_the_listed_classes_are_left_out(frame_files, listed):
    data = layout(frame_files, 10, listed)
    assert (data.num_classes, data.classes) == (3, (9, 1, 8))
    videos = planted.make(400, 0, "train")
    rows = [sorted(row for row, c in enumerate((9, 1, 8)) if c in labels) for labels in videos.labels]
    expected = [(video, labels) for video, labels in zip(videos.ids, rows, strict=True) if labels]
    assert 200 < len(expected) < 300

    total, counts = count_labels(frame_files, data)
    assert (total, counts) == (len(expected), [sum(row in labels for _, labels in expected) for row in range(3)])
    evaluated = contents(evaluation_batches(frame_files, data), None)
    assert [(video, sorted(labels)) for video, labels, *_ in evaluated] == expected
    everything = contents(evaluation_batches(frame_files, data, keep_all=True), None)
    assert [(video, sorted(labels)) for video, labels, *_ in everything] == list(zip(videos.ids, rows, strict=True))


@pytest.mark.parametrize("frames", DRAWN[:2])
def test_training_on_listed_classes_is_a_function_of_seed_and_step(frame_files, listed, frames):
    data = layout(frame_files, 10, listed)
    total, _ = count_labels(frame_files, data)

    def batches(first_step=0):
        return training_batches(frame_files, data, total, 50, 2, 70, first_step, frames)

    whole = contents(batches(), 16)
    epochs = [[video for video, *_ in whole[start : start + total]] for start in (0, total)]
    assert len(set(epochs[0])) == total
    assert set(epochs[0]) == set(epochs[1])
    assert epochs[0] != epochs[1]
    for first in (3, total // 50, 2 * total // 50):
        assert contents(batches(first), 16 - first) == whole[50 * first :]


def test_listed_classes_of_video_level_shards(files, tmp_path):
    (tmp_path / "list.txt").write_text("20\n3\n")
    data, everything = layout(files, 30, str(tmp_path / "list.txt")), layout(files, 30)
    expected = []
    for batch in evaluation_batches(files, everything):
        for video, labels in zip(batch["id"], batch["labels"].numpy(), strict=True):
            expected.append((video, [row for row, c in enumerate((20, 3)) if c in labels]))
    found = []
    for batch in evaluation_batches(files, data, keep_all=False):
        assert batch["features"]["mean_rgb"].shape == (len(batch["id"]), 12)
        found += [(v, sorted(x for x in row if x >= 0)) for v, row in zip(batch["id"], batch["labels"].numpy(), strict=True)]
    assert found == [(video, labels) for video, labels in expected if labels]
    assert count_labels(files, data)[0] == len(found)


def test_the_classes_of_a_model_are_those_of_what_it_scores(made_frames, frame_files, listed, tmp_path):
    data = layout(frame_files, 10, listed)
    evaluated = layout_for(data, expand([made_frames.eval]))
    assert (evaluated.num_classes, evaluated.classes) == (3, (9, 1, 8))
    (tmp_path / "far.csv").write_text("Index\n10\n")
    with pytest.raises(DataError, match="has 10, but the records' classes end at 9"):
        layout(frame_files, 10, str(tmp_path / "far.csv"))
    planted.write(tmp_path / "none", planted.make(1, 0)._replace(labels=[[3, 5]]))
    with pytest.raises(DataError, match=r"there are no labels of the 3 listed classes in .*none: give shards of a labelled split"):
        count_labels([str(tmp_path / "none")], layout_for(data, [str(tmp_path / "none")]))


def test_bad_frame_level_records_are_told_in_a_sentence(frame_files, tmp_path):
    path = str(tmp_path / "odd.tfrecord")
    with tf.io.TFRecordWriter(path) as writer:
        writer.write(planted.sequence_example({"id": b"odd", "labels": [1]}, {"rgb": [bytes(12)] * 3, "audio": [bytes(4)] * 2}))
    data = layout(frame_files, 10)
    place = r"odd\.tfrecord: record 0 at byte 0: 'audio' has 2 frames, not 3 as the feature before it"
    expected = rf"^a record cannot be read \(.*{place}\): find it with `yt8m-data validate`$"
    with pytest.raises(DataError, match=expected):
        list(evaluation_batches([frame_files[0], path], data))
    broken = tmp_path / "broken.tfrecord"
    broken.write_bytes(Path(frame_files[0]).read_bytes()[:-7])
    with pytest.raises(DataError, match="cannot be read"):
        next(training_batches([str(broken)], data, 100, 10, 0))


@pytest.mark.shared_data
def test_real_shards_of_2017_and_2018(shared_data):
    files = expand([str(shared_data / "yt8m-2018-video" / "validate000[0-3].tfrecord")])
    data = layout(files)
    total, counts = count_labels(files, data)
    assert (data.num_classes, data.features) == (3862, {"mean_rgb": 1024, "mean_audio": 128})
    assert total == sum(len(batch["id"]) for batch in evaluation_batches(files, data))
    assert 2.5 < sum(counts) / total < 3.5
    older = layout(expand([str(shared_data / "yt8m-2017-video" / "*")]))
    assert (older.id_key, older.num_classes) == ("video_id", 4716)
