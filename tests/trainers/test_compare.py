import csv
import json

import numpy as np
import pytest
from test_metrics import names, padded

from trainers.compare import bootstrap, compare, resample, resampled_average_precisions, resampled_gap
from trainers.evaluate import evaluate
from trainers.fit import fit
from trainers.metrics import Metrics
from yt8m_data.errors import DataError


def world(count=300, classes=8, seed=0, noise=1.0, ties=False):
    """Scores of a model that sees the truth through noise, and the truth; the first class is frequent, the last rare."""
    rng = np.random.default_rng(seed)
    truth = rng.random((count, classes)) < np.geomspace(0.5, 0.02, classes)
    scores = 1 / (1 + np.exp(-(2 * truth - 1 + noise * rng.normal(size=truth.shape))))
    return (scores.round(1) if ties else scores).astype(np.float32), truth


def seen(scores, truth, rows=None, top_k=3) -> Metrics:
    rows = np.arange(len(scores)) if rows is None else rows
    metrics = Metrics(scores.shape[1], top_k)
    metrics.update([names(len(scores))[row] for row in rows], scores[rows], padded(truth[rows]))
    return metrics


@pytest.mark.parametrize("ties", [False, True])
def test_a_resample_has_the_metrics_of_its_videos_repeated(ties):
    scores, truth = world(120, ties=ties)
    metrics = seen(scores, truth)
    weights = resample(metrics.hashes(), 6, seed=3)
    gaps, per_class = resampled_gap(metrics, weights), resampled_average_precisions(metrics, weights)
    for r, taken in enumerate(weights.T.astype(int)):
        repeated = seen(scores, truth, np.repeat(np.arange(120), taken))
        assert gaps[r] == pytest.approx(repeated.gap(), rel=1e-12)
        np.testing.assert_allclose(per_class[:, r], repeated.average_precisions(), rtol=1e-12)
    assert gaps[0] == pytest.approx(metrics.gap(), rel=1e-12)


def test_blocks_change_nothing(monkeypatch):
    scores, truth = world(200)
    metrics = seen(scores, truth)
    weights = resample(metrics.hashes(), 10)
    gaps, per_class = resampled_gap(metrics, weights), resampled_average_precisions(metrics, weights)
    monkeypatch.setattr("trainers.compare._AT_A_TIME", 7)
    np.testing.assert_allclose(resampled_gap(metrics, weights), gaps, rtol=1e-12)
    np.testing.assert_allclose(resampled_average_precisions(metrics, weights), per_class, rtol=1e-12)


def test_weights_are_poisson_and_a_function_of_seed_and_id():
    scores, truth = world(2000)
    hashes = seen(scores, truth).hashes()
    weights = resample(hashes, 200, seed=1)
    assert (weights[:, 0] == 1).all()
    drawn = weights[:, 1:]
    assert drawn.mean() == pytest.approx(1, abs=0.01)
    assert drawn.var() == pytest.approx(1, abs=0.02)
    np.testing.assert_allclose([(drawn == k).mean() for k in range(3)], [0.3679, 0.3679, 0.1839], atol=0.005)
    correlation = np.corrcoef(drawn[:, :20].T)
    assert np.abs(correlation - np.eye(20)).max() < 0.12  # no resample is like another
    np.testing.assert_array_equal(resample(hashes[::-1], 200, seed=1), weights[::-1])
    assert (resample(hashes, 200, seed=2)[:, 1:] != drawn).mean() > 0.5


def test_the_same_model_twice_does_not_differ():
    scores, truth = world()
    told = bootstrap(seen(scores, truth), seen(scores, truth), np.arange(8) * 20, 50)
    assert (told["videos"], told["resamples"]) == (300, 50)
    for each in (told["gap"], told["map"]):
        assert each["difference"] == each["low"] == each["high"] == 0
        assert each["p"] == 1
    assert set(told["map_by_frequency"]) == {"1-2", "3-9", "10-29", "30-99", "100+"}
    assert told["map_by_frequency"]["3-9"] is None  # no class has so many


def test_a_better_model_is_told_apart_and_a_like_one_is_not():
    """The value of both is that of the metrics; the interval is about as wide as that of other samples of the same world."""
    train_counts = np.array([200, 150, 100, 50, 40, 20, 10, 0])
    (good, truth), (bad, _) = world(noise=0.9), world(noise=1.3)
    told = bootstrap(seen(bad, truth), seen(good, truth), train_counts, 400)
    assert told["gap"]["a"] == pytest.approx(seen(bad, truth).gap(), rel=1e-12)
    assert told["map"]["b"] == pytest.approx(seen(good, truth).map(), rel=1e-12)
    expected = seen(good, truth).result(train_counts)["map_by_frequency"]["30-99"]
    assert told["map_by_frequency"]["30-99"]["b"] == pytest.approx(expected, rel=1e-12)
    for each in (told["gap"], told["map"]):
        assert 0 < each["low"] < each["difference"] < each["high"]
        assert each["p"] == pytest.approx(2 / 401)
    swapped = bootstrap(seen(good, truth), seen(bad, truth), None, 400)
    assert swapped["gap"]["low"] == pytest.approx(-told["gap"]["high"])
    assert "map_by_frequency" not in swapped


