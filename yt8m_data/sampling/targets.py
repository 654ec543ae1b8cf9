"""The policies `target` and `joint`: explicit counts to aim at.

`target` moves each label's own videos, those that it decides for, by the factor target / count, and lets the companions follow: a video
that is made for a rare label carries its common labels as well. `joint` counts with that.
"""

import math
from dataclasses import replace

import numpy as np

from yt8m_data.errors import DataError
from yt8m_data.sampling.plan import KEEP, OVER, SUB, Plan, decide
from yt8m_data.sampling.settings import Settings
from yt8m_data.statistics.measures import LabelSets


def shape(counts: np.ndarray, settings: Settings) -> np.ndarray:
    """The counts to aim at, float64 [num_classes], for label counts n of at least 1.

    - n_max (n / n_max)^power: 1 leaves the law as it is, 0.5 is square-root sampling (Mahajan et al., "Exploring the Limits of Weakly
      Supervised Pretraining", ECCV 2018), 0 makes all labels equal;
    - or n E(n_max) / E(n) with the effective number of videos E(n) = (1 - beta^n) / (1 - beta), which is to resampling what the
      class-balanced loss is to weighting (Cui et al., CVPR 2019): a beta of 0 leaves the law, one near 1 makes all labels equal;
    - then `targets` of single labels, then at least `floor` and at most `cap`.
    """
    n = np.maximum(counts, 1).astype(np.float64)
    if settings.effective is None:
        target = n.max() * (n / n.max()) ** settings.power
    else:
        effective = -np.expm1(n * math.log(settings.effective)) if settings.effective else np.ones(len(n))
        target = n * (effective.max() / effective)
    for label, wanted in settings.targets:
        if label >= len(n):
            raise DataError(f"--targets has the label {label}, but the classes end at {len(n) - 1}: leave it out")
        target[label] = wanted
    if settings.floor is not None:
        target = np.maximum(target, settings.floor)
    if settings.cap is not None:
        target = np.minimum(target, settings.cap)
    return np.where(np.isclose(target, n, rtol=1e-9, atol=0), n, target)  # a rounding error must not touch a label's videos


def plan(counts: np.ndarray, threshold: float, settings: Settings) -> Plan:
    """A label's own videos are kept with probability target / n, or each gives target / n - 1 synthetic ones on average."""
    target = shape(counts, settings)
    return by_factor(counts, threshold, settings, target, target / np.maximum(counts, 1))


def plan_jointly(counts: np.ndarray, threshold: float, settings: Settings, sets: LabelSets) -> Plan:
    """Solve for the factors of the labels' own videos by which the counts of all that carry a label meet the targets.

    The label l ends with sum over r of M[r, l] m[r], where M[r, l] is the number of videos that r decides for and that carry l, and m[r]
    is their factor. r is the rarest label of its videos, so M is triangular when labels are ordered by their counts, and the factors
    follow one by one from the rarest label on. A label that is to have more or as many keeps all its videos (m >= 1), one that is to have
    fewer gets no copies (0 <= m <= 1); where these bounds, or `max_copies`, bind, its target is missed.
    """
    target, most = shape(counts, settings), 1 + (np.inf if settings.max_copies is None else settings.max_copies)
    deciding, labels, videos = decided(counts, sets)
    factor, reached = np.ones(len(counts)), np.zeros(len(counts))
    order = np.lexsort((np.arange(len(counts)), counts))
    starts = np.searchsorted(deciding, np.arange(len(counts) + 1))
    for r in order[counts[order] > 0].tolist():
        row = slice(starts[r], starts[r + 1])
        own = videos[row][labels[row] == r].sum()
        if own:
            low, high = (1.0, most) if target[r] >= counts[r] else (0.0, 1.0)
            wanted = (target[r] - reached[r]) / own
            factor[r] = min(max(wanted, low), high) if not math.isclose(wanted, 1, rel_tol=1e-9) else 1.0
        reached[labels[row]] += videos[row] * factor[r]
    return replace(by_factor(counts, threshold, settings, target, factor), own=own_videos(counts, sets))


def decided(counts: np.ndarray, sets: LabelSets) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The matrix M of `plan_jointly`: rows, columns, both int64 and ascending, and values float64."""
    keys = np.repeat(decided_sets(counts, sets), sets.lengths) * len(counts) + sets.labels
    cells, place = np.unique(keys, return_inverse=True)
    values = np.bincount(place, np.repeat(videos_of(counts, sets), sets.lengths), len(cells))
    return *np.divmod(cells, len(counts)), values


def decided_sets(counts: np.ndarray, sets: LabelSets) -> np.ndarray:
    """Return the deciding label of each set, int64 [sets]."""
    return decide(counts, sets.lists())


def own_videos(counts: np.ndarray, sets: LabelSets) -> np.ndarray:
    """Return how many videos each label decides for, float64 [num_classes]."""
    return np.bincount(decided_sets(counts, sets), videos_of(counts, sets), len(counts))


def videos_of(counts: np.ndarray, sets: LabelSets) -> np.ndarray:
    """Return the number of videos with each set, float64 [sets]; scaled up to the label counts where the sets are a sample of all."""
    occurrences = int(sets.counts @ sets.lengths)
    return sets.counts * (1.0 if sets.exact else counts.sum() / max(occurrences, 1))


def by_factor(counts: np.ndarray, threshold: float, settings: Settings, target: np.ndarray, factor: np.ndarray) -> Plan:
    """Multiply the videos of each deciding label by a factor, float64 [num_classes]."""
    most = np.inf if settings.max_copies is None else settings.max_copies
    copies = np.clip(factor - 1, 0, most)
    regime = np.where(copies > 0, OVER, np.where(factor < 1, SUB, KEEP))
    neighbors = np.minimum(np.ceil(copies / len(settings.methods)), np.maximum(counts - 1, 0))  # a pool has no more
    return Plan(
        settings,
        threshold,
        counts,
        target,
        regime.astype(np.uint8),
        np.minimum(factor, 1),
        np.where(regime == OVER, neighbors, 0).astype(np.int64),
        copies,
    )
