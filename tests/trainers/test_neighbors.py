import shutil

import numpy as np
import planted
import pytest
import tensorflow as tf
from click.testing import CliRunner

from beam_jobs import stats
from beam_jobs.inputs import open_input
from beam_jobs.runners import Engine
from cli import yt8m_train
from trainers.correct import correct
from trainers.ensemble import ensemble, load
from trainers.evaluate import evaluate
from trainers.export import export
from trainers.fit import fit
from trainers.inputs import evaluation_batches, layout
from trainers.neighbors import neighbors
from trainers.predict import predict
from trainers.run import load_run
from yt8m_data.errors import DataError
from yt8m_data.quantize import dequantize
from yt8m_data.shards import expand, read_json


@pytest.fixture(scope="module")
def trained(made, tmp_path_factory):
    """A run on videos."""
    out = str(tmp_path_factory.mktemp("voting") / "run")
    fit("moe", [made.train], [made.eval], out, [*made.overrides, "training.steps=20"])
    return out


def scores(folder: str, pattern: str) -> np.ndarray:
    return np.concatenate([found for _, found, _ in load(folder).scores(expand([pattern]))])


def examples(pattern: str) -> tuple[list[np.ndarray], list[list[int]]]:
    """Each feature [N, size] of shards of `made`, and the labels, by TensorFlow's parser."""
    records = [tf.train.Example.FromString(r) for path in expand([pattern]) for r in tf.data.TFRecordDataset(path).as_numpy_iterator()]
    features = [np.array([r.features.feature[name].float_list.value for r in records]) for name in ("mean_rgb", "mean_audio")]
    return features, [list(r.features.feature["labels"].int64_list.value) for r in records]


def votes(stored: list[np.ndarray], labels: list, asking: list[np.ndarray], shares, number: int, temperature: float, classes: int):
    """The votes by the formula, [B, C] of float64, of features and roots of scores; what is stored is rounded to float16."""

    def directions(features: list[np.ndarray]) -> np.ndarray:
        parts = [x / np.linalg.norm(x, axis=1, keepdims=True) * share**0.5 for x, share in zip(features, shares, strict=True)]
        return np.concatenate(parts, axis=1)

    similarity = directions(asking) @ directions(stored).astype(np.float16).astype(np.float64).T
    result = np.zeros((len(similarity), classes))
    for row, of in zip(result, similarity, strict=True):
        nearest = np.argsort(-of)[:number]
        weights = np.exp((of[nearest] - of[nearest[0]]) / temperature)
        for n, weight in zip(nearest, weights / weights.sum(), strict=True):
            row[labels[n]] += weight
    return result


def test_a_run_with_neighbors_is_a_run(trained, made, tmp_path):
    out = str(tmp_path / "voted")
    assert neighbors(trained, out, number=7, temperature=0.2, weight=0.4, visual=0.6, scores=0.25) == 600
    features, labels = examples(made.train)
    p, stored, asking = scores(trained, made.eval), [*features, np.sqrt(scores(trained, made.train))], examples(made.eval)[0]
    expected = votes(stored, labels, [*asking, np.sqrt(p)], (0.45, 0.3, 0.25), 7, 0.2, 30)
    found = scores(out, made.eval)
    np.testing.assert_allclose(found, 0.6 * p + 0.4 * expected, atol=1e-4)
    assert evaluate(out, [made.eval])["gap"] > evaluate(trained, [made.eval])["gap"]  # that one has learned for 20 steps
    noted = {"run": trained, "files": expand([made.train]), "num_videos": 600}
    assert read_json(f"{out}/neighbors.json") == {**noted, "neighbors": 7, "temperature": 0.2, "weight": 0.4, "visual": 0.6, "scores": 0.25}
    shutil.copytree(out, tmp_path / "moved")
    np.testing.assert_array_equal(scores(str(tmp_path / "moved"), made.eval), found)
    with pytest.raises(DataError, match="is no run folder of `fit`"):
        fit("moe", [made.train], [made.eval], out, [*made.overrides, "training.steps=20"])


