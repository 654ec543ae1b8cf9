"""augment leaves features in the files where it can, and writes the bytes that it writes when it spills them."""

import gzip
import os
import shutil

import pytest

from beam_jobs import room, route
from yt8m_data import in_place, store

OPTIONS = ("--threshold", "25", "--lambda", "0.2:0.8", "--num-shards", "3")
SMALL = ("--memory-budget", "65MiB")  # 64 MiB are kept for pools, so there is no room to map anything


@pytest.fixture(scope="module")
def videos(tmp_path_factory, command):
    """400 made videos with 24 classes in 4 shards."""
    folder = tmp_path_factory.mktemp("in_place") / "made"
    command("yt8m-data", "synth", folder, "--records", 400, "--shards", 4, "--classes", 24, "--seed", 3)
    return folder


@pytest.fixture
def run(command, digests):
    """Run augment on a folder; return the digests of its shards, or what it said if it fails."""

    def augment(folder, out, *options, status=0):
        said = command("yt8m-data", "augment", folder / "*.tfrecord*", out, *OPTIONS, *options, status=status).err
        return said if status else {name: digest for name, digest in digests(out).items() if "tfrecord" in name}

    return augment


@pytest.fixture
def spilled(monkeypatch):
    """Where features are put, "spilled" or "in place", call by call of this process."""
    put = []
    for module, name in ((store, "spilled"), (in_place, "in place")):
        do = module.put
        monkeypatch.setattr(module, "put", lambda *given, do=do, name=name: put.append(name) or do(*given))
    return put


def killed(run, *arguments, at=route.Synthesize):
    """Run augment, and end it where it comes to a step, as a kill would."""

    def fail(*_):
        raise RuntimeError("killed")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(at, "process", fail)
        with pytest.raises(RuntimeError, match="killed"):
            run(*arguments)


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("options", [(), ("--policy", "joint", "--floor", "40", "--method", "delta,interpolate,noise"), ("--holdout",)])
def test_the_bytes_are_those_of_features_that_are_spilled(workers, options, run, videos, tmp_path, spilled):
    if options == ("--holdout",):
        options = ("--holdout", videos / "*00002-of*", "--near", 10)
    found = run(videos, tmp_path / "in_place", "--workers", workers, *options)
    assert set(spilled) == ({"in place"} if workers == 1 else set())
    spilled.clear()
    assert run(videos, tmp_path / "spilled", "--workers", workers, *options, *SMALL) == found
    assert set(spilled) == ({"spilled"} if workers == 1 else set())
    manifests = [(tmp_path / name / "manifest.json").read_text() for name in ("in_place", "spilled")]
    assert manifests[0] == manifests[1]


def test_a_file_with_a_bad_record_is_spilled_alone(run, videos, tmp_path, spilled):
    shutil.copytree(videos, tmp_path / "bad")
    path = sorted((tmp_path / "bad").glob("*.tfrecord"))[1]
    octets = bytearray(path.read_bytes())
    octets[-6] ^= 1
    path.write_bytes(octets)
    skip = ("--on-bad-record", "skip", "--max-bad-fraction", 0.1)
    found = run(tmp_path / "bad", tmp_path / "in_place", "--workers", 1, *skip)
    assert sorted(spilled) == ["in place"] * 4 + ["spilled"]
    assert run(tmp_path / "bad", tmp_path / "spilled", "--workers", 1, *skip, *SMALL) == found


def test_gzip_files_are_spilled_and_mapped_from_there(run, videos, tmp_path, spilled, monkeypatch):
    (tmp_path / "zipped").mkdir()
    for path in videos.glob("*.tfrecord"):
        (tmp_path / "zipped" / f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
    opened = []
    monkeypatch.setattr(route, "Store", lambda *given: opened.append(given[2]) or store.Store(*given))
    found = run(tmp_path / "zipped", tmp_path / "out", "--workers", 1)
    assert set(spilled) == {"spilled"}
    assert set(opened) == {True}
    assert found == run(videos, tmp_path / "plain", "--workers", 1)


@pytest.mark.parametrize(("first", "then", "put"), [((), SMALL, "in place"), (SMALL, (), "spilled")])
def test_a_job_that_is_resumed_with_another_budget_does_as_it_began(first, then, put, run, videos, tmp_path, spilled, monkeypatch):
    monkeypatch.setattr(room, "OUTPUT_ROWS", 100)  # that which also depends on the budget is the same then
    whole = run(videos, tmp_path / "whole", "--workers", 1)
    spilled.clear()
    killed(run, videos, tmp_path / "out", "--workers", 1, *first)
    assert set(spilled) == {put}
    for path in (tmp_path / "out").glob(".spill-work.tmp/done/*"):
        if path.name.endswith("1.pickle"):  # one unit is to be done again
            path.unlink()
    assert run(videos, tmp_path / "out", "--workers", 1, *then) == whole
    assert set(spilled) == {put}


def test_no_room_is_wanted_for_what_stays_where_it_is(run, videos, tmp_path, monkeypatch):
    size = sum(path.stat().st_size for path in videos.glob("*.tfrecord"))
    asked, check = [], room.check_disk
    monkeypatch.setattr(room, "check_disk", lambda *given, **named: asked.append(named["spilled"]) or check(*given, **named))
    free = []

    def usage(_):
        return shutil._ntuple_diskusage(0, 0, free[0])

    monkeypatch.setattr(room.shutil, "disk_usage", usage)
    free.append(0)
    said = [run(videos, tmp_path / str(n), "--workers", 1, *options, status=2) for n, options in enumerate([(), SMALL])]
    assert asked == [False, True]
    needed = [float(text.split("up to ")[1].split(" GB")[0]) * 1e9 for text in said]
    assert needed[1] - needed[0] == pytest.approx(size, rel=0.1)


@pytest.mark.parametrize("moment", ["before the pools", "behind them"])
def test_an_input_that_changes_meanwhile_is_told(moment, run, videos, tmp_path, monkeypatch):
    shutil.copytree(videos, tmp_path / "changing")
    path = sorted((tmp_path / "changing").glob("*.tfrecord"))[2]
    at = route.InPlace if moment == "before the pools" else route.recipes.Made

    def touch(*given):
        os.utime(path, ns=(0, 1))
        return at(*given)

    monkeypatch.setattr(route if at is route.InPlace else route.recipes, at.__name__, touch)
    said = run(tmp_path / "changing", tmp_path / "out", "--workers", 1, status=2)
    assert f"{path} has changed since the job began, which reads it again: leave the input alone, and run it anew" in said
    assert not (tmp_path / "out" / "manifest.json").exists()
