"""pool and validate through the command line."""

import gzip
import json

import numpy as np
import pytest
import tensorflow as tf

from beam_jobs import pool as job


@pytest.fixture(scope="module")
def frames(tmp_path_factory, command):
    """40 made frame-level videos in 4 shards."""
    folder = tmp_path_factory.mktemp("pool") / "frames"
    command("yt8m-data", "synth", folder, "--kind", "frame", "--records", 40, "--shards", 4, "--classes", 30, "--max-frames", 20)
    return folder


def messages(folder, kind):
    for path in sorted(folder.glob("*.tfrecord")):
        yield from map(kind.FromString, tf.data.TFRecordDataset(str(path)).as_numpy_iterator())


@pytest.fixture(scope="module")
def pooled(frames, command, tmp_path_factory):
    out = tmp_path_factory.mktemp("pooled") / "out"
    command("yt8m-data", "pool", frames / "*.tfrecord", out, "--moment", "std", "--moment", "max", "--moment", "top5")
    return out


def test_pooled_records_against_numpy(pooled, frames):
    before, after = list(messages(frames, tf.train.SequenceExample)), list(messages(pooled, tf.train.Example))
    assert len(before) == len(after) == 40
    for clip, video in zip(before, after, strict=True):
        features = video.features.feature
        assert features["id"] == clip.context.feature["id"]
        assert features["labels"] == clip.context.feature["labels"]
        for name in ("rgb", "audio"):
            codes = [f.bytes_list.value[0] for f in clip.feature_lists.feature_list[name].feature]
            values = np.stack([np.frombuffer(c, np.uint8) for c in codes]) * (4 / 255) + (4 / 512 - 2)
            expected = {"mean": values.mean(0), "std": values.std(0), "max": values.max(0), "top5": np.sort(values, 0)[-5:].mean(0)}
            for moment, vector in expected.items():
                np.testing.assert_allclose(features[f"{moment}_{name}"].float_list.value, vector, rtol=1e-6, atol=2e-7)


def test_the_means_of_made_frames_are_those_of_the_made_videos(frames, command, tmp_path):
    """Frames scatter around the vector of the video-level record, so that their mean is near it."""
    command("yt8m-data", "synth", tmp_path / "videos", "--records", 40, "--shards", 4, "--classes", 30)
    command("yt8m-data", "pool", frames / "*.tfrecord", tmp_path / "out")
    for video, mean in zip(messages(tmp_path / "videos", tf.train.Example), messages(tmp_path / "out", tf.train.Example), strict=True):
        assert sorted(mean.features.feature) == ["id", "labels", "mean_audio", "mean_rgb"]
        assert mean.features.feature["id"] == video.features.feature["id"]
        expected = video.features.feature["mean_rgb"].float_list.value
        np.testing.assert_allclose(mean.features.feature["mean_rgb"].float_list.value, expected, atol=0.03)


def test_the_pooled_set_is_read_as_any_other(pooled, command, tmp_path):
    command("yt8m-data", "stats", pooled / "*.tfrecord", "--out", tmp_path / "stats")
    stats = json.loads((tmp_path / "stats" / "stats.json").read_text())
    assert (stats["num_records"], stats["num_classes"]) == (40, 30)
    assert list(stats["features"])[:1] == ["mean_rgb"]


def test_the_bytes_depend_on_neither_workers_nor_gzip(pooled, frames, command, digests, tmp_path):
    moments = ["--moment", "std", "--moment", "max", "--moment", "top5"]
    command("yt8m-data", "pool", *sorted(frames.glob("*.tfrecord"))[::-1], tmp_path / "out", *moments, "--workers", 2)
    assert digests(tmp_path / "out") == digests(pooled)
    for path in frames.glob("*.tfrecord"):
        (tmp_path / (path.name + ".gz")).write_bytes(gzip.compress(path.read_bytes(), 1))
    command("yt8m-data", "pool", tmp_path / "*.gz", tmp_path / "gz", "--num-classes", 30, *moments)
    for path in pooled.glob("*.tfrecord"):
        assert (tmp_path / "gz" / path.name).read_bytes() == path.read_bytes()


def test_a_killed_pool_goes_on(pooled, frames, command, digests, tmp_path, monkeypatch):
    moments = ["--moment", "std", "--moment", "max", "--moment", "top5"]
    opened = []

    def open_shard(path, *arguments, real=job.open_shard):
        opened.append(path)
        if len(opened) == 3:
            raise RuntimeError("killed")
        return real(path, *arguments)

    monkeypatch.setattr(job, "open_shard", open_shard)
    with pytest.raises(RuntimeError, match="killed"):
        command("yt8m-data", "pool", frames / "*.tfrecord", tmp_path / "out", *moments)
    command("yt8m-data", "pool", frames / "*.tfrecord", tmp_path / "out", *moments)
    assert len(opened) == 5, "two shards were finished and two were not"
    assert digests(tmp_path / "out") == digests(pooled)