def test_it_tells_of_videos_that_vote_on_themselves(trained, made, tmp_path, capsys):
    """Also behind other layers and in an ensemble; and weights are learned of none such."""
    out, corrected, both = (str(tmp_path / name) for name in ("voted", "corrected", "both"))
    first, second = expand([made.eval])[:2]
    neighbors(trained, out, [first])
    stats.run(open_input([made.train], num_classes=30), str(tmp_path / "stats"), None, Engine())
    correct(out, corrected, str(tmp_path / "stats" / "cooccurrence.npz"), share=0.1, most=1000)
    capsys.readouterr()
    for folder in (trained, out, corrected):
        evaluate(folder, [second])
    assert "vote in" not in capsys.readouterr().err
    assert evaluate(out, [first])["gap"] > evaluate(trained, [first])["gap"] + 0.1
    assert f"Videos of these shards vote in {out}, or trained it" in capsys.readouterr().err
    evaluate(corrected, [first, second])
    assert f"Videos of 1 of these 2 shards vote in {corrected}, or trained it" in capsys.readouterr().err
    with pytest.raises(DataError, match=f"{out} was trained on {first}: learn weights on shards that no member has seen"):
        ensemble([trained, out], both, "model", [made.eval])
    ensemble([trained, out], both)
    predict(both, [first], str(tmp_path / "p.csv"))
    assert f"Videos of these shards vote in {out}, or trained it" in capsys.readouterr().err


def test_it_goes_where_runs_go(trained, made, tmp_path):
    out = str(tmp_path / "voted")
    neighbors(trained, out)
    files = expand([made.eval])
    (batch,) = evaluation_batches(files, layout(files, 30), 1000)
    for form, name in (("saved_model", "served"), ("tflite", "lite")):
        assert export(out, str(tmp_path / name), form) > 0
    served = tf.saved_model.load(str(tmp_path / "served")).signatures["serving_default"](**batch["features"])["scores"]
    np.testing.assert_allclose(served, scores(out, made.eval), atol=1e-5)
    lite = tf.lite.Interpreter(str(tmp_path / "lite")).get_signature_runner()
    one = {name: value[:1].numpy() for name, value in batch["features"].items()}
    np.testing.assert_allclose(lite(**one)["scores"], scores(out, made.eval)[:1], atol=1e-4)
    stats.run(open_input([made.train], num_classes=30), str(tmp_path / "stats"), None, Engine("local", 0, ()))
    assert correct(out, str(tmp_path / "corrected"), str(tmp_path / "stats" / "cooccurrence.npz"), share=0.4, most=60) > 0
    assert (scores(str(tmp_path / "corrected"), made.eval) <= scores(out, made.eval) * (1 + 1e-6)).all()
    ensemble([out, trained], str(tmp_path / "both"))
    np.testing.assert_allclose(
        scores(str(tmp_path / "both"), made.eval), (scores(out, made.eval) + scores(trained, made.eval)) / 2, atol=1e-6
    )


def test_frames_have_the_neighbors_of_their_means(made_frames, tmp_path):
    run, out, small = str(tmp_path / "run"), str(tmp_path / "voted"), [*made_frames.overrides, "training.steps=5"]
    fit("average", [made_frames.train], [made_frames.eval], run, small)
    stored, asking = planted.make(400, 0, "train"), planted.make(150, 1, "eval")
    labelled = [number for number, labels in enumerate(stored.labels) if labels]
    assert neighbors(run, out, number=5, temperature=0.1, weight=0.5, scores=0.0) == len(labelled) < 400

    def means(found) -> list[np.ndarray]:
        return [np.stack([dequantize(frames).mean(axis=0) for frames in feature]) for feature in found.frames.values()]

    voters, labels = [feature[labelled] for feature in means(stored)], [stored.labels[number] for number in labelled]
    expected = votes(voters, labels, means(asking), (0.85, 0.15), 5, 0.1, planted.NUM_CLASSES)
    np.testing.assert_allclose(scores(out, made_frames.eval), 0.5 * scores(run, made_frames.eval) + 0.5 * expected, atol=1e-4)


