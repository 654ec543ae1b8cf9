"""deltas, and training that moves videos by them, through the command line."""

import json

import numpy as np
import pytest

from yt8m_data import deltas

MOVE = "input.move={{deltas: {}, probability: 0.8, steps: 10}}"


@pytest.fixture(scope="module")
def written(made, command, tmp_path_factory):
    folder = tmp_path_factory.mktemp("deltas") / "d"
    return folder, command("yt8m-data", "deltas", made / "*.tfrecord", folder, "--count", 300, "--threshold", 50)


def test_deltas_are_of_frequent_labels(written, made, command, tmp_path):
    folder, result = written
    command("yt8m-data", "stats", made / "*.tfrecord", "--out", tmp_path / "stats")
    counts = np.array(json.loads((tmp_path / "stats" / "stats.json").read_text())["label_counts"])
    manifest = json.loads((folder / "manifest.json").read_text())
    frequent = np.flatnonzero(counts > 50)
    assert [int(label) for label in manifest["by_label"]] == frequent.tolist()
    assert manifest["deltas"] == sum(manifest["by_label"].values()) == 300
    assert manifest["records"] == 1000
    assert result.out == f"300 deltas of {len(frequent)} labels in {folder}/deltas.arrow\n"
    found = deltas.read(str(folder / "deltas.arrow"))
    assert found.vectors["mean_rgb"].shape == (300, 1024)
    assert all(plus != minus for plus, minus in zip(found.plus, found.minus, strict=True))


def test_the_same_seed_gives_the_same_bytes(written, made, command, digests, tmp_path):
    folder, _ = written
    command("yt8m-data", "deltas", made / "*.tfrecord", tmp_path / "d", "--count", 300, "--threshold", 50, "--workers", 2)
    assert digests(tmp_path / "d") == digests(folder)


def test_a_finished_output_is_kept(written, made, command):
    folder, _ = written
    result = command("yt8m-data", "deltas", made / "*.tfrecord", folder, status=2)
    assert "holds a finished output: give another folder, or --overwrite" in result.err
    command("yt8m-data", "deltas", made / "*.tfrecord", folder, "--count", 300, "--threshold", 50, "--overwrite")


def test_no_frequent_label(made, command, tmp_path):
    result = command("yt8m-data", "deltas", made / "*.tfrecord", tmp_path / "d", "--threshold", 5000, status=2)
    assert "no label has more than 5,000.0 videos" in result.err
    assert not (tmp_path / "d").exists()


def test_fit_moves_videos_by_them(written, made, command, tmp_path):
    folder, _ = written
    data = ["--train", made / "*.tfrecord", "--eval", made / "*0000[01]*.tfrecord", "--set", "training.steps=15"]
    plain = json.loads(command("yt8m-train", "fit", "logistic", *data, "--out", tmp_path / "plain").out)
    moved = command("yt8m-train", "fit", "logistic", *data, "--out", tmp_path / "run", "--set", MOVE.format(folder / "deltas.arrow"))
    assert 0 < abs(json.loads(moved.out)["gap"] - plain["gap"]) < 0.2
    again = json.loads(command("yt8m-train", "evaluate", tmp_path / "run", "--data", made / "*0000[01]*.tfrecord").out)
    assert again == json.loads(moved.out), "the saved model moves nothing"


def test_deltas_of_other_features_are_refused(made, command, tmp_path):
    data = ["--train", made / "*.tfrecord", "--eval", made / "*.tfrecord"]
    settings = ["--set", MOVE.format(tmp_path / "none.arrow")]
    result = command("yt8m-train", "fit", "logistic", *data, "--out", tmp_path / "run", *settings, status=2)
    assert f"there is no file {tmp_path}/none.arrow: make it with `yt8m-data deltas`" in result.err
    assert not (tmp_path / "run").exists()
