import json
import shutil

import numpy as np
import planted
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainers import ensemble as module
from trainers.ensemble import combine, ensemble, load
from trainers.evaluate import evaluate
from trainers.fit import fit
from trainers.predict import predict
from trainers.prediction_file import Classes, parquet
from trainers.run import load_run
from trainers.weights import Moments, learn
from yt8m_data.errors import DataError
from yt8m_data.shards import expand, read_json


def problem(num_members, num_classes, num_videos, seed):
    """Scores [M, V, C], labels as a 0/1 matrix and as padded lists; members see the truth through noise of their own."""
    rng = np.random.default_rng(seed)
    truth = rng.random((num_videos, num_classes)) < rng.uniform(0.2, 0.5, num_classes)
    noise = rng.uniform(0.2, 0.5, num_members)[:, None, None] * rng.normal(size=(num_members, num_videos, num_classes))
    scores = np.clip(truth * 0.8 + 0.1 + noise, 0, 1).astype(np.float32)
    return scores, truth, padded(truth)


def padded(truth):
    rows = [np.flatnonzero(row).tolist() for row in truth]
    width = max(map(len, rows))
    return np.array([row + [-1] * (width - len(row)) for row in rows])


def moments_of(scores, labels, pieces=3):
    moments = Moments(scores.shape[0], scores.shape[2])
    for rows in np.array_split(np.arange(len(labels)), pieces):
        moments.update(scores[:, rows], labels[rows])
    return moments


def least_squares(scores, truth):
    """The closed form, by NumPy's solver on all pairs of video and class: [M]."""
    return np.linalg.lstsq(scores.reshape(len(scores), -1).T.astype(np.float64), truth.ravel().astype(np.float64), rcond=None)[0]


@given(st.integers(1, 5), st.integers(1, 6), st.integers(0, 10**6))
@settings(max_examples=15)
def test_adam_finds_least_squares(num_members, num_classes, seed):
    scores, truth, labels = problem(num_members, num_classes, 200, seed)
    moments = moments_of(scores, labels)
    learned = learn(moments, per_class=False)
    np.testing.assert_allclose(learned.weights, least_squares(scores, truth), atol=2e-3)
    error = np.mean((np.einsum("mvc,m->vc", scores, learned.weights) - truth) ** 2)
    assert learned.error == pytest.approx(error, rel=1e-5)
    assert learned.error_of_equal == pytest.approx(np.mean((scores.mean(axis=0) - truth) ** 2), rel=1e-5)

    per_class = learn(moments, per_class=True)
    for c in range(num_classes):
        np.testing.assert_allclose(per_class.weights[:, c], least_squares(scores[:, :, [c]], truth[:, [c]]), atol=2e-3)
    assert per_class.error <= learned.error + 1e-6 <= learned.error_of_equal + 2e-6


def test_a_useless_member_gets_nothing_and_a_perfect_one_all():
    scores, truth, labels = problem(3, 5, 4000, 0)
    useless = np.random.default_rng(1).normal(size=truth.shape).astype(np.float32)
    weights = learn(moments_of(np.stack([scores[0], useless, scores[1]]), labels), per_class=False).weights
    assert abs(weights[1]) < 0.01
    weights = learn(moments_of(np.stack([scores[0], truth.astype(np.float32), scores[1]]), labels), per_class=False).weights
    np.testing.assert_allclose(weights, [0, 1, 0], atol=1e-3)


def test_one_class_alike_in_all_columns_needs_one_weight_per_model():
    """Where every class is the same problem, weights per model and class are those per model."""
    scores, _, labels = problem(3, 1, 300, 4)
    alike = np.repeat(scores, 4, axis=2)
    truth = np.repeat((labels >= 0).any(axis=1)[:, None], 4, axis=1)
    moments = moments_of(alike, padded(truth))
    per_model, per_class = learn(moments, False).weights, learn(moments, True).weights
    np.testing.assert_allclose(per_class, np.repeat(per_model[:, None], 4, axis=1), atol=1e-4)
    np.testing.assert_allclose(combine(alike, per_class), combine(alike, per_model), atol=1e-4)


