import numpy as np
import planted
import pytest

from trainers.evaluate import evaluate
from trainers.fit import fit
from trainers.metrics import Metrics
from trainers.run import load_run
from yt8m_data.errors import DataError
from yt8m_data.shards import read_json


@pytest.fixture(scope="module")
def trained(made, tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("evaluated") / "run")
    return folder, fit("logistic", [made.train], [made.eval], folder, [*made.overrides, "training.steps=10"])


def test_gives_the_metrics_of_fit(trained, made, tmp_path):
    folder, metrics = trained
    assert evaluate(folder, [made.eval], out=str(tmp_path / "metrics.json")) == metrics
    assert read_json(str(tmp_path / "metrics.json")) == metrics


def test_wrong_data(trained, made, tmp_path, write_shard):
    folder, _ = trained
    with pytest.raises(DataError, match="no file matches"):
        evaluate(folder, [str(tmp_path / "*")])
    with pytest.raises(DataError, match="there are no labels in"):
        evaluate(folder, [made.unlabelled])
    with pytest.raises(DataError, match="is no run folder"):
        evaluate(str(tmp_path), [made.eval])
    shard, x = str(tmp_path / "far.tfrecord"), {"mean_rgb": np.ones((1, 12)), "mean_audio": np.ones((1, 4))}
    write_shard(shard, [b"a"], [[99]], x)
    with pytest.raises(DataError, match="label 99 is beyond the 30 classes"):
        evaluate(folder, [shard])
    write_shard(shard, [b"a"], [[1]], {"mean_rgb": np.ones((1, 12))})
    with pytest.raises(DataError, match="but the model was trained on"):
        evaluate(folder, [shard])


def test_the_order_of_the_features_in_a_file_is_no_matter(trained, made, tmp_path, write_shard):
    """Another set whose audio is the wider: the model still gets each feature by its name."""
    folder, _ = trained
    x = {"mean_audio": np.ones((2, 4)), "mean_rgb": np.ones((2, 12))}
    write_shard(tmp_path / "a.tfrecord", [b"a", b"b"], [[0], [1]], x)
    assert evaluate(folder, [str(tmp_path / "a.tfrecord")])["num_examples"] == 2


def fit_frames(made_frames, folder, *settings):
    overrides = [*made_frames.overrides, "training.steps=20", "pooling={name: average}", *settings]
    return fit("logistic", [made_frames.train], [made_frames.eval], str(folder), overrides)


def expected_metrics(ids, probabilities, labels, num_classes, train_counts):
    metrics = Metrics(num_classes)
    width = max(len(video) for video in labels)
    metrics.update(ids, probabilities, np.array([video + [-1] * (width - len(video)) for video in labels]))
    return metrics.result(np.array(train_counts))


def assert_same(metrics, expected):
    assert metrics["num_examples"] == expected["num_examples"]
    for name in ("gap", "map", "map_starter", "perr", "hit_at_1"):
        assert metrics[name] == pytest.approx(expected[name], abs=1e-6)


def test_frame_level_videos_are_scored_as_if_each_were_alone(made_frames, tmp_path):
    metrics = fit_frames(made_frames, tmp_path / "run")
    run, videos = load_run(str(tmp_path / "run")), planted.make(150, 1, "eval")
    expected = expected_metrics(videos.ids, planted.unpadded(run.model, videos), videos.labels, 10, run.train_set.label_counts)
    assert_same(metrics, expected)
    assert evaluate(str(tmp_path / "run"), [made_frames.eval]) == metrics


def test_drawn_frames_are_the_same_in_every_evaluation(made_frames, tmp_path):
    metrics = fit_frames(made_frames, tmp_path / "run", "frames={sample: random, count: 3}", "training.seed=4")
    assert evaluate(str(tmp_path / "run"), [made_frames.eval]) == metrics
    run, videos = load_run(str(tmp_path / "run")), planted.make(150, 1, "eval")
    probabilities = planted.unpadded(run.model, planted.drawn(videos, run.recipe.frames, seed=4))
    assert_same(metrics, expected_metrics(videos.ids, probabilities, videos.labels, 10, run.train_set.label_counts))


def test_listed_classes(made_frames, listed, tmp_path):
    """Only the videos of the listed classes count, and the file of the list is not needed again."""
    metrics = fit_frames(made_frames, tmp_path / "run", f"classes={listed}")
    run, videos = load_run(str(tmp_path / "run")), planted.make(150, 1, "eval")
    assert run.model.output_shape == (None, 3)
    rows = [[row for row, c in enumerate((9, 1, 8)) if c in labels] for labels in videos.labels]
    kept = [i for i, labels in enumerate(rows) if labels]
    assert metrics["num_examples"] == len(kept) < 150
    probabilities = planted.unpadded(run.model, videos)[kept]
    ids, labels = [videos.ids[i] for i in kept], [rows[i] for i in kept]
    assert_same(metrics, expected_metrics(ids, probabilities, labels, 3, run.train_set.label_counts))
    (tmp_path / "classes.csv").unlink()
    assert evaluate(str(tmp_path / "run"), [made_frames.eval]) == metrics

    planted.write(tmp_path / "others", planted.make(1, 0)._replace(labels=[[3, 5]]))
    with pytest.raises(DataError, match="there are no labels of the 3 listed classes in"):
        evaluate(str(tmp_path / "run"), [str(tmp_path / "others")])


def test_shards_of_the_other_kind(trained, made, made_frames, tmp_path):
    with pytest.raises(DataError, match=r"holds frame-level records, but .*: give video-level shards \(mean_rgb, mean_audio\)"):
        evaluate(trained[0], [made_frames.eval])
    fit_frames(made_frames, tmp_path / "run", "training.steps=1")
    with pytest.raises(DataError, match=r"holds video-level records, but .*: give frame-level shards \(rgb, audio\)"):
        evaluate(str(tmp_path / "run"), [made.eval])
