import csv
import json

import numpy as np
import pytest
import tensorflow as tf
import yaml
from planted_segments import KEYS, LOCAL, MODELS, NUM_CLASSES, SEGMENTS, SIGNED

from trainers.run import load_run as load_video_run
from trainers.segments import fit as module
from trainers.segments.evaluate import evaluate
from trainers.segments.fit import fit
from trainers.segments.metrics import SegmentMetrics
from trainers.segments.reader import evaluation_batches
from trainers.segments.run import layout_of, load_run, predictions
from yt8m_data.errors import DataError
from yt8m_data.shards import expand


@pytest.fixture(scope="module")
def in_context(make_in_context, tmp_path_factory):
    """1,600 videos to train on, and a run of whole videos that has learnt them."""
    return make_in_context(tmp_path_factory.mktemp("in_context"), 1600)


@pytest.fixture(scope="module")
def runs(in_context, tmp_path_factory):
    """Per model its run folder and its metrics."""
    folder, found = tmp_path_factory.mktemp("segment_runs"), {}
    for model in MODELS:
        settings = [*SEGMENTS, "training.steps=150"]
        metrics = fit(in_context.video_run, [in_context.train], [in_context.eval], str(folder / model), model, settings)
        found[model] = (folder / model, metrics)
    return found


def per_class(run, made, score=None):
    """MAP@K of each class alone, with a run's scores or with those of `score(batch)`."""
    settings = run.settings
    batches = evaluation_batches(expand([made.eval]), layout_of(settings, expand([made.eval])), 300)
    metrics = [SegmentMetrics(NUM_CLASSES) for _ in range(NUM_CLASSES)]
    for videos, places, p, batch in predictions(run.model, batches):
        ids = [b"%b:%d" % (videos[video], start) for video, start in places.tolist()]
        p = p if score is None else score(batch, places)
        for c in range(NUM_CLASSES):
            metrics[c].update(ids, p, np.where(batch["rated"] == c, c, -1), batch["ratings"].numpy())
    return np.array([each.map_at() for each in metrics])


def test_the_run_folder(runs, in_context):
    folder, metrics = runs["mean"]
    names = ["checkpoints", "events", "metrics.csv", "metrics.json", "model.keras", "segments.yaml", "train_set.json"]
    assert sorted(path.name for path in folder.iterdir()) == names
    assert json.loads((folder / "metrics.json").read_text()) == metrics
    settings = yaml.safe_load((folder / "segments.yaml").read_text())
    assert (settings["model"], settings["video"]["name"], settings["rates"]["segment_encoder"]) == ("mean", "gated_netvlad", 0.5)
    with (folder / "metrics.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert float(rows[-1]["map_at_k"]) == metrics["map_at_k"]
    assert [int(row["step"]) for row in rows if row["split"] == "train"] == list(range(10, 151, 10))
    assert (metrics["num_segments"], metrics["k"]) == (800, 100_000)
    assert evaluate(str(folder), [in_context.eval]) == metrics


def test_what_needs_the_context_needs_the_context_aware_model(runs, in_context):
    """Chance is 1/2: each pair is rated 1 half of the time."""
    ignorant, aware, mean = (per_class(load_run(str(runs[model][0])), in_context) for model in MODELS)
    assert ignorant[list(LOCAL)].min() > 0.9  # what shows in the frames of the segment alone is found by both
    assert aware[list(LOCAL)].min() > 0.9
    assert ignorant[list(SIGNED)].max() < 0.65
    assert aware[list(SIGNED)].min() > 0.9
    assert mean[list(SIGNED)].min() > 0.9
    assert not ignorant[list(KEYS)].any()  # never rated
    ignorant, aware, mean = (runs[model][1]["map_at_k"] for model in MODELS)
    assert aware > ignorant + 0.1
    assert mean >= max(aware, ignorant)


def test_the_halves_of_the_mean_learn_as_they_do_alone(runs):
    """With a loss for each: so what the mean is held against above are its own halves, and no chance of another start is in it."""
    mean = load_run(str(runs["mean"][0])).model
    ignorant, aware = (load_run(str(runs[model][0])).model for model in MODELS[:2])
    pairs = [(mean.get_layer("context_ignorant"), ignorant.get_layer("context_ignorant"))]
    pairs += [(mean.get_layer(name), aware.get_layer(name)) for name in ("context", "segment_encoder", "fusion", "head")]
    for one, other in pairs:
        assert one.weights
        for weight, alone in zip(one.weights, other.weights, strict=True):
            np.testing.assert_allclose(weight, alone, atol=1e-4)


def test_a_score_of_the_whole_video_finds_no_segment(runs, in_context):
    """The video run itself knows the classes of a video, but not where: only the frames of the segment tell."""
    network, run = load_video_run(in_context.video_run).model, load_run(str(runs["context_ignorant"][0]))

    def of_the_video(batch, places):
        features = {name: batch["features"][name] for name in network.input}
        return network(features, training=False).numpy()[places[:, 0]]

    assert per_class(run, in_context, of_the_video)[list(LOCAL + SIGNED)].max() < 0.62


def interrupted_in(number):
    """Make steps as `train_step` does, but be interrupted in one of them."""
    genuine, steps = module.train_step, []

    def interrupted(*setup):
        step = genuine(*setup)

        def counted(batch):
            steps.append(1)
            if len(steps) == number:
                raise KeyboardInterrupt
            return step(batch)

        return counted

    return interrupted


def test_a_killed_run_goes_on_to_the_same_weights(in_context, tmp_path, monkeypatch):
    settings = [*SEGMENTS, "training.steps=8", "training.checkpoint_every=3", "training.ema=0.9"]
    arguments = (in_context.video_run, [in_context.train], [in_context.eval])
    expected = fit(*arguments, str(tmp_path / "whole"), "context_aware", settings)
    genuine = module.train_step
    monkeypatch.setattr(module, "train_step", interrupted_in(5))
    with pytest.raises(KeyboardInterrupt):
        fit(*arguments, str(tmp_path / "broken"), "context_aware", settings)
    monkeypatch.setattr(module, "train_step", genuine)
    assert fit(*arguments, str(tmp_path / "broken"), "context_aware", settings) == expected
    weights = (load_run(str(tmp_path / name)).model.get_weights() for name in ("whole", "broken"))
    for one, other in zip(*weights, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"video_run": "nowhere"}, "nowhere is no run folder"),
        ({"video_run": "SEGMENTS"}, r"it has no recipe\.yaml"),
        ({"train": "nowhere*"}, "no file matches"),
        ({"overrides": ["depth=3"]}, "unknown key 'depth'"),
        ({"overrides": ["training.speed=3"]}, r"unknown key 'training\.speed'"),
        ({"overrides": ["model=mean"]}, "give that"),
        ({"overrides": ["rates.tail=2"]}, "rates has 'tail', which is no layer with weights to learn: known are .*segment_encoder"),
        ({"overrides": ["rates.head=-2"]}, r"rates\.head"),
        ({"overrides": ["training.initial_run=x"]}, r"training\.initial_run is not for segments"),
        ({"model": "context_aware", "overrides": ["joint=true"]}, "joint goes with model mean"),
        ({"model": "context_aware", "overrides": ["mean_of=probabilities"]}, "mean_of goes with model mean"),
        ({"overrides": ["head={name: nothing}"]}, "unknown head 'nothing'"),
    ],
)
def test_wrong_use_leaves_no_folder(changes, message, in_context, runs, tmp_path):
    given = {"video_run": in_context.video_run, "train": in_context.train, "model": "mean", "overrides": []} | changes
    video_run = str(runs["mean"][0]) if given["video_run"] == "SEGMENTS" else given["video_run"]
    with pytest.raises(DataError, match=message):
        fit(video_run, [given["train"]], [in_context.eval], str(tmp_path / "run"), given["model"], given["overrides"])
    assert not (tmp_path / "run").exists()


