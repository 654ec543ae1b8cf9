"""The page on submissions does what it says: its commands run, one after the other, and what they write is there."""

import contextlib
import csv
import io
import re
import shlex
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

import cli
from trainers.run import load_run
from yt8m_data.shards import read_json

PAGE = (Path(__file__).parents[1] / "docs" / "submission.md").read_text(encoding="utf-8")
FENCES = re.findall(r"```(\w+)\n(.*?)```", PAGE, re.DOTALL)
CLASSES = 25
# What makes a training short. Everything else is as the page has it.
SMALL = [f"--set=num_classes={CLASSES}", "--set=training.steps=6", "--set=training.batch_size=32", "--set=training.checkpoint_every=2"]


def run(line: str) -> str:
    program, *arguments = shlex.split(line)
    if arguments[0] == "fit":
        arguments += SMALL
    result = CliRunner().invoke({"yt8m-data": cli.yt8m_data, "yt8m-train": cli.yt8m_train}[program], arguments)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, f"{line}\n{result.stderr}"
    return result.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What the page begins with, made: augmented shards, and those of the validate and test splits."""
    folder = tmp_path_factory.mktemp("submission")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        run(f"yt8m-data synth made --records 120 --shards 2 --classes {CLASSES} --seed 1")
        run("yt8m-data augment 'made/*.tfrecord' augmented --threshold 30 --name train")
        for seed, (name, records) in enumerate({"validate0": 60, "validate1": 50, "test": 40}.items(), start=2):
            run(f"yt8m-data synth split --records {records} --shards 2 --classes {CLASSES} --seed {seed} --name {name} --overwrite")
            (folder / "yt8m").mkdir(exist_ok=True)
            for path in (folder / "split").glob(f"{name}*.tfrecord"):
                path.rename(folder / "yt8m" / path.name)
        for language, code in FENCES:
            if language == "sh":
                for line in code.splitlines():
                    run(line)
    return folder


def test_the_files_to_submit(folder):
    for name in ("submission.csv", "joined.csv", "student.csv"):
        rows = list(csv.DictReader((folder / name).open()))
        assert list(rows[0]) == ["VideoId", "LabelConfidencePairs"]
        assert len({row["VideoId"] for row in rows}) == 40
        assert {len(row["LabelConfidencePairs"].split()) for row in rows} == {40}


def test_what_stands_between(folder):
    averaged = read_json(folder / "runs" / "moe_mean" / "average.json")
    assert averaged["steps"] == [2, 4, 6]
    learned = read_json(folder / "ensemble" / "ensemble.json")
    assert len(learned["weights"]) == 3
    assert learned["mean_squared_error"] <= learned["that_of_equal_weights"]
    assert read_json(folder / "joined_test" / "ensemble.json")["weights"] == read_json(folder / "joined" / "ensemble.json")["weights"]
    assert pq.read_table(folder / "teacher.parquet").schema.field("classes").type.list_size == CLASSES  # 50 of 25
    assert load_run(str(folder / "runs" / "student")).recipe.training.distill.teacher == "teacher.parquet"


def test_the_python_runs(folder, monkeypatch):
    monkeypatch.chdir(folder)
    (code,) = [code for language, code in FENCES if language == "python"]
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, "submission", "exec"), {})
    assert printed.getvalue().endswith(f"(20, {CLASSES})\n")
