"""fit, evaluate, predict, report and demo through the command line."""

import csv
import json
import re
import subprocess

import pytest


@pytest.fixture(scope="module")
def augmented(made, command, tmp_path_factory):
    folder = tmp_path_factory.mktemp("train") / "augmented"
    command("yt8m-data", "augment", made / "*.tfrecord", folder, "--threshold", 60)
    return folder


@pytest.fixture(scope="module")
def run(made, augmented, command, tmp_path_factory):
    """A run on augmented shards, evaluated on another sample of the same world."""
    folder = tmp_path_factory.mktemp("runs")
    command("yt8m-data", "synth", folder / "held-out", "--records", 300, "--shards", 2, "--classes", 40, "--seed", 6)
    data = ["--train", augmented / "*.tfrecord", "--eval", folder / "held-out" / "*.tfrecord"]
    result = command("yt8m-train", "fit", "moe", *data, "--out", folder / "moe", "--set", "training.steps=60")
    return folder, result


def test_fit_writes_the_run_folder_and_prints_its_metrics(run):
    folder, result = run
    metrics = json.loads((folder / "moe" / "metrics.json").read_text())
    assert json.loads(result.out) == metrics
    assert metrics["num_examples"] == 300
    assert {"gap", "map", "map_starter", "perr", "hit_at_1"} <= metrics.keys()
    assert 0.4 < metrics["gap"] < 1, "the label prior alone reaches 0.37"
    assert {path.name for path in (folder / "moe").iterdir()} >= {"model.keras", "recipe.yaml", "metrics.csv", "checkpoints", "events"}


def test_evaluate_repeats_the_metrics_from_the_folder_alone(run, command):
    folder, result = run
    again = json.loads(command("yt8m-train", "evaluate", folder / "moe", "--data", folder / "held-out" / "*.tfrecord").out)
    assert again == json.loads(result.out)


def test_evaluate_writes_tables_and_compare_tells_of_chance(run, command, tmp_path):
    folder, result = run
    held_out, gap = ["--data", folder / "held-out" / "*.tfrecord"], json.loads(result.out)["gap"]
    tables = ["--per-class", tmp_path / "classes.csv", "--reliability", tmp_path / "curve.csv"]
    assert json.loads(command("yt8m-train", "evaluate", folder / "moe", *held_out, *tables).out)["calibration_error"] < 1
    assert len((tmp_path / "classes.csv").read_text().splitlines()) == 41
    assert len((tmp_path / "curve.csv").read_text().splitlines()) == 16
    told = json.loads(command("yt8m-train", "compare", folder / "moe", folder / "moe", *held_out, "--resamples", 20).out)
    assert told["gap"] == {"a": pytest.approx(gap), "b": pytest.approx(gap), "difference": 0, "low": 0, "high": 0, "p": 1}


def test_a_fit_whose_time_is_up_ends_with_status_3_and_goes_on(run, augmented, command, tmp_path):
    folder, _ = run
    data = ["--train", augmented / "*.tfrecord", "--eval", folder / "held-out" / "*.tfrecord", "--out", tmp_path / "run"]
    settings = ["--set", "training.steps=20"]
    stopped = command("yt8m-train", "fit", "logistic", *data, *settings, "--time-limit", 0, status=3)
    assert stopped.out == ""
    assert "the time is up after step 10 of 20: the same command goes on" in stopped.err
    assert json.loads(command("yt8m-train", "fit", "logistic", *data, *settings).out)["num_examples"] == 300


def test_bench_input_prints_rates(made, command):
    told = json.loads(command("yt8m-train", "bench-input", made / "*.tfrecord", "--seconds", 0.2, "--batch-size", 32).out)
    assert told["records_per_second"] > 0 < told["share_of_disk"]


