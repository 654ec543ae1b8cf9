"""The plan that a policy makes: what happens to each video.

A video follows the rarest of its labels, its deciding label. That label's regime says whether the video is kept, or kept with a
probability, or kept and over-sampled: it gives synthetic ones, made with its nearest neighbours among the videos that carry the label
(Cho et al., "Large-Scale Video Classification with Feature Space Augmentation", ECCV workshops 2018, section 3.1).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from yt8m_data.sampling.settings import PAIRED, Settings
from yt8m_data.shards import stable_hash, unit_interval
from yt8m_data.statistics import distinct_labels, measures

KEEP, OVER, SUB, SPLIT = 0, 1, 2, 3  # regimes
REGIMES = ("keep", "over", "sub", "split")


@dataclass(frozen=True)
class Plan:
    """What happens to the videos of each deciding label; every array is [num_classes].

    Attributes:
      counts: int64, the videos with each label.
      target: float64, the count that the policy aims at: `target` for the label's own videos, the others for all that carry it.
      regime: uint8, KEEP, OVER, SUB, or SPLIT where `remedial` decouples some of the label's videos.
      keep: float64, the part of the videos that is kept.
      neighbors: int64, K, how many nearest neighbours an over-sampled video has.
      copies: float64, how many synthetic videos each over-sampled one gives on average; NaN for "as many as the neighbours allow".
      shares: float64, for `ml-ros` and `ml-rus`: what each of a video's labels adds to its copies, or takes from its chance of being kept.
      scumble: for `remedial`: videos above it are decoupled.
      rare: bool, for `remedial`: the labels that are parted from the others.
      own: float64, how many videos each label decides for, where the policy knows it.
    """

    settings: Settings
    threshold: float
    counts: np.ndarray
    target: np.ndarray
    regime: np.ndarray
    keep: np.ndarray
    neighbors: np.ndarray
    copies: np.ndarray
    shares: np.ndarray | None = None
    scumble: float = np.inf
    rare: np.ndarray | None = None
    own: np.ndarray | None = None

    def decide(self, column: pa.ListArray) -> np.ndarray:
        """Return the deciding label of each record, int64 [N]; -1 where it has no label.

        Ties go to the smallest label, or with the policy `authors` to the one listed first (SYSTEMS A8).
        """
        return decide(self.counts, column, first_listed=self.settings.policy == "authors")

    def kept(self, ids: list[bytes], column: pa.ListArray, deciding: np.ndarray) -> np.ndarray:
        """Draw which records are kept, bool [N]: a function of seed and id."""
        chance = np.where((deciding >= 0) & (self.regime[deciding] == SUB), self.keep[deciding], 1.0)
        if self.shares is not None:
            chance = np.where(chance < 1, 1 - label_sums(self.shares, column), 1.0)
        return unit_interval(stable_hash(self.settings.seed, ids, "keep")) < chance

    def quotas(self, ids: list[bytes], column: pa.ListArray, deciding: np.ndarray) -> np.ndarray | None:
        """How many synthetic videos each record gives, int64 [N], drawn by its id; 0 for those that are not over-sampled.

        None where that is not known beforehand: for the published policies, whose neighbours say it.
        """
        if self.settings.policy in ("paper", "authors"):
            return None
        copies = np.nan_to_num(self.copies[deciding]) if self.shares is None else label_sums(self.shares, column)
        copies = np.where((deciding >= 0) & (self.regime[deciding] == OVER), copies, 0.0)
        return np.floor(copies + unit_interval(stable_hash(self.settings.seed, ids, "copies"))).astype(np.int64)

    def decoupled(self, column: pa.ListArray) -> np.ndarray:
        """Tell which records are parted in two, bool [N]: labels of unlike frequency come together in them, some rare and some not."""
        parted = np.zeros(len(column), bool)
        if self.rare is None or not len(column):
            return parted
        rows, labels = distinct_labels(column)
        lengths, rare = (np.bincount(rows, weights, len(column)).astype(np.int64) for weights in (None, self.rare[labels]))
        mixed = (rare > 0) & (rare < lengths)
        inside = mixed[rows]
        parted[mixed] = measures.scumble_terms(self.counts, labels[inside], lengths[mixed]) > self.scumble
        return parted

    @property
    def pool_labels(self) -> np.ndarray:
        """The labels that need a pool of neighbours: those of over-sampled videos with K > 0, if neighbours are sought."""
        if not self.settings.paired:
            return np.zeros(0, np.int64)
        return np.flatnonzero((self.regime == OVER) & (self.neighbors > 0))

    def expected(self) -> np.ndarray:
        """Return how many records a video of each deciding label becomes on average, float64 [num_classes].

        For `paper` and `authors` this is an upper bound: a pair of videos is used once, which costs up to half of the synthetic ones.
        """
        pool = np.minimum(self.neighbors, np.maximum(self.counts - 1, 0))
        slots = sum(np.where(method in PAIRED, pool, self.neighbors) for method in self.settings.methods)
        copies = np.where(np.isnan(self.copies), np.maximum(slots, 1), self.copies)
        return np.where((self.regime == OVER) | (self.regime == SPLIT), 1 + copies, self.keep)

    @property
    def bound(self) -> str:
        """What the forecast is: "" (exact), "at most", "at least" or "about"."""
        settings = self.settings
        pairs = bool(set(settings.methods) & set(PAIRED))
        most = pairs and settings.policy in ("paper", "authors")  # a pair is used once
        if settings.labels == "ranking":
            return "about"
        if not pairs or settings.labels == "base":
            return "at most" if most else ""
        if settings.labels == "intersection":
            return "at most"
        return "about" if most else "at least"

    def growth(self) -> float:
        """Return how many times as many records are written as read; a bound where `own` is not known, since counts weigh more."""
        videos = self.counts if self.own is None else self.own
        return float(videos @ self.expected() / videos.sum())

    def to_dict(self) -> dict[str, Any]:
        """Return what the manifest holds; labels without videos are left out."""
        labels = [
            {
                "label": label,
                "count": int(self.counts[label]),
                "target": round(float(self.target[label]), 3),
                "regime": REGIMES[self.regime[label]],
                "keep_ratio": round(float(self.keep[label]), 6),
                "neighbors": int(self.neighbors[label]),
            }
            for label in np.flatnonzero(self.counts).tolist()
        ]
        settings = self.settings
        options = {
            "target": ("cap", "floor", "power", "effective", "max_copies"),
            "joint": ("cap", "floor", "power", "effective", "max_copies"),
            "ml-ros": ("percent",),
            "ml-rus": ("percent",),
        }.get(settings.policy, ())
        return {
            "policy": settings.policy,
            "threshold": round(self.threshold, 3),
            **{option: getattr(settings, option) for option in options},
            "methods": list(settings.methods),
            "lambda": list(settings.lambdas),
            "sigma": settings.sigma,
            "label_rule": settings.labels,
            "hold": list(settings.hold),
            "seed": settings.seed,
            "labels": labels,
        }


def decide(counts: np.ndarray, column: pa.ListArray, first_listed: bool = False) -> np.ndarray:
    """Return the rarest label of each record, int64 [N], -1 where it has none; ties go to the smallest, or to the first listed."""
    lengths = column.value_lengths().to_numpy()
    labels = column.flatten().to_numpy().astype(np.int64)
    starts = np.cumsum(lengths) - lengths
    tie = np.arange(len(labels)) - np.repeat(starts, lengths) if first_listed else labels
    deciding = np.full(len(lengths), -1)
    filled = lengths > 0
    if filled.any():
        best = np.minimum.reduceat(counts[labels] << 32 | tie, starts[filled]) & 0xFFFFFFFF
        deciding[filled] = labels[starts[filled] + best] if first_listed else best
    return deciding


def label_sums(values: np.ndarray, column: pa.ListArray) -> np.ndarray:
    """Add up a value per label over the distinct labels of each record, float64 [N]."""
    rows, labels = distinct_labels(column)
    return np.bincount(rows, values[labels], minlength=len(column))
