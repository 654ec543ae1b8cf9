from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from trainers.inputs import count_labels, each, evaluation_batches, layout, layout_for, training_batches
from yt8m_data.errors import DataError
from yt8m_data.shards import expand


@pytest.fixture
def files(made):
    return expand([made.train])


def order(files, data, steps, batch_size=64, seed=0, first_step=0, shuffle_buffer=100, num_records=600):
    batches = training_batches(files, data, num_records, batch_size, seed, shuffle_buffer, first_step)
    return [batch["id"].numpy().tolist() for batch in batches.take(steps)]


def test_layout(files):
    data = layout(files, num_classes=30)
    assert data.model_dump() == {
        "kind": "video",
        "id_key": "id",
        "labels_key": "labels",
        "features": {"mean_rgb": 12, "mean_audio": 4},
        "num_classes": 30,
    }


def test_evaluation_holds_every_record_once_and_in_order(made, files):
    data = layout(files, 30)
    batches = list(evaluation_batches(files, data, batch_size=256))
    assert [len(batch["id"]) for batch in batches] == [256, 256, 88]
    ids = [video for batch in batches for video in batch["id"].numpy().tolist()]
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
    assert batch["labels"].numpy().tolist() == [[1, -1], [0, 2], [1, -1], [-1, -1]]


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
    with pytest.raises(DataError, match="is beyond the 5 classes"):
        count_labels(files, layout(files, 5))
    unlabelled = expand([made.unlabelled])
    with pytest.raises(DataError, match=r"there are no labels in .*: give shards of a labelled split"):
        count_labels(unlabelled, layout(unlabelled, 30))

    other = str(tmp_path / "wide.tfrecord")
    write_shard(other, [b"a"], [[1]], {"mean_rgb": np.ones((1, 13)), "mean_audio": np.ones((1, 4))})
    with pytest.raises(DataError, match=r"'mean_rgb': 13.* trained on .*'mean_rgb': 12"):
        layout_for(layout(files, 30), [other])
    with pytest.raises(DataError, match=r"cannot be read .*mean_rgb.*yt8m-data validate"):
        list(each(evaluation_batches([files[0], other], layout(files, 30))))

    broken = tmp_path / "broken.tfrecord"
    broken.write_bytes(Path(files[0]).read_bytes()[:-7])
    with pytest.raises(DataError, match="cannot be read"):
        list(each(evaluation_batches([str(broken)], layout(files, 30))))


def test_frame_level_shards_are_refused(tmp_path):
    frames = tf.train.FeatureList(feature=[tf.train.Feature(bytes_list=tf.train.BytesList(value=[bytes(8)]))] * 2)
    record = tf.train.SequenceExample(
        context=tf.train.Features(feature={"id": tf.train.Feature(bytes_list=tf.train.BytesList(value=[b"a"]))}),
        feature_lists=tf.train.FeatureLists(feature_list={"rgb": frames}),
    )
    path = str(tmp_path / "frames.tfrecord")
    with tf.io.TFRecordWriter(path) as writer:
        writer.write(record.SerializeToString())
    with pytest.raises(DataError, match="holds frame-level records: the trainer reads video-level shards"):
        layout([path])


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
