import gzip
import tracemalloc
from itertools import chain, islice
from pathlib import Path

import numpy as np
import planted
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from planted import SIZES, sequence_example

from trainers import videos
from trainers.frames import ALL
from trainers.inputs import evaluation_batches, training_batches
from trainers.model import multi_hot
from trainers.recipe import DataSchema, Frames
from yt8m_data.errors import DataError

SCHEMA = DataSchema(kind="frame", id_key="id", labels_key="labels", features=SIZES, num_classes=planted.NUM_CLASSES)


@pytest.fixture
def shard(tmp_path):
    def write(*records: bytes, name: str = "shard") -> str:
        path = str(tmp_path / name)
        with tf.io.TFRecordWriter(path) as writer:
            for record in records:
                writer.write(record)
        return path

    return write


def batch_of(path, data=SCHEMA, frames=ALL):
    (batch,) = evaluation_batches([path], data, 1000, frames)
    return batch


def clip(video, length, labels=(1,)):
    """A record whose frame t holds the byte t + 1."""
    lists = {name: [bytes([t + 1]) * size for t in range(length)] for name, size in SIZES.items()}
    return sequence_example({"id": video, "labels": list(labels)}, lists)


def weighted(video, labels, weights=None):
    """A record with weights beside its labels."""
    message = tf.train.SequenceExample.FromString(clip(video, 1, labels))
    if weights is not None:
        message.context.feature["label_weights"].float_list.value.extend(weights)
    return message.SerializeToString()


def test_a_batch_holds_what_was_written(tmp_path):
    made = planted.make(50, 3)
    planted.write(tmp_path / "shard", made)
    batch = batch_of(str(tmp_path / "shard"))
    longest = max(len(frames) for frames in made.frames["rgb"])
    assert batch["id"].tolist() == list(made.ids)
    assert [[label for label in row if label >= 0] for row in batch["labels"].numpy().tolist()] == made.labels
    assert (batch["labels"].dtype, batch["features"]["num_frames"].dtype, batch["features"]["rgb"].dtype) == (tf.int32, tf.int32, tf.uint8)
    for name, size in SIZES.items():
        assert batch["features"][name].shape == (50, longest, size)
        for row, frames in enumerate(made.frames[name]):
            np.testing.assert_array_equal(batch["features"][name][row, : len(frames)], frames)
            assert not batch["features"][name][row, len(frames) :].numpy().any()


def test_a_list_of_classes_makes_rows_of_labels(tmp_path):
    made = planted.make(50, 3)
    planted.write(tmp_path / "shard", made)
    (batch,) = evaluation_batches([str(tmp_path / "shard")], SCHEMA.model_copy(update={"classes": (9, 4), "num_classes": 2}), keep_all=True)
    expected = [[row for label in video for row, c in enumerate((9, 4)) if c == label] for video in made.labels]
    assert [[label for label in row if label >= 0] for row in batch["labels"].numpy().tolist()] == expected


@given(st.lists(st.integers(0, 50), min_size=1, max_size=20, unique=True), st.lists(st.integers(0, 60)))
def test_listed_rows_are_a_bijection_of_the_listed_classes(listed, ids):
    data = SCHEMA.model_copy(update={"classes": tuple(listed), "num_classes": len(listed)})
    assert videos.listed_rows(np.array(listed), data).tolist() == list(range(len(listed)))
    rows = videos.listed_rows(np.array(ids, np.int64), data).tolist()
    assert [listed[row] if row >= 0 else None for row in rows] == [c if c in listed else None for c in ids]


def test_labels_weigh_what_the_record_says_or_one(shard):
    batch = batch_of(shard(weighted(b"a", [3, 1], [0.25, 1.0]), weighted(b"b", [2, 4, 0]), weighted(b"c", [])))
    assert batch["labels"].numpy()[:, :3].tolist() == [[3, 1, -1], [2, 4, 0], [-1] * 3]
    assert batch["label_weights"].numpy()[:, :3].tolist() == [[0.25, 1, 1], [1] * 3, [1] * 3]
    assert batch["label_weights"].shape == batch["labels"].shape
    hot = multi_hot(batch["labels"], 5, batch["label_weights"]).numpy()
    assert hot.tolist() == [[0, 1, 0, 0.25, 0], [1, 0, 1, 0, 1], [0] * 5]
    assert batch_of(shard(weighted(b"c", [])))["label_weights"].shape == (1, 0)


def test_weights_follow_their_labels_through_a_list_of_classes(shard):
    path = shard(weighted(b"a", [3, 1, 4], [0.25, 0.5, 0.75]), weighted(b"b", [0, 3]))
    batch = batch_of(path, SCHEMA.model_copy(update={"classes": (4, 3)}))
    assert batch["labels"].numpy()[:, :2].tolist() == [[1, 0], [1, -1]]
    assert batch["label_weights"].numpy()[:, :2].tolist() == [[0.25, 0.75], [1, 1]]


def test_weights_of_another_number_than_labels_are_refused(shard):
    with pytest.raises(DataError, match=r"record 1 at byte .*: 'label_weights' has another number of values than 'labels'"):
        batch_of(shard(weighted(b"u", [1]), weighted(b"v", [1, 2], [0.5])))


