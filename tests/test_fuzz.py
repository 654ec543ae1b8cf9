"""A small part of benchmarks/fuzz_shards.py, and proof that its checks can fail."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from yt8m_data import codec

PATH = Path(__file__).resolve().parents[1] / "benchmarks" / "fuzz_shards.py"


@pytest.fixture(scope="module")
def fuzz_shards():
    spec = importlib.util.spec_from_file_location("fuzz_shards", PATH)
    module = sys.modules["fuzz_shards"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_damaged_shards_are_told_of(fuzz_shards):
    tallies = fuzz_shards.fuzz(208, seed=1)
    assert [failure for tally in tallies.values() for failure in tally.failures] == []
    assert set(tallies) == set(fuzz_shards.DAMAGES)
    for name in (
        "flipped bits",
        "a length that lies",
        "a length of gigabytes",
        "wrong types, checksum right",
        "wrong sizes and frame counts",
    ):
        assert set(tallies[name].outcomes) == {"skipped, counted"}
    assert set(tallies["a record twice"].outcomes) == {"stopped: an id twice"}
    assert tallies["flipped bits, checksum right"].outcomes["legal"] > 0


def test_a_reader_that_trusts_checksums_too_much_is_found_out(fuzz_shards, monkeypatch):
    """Without the data's checksum a flipped value is a wrong row."""
    monkeypatch.setattr(fuzz_shards.tfrecord, "plain_scan", trusting(fuzz_shards.tfrecord.plain_scan))
    failures = fuzz_shards.fuzz(65, seed=2, kinds=("video",))["flipped bits"].failures
    assert any("a wrong row was accepted" in failure for failure in failures)


def trusting(scan):
    def trust(data):
        found = scan(data)
        return found._replace(good=np.ones_like(found.good))

    return trust


def test_a_reader_that_says_nothing_is_found_out(fuzz_shards, monkeypatch):
    silent = codec.decode
    monkeypatch.setattr(fuzz_shards.codec, "decode", lambda block, schema: silent(block, schema)._replace(bad=[]))
    failures = [f for tally in fuzz_shards.fuzz(26, seed=3).values() for f in tally.failures]
    assert any("damage was not reported" in failure for failure in failures)
