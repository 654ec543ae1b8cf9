"""`report`: the page holds what the jobs wrote, and a folder that lacks it is told so."""

from pathlib import Path

import numpy as np
import pytest

from yt8m_data import sampling, shards, zipf
from yt8m_data.errors import DataError
from yt8m_data.report import collect, plots
from yt8m_data.sampling import Settings

BEFORE, AFTER = [1200, 34_567, 80], [5600, 17_280, 1040]


def stats(counts: list[int], records: int) -> dict:
    return {
        "kind": "video",
        "num_records": records,
        "num_unlabeled": 0,
        "num_classes": 3,
        "label_counts": counts,
        "labels_per_record": {"mean": sum(counts) / records, "histogram": [0, records]},
        "zipf": zipf.fit(np.array(counts)).to_dict(),
        "features": {"mean_rgb": {"size": 2, "mean": [0.0, 0.0], "variance": [1.0, 1.0]}},
        "bad_records": {"total": 0, "by_reason": {}},
    }


@pytest.fixture
def augmented(tmp_path) -> Path:
    """What a finished augment leaves, without its shards."""
    folder = tmp_path / "augmented"
    folder.mkdir()
    before, after = stats(BEFORE, 31_234), stats(AFTER, 23_456)
    plan = sampling.plan(np.array(BEFORE), 31_234, Settings(threshold=10_000))
    shards.write_json(folder / "stats_before.json", before)
    shards.write_json(folder / "stats_after.json", after)
    plots.before_after_plot(before, after, folder / "zipf_before_after.png", plan.threshold)
    totals = {"read": 31_234, "kept": 18_000, "dropped": 13_234, "bad": 0, "written": 23_456}
    manifest = {
        "job": "augment",
        "totals": totals | {"synthetic": {"interpolate": 2700, "extrapolate": 2700, "noise": 56}},
        "versions": {"python": "3.11.9", "numpy": "2.4.1"},
        "plan": plan.to_dict(),
    }
    shards.write_json(folder / "manifest.json", manifest)
    return folder


def run_folder(path: Path, gap: float) -> str:
    path.mkdir()
    shards.write_json(
        path / "metrics.json", {"gap": gap, "map": 0.4, "map_starter": 0.39, "perr": 0.7, "hit_at_1": 0.8, "num_examples": 5771}
    )
    return f"{path.name}={path}"


def test_the_page_holds_what_was_written(augmented, tmp_path):
    runs = [run_folder(tmp_path / "plain", 0.8123), run_folder(tmp_path / "rebalanced", 0.8234)]
    out = tmp_path / "report.html"
    collect.write(str(augmented), runs, str(out), {0: "Trumpet", 1: "Game", 2: "Zither"}, "yt8m-data report augmented")
    page = out.read_text()
    for value in ("31,234", "23,456", "34,567", "17,280", "2,700", "Zither", "3.11.9", "yt8m-data report augmented"):
        assert value in page, value
    for value in ("plain", "rebalanced", "0.8123", "0.8234", "5,771"):
        assert value in page, value
    assert page.count("data:image/png;base64,") == 1


def test_a_run_may_be_left_out(augmented, tmp_path):
    collect.write(str(augmented), [], str(tmp_path / "report.html"), None, "yt8m-data report augmented")
    assert "GAP@20" not in (tmp_path / "report.html").read_text()


def write(folder: Path, runs: list[str], out: Path) -> None:
    collect.write(str(folder), runs, str(out), None, "")


def test_what_a_wrong_folder_is_told(augmented, tmp_path):
    out = tmp_path / "report.html"
    with pytest.raises(DataError, match=r"nowhere has no manifest\.json: give the folder of a finished yt8m-data augment"):
        write(tmp_path / "nowhere", [], out)
    made = tmp_path / "made"
    made.mkdir()
    shards.write_json(made / "manifest.json", {"job": "synth"})
    with pytest.raises(DataError, match="is the output of 'synth', not of yt8m-data augment"):
        write(made, [], out)
    (augmented / "stats_after.json").unlink()
    with pytest.raises(DataError, match=r"there is no file .*stats_after\.json"):
        write(augmented, [], out)
    assert not out.exists()


def test_what_a_wrong_run_is_told(augmented, tmp_path):
    out = tmp_path / "report.html"
    with pytest.raises(DataError, match="--run 'runs/plain' is not NAME=DIR"):
        write(augmented, ["runs/plain"], out)
    with pytest.raises(DataError, match=r"there is no file .*metrics\.json"):
        write(augmented, [f"plain={tmp_path}"], out)
    assert not out.exists()
