"""`report`: the page holds what the jobs wrote, and a folder that lacks it is told so."""

import numpy as np
import pytest

from yt8m_data import pools, sampling, shards
from yt8m_data.errors import DataError
from yt8m_data.report import collect
from yt8m_data.sampling import Settings
from yt8m_data.statistics import folder

BEFORE = [[0]] * 23 + [[0, 1]] * 9 + [[2]] * 4
AFTER = [[0]] * 11 + [[0, 1]] * 19 + [[2]] * 17
NAMES = {0: "Trumpet", 1: "Game", 2: "Zither"}


@pytest.fixture(scope="module")
def counted_folder(counted, tmp_path_factory):
    """The output of stats on data with names."""
    out = tmp_path_factory.mktemp("counted")
    folder.write(counted(BEFORE, 3, bad=25), str(out), NAMES)
    return out


@pytest.fixture
def augmented(counted, tmp_path):
    """What a finished augment leaves, without its shards."""
    out = tmp_path / "augmented"
    out.mkdir()
    shards.write_json(out / "stats_before.json", counted(BEFORE, 3).to_dict())
    shards.write_json(out / "stats_after.json", counted(AFTER, 3).to_dict())
    totals = {
        "read": 36,
        "kept": 24,
        "dropped": 12,
        "bad": 0,
        "written": 47,
        "synthetic": {"interpolate": 12, "extrapolate": 10, "noise": 1},
    }
    manifest = {
        "job": "augment",
        "totals": totals,
        "versions": {"python": "3.11.9", "numpy": "2.4.1"},
        "neighbors": pools.distance_histogram("rgb", {4: 20, 5: 2}),
        "synthetic_label_counts": {"1": 10, "2": 13},
        "plan": sampling.plan(np.array([32, 9, 4]), 36, Settings(threshold=20)).to_dict(),
    }
    shards.write_json(out / "manifest.json", manifest)
    return out


def run_folder(path, gap):
    path.mkdir()
    shards.write_json(
        path / "metrics.json", {"gap": gap, "map": 0.4, "map_starter": 0.39, "perr": 0.7, "hit_at_1": 0.8, "num_examples": 5771}
    )
    return f"{path.name}={path}"


def test_the_output_of_stats(counted_folder):
    assert collect.write([str(counted_folder)], command="yt8m-data stats 'a*'") == counted_folder / "report.html"
    page = (counted_folder / "report.html").read_text()
    for value in ("Label statistics", "yt8m-data stats &#39;a*&#39;", "Trumpet", "Zither", "numpy", "bad_records.jsonl lists all"):
        assert value in page, value
    assert page.count("train0.tfrecord</td>") == collect.BAD_SHOWN
    assert (counted_folder / "report_plots" / "cooccurrence.png").exists()


def test_names_that_are_given_win(counted_folder, tmp_path):
    collect.write([str(counted_folder)], str(tmp_path / "page.html"), names={0: "Oboe"})
    page = (tmp_path / "page.html").read_text()
    assert "Oboe" in page
    assert "Trumpet" not in page
    assert (tmp_path / "page_plots").is_dir()


def test_the_output_of_augment_and_runs(augmented, tmp_path):
    runs = [run_folder(tmp_path / "plain", 0.8123), run_folder(tmp_path / "rebalanced", 0.8234)]
    collect.write([str(augmented)], None, runs, NAMES, "yt8m-data report augmented")
    page = (augmented / "report.html").read_text()
    for value in (
        "Before and after augmentation",
        "Zither",
        "3.11.9",
        "yt8m-data report augmented",
        "What was made",
        "The plan",
        "from 36<",
    ):
        assert value in page, value
    for value in ("plain", "rebalanced", "0.8123", "0.8234", "5,771"):
        assert value in page, value
    assert "so many training videos" not in page


def test_what_an_evaluation_wrote(augmented, tmp_path):
    file = tmp_path / "voted.json"
    shards.write_json(file, {"gap": 0.8456, "num_examples": 77, "map_by_frequency": {"1-2": None, "3-9": 0.5432}})
    collect.write([str(augmented)], None, [run_folder(tmp_path / "plain", 0.8123), f"voted={file}"])
    page = (augmented / "report.html").read_text()
    for value in ("voted", "0.8456", "0.8123", "so many training videos", "3-9", "0.5432"):
        assert value in page, value


def test_an_augmentation_of_an_earlier_version_lacks_what_was_made(augmented, tmp_path):
    manifest = shards.read_json(augmented / "manifest.json")
    shards.write_json(augmented / "manifest.json", {key: manifest[key] for key in ("job", "totals", "versions", "plan")})
    collect.write([str(augmented)], str(tmp_path / "page.html"))
    page = (tmp_path / "page.html").read_text()
    assert "The plan" in page
    assert "What was made" not in page
    assert "GAP@20" not in page


def test_two_outputs_of_stats_are_before_and_after(counted_folder, counted, tmp_path):
    folder.write(counted(AFTER, 3), str(tmp_path), None)
    assert collect.write([str(counted_folder), str(tmp_path)]) == tmp_path / "report.html"
    page = (tmp_path / "report.html").read_text()
    for value in ("Before and after", "from 36", "Where each label went", "The first of them"):
        assert value in page, value
    assert "The plan" not in page


def test_what_a_wrong_folder_is_told(augmented, counted_folder, counted, tmp_path):
    with pytest.raises(
        DataError, match=r"nowhere has no stats\.json and no manifest\.json: give the folder of a finished yt8m-data stats or augm"
    ):
        collect.write([str(tmp_path / "nowhere")])
    with pytest.raises(DataError, match=r"a report is of one folder, or of two .before and after., not of 3"):
        collect.write(["a", "b", "c"])
    made = tmp_path / "made"
    made.mkdir()
    shards.write_json(made / "manifest.json", {"job": "synth"})
    with pytest.raises(DataError, match="is the output of 'synth', not of yt8m-data augment or stats"):
        collect.write([str(made)])
    folder.write(counted([[0]], 2), str(tmp_path / "other"), None)
    with pytest.raises(DataError, match=r"has 3 classes and .*other has 2: these cannot be before and after"):
        collect.write([str(counted_folder), str(tmp_path / "other")])
    (augmented / "stats_after.json").unlink()
    with pytest.raises(DataError, match=r"there is no file .*stats_after\.json"):
        collect.write([str(augmented)])
    with pytest.raises(DataError, match=r"there is no folder .*nowhere for page\.html: make it, or give another path"):
        collect.write([str(counted_folder)], str(tmp_path / "nowhere" / "page.html"))
    assert not list(tmp_path.rglob("*.html"))


def test_what_a_wrong_run_is_told(augmented, tmp_path):
    with pytest.raises(DataError, match="--run 'runs/plain' is not NAME=PATH"):
        collect.write([str(augmented)], runs=["runs/plain"])
    with pytest.raises(DataError, match=r"has no metrics\.json: evaluate it with --out FILE, and give that file as --run plain=FILE"):
        collect.write([str(augmented)], runs=[f"plain={tmp_path}"])
    for other in ([0.5], {"num_records": 5}):
        shards.write_json(tmp_path / "other.json", other)
        with pytest.raises(
            DataError, match=r"other\.json holds none of gap, map, .*: give a folder of yt8m-train fit, or a file of evaluate"
        ):
            collect.write([str(augmented)], runs=[f"plain={tmp_path / 'other.json'}"])
    with pytest.raises(DataError, match=r"there is no file .*nothing\.json"):
        collect.write([str(augmented)], runs=[f"plain={tmp_path / 'nothing.json'}"])
    assert not list(tmp_path.rglob("*.html"))