def test_a_label_given_twice_counts_once():
    scores, _, labels = problem(2, 4, 50, 1)
    twice = np.concatenate([labels, labels], axis=1)
    assert moments_of(scores, twice).mean_squared_error(np.ones(2) / 2) == moments_of(scores, labels).mean_squared_error(np.ones(2) / 2)


@pytest.fixture(scope="module")
def runs(made, tmp_path_factory):
    """Three runs that differ, trained on two of the three shards; the third is held out."""
    folder = tmp_path_factory.mktemp("ensembles")
    for name, more in {"moe": [], "logistic": [], "weak": ["training.steps=2", "training.learning_rate=1e-4"]}.items():
        recipe = name if name != "weak" else "logistic"
        train = made.train.replace("train*", "train[01]*")
        fit(recipe, [train], [made.eval], str(folder / name), [*made.overrides, *more])
    return folder


def held_out(made):
    return made.train.replace("train*", "train2*")


def members(folder):
    return [str(folder / name) for name in ("moe", "logistic", "weak")]


def scored(path, pattern, repeat=1):
    batches = list(load(path).scores(expand([pattern]), repeat))
    return [i for ids, _, _ in batches for i in ids], np.concatenate([scores for _, scores, _ in batches])


def test_equal_weights_are_the_mean(runs, made, tmp_path):
    kept = ensemble(members(runs), str(tmp_path / "e"))
    assert kept == read_json(tmp_path / "e" / "ensemble.json")
    ids, together = scored(str(tmp_path / "e"), made.eval)
    parts = [scored(name, made.eval) for name in members(runs)]
    assert all(part[0] == ids for part in parts)
    np.testing.assert_allclose(together, np.mean([part[1] for part in parts], axis=0), rtol=1e-5, atol=1e-7)
    metrics = evaluate(str(tmp_path / "e"), [made.eval])
    assert metrics["num_examples"] == 200
    assert "map_by_frequency" in metrics


def test_identical_members_change_nothing(runs, made, tmp_path):
    ensemble([str(runs / "moe")] * 3, str(tmp_path / "e"))
    np.testing.assert_allclose(scored(str(tmp_path / "e"), made.eval)[1], scored(str(runs / "moe"), made.eval)[1], rtol=1e-6)


@pytest.mark.parametrize("weights", ["model", "class"])
def test_learned_weights(weights, runs, made, tmp_path):
    kept = ensemble(members(runs), str(tmp_path / "e"), weights, [held_out(made)])
    parts = np.stack([scored(name, held_out(made))[1] for name in members(runs)])
    labels = np.zeros(parts.shape[1:])
    row = 0
    for _, _, batch in load(str(runs / "moe")).scores(expand([held_out(made)])):
        for video in batch:
            labels[row, video[video >= 0]] = 1
            row += 1
    w = np.array(kept["weights"])
    assert w.shape == ((3,) if weights == "model" else (3, 30))
    subscripts = "mvc,m->vc" if weights == "model" else "mvc,mc->vc"
    assert kept["mean_squared_error"] == pytest.approx(np.mean((np.einsum(subscripts, parts, w) - labels) ** 2), rel=1e-4)
    assert kept["mean_squared_error"] < kept["that_of_equal_weights"]
    assert kept["num_videos"] == 200
    if weights == "model":
        oracle = least_squares(parts, labels)
        error = np.mean((np.einsum(subscripts, parts, oracle) - labels) ** 2)
        assert kept["mean_squared_error"] == pytest.approx(error, rel=1e-3)
    np.testing.assert_allclose(scored(str(tmp_path / "e"), made.eval)[1].shape, (200, 30))


