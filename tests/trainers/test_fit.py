import csv
import json
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from trainers import checkpoints
from trainers import fit as module
from trainers.evaluate import evaluate, score
from trainers.fit import adam, averaged_weights, fit
from trainers.inputs import layout
from trainers.metrics import Metrics
from trainers.optimizer import Rate
from trainers.recipe import Training, load
from trainers.recorder import best_step
from trainers.run import load_run
from yt8m_data.errors import DataError
from yt8m_data.shards import expand


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open() as stream:
        return list(csv.DictReader(stream))


def weights(folder: Path) -> list[np.ndarray]:
    return load_run(str(folder)).model.get_weights()


@pytest.fixture(scope="module")
def finished(made, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "moe"
    return folder, fit(
        "moe", [made.train], [made.eval], str(folder), [*made.overrides, "training.checkpoint_every=25", "training.eval_every=30"]
    )


def test_the_run_folder(finished, made):
    folder, metrics = finished
    assert sorted(p.name for p in folder.iterdir()) == [
        "checkpoints",
        "events",
        "metrics.csv",
        "metrics.json",
        "model.keras",
        "recipe.yaml",
        "train_set.json",
    ]
    assert json.loads((folder / "metrics.json").read_text()) == metrics
    assert metrics["num_examples"] == 200
    assert {"gap", "map", "map_starter", "perr", "hit_at_1", "map_by_frequency"} <= metrics.keys()
    recipe = load(str(folder / "recipe.yaml"))
    assert recipe.data.features == {"mean_rgb": 12, "mean_audio": 4}
    assert recipe.data.num_classes == 30
    assert json.loads((folder / "train_set.json").read_text())["num_records"] == 600


def test_the_log(finished):
    folder, metrics = finished
    found = rows(folder)
    assert [int(r["step"]) for r in found if r["split"] == "train"] == [10, 20, 25, 30, 40, 50, 60]
    assert [int(r["step"]) for r in found if r["split"] == "eval"] == [30, 60]
    assert float(found[-1]["map"]) == metrics["map"]
    losses = [float(r["loss"]) for r in found if r["split"] == "train"]
    assert losses[-1] < losses[0] / 2
    (events,) = (folder / "events").iterdir()
    written = {}
    for record in tf.data.TFRecordDataset(str(events)).as_numpy_iterator():
        event = tf.compat.v1.Event.FromString(record)
        for value in event.summary.value:
            written[value.tag, event.step] = float(tf.make_ndarray(value.tensor))
            assert value.metadata.plugin_data.plugin_name == "scalars"
    assert written["train/loss", 60] == pytest.approx(losses[-1])
    assert written["eval/gap", 60] == pytest.approx(metrics["gap"])


@pytest.mark.parametrize("recipe", ["moe", "logistic"])
def test_beats_the_label_prior(recipe, made, finished, tmp_path):
    folder, metrics = finished
    if recipe != "moe":
        metrics = fit(recipe, [made.train], [made.eval], str(tmp_path / "run"), made.overrides)
    run = load_run(str(folder))
    inputs = {name: keras.Input((size,), name=name) for name, size in run.recipe.data.features.items()}
    constant = keras.Model(inputs, inputs["mean_rgb"][:, :1] * 0 + run.train_set.prior[None].astype(np.float32))
    files = expand([made.eval])
    prior = score(constant, files, layout(files, 30), np.array(run.train_set.label_counts))
    assert metrics["gap"] > prior["gap"] + 0.2
    assert metrics["map"] > prior["map"] + 0.2


# All that a step may change beside plain weights: layers in lists, dropout, batch norm, centres, noise, frames drawn anew each epoch.
STATEFUL = [
    "pooling={name: lstm_memory, cells: [5], layer_norm: true, dropout: 0.2}",
    "encoders=[{name: dense, size: 6, batch_norm: true}, {name: context_gating}]",
    "regularizers=[{name: center}, {name: label_relations, weight: 1.0e-6, every: 4}]",
    "input.adaptive_noise=1",
    "frames={sample: random, count: 5, sort: true}",
]


@pytest.mark.parametrize(("kind", "killed_at"), [("made", 3), ("made", 11), ("made", 20), ("made_frames", 11)])
def test_a_killed_run_goes_on_to_the_same_weights(kind, killed_at, request, made_deltas, tmp_path, monkeypatch):
    """Interrupted before the first checkpoint, between two, and right after one; the unbroken run is the oracle."""
    data = request.getfixturevalue(kind)
    settings = [*data.overrides, "training.steps=24", "training.checkpoint_every=7", "training.ema=0.9", "training.clipnorm=1"]
    settings += STATEFUL if kind == "made_frames" else [f"input.move={{deltas: {made_deltas}, probability: 0.5, steps: 16}}"]
    arguments = ("moe", [data.train], [data.eval])
    expected = fit(*arguments, str(tmp_path / "whole"), settings)

    genuine, calls = module.train_step, []

    def interrupted(*setup):
        step = genuine(*setup)

        def counted(batch):
            calls.append(1)
            if len(calls) == killed_at:
                raise KeyboardInterrupt
            return step(batch)

        return counted

    monkeypatch.setattr(module, "train_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fit(*arguments, str(tmp_path / "broken"), settings)
    monkeypatch.setattr(module, "train_step", genuine)
    assert fit(*arguments, str(tmp_path / "broken"), settings) == expected
    assert rows(tmp_path / "broken") == rows(tmp_path / "whole")
    for one, other in zip(weights(tmp_path / "broken"), weights(tmp_path / "whole"), strict=True):
        np.testing.assert_array_equal(one, other)


def test_mixed_precision_learns_as_much(finished, made, tmp_path):
    folder, metrics = finished
    mixed = fit("moe", [made.train], [made.eval], str(tmp_path / "run"), [*made.overrides, "training.precision=mixed_bfloat16"])
    assert mixed["gap"] == pytest.approx(metrics["gap"], abs=0.03)
    assert evaluate(str(tmp_path / "run"), [made.eval]) == mixed  # computed as it was trained
    assert evaluate(str(folder), [made.eval]) == metrics


def test_begins_with_the_weights_of_another_run(finished, made, tmp_path):
    folder, _ = finished
    settings = [*made.overrides, "training.steps=1", "training.learning_rate=1.0e-12", f"training.initial_run={folder}"]
    fit("moe", [made.train], [made.eval], str(tmp_path / "next"), settings)
    for one, other in zip(weights(tmp_path / "next"), weights(folder), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-9)
    with pytest.raises(DataError, match=r"set training\.initial_run to a run of the same"):
        fit("moe16", [made.train], [made.eval], str(tmp_path / "other"), settings)


def test_a_run_killed_by_a_signal_goes_on(made, tmp_path):
    code = f"""
        import os, signal
        from trainers import fit as module
        from trainers.log import Log
        genuine = Log.train
        def train(self, step, loss):
            genuine(self, step, loss)
            if step == 30:
                os.kill(os.getpid(), signal.SIGKILL)
        Log.train = train
        settings = {[*made.overrides, "training.checkpoint_every=20"]!r}
        module.fit("logistic", [{made.train!r}], [{made.eval!r}], {str(tmp_path / "run")!r}, settings)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL
    assert done.stdout == ""
    assert "step 10/60: loss" in done.stderr  # plain lines where stderr is no terminal
    assert [int(r["step"]) for r in rows(tmp_path / "run")] == [10, 20, 30]
    settings = [*made.overrides, "training.checkpoint_every=20"]
    resumed = fit("logistic", [made.train], [made.eval], str(tmp_path / "run"), settings)
    assert resumed == fit("logistic", [made.train], [made.eval], str(tmp_path / "whole"), settings)
    assert rows(tmp_path / "run") == rows(tmp_path / "whole")


def test_a_finished_run_given_again_trains_no_further(finished, made, monkeypatch):
    folder, metrics = finished
    before = weights(folder)
    settings = [*made.overrides, "training.checkpoint_every=25", "training.eval_every=30"]
    assert fit("moe", [made.train], [made.eval], str(folder), settings) == metrics
    np.testing.assert_array_equal(weights(folder)[0], before[0])
    assert [r["step"] for r in rows(folder)].count("60") == 2  # one of training, one of the evaluation


@pytest.mark.parametrize("damage", [lambda data: data[: len(data) // 2], lambda data: b"", lambda data: data[:-9] + bytes(9)])
@pytest.mark.parametrize("part", [".index", ".data-00000-of-00001"])
def test_a_checkpoint_that_cannot_be_read_is_told_and_nothing_is_touched(part, damage, finished, made, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(finished[0], folder)
    damaged = folder / "checkpoints" / f"ckpt-60{part}"
    damaged.write_bytes(damage(damaged.read_bytes()))
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    settings = [*made.overrides, "training.checkpoint_every=25", "training.eval_every=30"]
    with pytest.raises(
        DataError, match=r"^the checkpoint .*ckpt-60 cannot be read \(.*\): put a copy in its place, or delete .*checkpoints to"
    ):
        fit("moe", [made.train], [made.eval], str(folder), settings)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_other_recipes_files_and_folders_are_refused(finished, made, tmp_path):
    folder, _ = finished
    with pytest.raises(DataError, match="holds a run of another recipe or other settings"):
        fit("moe", [made.train], [made.eval], str(folder), [*made.overrides, "training.seed=1"])
    settings = [*made.overrides, "training.checkpoint_every=25", "training.eval_every=30"]
    with pytest.raises(DataError, match="was begun on other training files"):
        fit("moe", [made.eval], [made.eval], str(folder), settings)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(DataError, match="is not empty and is no run folder of `fit`"):
        fit("moe", [made.train], [made.eval], str(tmp_path), made.overrides)
    with pytest.raises(DataError, match="is a file"):
        fit("moe", [made.train], [made.eval], str(tmp_path / "notes.txt"), made.overrides)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train": ["nowhere*"]}, "no file matches 'nowhere"),
        ({"train": "unlabelled"}, "there are no labels in"),
        ({"eval": "unlabelled"}, "there are no labels in"),
        ({"overrides": ["training.patience=2"]}, "training.patience and keep: best choose among evaluations: set training.eval_every"),
        ({"strategy": "two"}, "unknown strategy 'two': choose one of one, mirrored, multi_worker"),
        ({"overrides": ["num_classes=20"]}, "label 2[0-9] is beyond the 20 classes"),
        ({"overrides": ["head.depth=2"]}, "head 'moe' has no option 'depth'"),
        ({"recipe": "mow"}, "no recipe 'mow'"),
    ],
)
def test_wrong_use_leaves_no_folder(changes, message, made, tmp_path):
    given = {"recipe": "moe", "train": [made.train], "eval": [made.eval], "overrides": []} | changes
    for key in ("train", "eval"):
        given[key] = [made.unlabelled] if given[key] == "unlabelled" else given[key]
    given["overrides"] = [*made.overrides, "training.steps=1", *given["overrides"]]
    with pytest.raises(DataError, match=message):
        fit(
            given["recipe"],
            given["train"],
            given["eval"],
            str(tmp_path / "run"),
            given["overrides"],
            strategy=given.get("strategy", "one"),
        )
    assert not (tmp_path / "run").exists()


def test_a_loss_that_is_not_finite_stops_the_run(made, tmp_path):
    settings = [*made.overrides, "training.learning_rate=1e38", "training.checkpoint_every=5", "head.l2=1"]
    with pytest.raises(DataError, match=r"^the loss at step 5 is not finite: set training.learning_rate lower, or training.clipnorm=1, "):
        fit("logistic", [made.train], [made.eval], str(tmp_path / "run"), settings)
    assert not (tmp_path / "run" / "model.keras").exists()


def test_weights_that_are_not_finite_make_no_checkpoint(made, tmp_path):
    """The loss of the first step is finite, for it is that of the weights before it."""
    settings = [*made.overrides, "training.learning_rate=1e39", "training.checkpoint_every=1"]
    with pytest.raises(DataError, match=r"^the weight .*/.* after step 1 is not finite: set training.learning_rate lower, or "):
        fit("logistic", [made.train], [made.eval], str(tmp_path / "run"), settings)
    assert not list((tmp_path / "run" / "checkpoints").glob("ckpt*"))


@pytest.mark.parametrize(
    "damage", [lambda path: path.unlink(), lambda path: path.write_bytes(b""), lambda path: path.write_bytes(b"\xff:")]
)
def test_a_lost_list_of_checkpoints_is_made_again(damage, finished, made, tmp_path):
    """Without it the run would begin anew, over the checkpoints that there are."""
    folder, metrics = finished
    run = tmp_path / "run"
    shutil.copytree(folder, run)
    damage(run / "checkpoints" / "checkpoint")
    before = {path: path.read_bytes() for path in (run / "checkpoints").glob("ckpt*")}
    assert len(before) == 4
    assert [Path(path).name for path in checkpoints.paths(run)] == ["ckpt-50", "ckpt-60"]
    settings = [*made.overrides, "training.checkpoint_every=25", "training.eval_every=30"]
    assert fit("moe", [made.train], [made.eval], str(run), settings) == metrics
    assert {path: path.read_bytes() for path in (run / "checkpoints").glob("ckpt*")} == before


def test_adam_equals_its_definition_with_staircase_and_clipping():
    training = Training(steps=1, batch_size=10, learning_rate=0.1, decay=0.5, decay_examples=20, clipnorm=1.0)
    optimizer, variable = adam(training), keras.Variable(np.zeros(2))
    optimizer.build([variable])
    expected, m, v = np.zeros(2), np.zeros(2), np.zeros(2)
    for t, gradient in enumerate(np.array([[3.0, 4.0], [0.1, -0.2], [1e-9, 0.5], [0.3, 0.3], [-6.0, 8.0]]), start=1):
        optimizer.apply([tf.constant(gradient, tf.float32)], [variable])
        clipped = gradient / max(1, np.linalg.norm(gradient))
        m, v = 0.9 * m + 0.1 * clipped, 0.999 * v + 0.001 * clipped**2
        rate = 0.1 * 0.5 ** ((t - 1) * 10 // 20)
        expected -= rate * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
        np.testing.assert_allclose(variable.numpy(), expected, rtol=2e-3)


def test_the_rate_rises_in_a_line_and_falls_in_stairs():
    rate = Rate(Training(steps=1, batch_size=10, learning_rate=0.8, warmup_steps=4, decay=0.5, decay_examples=60))
    assert [float(rate(step)) for step in range(13)] == pytest.approx([0.2, 0.4, 0.6, *[0.8] * 3, *[0.4] * 6, 0.2])


@pytest.mark.parametrize("keep", ["last", "best"])
def test_stops_a_little_past_the_best(keep, made, tmp_path, capsys):
    """The rate is far too large, so that GAP soon goes up and down; which step is the best is read off the log."""
    settings = [*made.overrides, "training.learning_rate=3", "training.eval_every=1", "training.patience=3", f"training.keep={keep}"]
    metrics = fit("moe", [made.train], [made.eval], str(tmp_path / "run"), settings)
    gaps = {int(row["step"]): float(row["gap"]) for row in rows(tmp_path / "run") if row["split"] == "eval"}
    best = max(gaps, key=gaps.get)
    assert sorted(gaps) == list(range(1, best + 4))
    assert max(gaps) < 60
    assert metrics["gap"] == gaps[best if keep == "best" else max(gaps)]
    assert evaluate(str(tmp_path / "run"), [made.eval]) == metrics
    assert f"is that of step {best}, gap {gaps[best]:.4f}; kept is step {best if keep == 'best' else max(gaps)}" in capsys.readouterr().err
    before = rows(tmp_path / "run")
    assert fit("moe", [made.train], [made.eval], str(tmp_path / "run"), settings) == metrics  # given again it trains no further
    assert rows(tmp_path / "run") == before


def test_the_best_of_equals_is_the_first():
    assert best_step({5: 0.3, 10: 0.5, 15: 0.5, 20: 0.4}) == 10


def test_a_run_whose_time_is_up_goes_on(finished, made, tmp_path, capsys):
    folder, metrics = finished
    settings = [*made.overrides, "training.checkpoint_every=25", "training.eval_every=30"]
    arguments = ("moe", [made.train], [made.eval], str(tmp_path / "run"), settings)
    for step in (10, 20, 25, 30, 40, 50):
        assert fit(*arguments, time_limit=0) is None
        assert f"the time is up after step {step} of 60: the same command goes on" in capsys.readouterr().err
        assert not (tmp_path / "run" / "model.keras").exists()
    assert fit(*arguments, time_limit=0) == metrics
    assert rows(tmp_path / "run") == rows(folder)
    for one, other in zip(weights(tmp_path / "run"), weights(folder), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_compiled_step_is_the_same_step(made, made_frames, tmp_path):
    for kind, data in (("video", made), ("frame", made_frames)):
        settings = [*data.overrides, "training.steps=3", *(["pooling={name: average}"] if kind == "frame" else [])]
        plain, compiled = (tmp_path / f"{kind}{jit}" for jit in ("false", "true"))
        for folder in (plain, compiled):
            jit = folder.name.removeprefix(kind)
            fit(
                "moe", [data.train], [data.eval], str(folder), [*settings, f"training.jit={jit}", "training.ema=0.5", "training.clipnorm=1"]
            )
        for one, other in zip(weights(compiled), weights(plain), strict=True):
            np.testing.assert_allclose(one, other, atol=2e-4)


def test_averaged_weights_go_in_and_out():
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros")])
    optimizer = adam(Training(steps=1, learning_rate=0.1, ema=0.5))
    optimizer.build(model.trainable_variables)
    average, (weight,) = 0.0, model.trainable_variables
    for step in range(5):
        optimizer.apply([tf.ones((1, 1))], [weight])
        average = float(weight.numpy()[0, 0]) if step == 0 else 0.5 * average + 0.5 * float(weight.numpy()[0, 0])
    last = float(weight.numpy()[0, 0])
    with averaged_weights(optimizer, model):
        assert float(weight.numpy()[0, 0]) == pytest.approx(average)
    assert float(weight.numpy()[0, 0]) == last != pytest.approx(average)


def test_the_evaluation_is_that_of_the_saved_model(finished, made):
    """The metrics of the run equal those of probabilities that plain Keras gives from the saved file."""
    folder, metrics = finished
    model = keras.models.load_model(folder / "model.keras", compile=False)
    ours = Metrics(30)
    for path in expand([made.eval]):
        for record in tf.data.TFRecordDataset(path).as_numpy_iterator():
            keys = tf.train.Example.FromString(record).features.feature
            x = {name: np.float32([keys[name].float_list.value]) for name in ("mean_rgb", "mean_audio")}
            ours.update([keys["id"].bytes_list.value[0]], model(x).numpy(), np.array([keys["labels"].int64_list.value]))
    found = ours.result()
    assert {key: metrics[key] for key in found} == pytest.approx(found, abs=1e-6)