def test_the_spread_is_that_of_other_samples_of_the_same_world():
    metrics = seen(*world())
    of_others = np.std([seen(*world(seed=seed)).gap() for seed in range(1, 60)])
    assert resampled_gap(metrics, resample(metrics.hashes(), 200))[1:].std() == pytest.approx(of_others, rel=0.35)


def test_what_cannot_be_compared():
    scores, truth = world()
    with pytest.raises(DataError, match="have not scored the same videos"):
        bootstrap(seen(scores, truth), seen(scores, truth, np.arange(299)))
    with pytest.raises(DataError, match="have not scored the same videos with the same labels"):
        bootstrap(seen(scores, truth), seen(scores, ~truth))
    with pytest.raises(DataError, match="resamples is 1"):
        bootstrap(seen(scores, truth), seen(scores, truth), resamples=1)
    with pytest.raises(DataError, match="no video has a label"):
        bootstrap(seen(scores, truth & False), seen(scores, truth & False))


@pytest.fixture(scope="module")
def two(made, tmp_path_factory):
    """Runs of a short and of a longer training."""
    folder = tmp_path_factory.mktemp("compared")
    for name, steps in (("short", 3), ("long", 60)):
        fit("logistic", [made.train], [made.eval], str(folder / name), [*made.overrides, f"training.steps={steps}"])
    return str(folder / "short"), str(folder / "long")


def test_runs(two, made, tmp_path):
    short, long = two
    told = compare(short, long, [made.eval], resamples=100)
    assert (told["a"], told["b"], told["videos"]) == (short, long, 200)
    for name, run in (("a", short), ("b", long)):
        metrics = evaluate(run, [made.eval])
        assert told["gap"][name] == pytest.approx(metrics["gap"], rel=1e-9)
        assert told["map"][name] == pytest.approx(metrics["map"], rel=1e-9)
        values = {bucket: each and each[name] for bucket, each in told["map_by_frequency"].items()}
        assert values == pytest.approx(metrics["map_by_frequency"], rel=1e-9)
    assert told["gap"]["p"] < 0.05 < 0.1 < told["gap"]["difference"]
    counts = tmp_path / "stats.json"
    counts.write_text(json.dumps({"label_counts": [5] * 30}))
    other = compare(short, long, [made.eval], counts=str(counts), resamples=10)["map_by_frequency"]
    assert [bucket for bucket, each in other.items() if each] == ["3-9"]


def test_runs_of_other_classes(two, made, listed, tmp_path):
    settings = [*made.overrides, "training.steps=1", f"classes={listed}"]
    fit("logistic", [made.train], [made.eval], str(tmp_path / "run"), settings)
    with pytest.raises(DataError, match="know other classes"):
        compare(two[0], str(tmp_path / "run"), [made.eval])


def test_files_and_counts_of_an_evaluation(two, made, tmp_path):
    run = two[1]
    counts, per_class, curve = (str(tmp_path / name) for name in ("stats.json", "classes.csv", "curve.csv"))
    with open(counts, "w") as stream:
        json.dump({"label_counts": list(range(30))}, stream)
    metrics = evaluate(run, [made.eval], counts=counts, per_class=per_class, reliability=curve)
    with open(per_class, newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [int(row["class"]) for row in rows] == [int(row["training_videos"]) for row in rows] == list(range(30))
    precisions = [float(row["average_precision"]) for row in rows if row["average_precision"]]
    assert np.mean(precisions) == pytest.approx(metrics["map"])
    assert [row["average_precision"] == "" for row in rows] == [row["videos"] == "0" for row in rows]
    inside = [float(r["average_precision"]) for r in rows if 3 <= int(r["class"]) <= 9 and r["average_precision"]]
    assert metrics["map_by_frequency"]["3-9"] == pytest.approx(np.mean(inside))
    assert metrics["map_by_frequency"]["30-99"] is None
    with open(curve, newline="") as stream:
        bins = list(csv.DictReader(stream))
    assert sum(int(each["pairs"]) for each in bins) == 200 * 20
    error = sum(int(b["pairs"]) / 4000 * abs(float(b["mean_score"]) - float(b["share_true"])) for b in bins if b["pairs"] != "0")
    assert metrics["calibration_error"] == pytest.approx(error)
    assert (bins[0]["low"], bins[-1]["high"]) == ("0.0", "1.0")
    with open(counts, "w") as stream:
        json.dump({"label_counts": [1] * 29}, stream)
    with pytest.raises(DataError, match="counts 29 classes, but the model has 30"):
        evaluate(run, [made.eval], counts=counts)


def test_counts_of_listed_classes(made, listed, tmp_path):
    settings = [*made.overrides, "training.steps=1", f"classes={listed}"]
    fit("logistic", [made.train], [made.eval], str(tmp_path / "run"), settings)
    (tmp_path / "stats.json").write_text(json.dumps({"label_counts": [1000 * i for i in range(30)]}))
    evaluate(str(tmp_path / "run"), [made.eval], counts=str(tmp_path / "stats.json"), per_class=str(tmp_path / "classes.csv"))
    with open(tmp_path / "classes.csv", newline="") as stream:
        found = [(row["class"], row["training_videos"]) for row in csv.DictReader(stream)]
    assert found == [("9", "9000"), ("1", "1000"), ("8", "8000")]
