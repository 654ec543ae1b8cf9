import pytest

from yt8m_data.errors import DataError
from yt8m_data.work import open_work, versions

PLAN = {"job": "x", "seed": 1}


def test_the_same_plan_goes_on(tmp_path):
    out = tmp_path / "out"
    work = open_work(str(out), PLAN, False)
    assert not work.resumed
    (out / ".train.abc.tmp").write_text("half")
    (work.folder / "done" / ".000001.json.abc.tmp").write_text("half")
    (work.folder / "done" / "000000.json").write_text("{}")
    (out / "train-00000-of-00001.tfrecord").write_text("whole")
    again = open_work(str(out), PLAN, False)
    assert again.resumed
    found = sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file())
    assert found == [".spill-work.tmp/done/000000.json", ".spill-work.tmp/plan.json", "train-00000-of-00001.tfrecord"]
    again.remove()
    assert [path.name for path in out.iterdir()] == ["train-00000-of-00001.tfrecord"]


def test_of_a_finished_output_nothing_is_resumed(tmp_path):
    out = tmp_path / "out"
    work = open_work(str(out), PLAN, False)
    (work.done / "a.pickle").write_bytes(b"")
    (out / "manifest.json").write_text("{}")
    with pytest.raises(DataError, match="holds a finished output: give another folder, or --overwrite"):
        open_work(str(out), PLAN, False)
    assert [path.name for path in out.iterdir()] == ["manifest.json"]
    assert not open_work(str(out), PLAN, True).resumed


def test_another_plan_is_refused_or_replaces_what_is_there(tmp_path):
    out = tmp_path / "out"
    open_work(str(out), PLAN, False)
    with pytest.raises(DataError, match=r"holds the beginning of another output \(of other seed\): finish that, or --overwrite"):
        open_work(str(out), PLAN | {"seed": 2}, False)
    work = open_work(str(out), PLAN | {"seed": 2}, True)
    assert not work.resumed
    assert open_work(str(out), PLAN | {"seed": 2}, True).resumed


def test_a_folder_that_is_not_ours_is_refused(tmp_path):
    (tmp_path / "foreign.txt").write_text("x")
    with pytest.raises(DataError, match=r"holds 'foreign.txt', which is none of this command's files"):
        open_work(str(tmp_path), PLAN, True)
    assert [path.name for path in tmp_path.iterdir()] == ["foreign.txt"]


def test_versions_name_what_the_bytes_depend_on():
    assert {"python", "yt8m-data", "numpy", "pyarrow"} <= versions().keys()
