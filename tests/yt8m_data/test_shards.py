"""Shards on disk: what patterns match, hashes that never change, files that appear whole, folders that nobody loses."""

import errno
import hashlib
import json
import os
import stat
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from yt8m_data import shards
from yt8m_data.errors import DataError

SEEDS = st.integers(-(2**63), 2**63 - 1)
IDS = st.lists(st.binary(max_size=40), max_size=20)


# --- Patterns and names -------------------------------------------------------------------------------------------------------


def test_expand_gives_sorted_files_each_once(tmp_path):
    for name in ("b1.tfrecord", "a2.tfrecord", "a10.tfrecord"):
        (tmp_path / name).touch()
    (tmp_path / "a.tfrecord").mkdir()
    found = shards.expand([f"{tmp_path}/*.tfrecord", f"{tmp_path}/a*", f"{tmp_path}/b1.tfrecord"])
    assert found == [f"{tmp_path}/{name}" for name in ("a10.tfrecord", "a2.tfrecord", "b1.tfrecord")]


def test_expand_looks_into_folders_and_knows_the_home_folder(tmp_path, monkeypatch):
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "deep" / "er" / "x.tfrecord").touch()
    monkeypatch.setenv("HOME", str(tmp_path))
    assert shards.expand(["~/**/*.tfrecord"]) == [f"{tmp_path}/deep/er/x.tfrecord"]


def test_expand_names_the_pattern_that_matches_nothing(tmp_path):
    (tmp_path / "a").touch()
    (tmp_path / "folder").mkdir()
    for wrong in ("nothing-*", "folder"):
        with pytest.raises(DataError, match=f"no file matches '.*{wrong.replace('*', '.')}'"):
            shards.expand([f"{tmp_path}/a", f"{tmp_path}/{wrong}"])


def test_shard_names():
    assert shards.shard_name("train", 7, 70) == "train-00007-of-00070.tfrecord"


# --- Hashes -----------------------------------------------------------------------------------------------------------------


def blake(seed: int, video_id: bytes, purpose: bytes) -> int:
    """RFC 7693 with an 8-byte digest: the seed in the salt, the purpose in the personalisation, both padded with zeros to 16 bytes."""
    salt = (seed % 2**64).to_bytes(8, "little") + bytes(8)
    return int.from_bytes(hashlib.blake2b(video_id, digest_size=8, salt=salt, person=purpose.ljust(16, b"\0")).digest(), "little")


def test_stable_hash_is_what_it_always_was():
    """These numbers are a promise: shards made again with the same seed have the same bytes."""
    assert shards.stable_hash(0, [b"", b"abcd"], "order").tolist() == [11834578883325328486, 177529636102213251]
    assert shards.stable_hash(-1, [b"abcd"], "keep").tolist() == [1925427966230220016]


@given(SEEDS, IDS, st.sampled_from(["order", "keep", "lambda", "noise", "copies", "sixteen letters!"]))
def test_stable_hash_is_blake2b(seed, ids, purpose):
    hashes = shards.stable_hash(seed, ids, purpose)
    assert hashes.dtype == np.uint64
    assert hashes.tolist() == [blake(seed, i, purpose.encode()) for i in ids]


@given(SEEDS, IDS, st.randoms())
def test_stable_hash_knows_nothing_of_the_other_ids(seed, ids, random):
    shuffled = random.sample(ids, len(ids))
    assert dict(zip(ids, shards.stable_hash(seed, ids, "keep"), strict=True)) == dict(
        zip(shuffled, shards.stable_hash(seed, shuffled, "keep"), strict=True)
    )


def test_seeds_and_purposes_are_independent():
    ids = [b"%05d" % i for i in range(20_000)]
    draws = [shards.unit_interval(shards.stable_hash(*key)) for key in ((0, ids, "keep"), (1, ids, "keep"), (0, ids, "order"))]
    limit = 5 / np.sqrt(len(ids))  # five standard errors of a correlation of zero
    assert np.abs(np.corrcoef(draws) - np.eye(3)).max() < limit
    for draw in draws:
        assert np.abs(np.histogram(draw, 16, (0, 1))[0] - len(ids) / 16).max() < 5 * np.sqrt(len(ids) / 16)


def test_unit_interval_keeps_to_its_ends():
    ends = np.array([0, 2**11 - 1, 2**11, 2**63, 2**64 - 1], np.uint64)
    assert shards.unit_interval(ends).tolist() == [0.0, 0.0, 2.0**-53, 0.5, 1 - 2.0**-53]


# --- Atomic writes ----------------------------------------------------------------------------------------------------------


def test_a_file_appears_at_the_end_of_the_block(tmp_path):
    path = tmp_path / "out.bin"
    with shards.atomic_write(path) as stream:
        stream.write(b"half")
        stream.flush()
        assert not path.exists()
        stream.write(b" whole")
    assert path.read_bytes() == b"half whole"
    assert os.listdir(tmp_path) == ["out.bin"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_failed_write_leaves_what_was_there(tmp_path, error):
    path = tmp_path / "out.bin"
    path.write_bytes(b"before")

    def fail() -> None:
        with shards.atomic_write(path) as stream:
            stream.write(b"after")
            raise error

    with pytest.raises(error):
        fail()
    assert path.read_bytes() == b"before"
    assert os.listdir(tmp_path) == ["out.bin"]


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_a_file_has_the_mode_of_any_new_file(tmp_path, mask, mode):
    old = os.umask(mask)
    try:
        with shards.atomic_write(tmp_path / "out") as stream:
            stream.write(b"x")
        assert os.umask(mask) == mask  # asking for the mask leaves it as it was
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == mode


# --- JSON -------------------------------------------------------------------------------------------------------------------

PLAIN = st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8)
VALUES = st.recursive(
    PLAIN, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4), max_leaves=20
)


