"""Metrics of segments: they count rated pairs of a segment and a class, and say how unrated ones are taken."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from trainers.metrics import Metrics, average_precision
from trainers.ranks import ranks_of

K = 100_000  # segments that a class's list may hold, as in the 2019 challenge


class SegmentMetrics:
    """Accumulates scored segments and gives every metric exactly; memory is that of two `Metrics`.

    A pair is positive where its rating is at least 1/2. Ids are those of segments, `video:start`, and unique.

    Args:
      num_classes: C.
    """

    def __init__(self, num_classes: int) -> None:
        self._whole = Metrics(num_classes)  # unrated pairs with their scores, as negatives
        self._masked = Metrics(num_classes)  # with score 0
        self._rated: list[np.ndarray] = []  # [P, 3] int64 each: row in the whole set, class, and 1 where positive
        self.num_classes = num_classes

    def update(self, ids: Sequence[bytes], scores: np.ndarray, rated: np.ndarray, ratings: np.ndarray) -> None:
        """Add a batch of segments.

        Args:
          ids: S segment ids.
          scores: [S, C] float32.
          rated: [S, R] int, the classes that were rated, padded with -1.
          ratings: [S, R].

        Raises:
          DataError: a score is not finite, or a class is not below C.
        """
        positive = np.where((rated >= 0) & (ratings >= 0.5), rated, -1)
        first = self._whole.num_examples
        self._whole.update(ids, scores, positive)
        rows, places = np.nonzero(rated >= 0)
        columns = rated[rows, places]
        masked = np.zeros_like(scores)
        masked[rows, columns] = scores[rows, columns]
        self._masked.update(ids, masked, positive)
        pairs = np.stack([rows + first, columns, positive[rows, places] >= 0], axis=1)
        self._rated.append(_once(pairs))

    def map_at(self, k: int = K) -> float:
        """MAP@K of the 2019 challenge: mean over the classes that have a positive.

        Of a class, the segments are ranked by score and cut at K, then those that were not rated for it are taken out; the average
        precision of what is left has all the class's positives for its denominator.
        """
        pairs = np.concatenate([np.zeros((0, 3), np.int64), *self._rated])
        pairs = pairs[np.argsort(pairs[:, 1], kind="stable")]
        ends = np.cumsum(np.bincount(pairs[:, 1], minlength=self.num_classes))
        hashes, found = np.concatenate([np.zeros(0, np.uint64), *self._whole._hashes]), []
        for first, block in self._whole._columns.blocks():
            for label, column in enumerate(block, start=first):
                rows, _, positive = pairs[ends[label - 1] if label else 0 : ends[label]].T
                if positive.any():
                    ranks = ranks_of(column, np.sort(column), rows, hashes, label)
                    order = np.argsort(ranks)
                    hits = positive[order][ranks[order] <= k]
                    found.append(float(average_precision(hits, positive.sum())))
        return float(np.mean(found)) if found else 0.0

    def result(self, k: int = K) -> dict[str, Any]:
        """All metrics as JSON values.

        `map_at_k` is that of `map_at`, over the segments that have a rated pair. The `rated_` ones are those of whole videos where unrated
        pairs have score 0, as in the starter code's training. `map_unrated_negative` takes unrated pairs for negatives, as Huang (2019)
        does, here over the whole set.
        """
        rated = self._masked.result()
        num_segments = rated.pop("num_examples")
        counts = {"num_segments": num_segments, "num_pairs": sum(map(len, self._rated))}
        whole = {"map_at_k": self.map_at(k), "k": k, "map_unrated_negative": self._whole.map()}
        return whole | {f"rated_{name}": value for name, value in rated.items()} | counts


def _once(pairs: np.ndarray) -> np.ndarray:
    """Pairs [P, 3] with each (row, class) once, positive where one of them is."""
    pairs = pairs[np.lexsort((-pairs[:, 2], pairs[:, 1], pairs[:, 0]))]
    again = np.zeros(len(pairs), bool)
    again[1:] = (pairs[1:, :2] == pairs[:-1, :2]).all(axis=1)
    return pairs[~again]