def test_predict_writes_the_competition_csv(run, command):
    folder, _ = run
    command("yt8m-train", "predict", folder / "moe", "--data", folder / "held-out" / "*.tfrecord", "--out", folder / "p.csv", "--top-k", 5)
    with open(folder / "p.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len({row["VideoId"] for row in rows}) == 300
    for row in rows:
        pairs = row["LabelConfidencePairs"].split()
        scores = [float(score) for score in pairs[1::2]]
        assert len(scores) == 5
        assert scores == sorted(scores, reverse=True)
        assert all(0 <= int(label) < 40 for label in pairs[::2])


def test_report_is_one_page_with_everything_in_it(run, augmented, command, tmp_path):
    folder, _ = run
    command("yt8m-data", "report", augmented, "--run", f"augmented={folder / 'moe'}", "--out", tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    gap = json.loads((folder / "moe" / "metrics.json").read_text())["gap"]
    assert f"{gap:.3f}" in page or f"{gap:.4f}" in page
    assert "<svg" in page
    assert 'src="http' not in page


def test_report_takes_what_evaluate_wrote(run, augmented, command, tmp_path):
    folder, _ = run
    counts = ["--counts", augmented / "stats_before.json"]
    told = command(
        "yt8m-train", "evaluate", folder / "moe", "--data", folder / "held-out" / "*.tfrecord", *counts, "--out", tmp_path / "moe.json"
    )
    metrics = json.loads(told.out)
    assert json.loads((tmp_path / "moe.json").read_text()) == metrics
    command("yt8m-data", "report", augmented, "--run", f"moe={tmp_path / 'moe.json'}", "--out", tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    values = [value for value in metrics["map_by_frequency"].values() if value is not None]
    assert len(values) > 1
    assert all(f"{value:.4f}" in page for value in (metrics["gap"], *values))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["fit", "nothing", "--train", "x", "--eval", "x", "--out", "OUT"], "nothing"),
        (["fit", "moe", "--train", "nowhere*", "--eval", "nowhere*", "--out", "OUT"], "no file matches 'nowhere*'"),
        (["fit", "moe", "--train", "MADE", "--eval", "MADE", "--out", "OUT", "--set", "training.speed=9"], "speed"),
        (["evaluate", "OUT", "--data", "MADE"], "OUT"),
        (["average", "OUT", "--out", "OUT"], "OUT"),
        (["ensemble", "OUT", "--out", "OUT", "--weights", "model"], "give labelled shards that no member was trained on as --data"),
        (["ensemble", "nothing.parquet", "--out", "OUT"], "there is no file nothing.parquet"),
        (["export", "OUT", "--out", "OUT", "--max-bytes", "plenty"], "the size 'plenty' is none"),
        (["predict", "OUT", "--data", "MADE", "--out", "predictions.txt"], "let it end in .csv, for the challenge, or in .parquet"),
    ],
)
def test_wrong_use_is_one_sentence(arguments, said, made, command, tmp_path):
    places = {"OUT": str(tmp_path / "out"), "MADE": str(made / "*.tfrecord")}
    result = command("yt8m-train", *(places.get(argument, argument) for argument in arguments), status=2)
    errors = [line for line in result.err.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 1
    assert places.get(said, said) in errors[0]


def test_the_demo_runs_the_whole_path(command, tmp_path, monkeypatch, capfd):
    """The first command as a process of its own, the others in this one."""
    from yt8m_data import demo
    from yt8m_data.errors import DataError

    genuine, calls = subprocess.run, []

    def run(call):
        calls.append(call)
        if len(calls) == 1:
            return genuine(call)
        program = re.fullmatch(r"import cli; cli\.(yt8m_data|yt8m_train)\(\)", call[2])[1].replace("_", "-")
        assert call[:2] == calls[0][:2]
        return subprocess.CompletedProcess(call, command(program, *call[3:], report=True).status)

    monkeypatch.setattr(demo.subprocess, "run", run)

    monkeypatch.delenv("YT8M_DATA", raising=False)
    for name, value in (("RECORDS", 400), ("HELD_OUT", 100), ("SHARDS", 5), ("CLASSES", 30), ("STEPS", 10), ("THRESHOLD", 40)):
        monkeypatch.setattr(demo, name, value)
    demo.run(str(tmp_path / "demo"))
    commands = [line[2:].split()[:2] for line in capfd.readouterr().err.splitlines() if line.startswith("$ ")]
    trained = ["fit", "fit", "neighbors", "evaluate", "evaluate", "evaluate"]
    assert [command[1] for command in commands] == ["synth", "synth", "stats", "augment", *trained, "report"]
    assert (tmp_path / "demo" / "report.html").stat().st_size > 50_000
    with pytest.raises(DataError, match="is not empty"):
        demo.run(str(tmp_path / "demo"))


def test_the_demo_takes_given_shards(tmp_path, monkeypatch):
    from yt8m_data import demo
    from yt8m_data.errors import DataError

    for number in range(4):
        (tmp_path / f"{number}.tfrecord").touch()
    monkeypatch.setenv("YT8M_DATA", str(tmp_path))
    with pytest.raises(DataError, match="holds 4 shards"):
        demo.run(str(tmp_path / "demo"))
    for number in range(4, 10):
        (tmp_path / f"{number}.tfrecord").touch()
    train, held_out = demo._data(tmp_path / "demo")
    assert [path[-10:] for path in map(str, held_out)] == ["8.tfrecord"[-10:], "9.tfrecord"[-10:]]
    assert len(train) == 8
