import csv
import shutil
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from trainers.average import average, mean_weights
from trainers.evaluate import evaluate
from trainers.fit import fit
from trainers.inputs import evaluation_batches, layout, training_batches
from trainers.predict import predict
from trainers.run import load_run
from yt8m_data.errors import DataError
from yt8m_data.shards import expand, read_json

KEPT = ["training.steps=40", "training.checkpoint_every=10", "training.keep_checkpoints=4"]
LIST = st.lists(arrays.arrays(np.float32, (3, 2), elements=st.floats(-8, 8, width=32)), min_size=1, max_size=4)


@pytest.fixture(scope="module")
def trained(made, tmp_path_factory):
    folder = tmp_path_factory.mktemp("averaging") / "run"
    fit("logistic", [made.train], [made.eval], str(folder), [*made.overrides, *KEPT])
    return str(folder)


def in_checkpoint(folder: str, step: int) -> list[np.ndarray]:
    """The weights of a checkpoint in their order, by TensorFlow's reader."""
    reader = tf.train.load_checkpoint(f"{folder}/checkpoints/ckpt-{step}")
    keys = [f"weights/{place}/.ATTRIBUTES/VARIABLE_VALUE" for place in range(50)]
    return [reader.get_tensor(key) for key in keys if reader.has_tensor(key)]


def logits(p: np.ndarray) -> np.ndarray:
    return np.log(p.astype(np.float64)) - np.log1p(-p.astype(np.float64))


def scores(model, pattern: str) -> np.ndarray:
    files = expand([pattern])
    return np.concatenate([model(batch["features"]).numpy() for batch in evaluation_batches(files, layout(files, 30))])


def test_the_mean_of_the_last_checkpoints(trained, made, tmp_path):
    assert average(trained, str(tmp_path / "mean"), last=3) == [20, 30, 40]
    expected = [np.mean(parts, axis=0, dtype=np.float64) for parts in zip(*(in_checkpoint(trained, s) for s in (20, 30, 40)), strict=True)]
    own = load_run(str(tmp_path / "mean")).model
    for weight, value in zip(own.get_weights(), expected, strict=True):
        np.testing.assert_array_equal(weight, value.astype(np.float32))

    # The logits of a linear model are linear in its weights: the mean model's are the mean of the models'.
    model, parts = load_run(trained).model, []
    for step in (20, 30, 40):
        model.set_weights(in_checkpoint(trained, step))
        parts.append(logits(scores(model, made.eval)))
    np.testing.assert_allclose(logits(scores(own, made.eval)), np.mean(parts, axis=0), atol=2e-3)


def test_is_a_run_that_is_evaluated_and_predicted_but_trained_no_further(trained, made, tmp_path):
    average(trained, str(tmp_path / "mean"), last=4)
    metrics = evaluate(str(tmp_path / "mean"), [made.eval])
    assert metrics["num_examples"] == 200
    assert metrics["gap"] != evaluate(trained, [made.eval])["gap"]
    assert predict(str(tmp_path / "mean"), [made.unlabelled], str(tmp_path / "p.csv"), top_k=3) == 50
    assert len(list(csv.DictReader((tmp_path / "p.csv").open()))) == 50
    assert read_json(tmp_path / "mean" / "average.json") == {"run": trained, "steps": [10, 20, 30, 40], "batch_norm_batches": None}
    before = (tmp_path / "mean" / "model.keras").read_bytes()
    with pytest.raises(DataError, match="is no run folder of `fit`"):
        fit("logistic", [made.train], [made.eval], str(tmp_path / "mean"), [*made.overrides, *KEPT])
    assert (tmp_path / "mean" / "model.keras").read_bytes() == before


@pytest.mark.parametrize("more", [[], ["training.ema=0.9"]])
def test_one_checkpoint_is_the_run_itself(more, made, tmp_path):
    """With an average of the weights it is that average that is taken, as in the evaluation of the run."""
    fit("moe", [made.train], [made.eval], str(tmp_path / "run"), [*made.overrides, "training.steps=10", *more])
    average(str(tmp_path / "run"), str(tmp_path / "same"), last=1)
    for one, other in zip(load_run(str(tmp_path / "same")).model.weights, load_run(str(tmp_path / "run")).model.weights, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())


