import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainers.metrics import Metrics
from trainers.segments.metrics import SegmentMetrics
from yt8m_data.errors import DataError


def brute(scores, truth, k):
    """MAP@K by its definition; truth [S, C] is 1, 0, or NaN where the pair is not rated. No two scores of a class are equal."""
    found = []
    for column, rated in zip(scores.T, truth.T, strict=True):
        kept = [rated[row] for row in sorted(range(len(column)), key=lambda row: -column[row])[:k] if not np.isnan(rated[row])]
        hits = precisions = 0.0
        for place, hit in enumerate(kept, start=1):
            hits += hit
            precisions += hit * hits / place
        if (rated == 1).any():
            found.append(precisions / (rated == 1).sum())
    return np.mean(found) if found else 0.0


def of(scores, truth, batch=1000):
    """Metrics of scores and truth [S, C], given in batches."""
    metrics = SegmentMetrics(scores.shape[1])
    width = max(int((~np.isnan(truth)).sum(axis=1).max()), 1)
    for first in range(0, len(scores), batch):
        part = truth[first : first + batch]
        rated, ratings = np.full((len(part), width), -1), np.zeros((len(part), width), np.float32)
        for row, values in enumerate(part):
            columns = np.flatnonzero(~np.isnan(values))
            rated[row, : len(columns)], ratings[row, : len(columns)] = columns, values[columns]
        ids = [b"v:%d" % row for row in range(first, first + len(part))]
        metrics.update(ids, scores[first : first + batch], rated, ratings)
    return metrics


def made(seed, segments=40, classes=5, share=0.4):
    random = np.random.default_rng(seed)
    scores = random.permutation(segments * classes).reshape(segments, classes).astype(np.float32) / (segments * classes)
    truth = np.where(random.random(scores.shape) < share, random.integers(0, 2, scores.shape), np.nan)
    return scores, truth


@given(st.integers(0, 2**32 - 1), st.integers(1, 45), st.sampled_from([1, 7, 1000]))
@settings(max_examples=40)
def test_map_at_k_equals_its_definition(seed, k, batch):
    scores, truth = made(seed)
    assert of(scores, truth, batch).map_at(k) == pytest.approx(brute(scores, truth, k), abs=1e-12)


def test_a_worked_example():
    """Ranks 1 to 5: positive, not rated, negative, positive, positive. Of the rated ones 1, 3 and 4 are positive: (1 + 2/3 + 3/4) / 3."""
    scores, truth = np.float32([[0.9], [0.8], [0.7], [0.6], [0.5]]), np.array([[1], [np.nan], [0], [1], [1]])
    metrics = of(scores, truth)
    assert metrics.map_at() == pytest.approx((1 + 2 / 3 + 3 / 4) / 3)
    assert metrics.map_at(4) == pytest.approx((1 + 2 / 3) / 3)  # the cut comes before the unrated is taken out
    assert metrics.map_at(1) == pytest.approx(1 / 3)


def test_unrated_pairs_below_the_cut_change_only_the_metric_that_takes_them_for_negatives():
    scores, truth = made(1)
    before = of(scores, truth).result()
    others = np.random.default_rng(2).random((25, 5)).astype(np.float32)
    after = of(np.concatenate([scores, others]), np.concatenate([truth, np.full(others.shape, np.nan)])).result()
    assert after["map_at_k"] == pytest.approx(before["map_at_k"], abs=1e-12)
    assert after["map_unrated_negative"] < before["map_unrated_negative"] - 0.01
    assert after["num_pairs"] == before["num_pairs"]


def test_a_shorter_list_lowers_it():
    scores, truth = made(3)
    found = [of(scores, truth).map_at(k) for k in (5, 15, 30, 40)]
    assert found == sorted(found)
    assert found[0] < found[-1]


def test_classes_without_a_positive_do_not_count():
    scores, truth = made(4)
    more = np.concatenate([scores, scores[:, :1]], axis=1), np.concatenate([truth, np.where(np.isnan(truth[:, :1]), np.nan, 0)], axis=1)
    assert of(*more).map_at() == of(scores, truth).map_at()
    nothing = of(scores, np.full(truth.shape, np.nan))
    assert (nothing.map_at(), nothing.result()["num_pairs"]) == (0, 0)
    assert SegmentMetrics(3).map_at() == 0


def test_the_other_two_are_the_metrics_of_videos_on_masked_and_on_whole_scores():
    scores, truth = made(5)
    masked, whole = Metrics(5), Metrics(5)
    positive = np.where(truth == 1, np.arange(5), -1)
    ids = [b"v:%d" % row for row in range(len(scores))]
    masked.update(ids, np.where(np.isnan(truth), 0, scores), positive)
    whole.update(ids, scores, positive)
    found, expected = of(scores, truth).result(), masked.result()
    assert {name: found[f"rated_{name}"] for name in ("gap", "map", "map_starter", "perr", "hit_at_1")} == {
        name: value for name, value in expected.items() if name != "num_examples"
    }
    assert found["map_unrated_negative"] == whole.map()
    assert (found["num_segments"], found["num_pairs"]) == (40, np.count_nonzero(~np.isnan(truth)))


def test_equal_scores_are_left_to_chance():
    truth = np.tile([[1.0], [0.0], [0.0], [0.0]], (500, 1))
    assert of(np.full((2000, 1), 0.5, np.float32), truth).map_at() == pytest.approx(0.25, abs=0.04)


def test_a_pair_rated_twice_counts_once_and_as_its_higher_rating():
    metrics = SegmentMetrics(2)
    metrics.update(
        [b"a:0", b"b:0"], np.float32([[0.9, 0.1], [0.8, 0.2]]), np.array([[0, 0, -1], [0, -1, -1]]), np.float32([[0, 1, 0], [0, 0, 0]])
    )
    assert metrics.map_at() == 1
    assert metrics.result()["num_pairs"] == 2


def test_scores_that_are_not_finite_and_unknown_classes_are_told():
    metrics = SegmentMetrics(2)
    with pytest.raises(DataError, match="not finite"):
        metrics.update([b"a:0"], np.float32([[np.nan, 0]]), np.array([[0]]), np.float32([[1]]))
    with pytest.raises(DataError, match="label 7 is beyond the 2 classes"):
        metrics.update([b"a:0"], np.float32([[1, 0]]), np.array([[7]]), np.float32([[1]]))
