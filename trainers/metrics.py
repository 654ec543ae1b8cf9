"""Exact metrics over a whole evaluation set, streamed: GAP@k, MAP in both conventions, PERR and Hit@1.

Conventions are those of the YouTube-8M starter code. A tie between two equal scores is broken by a hash of (video id, class), so that
results depend neither on the order of the batches nor on that of the classes, and a model whose scores are all equal gets about the
prevalence. Video ids must be unique.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np

from trainers.ranks import hashed, ranks_of, top
from trainers.score_columns import ScoreColumns
from yt8m_data.errors import DataError

FREQUENCY_BUCKETS = ((1, 2), (3, 9), (10, 29), (30, 99), (100, None))  # positives in the training set, both ends included
_BINS = 15


def average_precision(hits: np.ndarray, num_positives: np.ndarray | float) -> np.ndarray:
    """Non-interpolated average precision of ranked lists: sum over hits of (hits so far / rank), divided by `num_positives`.

    Args:
      hits: [..., N] bool, best-scored first.
      num_positives: [...], the denominator; lists with 0 get 0. Kaggle's AP@k takes the first k hits and min(positives, k).

    Returns:
      [...] float64.
    """
    hits = np.asarray(hits, np.float64)
    precision = np.cumsum(hits, axis=-1) / np.arange(1, hits.shape[-1] + 1)
    return (hits * precision).sum(axis=-1) / np.maximum(num_positives, 1)


class Metrics:
    """Accumulates scored videos and gives every metric exactly.

    Memory: the top_k pairs of each video, one chunk of 64 MiB, and at the end a block of 64 classes. All the scores, 4 bytes each, lie in a
    temporary file that goes with the object (90 MB for 5,800 videos of 3,862 classes, 17 GB for the full validate split).

    Args:
      num_classes: C.
      top_k: how many best-scored classes of each video GAP and the capped MAP see.
    """

    def __init__(self, num_classes: int, top_k: int = 20) -> None:
        self.num_classes = num_classes
        self.top_k = min(top_k, num_classes)
        self._columns = ScoreColumns(num_classes)
        self._hashes: list[np.ndarray] = []  # [B] uint64 each
        self._tops: list[tuple[np.ndarray, ...]] = []  # scores, classes, hits, tie keys: each [B, top_k]
        self._positives: list[tuple[np.ndarray, np.ndarray]] = []  # row in the whole set, class
        self._perr: list[np.ndarray] = []
        self._hits_at_1 = 0
        self.num_examples = 0

    def update(self, ids: Sequence[bytes], scores: np.ndarray, labels: np.ndarray) -> None:
        """Add a batch of videos.

        Args:
          ids: B video ids.
          scores: [B, C] float32.
          labels: [B, L] int, class numbers padded with -1.

        Raises:
          DataError: a score is not finite, or a label is not below C.
        """
        scores = np.asarray(scores, np.float32)
        if not np.isfinite(scores).all():
            raise DataError("a predicted score is not finite: the model has diverged, train it again with a smaller training.learning_rate")
        check_labels(labels, self.num_classes)
        hashes = hashed(ids)
        rows, classes = _distinct(labels)
        counts = np.bincount(rows, minlength=len(scores))

        width = min(self.num_classes, max(self.top_k, int(counts.max(initial=0))))
        top_scores, top_classes, keys = top(scores, hashes, width)
        hits = (top_classes[:, :, None] == labels[:, None, :]).any(axis=2)
        within = np.arange(width) < counts[:, None]
        self._perr.append((hits & within & (top_scores > 0)).sum(axis=1) / np.maximum(counts, 1))
        self._hits_at_1 += int(hits[:, 0].sum())
        self._tops.append(tuple(a[:, : self.top_k] for a in (top_scores, top_classes, hits, keys)))
        self._positives.append((rows + self.num_examples, classes))
        self._hashes.append(hashes)
        self._columns.append(scores)
        self.num_examples += len(scores)

    def merge(self, other: "Metrics") -> None:
        """Add all that `other`, of the same classes and top_k, has seen."""
        if (self.num_classes, self.top_k) != (other.num_classes, other.top_k):
            raise ValueError(f"merging {other.num_classes} classes, top {other.top_k} into {self.num_classes} classes, top {self.top_k}")
        self._positives += [(rows + self.num_examples, classes) for rows, classes in other._positives]
        self._hashes += other._hashes
        self._tops += other._tops
        self._perr += other._perr
        self._hits_at_1 += other._hits_at_1
        self.num_examples += other.num_examples
        for chunk in other._columns.chunks():
            self._columns.append(chunk.T)

    def gap(self) -> float:
        """Global average precision: AP of all videos' top-k pairs in one list, over all positives, also those in no top k."""
        scores, _, hits, keys = self.pairs()
        return float(average_precision(hits[np.lexsort((keys, -scores))], self.positive_counts().sum()))

    def map(self, top_k: int | None = None, empty: Literal["skip", "zero"] = "skip") -> float:
        """Mean over classes of the average precision.

        Args:
          top_k: None ranks every video for every class, exactly. The `top_k` of this object takes only pairs that are among their video's
            best, as the starter code does; other values cannot be had any more.
          empty: "skip" leaves classes without a positive out, "zero" counts them as 0. The starter code of 2017/18 is (20, "zero").
        """
        counts = self.positive_counts()
        if top_k is None:
            per_class = self.average_precisions()
        elif top_k == self.top_k:
            per_class = self._capped_average_precisions()
        else:
            raise ValueError(f"top_k must be None or {self.top_k}, not {top_k}")
        if empty == "zero":
            return float(np.where(counts > 0, per_class, 0).mean())
        return float(per_class[counts > 0].mean()) if counts.any() else 0.0

    def average_precisions(self) -> np.ndarray:
        """The exact average precision of every class: [C] float64, NaN where the class has no positive."""
        result = np.full(self.num_classes, np.nan)
        if not self.num_examples:
            return result
        hashes = self.hashes()
        for label, column, positives in self.columns():
            ranks = np.sort(ranks_of(column, np.sort(column), positives, hashes, label))
            result[label] = (np.arange(1, len(ranks) + 1) / ranks).mean()
        return result

    def columns(self) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """Of each class that has a positive: its number, the scores [N] of all videos, and the rows of its positives."""
        rows = np.concatenate([rows for rows, _ in self._positives])
        classes = np.concatenate([classes for _, classes in self._positives])
        rows = rows[np.argsort(classes, kind="stable")]
        ends = np.concatenate([[0], np.cumsum(self.positive_counts())])
        for first, block in self._columns.blocks():
            for label, column in enumerate(block, start=first):
                if ends[label] < ends[label + 1]:
                    yield label, column, rows[ends[label] : ends[label + 1]]

    def hashes(self) -> np.ndarray:
        """A hash of each video's id, [N] uint64; with a class's number it breaks ties."""
        return np.concatenate([np.zeros(0, np.uint64), *self._hashes])

    def perr(self) -> float:
        """Precision at equal recall rate: of each video's n best-scored classes, n its number of labels, the part that is true."""
        return math.fsum(np.concatenate(self._perr)) / self.num_examples if self.num_examples else 0.0

    def hit_at_1(self) -> float:
        """Part of the videos whose best-scored class is true."""
        return self._hits_at_1 / self.num_examples if self.num_examples else 0.0

    def reliability(self) -> list[tuple[float, float, int, float, float]]:
        """How far the scores of the pairs that GAP ranks, each video's top_k, are probabilities (Guo et al. 2017, section 2).

        Returns:
          Of each of 15 bins of equal width, from 0 to 1: its ends, the pairs in it, and, NaN where there are none, their mean score and the
          share of them that is true. Scores beyond 0 and 1 count in the bins at the ends.
        """
        scores, _, hits, _ = self.pairs()
        bins = np.clip((scores.astype(np.float64) * _BINS).astype(np.int64), 0, _BINS - 1)
        counts, ends = np.bincount(bins, minlength=_BINS), np.arange(_BINS + 1) / _BINS
        with np.errstate(invalid="ignore"):
            mean, share = (np.bincount(bins, values, _BINS) / counts for values in (scores, hits))
        return list(zip(ends[:-1].tolist(), ends[1:].tolist(), counts.tolist(), mean.tolist(), share.tolist(), strict=True))

    def calibration_error(self) -> float:
        """Expected calibration error (Guo et al. 2017, eq. 3): mean over the pairs of their bin's |mean score - share that is true|."""
        filled = [(count, abs(mean - share)) for _, _, count, mean, share in self.reliability() if count]
        return sum(count * gap for count, gap in filled) / max(1, sum(count for count, _ in filled))

    def result(self, train_counts: np.ndarray | None = None) -> dict[str, Any]:
        """All metrics as JSON values; with the [C] label counts of the training set also `map_by_frequency`."""
        per_class = self.average_precisions()
        result = {
            "gap": self.gap(),
            "map": float(np.nanmean(per_class)) if np.isfinite(per_class).any() else 0.0,
            "map_starter": self.map(self.top_k, "zero"),
            "perr": self.perr(),
            "hit_at_1": self.hit_at_1(),
            "num_examples": self.num_examples,
        }
        if train_counts is not None:
            result["map_by_frequency"] = by_frequency(per_class, train_counts)
        return result

    def pairs(self) -> tuple[np.ndarray, ...]:
        """Of every video its top_k pairs, one video after the other: scores, classes, hits and tie keys, each [N * top_k]."""
        if not self._tops:
            return np.zeros(0, np.float32), np.zeros(0, np.int64), np.zeros(0, bool), np.zeros(0, np.uint64)
        return tuple(np.concatenate([top[i] for top in self._tops]).ravel() for i in range(4))

    def positive_counts(self) -> np.ndarray:
        """The number of videos with each class, [C]."""
        classes = np.concatenate([np.zeros(0, np.int64), *(classes for _, classes in self._positives)])
        return np.bincount(classes, minlength=self.num_classes)

    def _capped_average_precisions(self) -> np.ndarray:
        """AP of every class over the pairs that are in some video's top k; 0 where no positive is."""
        scores, classes, hits, keys = self.pairs()
        order = np.lexsort((keys, -scores, classes))
        classes, hits = classes[order], hits[order].astype(np.int64)
        starts = np.searchsorted(classes, classes)  # of each pair, where its class begins
        seen = np.cumsum(hits)
        precision = (seen - (seen - hits)[starts]) / (np.arange(len(classes)) - starts + 1)
        return np.bincount(classes, hits * precision, self.num_classes) / np.maximum(self.positive_counts(), 1)


