"""The page on segments does what it says: its commands run, one after the other, in a folder of their own."""

import csv
import json
import re
import shlex
from pathlib import Path

from click.testing import CliRunner

import cli

PAGE = (Path(__file__).parents[1] / "docs" / "segments.md").read_text(encoding="utf-8")


def test_every_command_of_the_page_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lines = [line for code in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) for line in code.splitlines()]
    printed = []
    for line in lines:
        program, *arguments = shlex.split(line)
        result = CliRunner().invoke({"yt8m-data": cli.yt8m_data, "yt8m-train": cli.yt8m_train}[program], arguments)
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == 0, f"{line}\n{result.stderr}"
        printed.append(result.stdout)
    trained, evaluated = printed[3:5]
    assert json.loads(trained) == json.loads(evaluated) == json.loads((tmp_path / "runs" / "segments" / "metrics.json").read_text())
    assert all(
        f"`{name}`" in PAGE for name in json.loads(trained) if name in ("map_at_k", "rated_map", "rated_gap", "map_unrated_negative")
    )
    with open("submission.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert {int(row["Class"]) for row in rows} == set(range(12))
    assert len(rows[0]["Segments"].split()) == len(set(rows[0]["Segments"].split())) > 100