@given(LIST)
@settings(max_examples=50)
def test_laws_of_the_mean(checkpoints):
    lists = [[one, np.int64([7])] for one in checkpoints]
    (mean, _) = mean_weights(lists)
    np.testing.assert_allclose(mean, np.mean(checkpoints, axis=0, dtype=np.float64), atol=1e-6)
    np.testing.assert_array_equal(mean_weights(reversed(lists))[0], mean)
    np.testing.assert_array_equal(mean_weights([lists[0]] * 5)[0], checkpoints[0])


def test_integers_are_those_of_the_last_and_shapes_must_agree():
    mean = mean_weights([[np.float32([1, 2]), np.int32([5])], [np.float32([2, 4]), np.int32([8])]])
    np.testing.assert_array_equal(mean[0], [1.5, 3])
    assert mean[1].dtype == np.int32
    assert mean[1].tolist() == [8]
    with pytest.raises(DataError, match="weights of different shapes"):
        mean_weights([[np.zeros(3)], [np.zeros(4)]])
    with pytest.raises(DataError, match="weights of different shapes"):
        mean_weights([[np.zeros(3)], [np.zeros(3), np.zeros(3)]])


DENSE = "encoders=[{name: dense, size: 6, batch_norm: true, momentum: 0.9}]"


def test_batch_norm_is_averaged_or_taken_anew(made, tmp_path):
    run = str(tmp_path / "run")
    fit("logistic", [made.train], [made.eval], run, [*made.overrides, *KEPT, DENSE])
    average(run, str(tmp_path / "mean"), last=2)
    average(run, str(tmp_path / "anew"), last=2, batch_norm=5)
    mean, anew = (load_run(str(tmp_path / name)).model for name in ("mean", "anew"))
    statistics = {}
    for name, model in (("mean", mean), ("anew", anew)):
        norm = model.get_layer("encoder_1").norm
        assert norm.momentum == 0.9
        statistics[name] = norm.moving_mean.numpy(), norm.moving_variance.numpy()
    for one, other in zip(mean.trainable_weights, anew.trainable_weights, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())

    # What the dense layer gives for the first training batches, computed from its weights.
    recipe, train_set = load_run(run).recipe, load_run(run).train_set
    kernel = mean.get_layer("encoder_1").weights[0].numpy()
    batches = training_batches(train_set.files, recipe.data, 600, 64, seed=0, frames=recipe.frames)
    means, variances = [], []
    for batch in islice(batches, 5):
        x = np.concatenate([batch["features"]["mean_rgb"], batch["features"]["mean_audio"]], axis=1)
        z = x / np.linalg.norm(x, axis=1, keepdims=True) * recipe_scale(recipe) @ kernel
        means.append(z.mean(axis=0))
        variances.append(z.var(axis=0))
    np.testing.assert_allclose(statistics["anew"][0], np.mean(means, axis=0), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(statistics["anew"][1], np.mean(variances, axis=0), rtol=1e-4)
    assert np.abs(statistics["mean"][1] - statistics["anew"][1]).max() > 1e-3


def recipe_scale(recipe) -> float:
    return recipe.input.scale or 16**0.5


def test_wrong_use(trained, made, tmp_path):
    with pytest.raises(DataError, match=r"has 4 checkpoints, not 5: give --last 4, or train with training.keep_checkpoints=5"):
        average(trained, str(tmp_path / "out"))
    with pytest.raises(DataError, match="recipe logistic has no batch norm: leave --batch-norm out"):
        average(trained, str(tmp_path / "out"), last=2, batch_norm=3)
    with pytest.raises(DataError, match="is no run folder"):
        average(str(tmp_path), str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()
    with pytest.raises(DataError, match="is not an empty folder"):
        average(trained, trained)

    other = tmp_path / "other"
    shutil.copytree(trained, other)
    text = (other / "recipe.yaml").read_text()
    (other / "recipe.yaml").write_text(text.replace("  num_classes: 30", "  num_classes: 20"))
    with pytest.raises(DataError, match="or is of another model"):
        average(str(other), str(tmp_path / "out"), last=2)
    (other / "recipe.yaml").write_text(text)
    for part in Path(other, "checkpoints").glob("ckpt-40.data*"):
        part.write_bytes(part.read_bytes()[:100])
    with pytest.raises(DataError, match="ckpt-40 cannot be read"):
        average(str(other), str(tmp_path / "out"), last=2)
    assert not (tmp_path / "out").exists()
