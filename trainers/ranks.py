"""Which scores are best, where a tie between equal ones is broken by a hash of (video id, class)."""

from collections.abc import Sequence

import numpy as np

from yt8m_data.shards import stable_hash


def top_classes(ids: Sequence[bytes], scores: np.ndarray, k: int = 20) -> tuple[np.ndarray, np.ndarray]:
    """The scores and class numbers of each video's k best classes, each [B, min(k, C)], best first, ties broken as in the metrics."""
    return top(scores, hashed(ids), min(k, scores.shape[1]))[:2]


def hashed(ids: Sequence[bytes]) -> np.ndarray:
    """Hashes of video ids, uint64 [N], that break ties."""
    return stable_hash(0, ids, "metrics: ties")


def tie_keys(hashes: np.ndarray, classes: np.ndarray | int) -> np.ndarray:
    """One pseudo-random uint64 per (video, class): the finaliser of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014)."""
    with np.errstate(over="ignore"):
        x = hashes + (np.asarray(classes, np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return x ^ (x >> np.uint64(31))


def top(scores: np.ndarray, hashes: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores, classes and tie keys of each row's k best, each [B, k], best first, ties by key."""
    best = np.argpartition(-scores, k - 1, axis=1)[:, :k]
    cut = np.take_along_axis(scores, best, axis=1).min(axis=1)
    for row in np.flatnonzero((scores >= cut[:, None]).sum(axis=1) > k):  # the cut falls among equal scores
        candidates = np.flatnonzero(scores[row] >= cut[row])
        best[row] = candidates[np.lexsort((tie_keys(hashes[row], candidates), -scores[row, candidates]))[:k]]
    values, keys = np.take_along_axis(scores, best, axis=1), tie_keys(hashes[:, None], best)
    order = np.lexsort((keys, -values), axis=1)
    return tuple(np.take_along_axis(a, order, axis=1) for a in (values, best, keys))


def ranks_of(column: np.ndarray, ascending: np.ndarray, rows: np.ndarray, hashes: np.ndarray, label: int) -> np.ndarray:
    """Ranks from 1 of some videos in a class's list of scores, best first, ties by key."""
    scores = column[rows]
    upto = np.searchsorted(ascending, scores, "right")
    found = len(column) - upto + 1
    shared = upto - np.searchsorted(ascending, scores, "left") > 1
    for value in np.unique(scores[shared]):
        tied = np.flatnonzero(column == value)
        place = np.argsort(np.argsort(tie_keys(hashes[tied], label), kind="stable"))
        mine = scores == value
        found[mine] += place[np.searchsorted(tied, rows[mine])]
    return found