def test_files_stand_for_their_runs(runs, made, tmp_path):
    """Predictions in files, even in another order, give the weights and the metrics of the runs that made them."""
    files = []
    for name in members(runs):
        file = str(tmp_path / f"{name.split('/')[-1]}.parquet")
        predict(name, [made.eval, held_out(made)], file)
        files.append(file)
    for weights in ("model", "class"):
        of_runs = ensemble(members(runs), str(tmp_path / f"runs-{weights}"), weights, [held_out(made)])
        of_files = ensemble(files, str(tmp_path / f"files-{weights}"), weights, [held_out(made)])
        np.testing.assert_allclose(of_files["weights"], of_runs["weights"], atol=1e-5)
        ours, theirs = (evaluate(str(tmp_path / f"{kind}-{weights}"), [made.eval]) for kind in ("files", "runs"))
        assert ours["gap"] == pytest.approx(theirs["gap"], abs=1e-5)
    mixed = ensemble([files[0], members(runs)[1]], str(tmp_path / "mixed"))
    assert mixed["members"] == ["../moe.parquet", module.os.path.relpath(members(runs)[1], tmp_path / "mixed")]
    assert evaluate(str(tmp_path / "mixed"), [made.eval])["num_examples"] == 200


def test_weights_of_one_ensemble_for_the_files_of_another_split(runs, made, tmp_path):
    ensemble(members(runs), str(tmp_path / "learned"), "model", [held_out(made)])
    files = []
    for name in members(runs):
        files.append(str(tmp_path / f"{name.split('/')[-1]}.parquet"))
        predict(name, [made.unlabelled], files[-1])
    kept = ensemble(files, str(tmp_path / "test"), str(tmp_path / "learned"))
    assert kept["weights"] == read_json(tmp_path / "learned" / "ensemble.json")["weights"]
    for name in ("learned", "test"):
        assert predict(str(tmp_path / name), [made.unlabelled], str(tmp_path / f"{name}.csv")) == 50
    assert (tmp_path / "test.csv").read_text() == (tmp_path / "learned.csv").read_text()
    with pytest.raises(DataError, match=r"has weights of shape \[3\], not for these 2 members"):
        ensemble(files[:2], str(tmp_path / "two"), str(tmp_path / "learned"))


def test_best_classes_are_joined_over_their_union(tmp_path):
    """Top-k files: a class that one of them leaves out counts as 0 there."""
    for name, column in (("a", 1), ("b", 4)):
        with parquet(tmp_path / f"{name}.parquet", Classes(5), 1) as file:
            file.write([b"v"], np.float32([[0.8]]), np.array([[column]]))
    ensemble([str(tmp_path / "a.parquet"), str(tmp_path / "b.parquet")], str(tmp_path / "e"))
    together = load(str(tmp_path / "e"))
    scores = np.stack([member.scores([b"v"]) for member in together.members])
    np.testing.assert_allclose(combine(scores, together.weights), [[0, 0.4, 0, 0, 0.4]], rtol=1e-6)


def test_a_folder_that_moves_with_its_members_still_works(runs, made, tmp_path):
    shutil.copytree(runs / "moe", tmp_path / "here" / "moe")
    ensemble([str(tmp_path / "here" / "moe")], str(tmp_path / "here" / "e"))
    (tmp_path / "here").rename(tmp_path / "there")
    assert evaluate(str(tmp_path / "there" / "e"), [made.eval]) == evaluate(str(runs / "moe"), [made.eval])