def test_bad_records_and_the_books(frames, command, tmp_path):
    path = tmp_path / "x.tfrecord"
    data = bytearray(sorted(frames.glob("*.tfrecord"))[0].read_bytes())
    data[2000] ^= 1
    path.write_bytes(data)
    options = ["--num-classes", 30, "--on-bad-record", "skip"]
    result = command("yt8m-data", "pool", path, tmp_path / "out", "--num-classes", 30, status=2)
    assert f"{path}: record 0 at byte 0: the checksum of the data is wrong (--on-bad-record skip" in result.err
    assert "--max-bad-fraction 0.001 allows" in command("yt8m-data", "pool", path, tmp_path / "out", *options, status=2).err
    resumed = command("yt8m-data", "pool", path, tmp_path / "out", *options, "--max-bad-fraction", 0.2)
    assert "1 of 1 files were found finished, 0 done" in resumed.err
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["totals"] == {"read": 10, "kept": 9, "dropped": 0, "bad": 1, "written": 9}
    assert json.loads((tmp_path / "out" / "bad_records.jsonl").read_text())["kind"] == "crc"


def test_video_level_shards_cannot_be_pooled(made, command, tmp_path):
    result = command("yt8m-data", "pool", made / "*.tfrecord", tmp_path / "out", status=2)
    assert "these are video-level records: only frame-level ones can be pooled" in result.err
    assert not (tmp_path / "out").exists()


@pytest.mark.shared_data
def test_audioset(shared_data, command, tmp_path):
    command("yt8m-data", "pool", shared_data / "audioset" / "*.tfrecord", tmp_path / "out")
    videos = list(messages(tmp_path / "out", tf.train.Example))
    assert len(videos) == 285
    assert {"video_id", "labels", "mean_audio_embedding", "start_time_seconds"} <= set(videos[0].features.feature)


# --- validate -------------------------------------------------------------------------------------------------------------


def clip(number, rgb=3, audio=3, labels=(1,)):
    message = tf.train.SequenceExample()
    message.context.feature["id"].bytes_list.value.append(b"v%d" % number)
    message.context.feature["labels"].int64_list.value.extend(labels)
    for name, size, count in (("rgb", 4, rgb), ("audio", 2, audio)):
        frames = [tf.train.Feature(bytes_list=tf.train.BytesList(value=[bytes([t] * size)])) for t in range(count)]
        message.feature_lists.feature_list[name].feature.extend(frames)
    return message.SerializeToString()


def write(path, records):
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records:
            writer.write(record)
    return path


@pytest.mark.parametrize("workers", [1, 2])
def test_validate_finds_what_is_wrong(workers, command, tmp_path):
    good = [clip(n) for n in range(6)]
    write(tmp_path / "a.tfrecord", [*good, clip(6, audio=2), clip(7, 0, 0), clip(8, 12, 12), clip(9, labels=[30])])
    write(tmp_path / "b.tfrecord", [clip(20), good[4], clip(21), clip(21)])
    (tmp_path / "c.tfrecord").write_bytes(b"")
    data = bytearray(write(tmp_path / "d.tfrecord", [clip(30), clip(31)]).read_bytes())
    data[30] ^= 1
    (tmp_path / "d.tfrecord").write_bytes(data)
    options = ["--num-classes", 30, "--max-frames", 10, "--workers", workers, "--out", tmp_path / "report.json"]
    result = command("yt8m-data", "validate", tmp_path / "*.tfrecord", *options, status=1)
    report = json.loads(result.out)
    assert json.loads((tmp_path / "report.json").read_text()) == report
    assert report["found"] == {"crc": 1, "label": 1, "size": 2, "duplicate id": 2, "too many frames": 1, "empty file": 1}
    names = [str(tmp_path / f"{name}.tfrecord") for name in "abcd"]
    assert [(bad["file"], bad["index"], bad["kind"]) for bad in report["bad_records"]] == [
        (names[0], 6, "size"),
        (names[0], 7, "size"),
        (names[0], 9, "label"),
        (names[3], 0, "crc"),
    ]
    assert report["duplicates"] == [
        {"id": "v21", "records": [{"file": names[1], "index": 2}, {"file": names[1], "index": 3}]},
        {"id": "v4", "records": [{"file": names[0], "index": 4}, {"file": names[1], "index": 1}]},
    ]
    assert report["too_long"] == [{"file": names[0], "index": 8, "id": "v8", "frames": 12}]
    assert report["empty_files"] == [names[2]]
    assert (report["ok"], report["num_files"], report["num_records"]) == (False, 4, 12)


def test_validate_of_sound_shards(frames, command):
    report = json.loads(command("yt8m-data", "validate", frames / "*.tfrecord").out)
    assert report["ok"]
    assert (report["found"], report["num_records"]) == ({}, 40)
    assert not json.loads(command("yt8m-data", "validate", frames / "*.tfrecord", "--max-frames", 10, status=1).out)["ok"]
