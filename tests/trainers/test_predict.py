import csv

import numpy as np
import planted
import pytest

from trainers.fit import fit
from trainers.inputs import evaluation_batches, layout
from trainers.predict import predict
from trainers.run import load_run
from yt8m_data.errors import DataError
from yt8m_data.shards import expand


@pytest.fixture(scope="module")
def trained(made, tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("predicting") / "run")
    fit("moe", [made.train], [made.eval], folder, [*made.overrides, "training.steps=10"])
    return folder


def test_writes_the_best_classes_of_every_video(trained, made, tmp_path):
    out = tmp_path / "submission.csv"
    assert predict(trained, [made.unlabelled], str(out), top_k=5) == 50
    with out.open() as stream:
        rows = list(csv.DictReader(stream))
    assert list(rows[0]) == ["VideoId", "LabelConfidencePairs"]
    assert [r["VideoId"] for r in rows] == [f"test0_{i:03d}" for i in range(50)]

    files = expand([made.unlabelled])
    (batch,) = evaluation_batches(files, layout(files, 30))
    p = load_run(trained).model(batch["features"]).numpy()
    for row, scores in zip(rows, p, strict=True):
        pairs = row["LabelConfidencePairs"].split(" ")
        assert [int(c) for c in pairs[::2]] == np.argsort(-scores)[:5].tolist()
        np.testing.assert_allclose([float(s) for s in pairs[1::2]], np.sort(scores)[::-1][:5], atol=1e-5)


def test_top_k_beyond_the_classes_gives_them_all(trained, made, tmp_path):
    out = tmp_path / "all.csv"
    predict(trained, [made.unlabelled], str(out), top_k=1000)
    assert len(out.read_text().splitlines()[1].split(",")[1].split()) == 2 * 30


def test_wrong_use_writes_nothing(trained, made, tmp_path):
    out = tmp_path / "none.csv"
    with pytest.raises(DataError, match="top_k is 0"):
        predict(trained, [made.unlabelled], str(out), top_k=0)
    with pytest.raises(DataError, match="is no run folder"):
        predict(str(tmp_path), [made.unlabelled], str(out))
    broken = tmp_path / "broken.tfrecord"
    broken.write_bytes((made.folder / "test0.tfrecord").read_bytes()[:-3])
    with pytest.raises(DataError, match="cannot be read"):
        predict(trained, [str(broken)], str(out))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["broken.tfrecord"]


def read(path):
    with path.open() as stream:
        rows = list(csv.DictReader(stream))
    pairs = [row["LabelConfidencePairs"].split(" ") for row in rows]
    return [row["VideoId"].encode() for row in rows], [{int(c): float(p) for c, p in zip(q[::2], q[1::2], strict=True)} for q in pairs]


@pytest.mark.parametrize("sample", ["all", "sequence"])
def test_frame_level_videos_and_listed_classes(sample, made_frames, listed, tmp_path):
    """Every video gets the original ids of the listed classes, whether it carries one of them or not."""
    frames = "{}" if sample == "all" else "{sample: sequence, count: 4}"
    settings = [*made_frames.overrides, "training.steps=10", "training.seed=4", "pooling={name: average}", f"classes={listed}"]
    fit("logistic", [made_frames.train], [made_frames.eval], str(tmp_path / "run"), [*settings, f"frames={frames}"])
    run = load_run(str(tmp_path / "run"))
    for pattern, videos in ((made_frames.unlabelled, planted.make(40, 2, "test")), (made_frames.eval, planted.make(150, 1, "eval"))):
        out = tmp_path / "out.csv"
        assert predict(str(tmp_path / "run"), [pattern], str(out)) == len(videos.ids)
        ids, confidences = read(out)
        assert ids == videos.ids
        assert all(list(found) == sorted(found, key=found.get, reverse=True) for found in confidences)
        taken = videos if sample == "all" else planted.drawn(videos, run.recipe.frames, seed=4)
        for found, p in zip(confidences, planted.unpadded(run.model, taken).tolist(), strict=True):
            assert found == pytest.approx({9: p[0], 1: p[1], 8: p[2]}, abs=1e-5)
        first = out.read_bytes()
        predict(str(tmp_path / "run"), [pattern], str(out))
        assert out.read_bytes() == first


@pytest.mark.shared_data
def test_the_unlabelled_split_of_2017(shared_data, tmp_path):
    """Another id key, 4,716 classes, and a test split whose records have no labels."""
    shards = shared_data / "yt8m-2017-video"
    labelled = [str(path) for path in shards.glob("*.tfrecord") if not path.name.startswith("test")]
    fit("logistic", labelled, labelled[:1], str(tmp_path / "run"), ["training.steps=3", "training.batch_size=32"])
    videos = predict(str(tmp_path / "run"), [str(shards / "testa0*")], str(tmp_path / "out.csv"))
    lines = (tmp_path / "out.csv").read_text().splitlines()
    assert len(lines) == videos + 1 > 1
    assert all(len(line.split(",")[1].split()) == 40 for line in lines[1:])
