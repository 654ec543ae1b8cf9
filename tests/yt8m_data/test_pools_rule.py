"""The whole rule against a plain script: what is made of videos, at which distances, and who is kept where there are too many."""

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pools_script import INPUTS, MANY, ONE, VIDEO_BYTES, Made, Video, augment, draw, make_plan, random_videos, reference, to_batch

from yt8m_data import pools, sampling
from yt8m_data.sampling import OVER, Settings

WITHOUT_DELTAS = ("interpolate", "extrapolate", "noise", "copy")


@pytest.mark.parametrize("policy", ["paper", "authors"])
@settings(max_examples=120)
@given(videos=INPUTS, threshold=st.sampled_from([2.0, 4.0, 7.0, 12.0, 30.0, 60.0, 200.0, 500.0]), seed=st.integers(0, 5))
def test_the_job_equals_the_reference(policy, videos, threshold, seed):
    if not any(video.labels for video in videos):
        videos = [*videos, Video(b"last", [0], [0.0] * 3, [0.0] * 2)]
    expected = reference(videos, policy, threshold, seed)
    options = Settings(policy=policy, threshold=threshold, seed=seed)
    assert augment(videos, options, ONE) == expected
    assert augment(videos, options, MANY) == expected
    assert augment(videos, options, 10 * VIDEO_BYTES, np.random.default_rng(seed)) == expected


def test_a_group_by_hand():
    """Label 0 has a, b, c in a row; c, d share the commoner label 1; e has no label; f is alone under label 2."""
    places = {"a": 0.0, "b": 1.0, "c": 3.0, "d": 4.0, "g": 20.0, "h": 21.0, "f": 50.0, "e": 60.0}
    labels = {"a": [0], "b": [0, 1], "c": [1, 0], "d": [1], "g": [1], "h": [1], "f": [2], "e": []}
    videos = [Video(name.encode(), labels[name], [at, 0.0, 0.0], [0.0, at]) for name, at in places.items()]
    written = augment(videos, Settings(threshold=100.0), ONE)  # 1 to 5 of 100: 8 or 7 neighbours, so all there are
    made = {
        name: [(m.method[0], (m.neighbor or b"-").decode()) for i, m in written.items() if i.startswith(name + b"_o")]
        for name in b"a b c d e f g h".split()
    }
    assert made[b"a"] == [("i", "b"), ("e", "b"), ("i", "c"), ("e", "c")]
    assert made[b"b"] == [("i", "c"), ("e", "c")]  # a took ab; b's rarest label is 0, so d is out of its reach
    assert made[b"c"] == [("n", "-")]
    assert made[b"d"] == [(method, other) for other in "cbgh" for method in "ie"]  # b and c do not have d among theirs
    assert made[b"g"] == [(method, other) for other in "hcb" for method in "ie"]
    assert made[b"h"] == [(method, other) for other in "cb" for method in "ie"]
    assert made[b"e"] == []
    assert made[b"f"] == [("n", "-")]
    assert written[b"a_o01"] == Made([0], "interpolate", b"a", b"b", [0.5, 0.0, 0.0], [0.0, 0.5])
    assert written[b"a_o02"] == Made([0], "extrapolate", b"a", b"b", [-0.5, 0.0, 0.0], [0.0, -0.5])
    assert len(written) == 8 + 4 + 2 + 1 + 8 + 6 + 4 + 1


def test_equal_counts_and_the_label_listed_first():
    """x and y carry labels 0 and 1, of equal counts, in other orders: the authors' rule parts them, and yet their pair is used once."""
    videos = [Video(b"x", [1, 0], [0.0] * 3, [0.0] * 2), Video(b"y", [0, 1], [1.0] * 3, [1.0] * 2)]
    options = Settings(policy="authors", threshold=50.0)
    plan = make_plan(videos, options)
    assert plan.decide(to_batch(videos).column("labels")).tolist() == [1, 0]
    for partition_bytes in (ONE, MANY):
        written = augment(videos, options, partition_bytes)
        assert written == reference(videos, "authors", 50.0, 0)
        assert [(i, m.method, m.neighbor) for i, m in sorted(written.items())] == [
            (b"x", "", None),
            (b"x_o01", "interpolate", b"y"),
            (b"x_o02", "extrapolate", b"y"),
            (b"y", "", None),
            (b"y_o01", "noise", None),
        ]


