"""`synth`: shards that TensorFlow reads, books that agree with them, and the same bytes for the same seed."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
import tensorflow as tf

from yt8m_data import schema, synth
from yt8m_data.errors import DataError
from yt8m_data.schema import SEGMENTS
from yt8m_data.synthetic import SyntheticSpec, batches

SHARDS = 3


@pytest.fixture(scope="module", params=["video", "frame", "segment"])
def made(request, tmp_path_factory) -> tuple[SyntheticSpec, Path, dict]:
    spec = SyntheticSpec(request.param, 100, num_classes=30, seed=2, max_frames=8)
    folder = tmp_path_factory.mktemp("synth")
    return spec, folder, synth.write(spec, str(folder), SHARDS, "made")


def records(folder: Path, entry: dict) -> list[bytes]:
    return list(tf.data.TFRecordDataset(str(folder / entry["name"])).as_numpy_iterator())


def test_the_manifest_agrees_with_the_files(made):
    _, folder, manifest = made
    assert json.loads((folder / "manifest.json").read_text()) == json.loads(json.dumps(manifest))
    assert sorted(path.name for path in folder.iterdir()) == [*(f"made-{i:05d}-of-00003.tfrecord" for i in range(SHARDS)), "manifest.json"]
    assert (manifest["job"], manifest["records"], manifest["num_classes"]) == ("synth", 100, 30)
    assert manifest["spec"]["seed"] == 2
    assert sum(entry["records"] for entry in manifest["shards"]) == 100
    for entry in manifest["shards"]:
        assert entry["bytes"] == (folder / entry["name"]).stat().st_size
        assert entry["records"] == len(records(folder, entry)) in (33, 34)


def test_tensorflow_reads_what_was_made(made):
    spec, folder, manifest = made
    written = [record for entry in manifest["shards"] for record in records(folder, entry)]
    rows = [row for batch in batches(spec) for row in batch.to_pylist()]
    for record, row in zip(written, rows, strict=True):
        context = {"id": tf.io.FixedLenFeature([], tf.string), "labels": tf.io.VarLenFeature(tf.int64)}
        if spec.kind == "video":
            features = {feature.name: tf.io.FixedLenFeature([feature.size], tf.float32) for feature in spec.schema.features}
            parsed = tf.io.parse_single_example(record, context | features)
            assert all(parsed[name].numpy().tolist() == row[name] for name in features)
        else:
            frames = {feature.name: tf.io.FixedLenSequenceFeature([], tf.string) for feature in spec.schema.features}
            parsed, sequences = tf.io.parse_single_sequence_example(record, context, frames)
            assert all(sequences[name].numpy().tolist() == row[name] for name in frames)
        assert parsed["id"].numpy() == row["id"]
        assert parsed["labels"].values.numpy().tolist() == row["labels"]
        if spec.kind == "segment":
            types = {column.name: tf.float32 if column.name == "segment_scores" else tf.int64 for column in SEGMENTS}
            parsed = tf.io.parse_single_example(record, {key: tf.io.VarLenFeature(dtype) for key, dtype in types.items()})
            assert all(parsed[key].values.numpy().tolist() == row[key] for key in types)
            assert len(row["segment_labels"]) > 0


def test_the_schema_is_found_again(made):
    spec, folder, manifest = made
    found = schema.sniff(str(folder / manifest["shards"][0]["name"]), extras=True)  # the number of classes is in the manifest
    assert replace(found, extras=tuple(name for name in found.extras if name != schema.OTHER)) == spec.schema


def test_equal_seeds_equal_bytes_and_any_number_of_shards(tmp_path):
    spec = SyntheticSpec("video", 60, num_classes=10, seed=1)
    digests = []
    for name, shards in (("a", 2), ("b", 2), ("c", 5)):
        manifest = synth.write(spec, str(tmp_path / name), shards)
        digests.append(hashlib.sha256(b"".join((tmp_path / name / entry["name"]).read_bytes() for entry in manifest["shards"])).digest())
    assert len(set(digests)) == 1


@pytest.mark.parametrize("shards", [0, 11])
def test_more_shards_than_records(tmp_path, shards):
    with pytest.raises(DataError, match=f"{shards} shards cannot hold 10 records: give 1 to 10 shards"):
        synth.write(SyntheticSpec("video", 10, num_classes=5), str(tmp_path / "out"), shards)
    assert not (tmp_path / "out").exists()


def test_no_records_make_one_empty_shard(tmp_path):
    manifest = synth.write(SyntheticSpec("video", 0, num_classes=5), str(tmp_path), 1)
    assert manifest["shards"] == [{"name": "train-00000-of-00001.tfrecord", "records": 0, "bytes": 0}]
    assert (tmp_path / "train-00000-of-00001.tfrecord").read_bytes() == b""


def test_a_full_folder(tmp_path):
    spec = SyntheticSpec("video", 4, num_classes=5)
    synth.write(spec, str(tmp_path), 4)
    with pytest.raises(DataError, match="holds a finished output"):
        synth.write(spec, str(tmp_path), 1)
    synth.write(spec, str(tmp_path), 1, overwrite=True)
    assert len(list(tmp_path.iterdir())) == 2
