import csv

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainers import score_columns
from trainers.metrics import Metrics, average_precision, by_frequency
from trainers.ranks import top_classes
from yt8m_data.errors import DataError

# The worked example of the specification.
SCORES = np.array([[0.9, 0.5, 0.4, 0.1], [0.8, 0.7, 0.2, 0.3], [0.6, 0.05, 0.95, 0.35]], np.float32)
TRUTH = np.array([[1, 0, 1, 0], [0, 1, 0, 0], [0, 0, 1, 1]], bool)


def padded(truth: np.ndarray) -> np.ndarray:
    lists = [np.flatnonzero(row) for row in truth]
    width = max([1, *map(len, lists)])
    return np.array([[*row, *[-1] * (width - len(row))] for row in lists], np.int32)


def names(count: int) -> list[bytes]:
    return [f"video{i}".encode() for i in range(count)]


def streamed(scores: np.ndarray, truth: np.ndarray, top_k: int = 20, batch: int = 1000, order: np.ndarray | None = None) -> Metrics:
    order = np.arange(len(scores)) if order is None else order
    ids, labels = np.array(names(len(scores))), padded(truth)
    result = Metrics(scores.shape[1], top_k)
    for start in range(0, len(order), batch):
        rows = order[start : start + batch]
        result.update(ids[rows].tolist(), scores[rows], labels[rows])
    return result


def brute_ap(pairs: list[tuple[float, bool]], positives: int) -> float:
    """One pass down a sorted list, as a textbook has it."""
    hits, total = 0, 0.0
    for rank, (_, hit) in enumerate(sorted(pairs, key=lambda pair: -pair[0]), start=1):
        hits += hit
        total += hits / rank if hit else 0.0
    return total / positives if positives else 0.0


def brute(scores: np.ndarray, truth: np.ndarray, k: int) -> dict[str, float]:
    count, classes = scores.shape
    best = [sorted(range(classes), key=lambda c: -row[c])[:k] for row in scores]
    kept = [(n, c) for n in range(count) for c in best[n]]
    full = {c: brute_ap([(scores[n, c], truth[n, c]) for n in range(count)], truth[:, c].sum()) for c in range(classes)}
    capped = [brute_ap([(scores[n, c], truth[n, c]) for n, cc in kept if cc == c], truth[:, c].sum()) for c in range(classes)]
    present = [c for c in range(classes) if truth[:, c].any()]
    by_row = [sorted(range(classes), key=lambda c: -row[c]) for row in scores]
    perr = [np.mean([truth[n, c] for c in by_row[n][: truth[n].sum()]]) if truth[n].any() else 0.0 for n in range(count)]
    return {
        "gap": brute_ap([(scores[n, c], truth[n, c]) for n, c in kept], truth.sum()),
        "map": np.mean([full[c] for c in present]),
        "map_starter": np.mean(capped),
        "perr": np.mean(perr),
        "hit_at_1": np.mean([truth[n, by_row[n][0]] for n in range(count)]),
    }


@pytest.mark.parametrize(("top_k", "gap"), [(4, 0.7892857), (2, 0.55), (1, 0.4)])
def test_worked_example_gap(top_k, gap):
    assert streamed(SCORES, TRUTH, top_k).gap() == pytest.approx(gap, abs=1e-7)


def test_worked_example_the_rest():
    capped = streamed(SCORES, TRUTH, top_k=2)
    assert capped.map(2, "zero") == 0.625
    assert streamed(SCORES, TRUTH, top_k=4).map(4, "zero") == 1.0
    assert capped.perr() == pytest.approx(1 / 3)
    assert capped.hit_at_1() == pytest.approx(2 / 3)
    assert [np.round(a, 6) for a in capped._capped_average_precisions()] == [1, 1, 0.5, 0]


def test_empty_classes_lower_zero_and_not_skip():
    before = streamed(SCORES, TRUTH, top_k=4)
    scores, truth = np.c_[SCORES, np.full(3, 0.01, np.float32)], np.c_[TRUTH, np.zeros(3, bool)]
    after = streamed(scores, truth, top_k=4)
    assert after.map(None, "skip") == before.map(None, "skip")
    assert after.map(None, "zero") == pytest.approx(before.map(None, "zero") * 4 / 5)