def test_a_video_run_is_no_segment_run(in_context):
    with pytest.raises(DataError, match=r"is no run folder of segments \(it has no segments\.yaml\)"):
        evaluate(in_context.video_run, [in_context.eval])


def test_other_settings_are_refused(runs, in_context):
    folder, _ = runs["mean"]
    with pytest.raises(DataError, match=r"holds a run of another recipe or other settings.*segments\.yaml"):
        fit(in_context.video_run, [in_context.train], [in_context.eval], str(folder), "mean", SEGMENTS)


@pytest.fixture
def begun(in_context, tmp_path, monkeypatch):
    """A run of 8 steps that was stopped after the fifth, and the call that goes on with it."""
    genuine = module.train_step

    def go_on(*settings):
        given = [*SEGMENTS, "training.steps=8", "training.checkpoint_every=3", "rates={}", *settings]
        return fit(in_context.video_run, [in_context.train], [in_context.eval], str(tmp_path / "run"), "context_ignorant", given)

    monkeypatch.setattr(module, "train_step", interrupted_in(6))
    with pytest.raises(KeyboardInterrupt):
        go_on()
    monkeypatch.setattr(module, "train_step", genuine)
    return tmp_path / "run", go_on


def test_wrong_use_of_a_run_that_has_begun_loses_nothing(begun, monkeypatch):
    """Other settings, a checkpoint that cannot be read, and a loss that is no number; then the same call goes on to the end."""
    folder, go_on = begun
    before = contents(folder)
    with pytest.raises(DataError, match=r"^.* holds a run of another recipe or other settings: .*segments\.yaml$"):
        go_on("hidden=64")
    damaged = folder / "checkpoints" / "ckpt-3.index"
    good = damaged.read_bytes()
    damaged.write_bytes(good[: len(good) // 2])
    spoilt = contents(folder)
    with pytest.raises(
        DataError, match=r"^the checkpoint .*ckpt-3 cannot be read \(.*\): put a copy in its place, or delete .*checkpoints to"
    ):
        go_on()
    assert contents(folder) == spoilt
    damaged.write_bytes(good)
    assert contents(folder) == before

    genuine = module.train_step
    monkeypatch.setattr(module, "train_step", lambda *setup: lambda batch: tf.constant(np.nan, tf.float32))
    with pytest.raises(DataError, match=r"^the loss at step 6 is not finite: set training.learning_rate lower"):
        go_on()
    monkeypatch.setattr(module, "train_step", genuine)
    checkpoints = {path: data for path, data in before.items() if path.parent.name == "checkpoints"}
    assert checkpoints.items() <= contents(folder).items()

    metrics = go_on()
    model = folder / "model.keras"
    good = model.read_bytes()
    model.write_bytes(good[:1000])
    spoilt = contents(folder)
    with pytest.raises(DataError, match=r"^the model .*model\.keras cannot be read \(.*\): put a copy in its place, or delete it"):
        load_run(str(folder))
    assert contents(folder) == spoilt
    model.unlink()
    assert go_on() == metrics
    assert model.stat().st_size == len(good)


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
