"""Whether one model is better than another on the same videos: metrics of both, and a paired bootstrap over videos."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from trainers.ensemble import load
from trainers.evaluate import scored, training_counts
from trainers.metrics import FREQUENCY_BUCKETS, Metrics, bucket_name, in_bucket
from trainers.ranks import tie_keys
from yt8m_data.errors import DataError
from yt8m_data.shards import expand, stable_hash, unit_interval

_AT_A_TIME = 256  # resamples of GAP, and positives of MAP
_LEVEL = 0.95


def compare(
    a: str, b: str, data: Sequence[str], repeat: int = 1, counts: str | None = None, resamples: int = 1000, seed: int = 0
) -> dict[str, Any]:
    """Compare two finished runs or ensembles on labelled shards; see `bootstrap`.

    Args:
      a, b: folders that `fit`, `average` or `ensemble` wrote, of the same classes.
      data: patterns of labelled shards, of the kind that both were trained on.
      repeat: as in `evaluate`.
      counts: path of the stats.json that sorts classes by frequency; None takes the training set of `a`.
      resamples: of the videos.
      seed: of the resamples.

    Raises:
      DataError: as `evaluate`, or the two are of other classes.
    """
    files, scorers = expand(data), [load(a), load(b)]
    if scorers[0].classes != scorers[1].classes:
        raise DataError(f"{a} and {b} know other classes: compare runs of the same number and list of classes")
    train_counts = training_counts(scorers[0], counts)
    both = [scored(scorer.scores(files, repeat), files, scorer.layout_for(files)) for scorer in scorers]
    return {"a": a, "b": b, **bootstrap(*both, train_counts, resamples, seed)}


def bootstrap(a: Metrics, b: Metrics, train_counts: np.ndarray | None = None, resamples: int = 1000, seed: int = 0) -> dict[str, Any]:
    """Metrics of two models that have scored the same videos in the same order, and how sure their difference is.

    A resample takes each video Poisson(1) times, by a hash of the seed and its id (Chamandy et al. 2012), and both models score the same
    resample. `low` and `high` hold the middle 95 % of the differences; `p` is two-sided: twice the share of the differences on the other
    side of 0 (Efron and Tibshirani 1993, chapter 15), so no smaller than 2 / (resamples + 1).

    Args:
      a, b: what both have seen; scores in arrays go in by `Metrics.update`.
      train_counts: [C], sorts the classes into frequency buckets; None gives no buckets.
      resamples: R. 1,000 of 5,700 videos with 3,862 classes took 44 s on one busy core.
      seed: of the resamples.

    Returns:
      `videos`, `resamples`, and for `gap`, `map`, and `map_by_frequency` each bucket: `a`, `b`, `difference` (b - a), `low`, `high`, `p`.

    Raises:
      DataError: the videos or their labels differ, none has a label, or there are fewer than 2 resamples.
    """
    if resamples < 2:
        raise DataError(f"resamples is {resamples}: set it to 1000")
    same = np.array_equal(a.hashes(), b.hashes()) and np.array_equal(a.positive_counts(), b.positive_counts())
    if not same:
        raise DataError("the two models have not scored the same videos with the same labels: give both the same data")
    if not a.positive_counts().any():
        raise DataError("no video has a label: give shards of a labelled split")
    weights = resample(a.hashes(), resamples, seed)
    gaps = [resampled_gap(model, weights) for model in (a, b)]
    per_class = [resampled_average_precisions(model, weights) for model in (a, b)]

    def over(classes: np.ndarray) -> list[np.ndarray]:
        return [_mean(values[classes]) for values in per_class]

    every = a.positive_counts() > 0
    result = {"videos": a.num_examples, "resamples": resamples, "gap": _told(*gaps), "map": _told(*over(every))}
    if train_counts is not None:
        inside = {bucket_name(bucket): every & in_bucket(train_counts, bucket) for bucket in FREQUENCY_BUCKETS}
        result["map_by_frequency"] = {name: _told(*over(classes)) if classes.any() else None for name, classes in inside.items()}
    return result


def resample(hashes: np.ndarray, resamples: int, seed: int = 0) -> np.ndarray:
    """How often each resample takes each video: [N, 1 + R] float32, Poisson(1) by inversion; the first column is of ones, the set itself.

    Args:
      hashes: [N] uint64, of the videos' ids.
      resamples: R.
      seed: another seed gives other resamples.
    """
    purpose = stable_hash(seed, [b"compare"], "bootstrap")[0]
    weights = np.ones((len(hashes), 1 + resamples), np.float32)
    cumulative = np.cumsum(np.exp(-1) / np.cumprod([1, *range(1, 20)]))
    for r in range(1, 1 + resamples):
        weights[:, r] = np.searchsorted(cumulative, unit_interval(tie_keys(hashes ^ purpose, r)), "right")
    return weights


def resampled_gap(metrics: Metrics, weights: np.ndarray) -> np.ndarray:
    """GAP of each resample, [R'] float64, NaN where it has no positive; equal to `Metrics.gap` of the videos so repeated.

    Args:
      metrics: of N videos.
      weights: [N, R'] float32, how often each is taken.
    """
    scores, _, hits, keys = metrics.pairs()
    order = np.lexsort((keys, -scores))
    videos, at = order // metrics.top_k, np.flatnonzero(hits[order])
    labels = np.bincount(np.concatenate([rows for _, _, rows in metrics.columns()]), minlength=len(weights))
    result = []
    for part in np.split(weights, range(_AT_A_TIME, weights.shape[1], _AT_A_TIME), axis=1):
        taken = part[videos]
        before = np.cumsum(taken, axis=0, dtype=np.float64)[at] - taken[at]
        hits_before = np.cumsum(taken[at], axis=0, dtype=np.float64) - taken[at]
        with np.errstate(invalid="ignore"):
            result.append(_precisions(taken[at], before, hits_before).sum(axis=0) / (labels @ part.astype(np.float64)))
    return np.concatenate(result)


def resampled_average_precisions(metrics: Metrics, weights: np.ndarray) -> np.ndarray:
    """Average precision of each class in each resample, [C, R'] float64, NaN where it has no positive; weights as in `resampled_gap`."""
    result = np.full((metrics.num_classes, weights.shape[1]), np.nan)
    hashes, place = metrics.hashes(), np.empty(len(weights), np.int64)
    for label, column, positives in metrics.columns():
        place[np.lexsort((tie_keys(hashes, label), -column))] = np.arange(len(column))
        total, mine = np.zeros(weights.shape[1]), weights[positives]
        for part in np.split(positives, range(_AT_A_TIME, len(positives), _AT_A_TIME)):
            before = (place < place[part][:, None]).astype(np.float32) @ weights  # whole numbers below 2^24 are exact in float32
            hits_before = (place[positives] < place[part][:, None]).astype(np.float32) @ mine
            total += _precisions(weights[part], before, hits_before).sum(axis=0)
        with np.errstate(invalid="ignore"):
            result[label] = total / mine.sum(axis=0, dtype=np.float64)
    return result


def _precisions(taken: np.ndarray, before: np.ndarray, hits_before: np.ndarray) -> np.ndarray:
    """Sum of the precisions at the ranks of a hit's copies: of (h + j) / (n + j), j from 1 to how often it is taken, [P, R'] float64."""
    harmonic = np.concatenate([[0], np.cumsum(1 / np.arange(1, int((before + taken).max(initial=0)) + 1))])
    first = before.astype(np.int64)
    return taken - (before - hits_before.astype(np.float64)) * (harmonic[first + taken.astype(np.int64)] - harmonic[first])


def _mean(values: np.ndarray) -> np.ndarray:
    """Mean over classes [C', R'] that have a positive in the resample, NaN where none has."""
    there = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        return np.where(there, values, 0).sum(axis=0) / there.sum(axis=0)


def _told(a: np.ndarray, b: np.ndarray) -> dict[str, float]:
    """Both models' value, their difference, its interval and p, of [1 + R] values of which the first are those of the set itself."""
    others = (b - a)[1:]
    others = others[np.isfinite(others)]
    if not len(others):
        raise DataError(f"none of {len(a) - 1} resamples has a positive: give more videos or resamples")
    low, high = np.quantile(others, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    beyond = 1 + min((others <= 0).sum(), (others >= 0).sum())
    p = min(1.0, 2 * beyond / (len(others) + 1))
    return {"a": float(a[0]), "b": float(b[0]), "difference": float(b[0] - a[0]), "low": float(low), "high": float(high), "p": float(p)}