@settings(max_examples=40)
@given(seed=st.integers(0, 10**6), count=st.integers(1, 40), classes=st.integers(2, 30), batch=st.integers(1, 17))
def test_equals_brute_force(seed, count, classes, batch):
    rng = np.random.default_rng(seed)
    scores = rng.permutation(count * classes).reshape(count, classes).astype(np.float32) + 1  # no ties
    truth = rng.random((count, classes)) < 0.15
    if not truth.any():
        truth[0, 0] = True
    expected = brute(scores, truth, k=min(5, classes))
    found = streamed(scores, truth, top_k=5, batch=batch).result()
    assert {key: found[key] for key in expected} == pytest.approx(expected, abs=1e-12)
    assert found["num_examples"] == count


@settings(max_examples=25)
@given(seed=st.integers(0, 10**6), levels=st.integers(1, 6))
def test_order_of_batches_and_increasing_transforms_change_nothing(seed, levels):
    rng = np.random.default_rng(seed)
    scores = rng.integers(1, levels + 1, (60, 25)).astype(np.float32)  # many ties
    truth = rng.random((60, 25)) < 0.1
    truth[0, 0] = True
    expected = streamed(scores, truth, top_k=6).result()
    assert streamed(scores, truth, top_k=6, batch=7, order=rng.permutation(60)).result() == expected
    assert streamed(np.exp2(scores), truth, top_k=6).result() == expected


def test_merging_equals_streaming():
    rng = np.random.default_rng(0)
    scores, truth = rng.random((50, 9), np.float32), rng.random((50, 9)) < 0.3
    ids, labels = names(50), padded(truth)
    parts = [Metrics(9, 4) for _ in range(2)]
    for part, rows in zip(parts, (slice(0, 20), slice(20, 50)), strict=True):
        part.update(ids[rows], scores[rows], labels[rows])
    parts[1].merge(parts[0])
    assert parts[1].result() == streamed(scores, truth, top_k=4).result()
    with pytest.raises(ValueError, match="merging 8 classes"):
        parts[0].merge(Metrics(8, 4))


def test_spilling_to_disk_changes_nothing(monkeypatch):
    rng = np.random.default_rng(1)
    scores, truth = rng.random((57, 70), np.float32), rng.random((57, 70)) < 0.1
    expected = streamed(scores, truth).average_precisions()
    monkeypatch.setattr(score_columns, "_CHUNK_BYTES", 4 * 70 * 10)  # ten videos a chunk: five spilled, seven videos left over
    spilled = streamed(scores, truth, batch=8)
    assert spilled._columns._spilled == 5
    np.testing.assert_array_equal(spilled.average_precisions(), expected)
    merged = Metrics(70)
    merged.merge(spilled)
    np.testing.assert_array_equal(merged.average_precisions(), expected)


def test_equal_scores_get_about_the_prevalence():
    rng = np.random.default_rng(2)
    truth = rng.random((2000, 40)) < np.linspace(0.3, 0.02, 40)  # frequent classes first, as in the vocabulary
    result = streamed(np.full(truth.shape, 0.5, np.float32), truth).result()
    prevalence = truth.mean()
    assert result["map"] == pytest.approx(prevalence, rel=0.1)
    assert result["hit_at_1"] == pytest.approx(prevalence, rel=0.15)
    assert result["gap"] == pytest.approx(prevalence / 2, rel=0.15)  # half of the 40 classes are in a top 20


def test_perfect_ranking_is_one():
    truth = np.random.default_rng(3).random((30, 12)) < 0.2
    truth[:, 0] = True
    result = streamed(truth.astype(np.float32) + np.linspace(0.01, 0.02, 12, dtype=np.float32), truth, top_k=12).result()
    assert all(result[key] == pytest.approx(1.0) for key in ("gap", "map", "perr", "hit_at_1"))


def test_perr_is_hit_at_1_for_single_labels_and_wants_positive_scores():
    rng = np.random.default_rng(4)
    truth = np.eye(8, dtype=bool)[rng.integers(0, 8, 100)]
    found = streamed(rng.random((100, 8), np.float32), truth)
    assert found.perr() == pytest.approx(found.hit_at_1())
    assert streamed(np.zeros((3, 4), np.float32), np.ones((3, 4), bool)).perr() == 0


def test_more_labels_than_top_k_and_duplicates():
    found = Metrics(6, top_k=2)
    found.update([b"a"], np.array([[6, 5, 4, 3, 2, 1]], np.float32), np.array([[0, 1, 3, 3, -1]], np.int32))
    assert found.perr() == pytest.approx(2 / 3)
    assert found.gap() == pytest.approx(2 / 3)


