"""ML-ROS, ML-RUS and REMEDIAL against plain scripts that follow the papers, one random video or one record at a time."""

import random
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from census import CLASSES, column, counts, ids, imbalance, plan, random_lists, rarest
from hypothesis import given, settings
from hypothesis import strategies as st

from yt8m_data import sampling, synthetic_labels
from yt8m_data.sampling import KEEP, OVER, SPLIT, SUB
from yt8m_data.schema import PROVENANCE

# --- ML-ROS and ML-RUS: the sequential algorithm, many times over, against the expectation -------------------------------------------


def ml_ros(lists: list[list[int]], percent: float, draw: random.Random) -> np.ndarray:
    """Clones of each video, by the paper's algorithm."""
    count = counts(lists).astype(float)
    ratios, mean = imbalance(count)
    bags = {label: [i for i, labels in enumerate(lists) if label in labels] for label in range(CLASSES) if mean < ratios[label] < np.inf}
    clones, left = np.zeros(len(lists)), int(sum(map(bool, lists)) * percent / 100)
    while left and bags:
        for label in list(bags):
            if max(count) / count[label] <= mean:
                del bags[label]
                continue
            video = draw.choice(bags[label])
            clones[video] += 1
            count[list(set(lists[video]))] += 1
            left -= 1
            if not left:
                break
    return clones


def ml_rus(lists: list[list[int]], percent: float, draw: random.Random) -> np.ndarray:
    """Drops of each video (0 or 1): bags of common labels, of videos that have no rare one."""
    count = counts(lists).astype(float)
    ratios, mean = imbalance(count)
    safe = {i for i, labels in enumerate(lists) if any(ratios[label] > mean for label in labels)}
    open_to_all = [i for i in range(len(lists)) if i not in safe]
    bags = {label: {i for i in open_to_all if label in lists[i]} for label in range(CLASSES) if ratios[label] < mean}
    drops, left = np.zeros(len(lists)), int(sum(map(bool, lists)) * percent / 100)
    while left and bags:
        for label in list(bags):
            if max(count) / count[label] >= mean or not bags[label]:
                del bags[label]
                continue
            video = draw.choice(sorted(bags[label]))
            for bag in bags.values():
                bag.discard(video)
            drops[video] = 1
            count[list(set(lists[video]))] -= 1
            left -= 1
            if not left:
                break
    return drops


def test_ml_ros_is_the_expectation_of_the_paper_s_algorithm():
    lists = random_lists(3, 400)
    made = plan(lists, policy="ml-ros", percent=25.0, methods=("copy",))
    expected = np.array([made.shares[list(set(labels))].sum() if labels else 0.0 for labels in lists])
    runs = np.array([ml_ros(lists, 25.0, random.Random(seed)) for seed in range(60)])
    assert expected.sum() == pytest.approx(runs.sum(axis=1).mean(), rel=0.02)
    by_label = [expected[[label in labels for labels in lists]].sum() for label in range(CLASSES)]
    found = [runs[:, [label in labels for labels in lists]].sum(axis=1).mean() for label in range(CLASSES)]
    assert by_label == pytest.approx(found, rel=0.05, abs=1.5)
    groups = Counter(tuple(sorted(labels)) for labels in lists)
    for group, size in groups.items():
        members = [i for i, labels in enumerate(lists) if tuple(sorted(labels)) == group]
        spread = runs[:, members].sum(axis=1).std() / 60**0.5
        assert expected[members].sum() == pytest.approx(runs[:, members].sum(axis=1).mean(), abs=6 * spread + 0.05 * size + 0.3)


def test_ml_rus_is_the_expectation_of_the_paper_s_algorithm():
    lists = random_lists(4, 400)
    made = plan(lists, policy="ml-rus", percent=15.0)
    chance = np.array([(1 - made.shares[list(set(labels))].sum()) if labels else 1.0 for labels in lists])
    deciding = made.decide(column(lists))
    chance = np.where((deciding >= 0) & (made.regime[deciding] == SUB), chance, 1.0)
    runs = np.array([ml_rus(lists, 15.0, random.Random(seed)) for seed in range(60)])
    assert (1 - chance).sum() == pytest.approx(runs.sum(axis=1).mean(), rel=0.02)
    for label in range(CLASSES):
        members = [i for i, labels in enumerate(lists) if label in labels]
        assert (1 - chance[members]).sum() == pytest.approx(runs[:, members].sum(axis=1).mean(), rel=0.06, abs=1.5)
    ratios, mean = imbalance(counts(lists))
    assert all(chance[i] == 1 for i, labels in enumerate(lists) if any(ratios[label] > mean for label in labels))
    kept = made.kept(ids(lists), column(lists), deciding)
    assert kept.sum() == pytest.approx(chance.sum(), abs=5 * (chance * (1 - chance)).sum() ** 0.5)
    assert made.target == pytest.approx([chance[[label in labels for labels in lists]].sum() for label in range(CLASSES)])