@given(VALUES)
def test_json_round_trip(value):
    assert json.loads(shards.dump_json(value)) == value


def test_json_has_a_line_for_each_key_and_each_record():
    value = {"counts": [3, 2, 1], "totals": {"read": 6}, "shards": [{"name": "a"}, {"name": "b"}], "none": [], "empty": {}}
    assert shards.dump_json(value) == (
        '{\n  "counts": [3, 2, 1],\n  "totals": {\n    "read": 6\n  },\n  "shards": [\n    {"name": "a"},\n    {"name": "b"}\n  ],\n'
        '  "none": [],\n  "empty": {}\n}\n'
    )


def test_json_files(tmp_path):
    shards.write_json(tmp_path / "a.json", {"name": "Fußball", "count": 3})
    assert shards.read_json(tmp_path / "a.json") == {"name": "Fußball", "count": 3}
    (tmp_path / "b.json").write_text("{'no': 1}")
    with pytest.raises(DataError, match=r"b\.json is not JSON"):
        shards.read_json(tmp_path / "b.json")
    with pytest.raises(DataError, match=r"there is no file .*c\.json"):
        shards.read_json(tmp_path / "c.json")
    with pytest.raises(ValueError, match="not JSON compliant"):
        shards.dump_json({"mean": float("nan")})


# --- Output folders ---------------------------------------------------------------------------------------------------------


def fill(folder: Path, *names: str) -> None:
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).write_bytes(b"x")


def test_an_output_folder_is_made_with_its_parents(tmp_path):
    made = shards.prepare_output(str(tmp_path / "a" / "b"), overwrite=False)
    assert made == tmp_path / "a" / "b"
    assert made.is_dir()
    assert shards.prepare_output(str(made), overwrite=False) == made  # an empty one will do


def test_what_is_there_is_refused_without_overwrite(tmp_path):
    fill(tmp_path / "half", "train-00000-of-00002.tfrecord")
    fill(tmp_path / "whole", "train-00000-of-00001.tfrecord", "manifest.json")
    with pytest.raises(DataError, match=r"half is not empty \(it holds 'train-00000-of-00002.tfrecord'\): .*--overwrite"):
        shards.prepare_output(str(tmp_path / "half"), overwrite=False)
    with pytest.raises(DataError, match=r"whole holds a finished output: .*--overwrite"):
        shards.prepare_output(str(tmp_path / "whole"), overwrite=False)
    assert len(os.listdir(tmp_path / "whole")) == 2


def test_overwrite_removes_what_the_commands_write(tmp_path):
    fill(
        tmp_path / "out",
        *("train-00000-of-00002.tfrecord", "manifest.json", "stats.json", "stats_before.json", "stats_after.json", "label_counts.csv"),
        *("vocabulary.csv", "cooccurrence.npz", "bad_records.jsonl", "report.html"),
    )
    fill(tmp_path / "out" / "report_plots", "moves.png", "moves.csv", ".moves.png.k3x_.tmp")
    assert os.listdir(shards.prepare_output(str(tmp_path / "out"), overwrite=True)) == []


def test_overwrite_removes_what_a_killed_job_leaves(tmp_path):
    """A temporary file of atomic_write, and the folder that augment spills to."""
    fill(tmp_path / "out", ".train-00000-of-00001.tfrecord.k3x_.tmp")
    spilled = tmp_path / "out" / ".spill-ab12.tmp" / "pools" / "0"
    spilled.mkdir(parents=True)
    (spilled / "1.arrow").write_bytes(b"x")
    with pytest.raises(DataError, match="--overwrite"):
        shards.prepare_output(str(tmp_path / "out"), overwrite=False)
    assert os.listdir(shards.prepare_output(str(tmp_path / "out"), overwrite=True)) == []


@pytest.mark.parametrize("foreign", ["thesis.docx", "train.tfrecord", "my-stats.json", ".bashrc"])
def test_foreign_files_are_never_removed(tmp_path, foreign):
    fill(tmp_path / "out", "manifest.json", foreign)
    with pytest.raises(DataError, match=f"holds '{foreign}', which is none of this command's files"):
        shards.prepare_output(str(tmp_path / "out"), overwrite=True)
    assert sorted(os.listdir(tmp_path / "out")) == sorted(["manifest.json", foreign])


@pytest.mark.parametrize("foreign", ["photos", "train-00000-of-00001.tfrecord", "report.html", "report_plots"])
def test_foreign_folders_are_never_removed(tmp_path, foreign):
    fill(tmp_path / "out", "manifest.json")
    fill(tmp_path / "out" / foreign, "holiday.jpeg")
    with pytest.raises(DataError, match=f"holds '{foreign}'"):
        shards.prepare_output(str(tmp_path / "out"), overwrite=True)
    assert (tmp_path / "out" / foreign / "holiday.jpeg").exists()
    assert (tmp_path / "out" / "manifest.json").exists()


def test_a_file_is_no_output_folder(tmp_path):
    (tmp_path / "out").touch()
    with pytest.raises(DataError, match="out is a file: give a folder"):
        shards.prepare_output(str(tmp_path / "out"), overwrite=True)


def test_a_full_disk_is_told_of_and_leaves_nothing(tmp_path, monkeypatch):
    def full(_descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DataError, match=f"the disk of {tmp_path} is full"):
        shards.write_json(tmp_path / "x.json", {})
    assert list(tmp_path.iterdir()) == []
