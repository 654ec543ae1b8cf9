"""What the command line does itself: parsing, errors, what goes to stdout and stderr."""

import gc
import json
import os
import subprocess
import sys

import pytest
from click.testing import CliRunner

import cli
from trainers import recipe
from trainers.commands.options import hushed
from yt8m_data import cores
from yt8m_data.errors import DataError


def invoke(group, *arguments):
    return CliRunner().invoke(group, list(arguments))


def test_what_stands_behind_the_dashes_goes_to_beam(monkeypatch, tmp_path):
    from beam_jobs import inputs, validate

    seen = []
    monkeypatch.setattr(inputs, "open_input", lambda *_, **__: "input")
    monkeypatch.setattr(validate, "run", lambda source, engine, _max_frames: seen.append((source, engine)) or {"ok": True})
    result = invoke(cli.yt8m_data, "validate", "x", "--workers", "2", "--", "--job_name=mine", "--flink_version=1.20")
    assert result.exit_code == 0
    [(source, engine)] = seen
    assert (source, engine.workers, list(engine.options)) == ("input", 2, ["--job_name=mine", "--flink_version=1.20"])


def test_a_data_error_is_one_sentence_and_status_2(monkeypatch):
    from beam_jobs import inputs

    def fail(*_, **__):
        raise DataError("this is wrong: do that")

    monkeypatch.setattr(inputs, "open_input", fail)
    result = invoke(cli.yt8m_data, "validate", "x")
    assert (result.exit_code, result.stdout, result.stderr) == (2, "", "Error: this is wrong: do that\n")


def test_any_other_error_is_not_dressed_up(monkeypatch):
    from beam_jobs import inputs

    monkeypatch.setattr(inputs, "open_input", lambda *_, **__: 1 / 0)
    assert isinstance(invoke(cli.yt8m_data, "validate", "x").exception, ZeroDivisionError)


def test_recipes_lists_all_with_weights_figures_and_components():
    lines = invoke(cli.yt8m_train, "recipes").stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["recipe", *recipe.names()]
    (line,) = (line for line in lines if line.startswith("lfnl_netvlad "))
    assert "155.0 M" in line
    assert line.endswith("late_fusion(netvlad) > dense > context_gating > gated_moe")


def test_recipes_as_json_load_back(tmp_path):
    recipes = json.loads(invoke(cli.yt8m_train, "recipes", "--json").stdout)
    assert [each["name"] for each in recipes] == recipe.names()
    assert all(each.pop("components") for each in recipes)
    (tmp_path / "first.yaml").write_text(json.dumps(recipes[0]))  # JSON is YAML
    assert recipe.load(str(tmp_path / "first.yaml")) == recipe.load(recipes[0]["name"])


@pytest.mark.parametrize("command", sorted(cli.yt8m_data.commands))
def test_every_data_command_explains_itself(command):
    result = invoke(cli.yt8m_data, command, "--help")
    assert result.exit_code == 0
    assert cli.yt8m_data.commands[command].help.split()[0] in result.stdout


@pytest.mark.parametrize("command", sorted(cli.yt8m_train.commands))
def test_every_train_command_explains_itself(command):
    assert invoke(cli.yt8m_train, command, "--help").exit_code == 0


@pytest.mark.parametrize(
    ("group", "arguments"),
    [
        (cli.yt8m_data, ["validate", "no-shards", "--out"]),
        (cli.yt8m_data, ["report", "no-folder", "--out"]),
        (cli.yt8m_train, ["evaluate", "no-run", "--data", "no-shards", "--out"]),
        (cli.yt8m_train, ["evaluate", "no-run", "--data", "no-shards", "--per-class"]),
        (cli.yt8m_train, ["evaluate", "no-run", "--data", "no-shards", "--reliability"]),
        (cli.yt8m_train, ["predict", "no-run", "--data", "no-shards", "--out"]),
        (cli.yt8m_train, ["segments", "predict", "no-run", "--data", "no-shards", "--out"]),
    ],
)
def test_a_file_without_a_folder_is_refused_before_the_work(group, arguments, tmp_path):
    result = invoke(group, *arguments, str(tmp_path / "nowhere" / "file.csv"))
    assert result.exit_code == 2
    assert result.stderr == f"Error: there is no folder {tmp_path}/nowhere for file.csv: make it, or give another path\n"


@pytest.mark.parametrize(
    ("group", "arguments", "missing"),
    [
        ("yt8m_train", ["evaluate", "run", "--data", "x"], "tensorflow"),
    ],
)
def test_a_missing_extra_is_named(group, arguments, missing):
    script = f"import sys; sys.modules[{missing!r}] = None; import cli; cli.{group}({arguments!r})"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 2
    assert "is not installed: pip install 'yt8m-data[cpu]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_imports_leave_the_garbage_collector_as_it_was():
    from yt8m_data.command_line import importing

    assert gc.isenabled()
    with importing():
        assert not gc.isenabled()
    assert gc.isenabled()
    with pytest.raises(ImportError), importing():
        import no_such_module  # noqa: F401
    assert gc.isenabled()


@pytest.mark.parametrize(("given", "taken"), [(None, "3"), ("5", "5")])
def test_tensorflow_has_a_thread_for_each_core_that_it_may_use(monkeypatch, given, taken):
    monkeypatch.setattr(cores, "available", lambda: 3)
    monkeypatch.delenv("TF_NUM_INTRAOP_THREADS", raising=False)
    if given:
        monkeypatch.setenv("TF_NUM_INTRAOP_THREADS", given)
    with hushed():
        assert os.environ["TF_NUM_INTRAOP_THREADS"] == taken