def test_no_labels_and_no_videos():
    assert Metrics(5).result() == {"gap": 0, "map": 0, "map_starter": 0, "perr": 0, "hit_at_1": 0, "num_examples": 0}
    unlabelled = Metrics(5)
    unlabelled.update([b"a"], np.ones((1, 5), np.float32), np.zeros((1, 0), np.int32))
    assert unlabelled.result()["gap"] == 0


def test_by_frequency():
    per_class = np.array([0.1, 0.3, 0.5, np.nan, 0.9, 1.0])
    found = by_frequency(per_class, np.array([1, 2, 3, 9, 100, 10**6]))
    assert found == {"1-2": pytest.approx(0.2), "3-9": 0.5, "10-29": None, "30-99": None, "100+": pytest.approx(0.95)}


def test_wrong_use():
    metrics = Metrics(4)
    with pytest.raises(DataError, match="label 4 is beyond the 4 classes"):
        metrics.update([b"a"], SCORES[:1], np.array([[4]]))
    with pytest.raises(DataError, match="not finite"):
        metrics.update([b"a"], np.full((1, 4), np.nan), np.array([[0]]))
    with pytest.raises(ValueError, match="top_k must be None or 4"):
        metrics.map(3)


def test_top_classes():
    scores, classes = top_classes(names(3), SCORES, 2)
    np.testing.assert_array_equal(classes, [[0, 1], [0, 1], [2, 0]])
    np.testing.assert_array_equal(scores, np.sort(SCORES)[:, ::-1][:, :2])
    assert top_classes(names(3), SCORES, 9)[1].shape == (3, 4)


@pytest.mark.shared_data
def test_published_predictions_score_as_by_hand(shared_data, capsys):
    """MAP@10 per video, min(positives, 10) below, of the published top-10 lists against the labels of the 90 shards."""
    import tensorflow as tf

    truth = {}
    for path in sorted((shared_data / "yt8m-2018-video").glob("*.tfrecord")):
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            keys = tf.train.Example.FromString(record).features.feature
            truth[keys["id"].bytes_list.value[0].decode()] = set(keys["labels"].int64_list.value)
    with (shared_data / "predictions-top10.csv").open() as stream:
        predicted = {row["VideoId"]: [int(c) for c in row["Label"].split()] for row in csv.DictReader(stream)}
    assert predicted.keys() == truth.keys()

    by_hand = []
    for video, classes in predicted.items():
        hits, total = 0, 0.0
        for rank, c in enumerate(classes, start=1):
            if c in truth[video]:
                hits += 1
                total += hits / rank
        by_hand.append(total / min(len(truth[video]), 10))
    hits = np.array([[c in truth[video] for c in classes] for video, classes in predicted.items()])
    ours = average_precision(hits, np.array([min(len(truth[video]), 10) for video in predicted])).mean()
    with capsys.disabled():
        print(f"\nMAP@10 per video of predictions-top10.csv over {len(predicted)} videos: {ours:.6f}")
    assert ours == pytest.approx(np.mean(by_hand), abs=1e-12)
    assert 0.5 < ours < 1


def test_reliability_of_the_best_pairs():
    """Half of the pairs at 0.9 are true and all at 0.1 are not; the third class is in no video's best two."""
    scores = np.tile(np.array([[0.9, 0.1, 0.05]], np.float32), (40, 1))
    truth = np.zeros((40, 3), bool)
    truth[::2, 0] = truth[:, 2] = True
    metrics = streamed(scores, truth, top_k=2)
    filled = [each for each in metrics.reliability() if each[2]]
    assert [(low < mean < high, count, share) for low, high, count, mean, share in filled] == [(True, 40, 0.0), (True, 40, 0.5)]
    assert metrics.calibration_error() == pytest.approx((0.1 + 0.4) / 2)
    assert len(metrics.reliability()) == 15


def test_true_probabilities_are_reliable():
    rng = np.random.default_rng(3)
    scores = rng.random((4000, 4)).astype(np.float32)
    truth = rng.random(scores.shape) < scores
    assert streamed(scores, truth).calibration_error() < 0.02
    assert streamed(scores**3, truth).calibration_error() > 0.2
    assert Metrics(4).calibration_error() == 0