def test_soft_labels_count_as_much_as_they_say(made, trained, write_shard, tmp_path):
    (rgb, audio), labels = examples(made.train)
    soft = tf.train.Feature(float_list=tf.train.FloatList(value=[0.25]))
    features = {"mean_rgb": rgb[:40], "mean_audio": audio[:40]}
    ids = [f"v{i}".encode() for i in range(40)]
    for name, extra in (("soft", {"label_weights": soft}), ("hard", None)):
        write_shard(tmp_path / f"{name}.tfrecord", ids, [own[:1] for own in labels[:40]], features, extra)
        assert neighbors(trained, str(tmp_path / name), [str(tmp_path / f"{name}.tfrecord")], weight=0.5) == 40
    p = scores(trained, made.eval)
    softly, hard = (2 * scores(str(tmp_path / name), made.eval) - p for name in ("soft", "hard"))
    np.testing.assert_allclose(softly, hard / 4, atol=1e-5)
    assert hard.sum(axis=1) == pytest.approx(1, abs=1e-4)


def test_a_list_of_classes(made_frames, listed, tmp_path):
    run, small = str(tmp_path / "run"), [*made_frames.overrides, "training.steps=5", f"classes={listed}"]
    fit("average", [made_frames.train], [made_frames.eval], run, small)
    number = neighbors(run, str(tmp_path / "voted"))
    assert number == sum(bool({9, 1, 8} & set(labels)) for labels in planted.make(400, 0, "train").labels)
    assert scores(str(tmp_path / "voted"), made_frames.eval).shape[1] == 3


def test_the_command(trained, made, tmp_path):
    out = str(tmp_path / "voted")
    arguments = ["neighbors", trained, "--out", out, "--data", expand([made.train])[0], "--neighbors", "3", "--weight", "0.5"]
    done = CliRunner().invoke(yt8m_train, arguments)
    assert done.exit_code == 0, done.output
    assert f"200 videos vote in {out}" in done.output
    assert read_json(f"{out}/neighbors.json")["files"] == expand([made.train])[:1]


def test_weight_0_changes_nothing(trained, made, tmp_path):
    neighbors(trained, str(tmp_path / "voted"), weight=0.0)
    np.testing.assert_allclose(scores(str(tmp_path / "voted"), made.eval), scores(trained, made.eval), rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weight": 1.0}, "weight of votes is 1.0: set it to a number of at least 0 and below 1"),
        ({"visual": 1.5}, "the share --visual is 1.5: set it to a number from 0 to 1"),
        ({"scores": -0.5}, "the share --scores is -0.5: set it to a number from 0 to 1"),
        ({"number": 0}, "neighbors of votes is 0: set it to a whole number of at least 1"),
        ({"data": ["none*"]}, "none"),
        ({"data": ["{made.unlabelled}"]}, "there are no labels in"),
        ({"data": ["{frames.train}"]}, "holds frame-level records, but the model was trained on others"),
    ],
)
def test_wrong_options(trained, made, made_frames, tmp_path, options, message):
    options = {
        key: [each.format(made=made, frames=made_frames) for each in value] if key == "data" else value for key, value in options.items()
    }
    with pytest.raises(DataError, match=message):
        neighbors(trained, str(tmp_path / "out"), **options)
    assert not (tmp_path / "out").exists()


def test_of_many_videos_some_are_held_whatever_their_order(trained, made, tmp_path):
    files = expand([made.train])
    for name, data in (("some", files), ("turned", files[::-1])):
        assert neighbors(trained, str(tmp_path / name), data, most=100) == 100
    np.testing.assert_allclose(scores(str(tmp_path / "turned"), made.eval), scores(str(tmp_path / "some"), made.eval), atol=1e-6)
    held = load_run(str(tmp_path / "some")).model.get_layer("votes").vectors.numpy().T
    neighbors(trained, str(tmp_path / "all"))
    everyone = load_run(str(tmp_path / "all")).model.get_layer("votes").vectors.numpy().T
    places = [int(np.flatnonzero((everyone == one).all(axis=1))[0]) for one in held]
    assert places == sorted(places)  # in the order of the files
    assert min(np.histogram(places, 3, (0, 600))[0]) > 15  # and of all of them


def test_it_is_put_behind_a_run_once_and_writes_over_nothing(trained, tmp_path):
    neighbors(trained, str(tmp_path / "once"))
    with pytest.raises(DataError, match="has neighbors that vote already: give the run that they were put behind"):
        neighbors(str(tmp_path / "once"), str(tmp_path / "twice"))
    with pytest.raises(DataError, match="is not an empty folder: give another one for the run with neighbors"):
        neighbors(trained, str(tmp_path / "once"))
    with pytest.raises(DataError, match="is no run folder"):
        neighbors(str(tmp_path), str(tmp_path / "out"))