@pytest.mark.parametrize("frames", [Frames(), Frames(sample="random", count=3), Frames(sample="sequence", count=3)])
@pytest.mark.parametrize("lengths", [[0], [0, 0], [0, 2], [2, 0, 1]])
def test_videos_without_frames(lengths, frames, shard):
    """They have none to show, and leave the others as they are; there is always a frame to mask, even if no video of the batch has one."""
    features = batch_of(shard(*(clip(b"v%d" % row, length) for row, length in enumerate(lengths))), frames=frames)["features"]
    count = frames.count or max(1, *lengths)
    assert features["rgb"].shape == (len(lengths), count, 12)
    assert features["num_frames"].numpy().tolist() == [n if frames.count is None else count * (n > 0) for n in lengths]
    for row, length in enumerate(lengths):
        assert features["rgb"][row, 0, 0] in (range(1, length + 1) if length else [0])


@pytest.mark.parametrize("length", [1, 4, 19, 40])
def test_long_videos_are_cut(length, tmp_path):
    planted.write(tmp_path / "shard", planted.make(50, 3))
    whole, cut = (
        batch_of(str(tmp_path / "shard"))["features"],
        batch_of(str(tmp_path / "shard"), frames=Frames(max_frames=length))["features"],
    )
    np.testing.assert_array_equal(cut["num_frames"], np.minimum(whole["num_frames"], length))
    for name in SIZES:
        np.testing.assert_array_equal(cut[name], whole[name][:, :length])


@pytest.mark.parametrize("block_bytes", [1000, 20_000])
def test_neither_blocks_nor_gzip_change_what_is_read(block_bytes, tmp_path, monkeypatch):
    """Shards behind one another, one of them gzipped and one empty, in blocks that end anywhere in them."""
    made = [planted.make(30, seed) for seed in range(3)]
    paths = [str(tmp_path / name) for name in "abcd"]
    for path, shard in zip(paths, made, strict=False):
        planted.write(tmp_path / path, shard)
    (tmp_path / "b").write_bytes(gzip.compress((tmp_path / "b").read_bytes()))
    (tmp_path / "d").touch()
    monkeypatch.setattr(videos, "_BLOCK_BYTES", block_bytes)
    found = [batch["id"].tolist() for batch in evaluation_batches([paths[0], paths[3], *paths[1:3]], SCHEMA, 7)]
    assert [len(ids) for ids in found] == [7] * 12 + [6]
    assert list(chain.from_iterable(found)) == [video for shard in made for video in shard.ids]


def test_a_gzipped_shard_that_is_cut_is_told(tmp_path):
    planted.write(tmp_path / "whole", planted.make(30, 0))
    (tmp_path / "cut").write_bytes(gzip.compress((tmp_path / "whole").read_bytes())[:-100])
    with pytest.raises(DataError, match=r"cut cannot be read to its end .the gzip stream ends before its time"):
        list(evaluation_batches([str(tmp_path / "cut"), str(tmp_path / "whole")], SCHEMA))


def test_no_shard_behind_a_bad_one_is_read_to_the_end(tmp_path, monkeypatch):
    """The bytes that are lost are those of the bad shard."""
    paths = [str(tmp_path / name) for name in "abcd"]
    for path in paths:
        planted.write(Path(path), planted.make(30, 0))
    size = len(Path(paths[0]).read_bytes())
    Path(paths[0]).write_bytes(bytes(40) + Path(paths[0]).read_bytes()[40:])
    monkeypatch.setattr(videos, "_BLOCK_BYTES", size // 2)
    opened, genuine = [], videos.storage.open_read
    monkeypatch.setattr(videos.storage, "open_read", lambda path: opened.append(path) or genuine(path))
    with pytest.raises(DataError, match=rf"a: record 0 at byte 0: .*; {size} bytes from here to the end of the file are lost"):
        list(evaluation_batches(paths, SCHEMA))
    assert set(opened) == {paths[0]}


def test_a_shard_that_is_gone_is_told(tmp_path):
    planted.write(tmp_path / "a", planted.make(3, 0))
    with pytest.raises(DataError, match=r"gone cannot be read \(No such file or directory\): look whether it is still there"):
        list(evaluation_batches([str(tmp_path / "a"), str(tmp_path / "gone")], SCHEMA))


@settings(max_examples=10)
@given(st.integers(1, 40), st.integers(1, 70), st.integers(0, 3))
def test_what_is_held_stays_as_it_was_while_memory_is_used_again(tmp_path_factory, batch_size, buffer, seed):
    """Every batch that is still held keeps its values, though the memory of those that are not goes to the next ones."""
    path = tmp_path_factory.mktemp("held") / "shard"
    planted.write(path, planted.make(60, 1))
    by_id = {
        video: frames
        for batch in [batch_of(str(path))]
        for video, frames in zip(batch["id"], batch["features"]["rgb"].numpy(), strict=True)
    }
    held = []
    for number, batch in enumerate(islice(training_batches([str(path)], SCHEMA, 60, batch_size, seed, buffer), 9)):
        held.append(batch if number % 3 else None)
    for batch in filter(None, held):
        for video, frames in zip(batch["id"], batch["features"]["rgb"].numpy(), strict=True):
            np.testing.assert_array_equal(frames, by_id[video][: len(frames)])


def test_an_evaluation_takes_the_memory_of_a_few_batches(tmp_path):
    """The blocks are used again: of 60 batches hardly more is asked of NumPy than of 6."""
    planted.write(tmp_path / "shard", planted.make(60, 1))

    def peak(repeat: int) -> int:
        tracemalloc.start()
        for _ in evaluation_batches([str(tmp_path / "shard")] * repeat, SCHEMA, 10, Frames(max_frames=3000)):
            pass
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    assert peak(10) < 1.5 * peak(1)
