import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from yt8m_data import splits
from yt8m_data.errors import DataError

IDS = [b"v%d" % n for n in range(4000)]


@given(st.lists(st.integers(1, 9), min_size=1, max_size=6))
def test_fractions_part_the_ids(weights):
    fractions = [weight / sum(weights) for weight in weights]
    rule = splits.parse("x", [f"s{n}={fraction!r}" for n, fraction in enumerate(fractions)], [])
    chosen = rule.of_ids(IDS, 7)
    assert chosen.min() >= 0
    assert chosen.max() < len(weights)
    np.testing.assert_allclose(np.bincount(chosen, minlength=len(weights)) / len(IDS), fractions, atol=0.05)
    assert rule.of_ids(IDS[::-1], 7).tolist() == chosen[::-1].tolist()
    assert rule.of_files(["a", "b"]) == [0, 0]


def test_the_seed_chooses_others():
    rule = splits.parse("x", ["a=0.5", "b=0.5"], [])
    assert rule.of_ids(IDS, 1).tolist() != rule.of_ids(IDS, 2).tolist()


def test_the_held_out_tenth_of_the_validate_shards():
    files = [f"/data/validate{n:04d}.tfrecord" for n in range(3844)] + [f"/data/train{n:04d}.tfrecord" for n in range(30)]
    rule = splits.parse("train", [], ["heldout=validate???5*"])
    chosen = rule.of_files(files)
    assert rule.names == ("heldout", "train")
    assert [f for f, split in zip(files, chosen, strict=True) if split == 0] == [
        f for f in files if f.endswith("5.tfrecord") and "val" in f
    ]
    assert rule.of_ids(IDS[:5], 0).tolist() == [0] * 5


def test_one_split_without_a_rule():
    rule = splits.parse("all", [], [])
    assert rule == splits.Splits(("all",))
    assert rule.of_ids(IDS[:3], 0).tolist() == rule.of_files(["a", "b", "c"]) == [0, 0, 0]


@pytest.mark.parametrize(
    ("fractions", "by_name", "said"),
    [
        (["a=0.5", "b=0.4"], [], "add up to 0.9"),
        (["a=0.5", "a=0.5"], [], "two splits are called 'a'"),
        (["a"], [], "'a' names no split"),
        (["=1"], [], "'=1' names no split"),
        (["../a=1"], [], "names no split"),
        ([".a=1"], [], "names no split"),
        (["a=x"], [], "'x' is no fraction"),
        (["a=nan"], [], "'nan' is no fraction"),
        (["a=0", "b=1"], [], "'0' is no fraction"),
        (["a=1"], ["b=x"], "exclude one another"),
        ([], ["train=x"], "two splits are called 'train'"),
    ],
)
def test_wrong_rules(fractions, by_name, said):
    with pytest.raises(DataError, match=said):
        splits.parse("train", fractions, by_name)


def test_files_that_match_twice_or_not_at_all():
    with pytest.raises(DataError, match=r"a5 would be in the splits 'x' and 'y'"):
        splits.parse("train", [], ["x=a*", "y=*5"]).of_files(["a1", "a5", "b5"])
    with pytest.raises(DataError, match="no shard matches 'c' for the split 'y'"):
        splits.parse("train", [], ["x=a*", "y=c"]).of_files(["a1", "b"])