@settings(max_examples=40)
@given(
    videos=INPUTS,
    copies=st.sampled_from([1.3, 4.0]),
    methods=st.sampled_from([("interpolate",), ("copy", "extrapolate", "noise")]),
)
def test_a_target_does_not_depend_on_the_partitions(videos, copies, methods):
    if not any(video.labels for video in videos):
        return
    options = Settings(policy="target", floor=10 * copies, cap=10 * copies, methods=methods)
    once = augment(videos, options, ONE)
    assert augment(videos, options, MANY, np.random.default_rng(0)) == once
    plan = make_plan(videos, options)
    deciding = plan.decide(to_batch(videos).column("labels"))
    made = Counter(m.base for m in once.values() if m.method)
    for video, label in zip(videos, deciding.tolist(), strict=True):
        quota = plan.copies[label] if label >= 0 and plan.regime[label] == OVER else 0.0
        assert made[video.id] in (math.floor(quota), math.floor(quota) + 1)
        assert made[video.id] <= math.ceil(quota)


@settings(max_examples=60)
@given(videos=INPUTS, methods=st.lists(st.sampled_from(WITHOUT_DELTAS), min_size=1, unique=True).map(tuple))
def test_what_is_made_is_at_most_what_is_expected(videos, methods):
    if not any(video.labels for video in videos):
        return
    options = Settings(threshold=30.0, methods=methods)
    plan = make_plan(videos, options)
    made = Counter(m.base for m in augment(videos, options, ONE).values() if m.method)
    for video, label in zip(videos, plan.decide(to_batch(videos).column("labels")).tolist(), strict=True):
        if label >= 0 and plan.regime[label] == OVER:
            assert 1 <= made[video.id] <= plan.expected()[label] - 1
            if not set(methods) & set(sampling.PAIRED):
                assert made[video.id] == plan.expected()[label] - 1


def test_synthetic_videos_come_in_parts(monkeypatch):
    videos = random_videos(1, 40, 3, 50)
    whole = augment(videos, Settings(threshold=60.0), ONE)
    monkeypatch.setattr("yt8m_data.pools.MAKE_ROWS", 7)
    assert augment(videos, Settings(threshold=60.0), ONE) == whole


@given(st.lists(st.floats(1e-3, 1e4), max_size=60), st.integers(0, 3), st.integers(0, 3))
def test_the_histogram_of_distances_counts_each_in_its_bin(apart, identical, noisy):
    squared = np.array([*np.square(apart), *[0.0] * identical, *[np.nan] * noisy])
    found = pools.distance_histogram("rgb", Counter(pools.distance_bins(squared)))
    assert (found["feature"], found["identical"]) == ("rgb", identical)
    assert sum(found["counts"]) == len(apart)
    if apart:
        assert found["counts"][0] > 0
        assert found["counts"][-1] > 0
    edges = [2 ** ((found["first_bin"] + i) / found["bins_per_octave"]) for i in range(len(found["counts"]) + 1)]
    for at, count in enumerate(found["counts"]):
        low, high = edges[at : at + 2]
        surely = sum(low * (1 + 1e-9) < distance < high * (1 - 1e-9) for distance in apart)
        perhaps = sum(low * (1 - 1e-9) < distance < high * (1 + 1e-9) for distance in apart)
        assert surely <= count <= perhaps


def many(count: int) -> list[Video]:
    return [Video(b"%06d" % i, [0], [0.0] * 3, [0.0] * 2) for i in range(count)]


def kept(videos: list[Video], seed: int, threshold: float) -> set[bytes]:
    plan = sampling.plan(np.array([5000, 0, 0, 0, 0, 0]), 5000, Settings(threshold=threshold, seed=seed))
    as_is, over, rows, _ = pools.route(plan, pools.pack(plan, VIDEO_BYTES, ONE), to_batch(videos))
    assert len(over) == len(rows) == 0
    return {videos[row].id for row in as_is}


@pytest.mark.parametrize(("threshold", "ratio"), [(5000 / 2.5, 2), (500.0, 6), (5000 / 80, 40)])
def test_the_kept_part_is_one_in_q(threshold, ratio):
    found = len(kept(many(5000), 0, threshold))
    assert found == pytest.approx(5000 / ratio, abs=5 * math.sqrt(5000 / ratio))


def test_who_is_kept_depends_on_seed_and_id_alone():
    videos = many(5000)
    once = kept(videos, 3, 500.0)
    assert once == {video.id for video in videos if draw(3, video.id) < 1 / 6}
    assert kept(videos[::-1], 3, 500.0) == once
    assert kept(videos[:100], 3, 500.0) == {video.id for video in videos[:100]} & once
    assert kept(videos, 4, 500.0) != once
    assert kept(videos, 3, 5000 / 80) < once  # who survives a stronger cut survives a weaker one


def test_videos_without_labels_are_kept():
    videos = [*many(50), Video(b"none", [], [0.0] * 3, [0.0] * 2)]
    assert b"none" in kept(videos, 0, 5000 / 80)
