"""augment within a memory budget: smaller pieces, one after the other, and the same bytes."""

import json
import re

import pytest

from beam_jobs import room, route
from yt8m_data import in_place
from yt8m_data.store import Store

OPTIONS = ("--threshold", "60", "--lambda", "0.2:0.8", "--num-shards", "2")


@pytest.fixture(scope="module")
def run(made, command):
    def augment(out, *options, status=0):
        return command("yt8m-data", "augment", made / "*.tfrecord", out, *OPTIONS, *options, status=status)

    return augment


@pytest.fixture(scope="module")
def plain(run, digests, tmp_path_factory):
    out = tmp_path_factory.mktemp("plain") / "out"
    run(out)
    return digests(out)


def least(run, out, monkeypatch):
    """The least budget, as the refusal of a smaller one tells it."""
    monkeypatch.setattr(room, "MINIMUM_BUDGET", 1)
    refused = run(out, "--memory-budget", "1MB", status=2).err
    found = re.search(r"a memory budget of 1,000,000 bytes is too small for [\d,]+ videos whose neighbours are sought at a time: ", refused)
    assert found
    assert not out.exists()
    return re.search(r"give at least ([\d,]+MiB)\n", refused)[1].replace(",", "")


@pytest.mark.parametrize("workers", [1, 2])
def test_the_bytes_do_not_depend_on_memory(workers, run, plain, digests, tmp_path, monkeypatch):
    budget = least(run, tmp_path / "out", monkeypatch)
    monkeypatch.setattr(room, "OUTPUT_ROWS", 100)  # so that a shard is put together of parts
    run(tmp_path / "out", "--memory-budget", budget, "--workers", workers)
    assert digests(tmp_path / "out") == plain


@pytest.mark.parametrize(("budget", "share"), [("4GB", 1), ("100MB", 0)])  # 64 MiB of the latter are kept for pools, and all for recipes
def test_features_are_mapped_where_the_budget_has_room_for_them(budget, share, run, made, tmp_path, monkeypatch):
    monkeypatch.setattr(in_place, "serves", lambda *_: False)
    opened = []
    monkeypatch.setattr(route, "Store", lambda path, schema, mapped, *rest: opened.append(mapped) or Store(path, schema, mapped, *rest))
    found, decide = [], room.mapped
    monkeypatch.setattr(room, "mapped", lambda *given: found.append(decide(*given)) or found[-1])
    run(tmp_path / "out", "--memory-budget", budget, "--workers", 1)
    assert found == [share * sum(path.stat().st_size for path in made.glob("*.tfrecord"))]
    assert set(opened) == {bool(share)}


def test_held_out_videos_take_of_the_budget_too(run, made, tmp_path, monkeypatch):
    found, decide = [], room.mapped
    monkeypatch.setattr(room, "mapped", lambda *given: found.append(decide(*given)) or found[-1])
    run(tmp_path / "out", "--holdout", made / "*00001-of*", "--workers", 1)
    assert found == [sum(path.stat().st_size for path in (*made.glob("*.tfrecord"), *made.glob("*00001-of*")))]


@pytest.mark.parametrize(("budget", "serves"), [("4GB", True), ("4GB", False), ("100MB", False)], ids=["in place", "mapped", "unmapped"])
def test_compiled_loops_write_the_same_bytes(budget, serves, run, tmp_path, monkeypatch):
    pytest.importorskip("numba", reason="numba is not installed")
    if not serves:
        monkeypatch.setattr(in_place, "serves", lambda *_: False)
    from yt8m_data import compiled, compiled_neighbors, compiled_rows

    used = []
    for module, name in ((compiled_neighbors, "nearest"), (compiled_rows, "beside_vectors"), (compiled, "scanner")):
        do = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *given, do=do, name=name: used.append(name) or do(*given))
    run(tmp_path / "plain", "--memory-budget", budget, "--workers", 1)
    assert not used
    monkeypatch.setattr(room, "COMPILED_ROWS", 0)
    run(tmp_path / "compiled", "--memory-budget", budget, "--workers", 1)
    assert set(used) == {"nearest", "beside_vectors", "scanner"}
    plain, fast = ({path.name: path.read_bytes() for path in (tmp_path / name).glob("*.tfrecord")} for name in ("plain", "compiled"))
    assert plain == fast
    assert len(plain) == 2


def test_smaller_pools_take_a_smaller_budget_and_are_told_of(run, tmp_path, monkeypatch):
    monkeypatch.setattr(room, "MINIMUM_BUDGET", 1)
    monkeypatch.setattr(room, "PARTITION_BYTES", 50_000)
    said = run(tmp_path / "out", "--threshold", 400, "--memory-budget", "1MB", status=2).err
    assert re.search(r"is too small for \d+ videos .*: give at least \d+MiB, or deal pools into smaller parts by --pool-videos", said)
    run(tmp_path / "out", "--threshold", 400, "--memory-budget", "1MB", "--pool-videos", 30)
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["sub_pools"]


def test_a_budget_below_what_anything_takes(run, tmp_path):
    said = run(tmp_path / "out", "--memory-budget", "10MB", status=2).err
    assert "a memory budget of 10,000,000 bytes is too small" in said
    assert "give at least 64MiB" in said


def test_a_dry_run_has_a_budget_too(run, tmp_path):
    assert "give at least 64MiB" in run(tmp_path / "out", "--dry-run", "--exact", "--memory-budget", "10MB", status=2).err
