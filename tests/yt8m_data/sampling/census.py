"""Label lists, and what is counted of them, for the tests of policies: nothing of the project's own counting is used."""

from collections import Counter

import numpy as np
import pyarrow as pa

from yt8m_data import sampling
from yt8m_data.sampling import Settings
from yt8m_data.statistics.measures import LabelSets

CLASSES = 8


def random_lists(seed: int, count: int) -> list[list[int]]:
    """Label lists of a steep law: label 0 is in most, label 7 in a few."""
    random = np.random.default_rng(seed)
    chance = np.array([0.7, 0.4, 0.3, 0.15, 0.1, 0.06, 0.03, 0.015])
    return [random.permutation(np.flatnonzero(random.random(CLASSES) < chance)).tolist() for _ in range(count)]


def column(lists: list[list[int]]) -> pa.ListArray:
    return pa.array(lists, pa.list_(pa.int32()))


def ids(lists: list[list[int]]) -> list[bytes]:
    return [b"v%05d" % i for i in range(len(lists))]


def counts(lists: list[list[int]]) -> np.ndarray:
    return np.bincount([label for labels in lists for label in set(labels)], minlength=CLASSES)


def sets(lists: list[list[int]]) -> LabelSets:
    found = Counter(tuple(sorted(set(labels))) for labels in lists if labels)
    lengths, labels = np.array([len(key) for key in found], np.int64), np.array([label for key in found for label in key], np.int64)
    return LabelSets(lengths, labels, np.array(list(found.values()), np.int64), len(found), True, 0.0)


def plan(lists: list[list[int]], **options: object) -> sampling.Plan:
    return sampling.plan(counts(lists), len(lists), Settings(**options), sets(lists))


def rarest(lists: list[list[int]]) -> list[int]:
    count = counts(lists)
    return [min(labels, key=lambda label: (count[label], label)) if labels else -1 for labels in lists]


def imbalance(count: np.ndarray) -> tuple[np.ndarray, float]:
    """IRLbl of each label, infinite without videos, and the mean over the others."""
    ratios = np.array([max(count) / n if n else np.inf for n in count])
    return ratios, float(np.mean([ratio for ratio in ratios if np.isfinite(ratio)]))
