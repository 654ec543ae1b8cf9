from itertools import islice

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from trainers import distill
from trainers.fit import fit
from trainers.inputs import layout, training_batches
from trainers.losses.cross_entropy import CrossEntropy
from trainers.model import assemble
from trainers.predict import predict
from trainers.prediction_file import Classes, Predictions, parquet
from trainers.recipe import Distill, load
from trainers.run import TrainSet, load_run
from yt8m_data.errors import DataError
from yt8m_data.shards import expand

SHORT = ["training.steps=12", "training.checkpoint_every=5", "prior_scale=null"]
PROBABILITIES = arrays.arrays(np.float32, (2, 4), elements=st.floats(1 / 64, 63 / 64, width=32))


@pytest.fixture(scope="module")
def teacher(made, tmp_path_factory):
    """A trained model's predictions of the training set: whole vectors, and the best 10 of 30."""
    folder = tmp_path_factory.mktemp("teacher")
    fit("moe", [made.train], [made.eval], str(folder / "run"), made.overrides)
    predict(str(folder / "run"), [made.train], str(folder / "all.parquet"))
    predict(str(folder / "run"), [made.train], str(folder / "best.parquet"), top_k=10)
    return folder


def distilled(made, folder, file, weight, *more, train=None):
    settings = [*made.overrides, *SHORT, f"training.distill={{teacher: {file}, weight: {weight}}}", *more]
    metrics = fit("moe", [train or made.train], [made.eval], str(folder), settings)
    return metrics, load_run(str(folder)).model.get_weights()


def assert_equal(one, other):
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)


def test_weight_0_is_plain_training(made, teacher, tmp_path):
    _, weights = distilled(made, tmp_path / "zero", teacher / "all.parquet", 0)
    fit("moe", [made.train], [made.eval], str(tmp_path / "plain"), [*made.overrides, *SHORT])
    assert_equal(weights, load_run(str(tmp_path / "plain")).model.get_weights())


def relabelled(made, folder, write_shard):
    """The training set with each video's labels replaced by 0."""
    folder.mkdir()
    for path in expand([made.train]):
        ids, features = [], {"mean_rgb": [], "mean_audio": []}
        for record in tf.data.TFRecordDataset(path).as_numpy_iterator():
            keys = tf.train.Example.FromString(record).features.feature
            ids.append(keys["id"].bytes_list.value[0])
            for name, rows in features.items():
                rows.append(list(keys[name].float_list.value))
        write_shard(folder / path.split("/")[-1], ids, [[0]] * len(ids), features)
    return str(folder / "train*")


def test_weight_1_ignores_the_labels(made, teacher, write_shard, tmp_path):
    others = relabelled(made, tmp_path / "others", write_shard)
    _, weights = distilled(made, tmp_path / "true", teacher / "all.parquet", 1)
    _, same = distilled(made, tmp_path / "false", teacher / "all.parquet", 1, train=others)
    assert_equal(weights, same)
    _, mixed = distilled(made, tmp_path / "mixed", teacher / "all.parquet", 0.9, train=others)
    assert np.abs(mixed[0] - weights[0]).max() > 1e-4


@pytest.mark.parametrize("file", ["all.parquet", "best.parquet"])
def test_a_student_learns_from_its_teacher_alone(file, made, teacher, write_shard, tmp_path):
    """Labels that tell nothing: what it knows of the evaluation set it has from the teacher."""
    others = relabelled(made, tmp_path / "others", write_shard)
    metrics, _ = distilled(made, tmp_path / "student", teacher / file, 1, "training.steps=60", train=others)
    plain = fit("moe", [others], [made.eval], str(tmp_path / "plain"), [*made.overrides, "training.steps=60"])
    assert metrics["gap"] > plain["gap"] + 0.2


def test_a_killed_student_goes_on_to_the_same_weights(made, teacher, tmp_path, monkeypatch):
    _, whole = distilled(made, tmp_path / "whole", teacher / "best.parquet", 0.5)
    genuine, calls = Predictions.scores, []

    def missing_once(self, ids):
        calls.append(1)
        if len(calls) == 8:
            raise DataError("no prediction for video 'x'")
        return genuine(self, ids)

    monkeypatch.setattr(Predictions, "scores", missing_once)
    with pytest.raises(DataError, match=r"^no prediction for video 'x'$"):
        distilled(made, tmp_path / "broken", teacher / "best.parquet", 0.5)
    monkeypatch.setattr(Predictions, "scores", genuine)
    assert_equal(distilled(made, tmp_path / "broken", teacher / "best.parquet", 0.5)[1], whole)