@settings(max_examples=50)
@given(st.integers(0, 2**32), st.integers(10, 120), st.sampled_from([5.0, 40.0, 100.0]), st.sampled_from(["ml-ros", "ml-rus"]))
def test_resampling_keeps_to_its_budget_and_to_its_labels(seed, count, percent, policy):
    lists = random_lists(seed, count)
    if not any(lists):
        return
    made = plan(lists, policy=policy, percent=percent)
    ratios, mean = imbalance(counts(lists))
    moving = [labels for labels in lists if policy == "ml-ros" or all(ratios[label] <= mean for label in labels)]
    moved = sum(made.shares[list(set(labels))].sum() for labels in moving if labels)
    assert moved <= percent / 100 * sum(map(bool, lists)) + 1e-6
    toward = (ratios > mean) if policy == "ml-ros" else (ratios < mean)
    assert not made.shares[~toward].any()
    assert set(made.regime.tolist()) <= ({KEEP, OVER} if policy == "ml-ros" else {KEEP, SUB})
    records = sampling.forecast(made, ids(lists), column(lists))
    assert (records >= (1 if policy == "ml-ros" else 0)).all()
    if policy == "ml-rus":
        assert (records <= 1).all()
        assert made.shares.max() <= 1 + 1e-9


def test_ml_ros_stops_at_the_mean():
    """With all the budget it could want, a label goes up to where IRLbl is the mean, and no further."""
    lists = [[0]] * 100 + [[1]] * 50 + [[2]] * 4
    made = plan(lists, policy="ml-ros", percent=1000.0)
    mean = np.mean([1, 2, 25])
    assert made.target[2] == pytest.approx(100 / mean, abs=1)
    assert made.target[:2].tolist() == [100, 50]
    assert made.neighbors.tolist() == [0, 0, np.ceil(made.shares[2] / 2), 0, 0, 0, 0, 0]
    assert made.growth() == pytest.approx((154 + 4 * made.shares[2]) / 154)


# --- REMEDIAL ---------------------------------------------------------------------------------------------------------------------------


def remedial(lists: list[list[int]]) -> list[tuple[list[int], list[int]] | None]:
    """The two halves of each video that is parted: its rare labels, and the others."""
    ratios, mean = imbalance(counts(lists))
    scores = []
    for labels in lists:
        own = [ratios[label] for label in set(labels)]
        scores.append(1 - np.prod(own) ** (1 / len(own)) / np.mean(own) if own else None)
    limit = np.mean([score for score in scores if score is not None])
    parts = []
    for labels, score in zip(lists, scores, strict=True):
        rare, common = [label for label in labels if ratios[label] > mean], [label for label in labels if ratios[label] <= mean]
        parts.append((rare, common) if rare and common and score > limit + 1e-12 else None)
    return parts


@settings(max_examples=60)
@given(st.integers(0, 2**32), st.integers(1, 80))
def test_remedial_against_a_plain_script(seed, count):
    lists = random_lists(seed, count)
    if not any(lists):
        return
    made, expected = plan(lists, policy="remedial"), remedial(lists)
    assert made.decoupled(column(lists)).tolist() == [part is not None for part in expected]
    provenance = [pa.nulls(count, field.type) for field in PROVENANCE]
    names = ["id", "labels", *PROVENANCE.names]
    batch = pa.RecordBatch.from_arrays([pa.array(ids(lists), pa.binary()), column(lists), *provenance], names=names)
    batch = batch.cast(pa.schema([("id", pa.binary()), ("labels", pa.list_(pa.int32())), *PROVENANCE]))
    videos, copies = synthetic_labels.decouple(batch, made)
    assert videos.schema == copies.schema == batch.schema
    assert videos.column("labels").to_pylist() == [
        labels if part is None else part[0] for labels, part in zip(lists, expected, strict=True)
    ]
    assert videos.drop_columns(["labels"]).equals(batch.drop_columns(["labels"]))
    found = {row["aug_base"]: row for row in copies.to_pylist()}
    wanted = {i: part[1] for i, part in zip(ids(lists), expected, strict=True) if part}
    assert {i: row["labels"] for i, row in found.items()} == wanted
    assert all((row["id"], row["aug_method"]) == (i + b"_c01", b"decouple") for i, row in found.items())
    regimes = {label for label, part in zip(rarest(lists), expected, strict=True) if part}
    assert {label for label in range(CLASSES) if made.regime[label] == SPLIT} == regimes
    assert made.growth() == pytest.approx((sum(map(bool, lists)) + len(wanted)) / sum(map(bool, lists)))
