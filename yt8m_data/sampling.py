"""The sampling plan: label counts -> what happens to each video.

A video follows the rarest of its labels, its deciding label. That label's count puts it in one of two regimes: with more videos than the
threshold a part of them is kept, with fewer each is kept and gives synthetic ones, made with its nearest neighbours among the videos that
carry the label (Cho et al., "Large-Scale Video Classification with Feature Space Augmentation", ECCV workshops 2018, section 3.1).
"""

import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import pyarrow as pa

from yt8m_data.errors import DataError

Policy = Literal["paper", "authors", "target"]
Method = Literal["interpolate", "extrapolate", "noise"]
LabelRule = Literal["base", "intersection", "union"]
POLICIES, METHODS, LABEL_RULES = get_args(Policy), get_args(Method), get_args(LabelRule)

FULL_RECORDS = 5_001_275  # train + validate of 2018, on which the paper's threshold was chosen (its Table 3)
FULL_THRESHOLD = 10_000
PEAK_COUNT = 100 * math.e  # where the authors' number of neighbours is largest; it falls to 0 at 100

KEEP, OVER, SUB = 0, 1, 2  # regimes
REGIMES = ("keep", "over", "sub")


@dataclass(frozen=True)
class Settings:
    """What the user chose.

    Attributes:
      threshold: the count between the regimes; None scales the paper's 10,000 with the number of records.
      methods: what is made with each neighbour, in this order.
      lambdas: the factor is drawn from this range; equal ends fix it.
      sigma: standard deviation of the noise.
      labels: what a synthetic video is labelled with.
      hold: features that are copied from the base instead of moved.
      cap, floor, power: for the policy `target`; see `plan`.

    Raises:
      DataError: a setting is out of its range, or belongs to another policy.
    """

    policy: Policy = "paper"
    threshold: float | None = None
    methods: tuple[Method, ...] = ("interpolate", "extrapolate")
    lambdas: tuple[float, float] = (0.5, 0.5)
    sigma: float = 0.03
    labels: LabelRule = "base"
    hold: tuple[str, ...] = ()
    cap: float | None = None
    floor: float | None = None
    power: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        low, high = self.lambdas
        explicit = self.cap is not None or self.floor is not None or self.power != 1.0
        if self.policy not in POLICIES:
            raise DataError(f"there is no policy {self.policy!r}: choose one of {', '.join(POLICIES)}")
        if not self.methods or set(self.methods) - set(METHODS) or len(set(self.methods)) < len(self.methods):
            raise DataError(f"the methods {', '.join(self.methods) or '(none)'} are not a subset of {', '.join(METHODS)}")
        if not 0 <= low <= high or not math.isfinite(high):
            raise DataError(f"lambda {low}:{high} is no range of factors from 0 up: give one number, or low:high")
        if self.threshold is not None and not 0 < self.threshold < math.inf:
            raise DataError(f"the threshold {self.threshold:g} is not a number above 0")
        for name in ("sigma", "cap", "floor", "power"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < math.inf:
                raise DataError(f"the {name} {value:g} is not a number from 0 up")
        if not -(2**63) <= self.seed < 2**63:
            raise DataError(f"the seed {self.seed} does not fit 64 bits")
        if self.labels not in LABEL_RULES:
            raise DataError(f"there is no label rule {self.labels!r}: choose one of {', '.join(LABEL_RULES)}")
        if explicit and self.policy != "target":
            raise DataError(f"--cap, --floor and --power belong to --policy target, not {self.policy}")
        if self.policy == "target" and not explicit:
            raise DataError("--policy target needs one of --cap, --floor and --power")
        if self.cap is not None and self.floor is not None and self.floor > self.cap:
            raise DataError(f"the floor {self.floor:g} is above the cap {self.cap:g}")


@dataclass(frozen=True)
class Plan:
    """What happens to the videos of each deciding label; every array is [num_classes].

    Attributes:
      counts: int64, the videos with each label.
      target: float64, the count that the policy aims at for the label's own videos.
      regime: uint8, KEEP, OVER or SUB.
      keep: float64, the part of the videos that is kept.
      neighbors: int64, K, how many nearest neighbours an over-sampled video has.
      copies: float64, how many synthetic videos each over-sampled one gives on average; NaN for "as many as the neighbours allow".
    """

    settings: Settings
    threshold: float
    counts: np.ndarray
    target: np.ndarray
    regime: np.ndarray
    keep: np.ndarray
    neighbors: np.ndarray
    copies: np.ndarray

    def decide(self, column: pa.ListArray) -> np.ndarray:
        """Return the deciding label of each record, int64 [N]; -1 where it has no label.

        Ties go to the smallest label, or with the policy `authors` to the one listed first (SYSTEMS A8).
        """
        lengths = column.value_lengths().to_numpy()
        labels = column.flatten().to_numpy().astype(np.int64)
        starts = np.cumsum(lengths) - lengths
        tie = np.arange(len(labels)) - np.repeat(starts, lengths) if self.settings.policy == "authors" else labels
        deciding = np.full(len(lengths), -1)
        filled = lengths > 0
        if filled.any():
            best = np.minimum.reduceat(self.counts[labels] << 32 | tie, starts[filled]) & 0xFFFFFFFF
            deciding[filled] = labels[starts[filled] + best] if self.settings.policy == "authors" else best
        return deciding

    @property
    def pool_labels(self) -> np.ndarray:
        """The labels that need a pool of neighbours: those of over-sampled videos with K > 0, if a method uses neighbours."""
        if set(self.settings.methods) == {"noise"}:
            return np.zeros(0, np.int64)
        return np.flatnonzero((self.regime == OVER) & (self.neighbors > 0))

    def expected(self) -> np.ndarray:
        """Return how many records a video of each deciding label becomes on average, float64 [num_classes].

        For `paper` and `authors` this is an upper bound: a pair of videos is used once, which costs up to half of the synthetic ones.
        """
        pool = np.minimum(self.neighbors, np.maximum(self.counts - 1, 0))
        slots = sum(np.where(method == "noise", self.neighbors, pool) for method in self.settings.methods)
        copies = np.where(np.isnan(self.copies), np.maximum(slots, 1), self.copies)
        return np.where(self.regime == OVER, 1 + copies, self.keep)

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
        explicit = {"cap": settings.cap, "floor": settings.floor, "power": settings.power} if settings.policy == "target" else {}
        return {
            "policy": settings.policy,
            "threshold": round(self.threshold, 3),
            **explicit,
            "methods": list(settings.methods),
            "lambda": list(settings.lambdas),
            "sigma": settings.sigma,
            "label_rule": settings.labels,
            "hold": list(settings.hold),
            "seed": settings.seed,
            "labels": labels,
        }


def plan(counts: np.ndarray, num_records: int, settings: Settings) -> Plan:
    """Make the plan for label counts (int64 [num_classes]) over `num_records` videos.

    Policies (n is the count of the deciding label, scaled so that the threshold is 10,000):

    - `paper` and `authors` (the published scripts; SYSTEMS 8.3): the target is t(n) = 5000 (log10 n - 2). Above the threshold, one video in
      floor(n / t(n)) is kept. Up to it, K = int(t(n) / n + 1) neighbours. That K peaks at 8 where n = 272 and falls below 1 under 100:
      `authors` reproduces it (no neighbour then: a noisy copy), `paper` stays at the peak, as the paper's text says that rarer labels
      have more neighbours (A1).
    - `target`: the target is n_max (n / n_max)^power, held between `floor` and `cap`. A label's videos are kept with probability
      target / n, or each gives target / n - 1 synthetic ones on average.

    Raises:
      DataError: no video has a label.
    """
    if not counts.any():
        raise DataError("no record has a label: augment needs labelled shards (the test split of YouTube-8M has none)")
    threshold = settings.threshold or FULL_THRESHOLD * num_records / FULL_RECORDS
    count = np.maximum(counts, 1).astype(np.float64)  # a label without videos decides for none
    copies = np.full(len(counts), np.nan)
    if settings.policy == "target":
        target = _explicit_targets(count, settings)
        regime = np.where(target > count, OVER, np.where(target < count, SUB, KEEP))
        copies = np.maximum(target / count - 1, 0)
        neighbors = np.minimum(np.ceil(copies / len(settings.methods)), np.maximum(counts - 1, 0))  # a pool has no more
        keep = np.minimum(target / count, 1)
    else:
        scale = threshold / FULL_THRESHOLD
        full = count * FULL_THRESHOLD / threshold  # rounded once: 100 videos in 10,000 are so at any scale
        target = _published_target(full)
        regime = np.where(count > threshold, SUB, OVER)
        if settings.policy == "paper":
            neighbors = _published_neighbors(np.maximum(full, PEAK_COUNT))
        else:
            neighbors = np.maximum(_published_neighbors(full), 0)
        keep = np.where(regime == SUB, 1 / np.maximum(np.floor(full / np.maximum(target, 1)), 1), 1.0)
        target = target * scale
    neighbors = np.where((regime == OVER) & (counts > 0), neighbors, 0).astype(np.int64)
    return Plan(settings, threshold, counts.astype(np.int64), target, regime.astype(np.uint8), keep, neighbors, copies)


def parse_threshold(text: str) -> float | None:
    """Read "auto" (None) or a positive number."""
    return None if text == "auto" else _number(text, "threshold")


def parse_range(text: str) -> tuple[float, float]:
    """Read a number, or a range as in "0.2:0.8"."""
    low, _, high = text.partition(":")
    return _number(low, "lambda"), _number(high or low, "lambda")


def _number(text: str, name: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise DataError(f"the {name} {text!r} is not a number") from None


def _published_target(n: np.ndarray) -> np.ndarray:
    return 5000 * (np.log10(n) - 2)


def _published_neighbors(n: np.ndarray) -> np.ndarray:
    return np.trunc(_published_target(n) / n + 1)


def _explicit_targets(n: np.ndarray, settings: Settings) -> np.ndarray:
    target = n.max() * (n / n.max()) ** settings.power
    if settings.floor is not None:
        target = np.maximum(target, settings.floor)
    if settings.cap is not None:
        target = np.minimum(target, settings.cap)
    return np.where(np.isclose(target, n, rtol=1e-9, atol=0), n, target)  # a rounding error must not touch a label's videos