def test_batches_have_the_scores_of_their_videos(made, tmp_path):
    files = expand([made.train])
    data = layout(files, 30)
    ids = [f"train{shard}_{i:03d}".encode() for shard in range(3) for i in range(200)]
    scores = np.random.default_rng(1).normal(0.5, 0.6, (600, 30)).astype(np.float32)  # some lie outside of 0..1, as an ensemble's may
    with parquet(tmp_path / "t.parquet", Classes(30)) as file:
        file.write(ids[::-1], scores[::-1])
    batches = distill.join(training_batches(files, data, 600, 64, seed=3), Predictions(str(tmp_path / "t.parquet")))
    by_id = dict(zip(ids, scores, strict=True))
    for batch in islice(batches, 3):
        assert batch["teacher"].shape == (64, 30)
        np.testing.assert_array_equal(batch["teacher"], [np.clip(by_id[video], 0, 1) for video in batch["id"]])


def test_the_loss_is_the_weighted_sum(made):
    data = layout(expand([made.train]), 30)
    rng = np.random.default_rng(0)
    x = {name: rng.normal(size=(5, size)).astype(np.float32) for name, size in data.features.items()}
    labels, soft = (rng.random((5, 30)) < 0.2).astype(np.float32), rng.random((5, 30)).astype(np.float32)
    for loss in ("{name: cross_entropy}", "{name: huber, delta: 0.5}"):
        settings = ["training.distill={weight: 0.7}", "head.l2=0", f"loss={loss}"]
        assembly = assemble(load("moe", settings), data, TrainSet([], 10, [1] * 30))
        p = assembly.model(x)
        expected = 0.7 * float(assembly.loss(soft, p)) + 0.3 * float(assembly.loss(labels, p))
        for value in assembly.losses(x, labels, soft):
            assert float(value) == pytest.approx(expected, rel=1e-5)


@given(PROBABILITIES, PROBABILITIES)
@settings(max_examples=60)
def test_cross_entropy_is_least_at_the_teachers_scores(p, teacher):
    loss = CrossEntropy()
    assert float(loss(teacher, p)) >= float(loss(teacher, teacher)) - 1e-3


def test_wrong_teachers(made, teacher, tmp_path):
    out = tmp_path / "run"
    with pytest.raises(DataError, match=r"set training.distill.teacher to a Parquet file"):
        fit("moe_student", [made.train], [made.eval], str(out), made.overrides)
    with pytest.raises(DataError, match="there is no file"):
        distilled(made, out, tmp_path / "none.parquet", 1)
    predict(str(teacher / "run"), [made.eval], str(tmp_path / "eval.parquet"))
    with pytest.raises(DataError, match="has 200 videos, but the training set 600"):
        distilled(made, out, tmp_path / "eval.parquet", 1)
    assert not out.exists()
    predict(str(teacher / "run"), [made.eval, made.train.replace("train*", "train[01]*"), made.unlabelled], str(tmp_path / "mixed.parquet"))
    with pytest.raises(DataError, match=r"mixed.parquet has no prediction for video 'train2_"):
        distilled(made, out, tmp_path / "mixed.parquet", 1)
    with parquet(tmp_path / "other.parquet", Classes(20)) as file:
        file.write([b"a"], np.zeros((1, 20), np.float32))
    with pytest.raises(DataError, match="has 20 classes, but the training set 30"):
        distilled(made, tmp_path / "new", tmp_path / "other.parquet", 1)
    with pytest.raises(DataError, match=r"unknown key 'training.distill.lambda' \(known: teacher, weight\)"):
        load("moe", ["training.distill={lambda: 1}"])
    with pytest.raises(DataError, match=r"training.distill.weight: Input should be less than or equal to 1"):
        load("moe", ["training.distill.weight=1.5"])


def test_student_recipes():
    for name in ("moe_student", "gated_netvlad_800"):
        assert load(name).training.distill == Distill(teacher=None, weight=1.0)