def test_wrong_use(runs, made, made_frames, tmp_path):
    out = str(tmp_path / "out")
    with pytest.raises(DataError, match="weights per model are learned: give labelled shards"):
        ensemble(members(runs), out, "model")
    with pytest.raises(DataError, match="weights equal need no --data"):
        ensemble(members(runs), out, "equal", [made.eval])
    with pytest.raises(DataError, match="weights are 'best': choose equal, model, class, or give the folder"):
        ensemble(members(runs), out, "best")
    with pytest.raises(DataError, match="there are no labels in"):
        ensemble(members(runs), out, "model", [made.unlabelled])
    with pytest.raises(DataError, match=r"moe was trained on .*train0.tfrecord: learn weights on shards that no member has seen"):
        ensemble(members(runs), out, "model", [made.train])
    with pytest.raises(DataError, match="is no run folder"):
        ensemble([members(runs)[0], str(tmp_path)], out)
    with pytest.raises(DataError, match="is not an empty folder"):
        ensemble(members(runs), str(runs))

    predict(members(runs)[0], [made.unlabelled], str(tmp_path / "test.parquet"))
    with pytest.raises(DataError, match=r"test.parquet has no prediction for video 'train2_000'"):
        ensemble([members(runs)[0], str(tmp_path / "test.parquet")], out, "model", [held_out(made)])
    with parquet(tmp_path / "few.parquet", Classes(20)) as file:
        file.write([b"a"], np.zeros((1, 20), np.float32))
    with pytest.raises(DataError, match=r"few.parquet has 20 classes, but .*moe has 30 classes"):
        ensemble([members(runs)[0], str(tmp_path / "few.parquet")], out)

    small = [*made_frames.overrides, "num_classes=30", "training.steps=2", "pooling={name: average}"]
    fit("logistic", [made_frames.train], [made_frames.eval], str(tmp_path / "frames"), small)
    with pytest.raises(DataError, match=r"takes frame-level records \(rgb, audio\) and .*moe video-level ones .*let each `predict`"):
        ensemble([members(runs)[0], str(tmp_path / "frames")], out)
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def drawing(made_frames, tmp_path_factory):
    """A run that draws 2 frames of a video, and one that takes them all."""
    folder = tmp_path_factory.mktemp("drawing")
    for name, frames in (("draws", "{sample: random, count: 2}"), ("all", "{}")):
        small = [*made_frames.overrides, "training.steps=30", "training.seed=3", "pooling={name: average}", f"frames={frames}"]
        fit("logistic", [made_frames.train], [made_frames.eval], str(folder / name), small)
    return folder


def test_repeated_draws_are_independent_and_reproducible(drawing, made_frames):
    """The variance of the mean of R draws falls as 1/R, about the mean of very many."""
    ids, many = scored(str(drawing / "draws"), made_frames.eval, repeat=64)
    assert ids == planted.make(150, 1, "eval").ids
    spread = {}
    for repeat in (1, 4, 16):
        scores = scored(str(drawing / "draws"), made_frames.eval, repeat)[1]
        np.testing.assert_array_equal(scores, scored(str(drawing / "draws"), made_frames.eval, repeat)[1])
        spread[repeat] = np.mean((scores - many) ** 2) / (1 / repeat - 1 / 64)  # they share their first draws
    assert spread[4] == pytest.approx(spread[1], rel=0.15)
    assert spread[16] == pytest.approx(spread[1], rel=0.15)


def test_repeating_what_draws_nothing_changes_nothing(drawing, runs, made, made_frames):
    assert evaluate(str(drawing / "all"), [made_frames.eval], repeat=3) == evaluate(str(drawing / "all"), [made_frames.eval])
    assert evaluate(str(runs / "moe"), [made.eval], repeat=3) == evaluate(str(runs / "moe"), [made.eval])


def test_members_see_their_own_frames(drawing, made_frames, tmp_path):
    """Of one pass over the files each member gets the frames that it would get alone."""
    ensemble([str(drawing / "draws"), str(drawing / "all")], str(tmp_path / "e"))
    together = scored(str(tmp_path / "e"), made_frames.eval, repeat=2)[1]
    alone = [scored(str(drawing / "draws"), made_frames.eval, 2)[1], scored(str(drawing / "all"), made_frames.eval)[1]]
    np.testing.assert_allclose(together, np.mean(alone, axis=0), rtol=1e-5, atol=1e-7)
    recipe = load_run(str(drawing / "draws")).recipe
    assert recipe.frames.count == 2


def test_json_has_no_surprises(runs, tmp_path):
    ensemble(members(runs), str(tmp_path / "e"))
    kept = json.loads((tmp_path / "e" / "ensemble.json").read_text())
    assert sorted(kept) == ["members", "weights"]
    assert module.summary(kept) == {"members": [{"member": name, "weight": 0.3333} for name in kept["members"]]}
