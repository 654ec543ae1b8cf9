"""The tutorial does what it says: its commands run, and its figures are those of the published data."""

import contextlib
import io
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import cli
from yt8m_data import vocabulary

TUTORIAL = (Path(__file__).parents[1] / "docs" / "tutorial.md").read_text(encoding="utf-8")
FENCES = re.findall(r"```(\w+)\n(.*?)```", TUTORIAL, re.DOTALL)
CLASSES = 3862


def run_python(namespace: dict, code: str) -> str:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, "tutorial", "exec"), namespace)
    return printed.getvalue()


def run_shell(line: str) -> None:
    command, _, otherwise = line.partition(" || ")
    program, *arguments = shlex.split(command)
    assert program == "yt8m-data"
    result = CliRunner().invoke(cli.yt8m_data, arguments)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code in ((0, 1) if otherwise else (0,)), f"{line}\n{result.stderr}"


@pytest.fixture
def made_folder(tmp_path, monkeypatch):
    """What the tutorial asks for, made: shards, a vocabulary and label lists."""
    monkeypatch.chdir(tmp_path)
    run_shell(f"yt8m-data synth . --records 200 --shards 4 --classes {CLASSES}")
    rows = "".join(f"{label},{int(9e5 / (label + 1)) + 100},thing {label}\n" for label in range(CLASSES))
    (tmp_path / "vocabulary.csv").write_text("Index,TrainVideoCount,Name\n" + rows)
    random = np.random.default_rng(0)
    lens = random.integers(1, 4, 300)
    lists = [random.choice(CLASSES, size, replace=False) for size in lens]
    np.savez(tmp_path / "label_lists.npz", labels=np.concatenate(lists).astype(np.uint16), lens=lens.astype(np.uint8))
    return tmp_path


def test_every_command_of_the_tutorial_runs(made_folder):
    """All but those of the trainer, which has tests of its own."""
    namespace: dict = {}
    for language, code in FENCES:
        if language == "python":
            run_python(namespace, code)
        else:
            for line in code.splitlines():
                if not line.startswith("yt8m-train") and "--run" not in line:
                    run_shell(line)
    for page in ("stats/report.html", "published/report.html", "lists/report.html", "augmented/report.html", "moved.html"):
        assert (made_folder / page).stat().st_size > 50_000, page
    assert len(list((made_folder / "augmented").glob("*.tfrecord"))) == 4


def test_the_file_names_of_the_tutorial_are_all_explained():
    named = set(re.findall(r"'?([\w*]+\.(?:csv|npz|tfrecord))'?", " ".join(code for _, code in FENCES)))
    table = TUTORIAL[TUTORIAL.index("| file |") : TUTORIAL.index("No shards at hand?")]
    assert {name for name in named if f"`{name}`" not in table} <= {"*.tfrecord", "validate*.tfrecord"}


@pytest.mark.shared_data
def test_the_figures_are_those_of_the_published_data(shared_data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "vocabulary.csv").symlink_to(shared_data / "vocabulary-2018.csv")
    (tmp_path / "label_lists.npz").symlink_to(shared_data / "label-lists-2018.npz")
    namespace: dict = {}
    printed = [run_python(namespace, code) for language, code in FENCES if language == "python"]

    law = namespace["law"]
    said = [f"{law['num_labels']:,}", f"{namespace['counts'].max():,}", str(law["median"]), str(namespace["counts"].min())]
    said += [f"{100 * law[share]:.1f}%" for share in ("top_10_share", "top_100_share", "bottom_half_share")]
    said += [f"{line['slope']:.3f}" for line in law["lines"][1:]]
    two, power = law["two_regimes"], law["power_law"]
    said += [
        f"exponents {two['exponents'][0]:.3f} up to rank {two['break_rank']} and {two['exponents'][1]:.3f}",
        f"{two['aic_gain']:,.0f} below",
    ]
    said += [f"{power['num_labels']:,} labels with {power['min_count']} videos", f"p = {power['p_value']}"]
    stats = namespace["stats"]
    said += [f"{stats['num_records']:,} real lists ({stats['labels_per_record']['mean']:.2f} labels each)"]
    said += [f"{stats['label_sets']['distinct']:,} different label sets", f"{stats['pairs']['num_pairs']:,} different pairs"]
    said += [f"SCUMBLE is {stats['measures']['scumble']:.3f}"]
    plan = namespace["plan"]
    said += [f"{plan.threshold:,.0f} here", f"{np.sum(plan.regime == 2):,} that are sub-sampled"]
    text = " ".join(TUTORIAL.split())
    assert [figure for figure in said if figure not in text] == []

    table = [line.split() for line in printed[2].splitlines()]
    for rank, count, regime, kept, neighbors in table:
        share = "all" if kept == "1.000" else f"1 in {round(1 / float(kept))}"
        assert f"| {int(rank):,} | {count} | {regime} | {share} | {neighbors if regime == 'over' else '–'} |" in TUTORIAL
    for line in printed[3].splitlines():
        assert " | ".join(line.split()) + " |" in TUTORIAL, line


@pytest.mark.shared_data
def test_the_companions_it_names(shared_data):
    lists, names = np.load(shared_data / "label-lists-2018.npz"), vocabulary.read(str(shared_data / "vocabulary-2018.csv"))
    number = {name: label for label, name in names.items()}
    rows = np.repeat(np.arange(len(lists["lens"])), lists["lens"])
    carries = {name: set(rows[lists["labels"] == number[name]].tolist()) for name in ("Car", "Vehicle", "Video game", "Game")}
    assert len(carries["Car"] & carries["Vehicle"]) / len(carries["Car"]) > 0.995
    assert round(100 * len(carries["Video game"] & carries["Game"]) / len(carries["Video game"])) == 91
    assert "91%" in TUTORIAL