def by_frequency(per_class: np.ndarray, train_counts: np.ndarray) -> dict[str, float | None]:
    """Mean of the [C] average precisions over the classes of each frequency bucket; None where none of them has a positive."""
    result: dict[str, float | None] = {}
    for bucket in FREQUENCY_BUCKETS:
        inside = in_bucket(train_counts, bucket) & np.isfinite(per_class)
        result[bucket_name(bucket)] = float(per_class[inside].mean()) if inside.any() else None
    return result


def in_bucket(train_counts: np.ndarray, bucket: tuple[int, int | None]) -> np.ndarray:
    """Which of the classes with these counts [C] lie in a frequency bucket, [C] bool."""
    low, high = bucket
    return (train_counts >= low) & (train_counts <= (high or np.inf))


def bucket_name(bucket: tuple[int, int | None]) -> str:
    """As in "3-9" and "100+"."""
    low, high = bucket
    return f"{low}-{high}" if high else f"{low}+"


def check_labels(labels: np.ndarray, num_classes: int) -> None:
    """Raise DataError where a label is not below `num_classes`."""
    largest = int(labels.max(initial=-1))
    if largest >= num_classes:
        raise DataError(
            f"label {largest} is beyond the {num_classes} classes: give data of that vocabulary, or set num_classes={largest + 1}"
        )


def _distinct(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows and classes of padded labels [B, L], each pair once, in order."""
    rows, places = np.nonzero(labels >= 0)
    if not len(rows):
        return rows, rows
    pairs = np.unique(np.stack([rows, labels[rows, places]]), axis=1)
    return pairs[0], pairs[1]
