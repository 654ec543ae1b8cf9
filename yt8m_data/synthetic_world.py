"""The world that made data are drawn from: how often each label occurs, which companions it drags in, what it looks and sounds like.

It is fixed by the number of classes alone. Labels follow a Zipf law with an exponential cutoff, count(r) ~ r^-s exp(-k r / C), set to
resemble the true 2018 counts (log-log slopes -0.93 over ranks 1-100 and -1.31 over 100-3862; the true ones are -0.93 and -1.38). Label ids
are ranks, as in the 2018 vocabulary: 0 is the most frequent.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

SIZES = {"rgb": 1024, "audio": 128}

ZIPF_EXPONENT, ZIPF_CUTOFF = 0.92, 1.2
MAX_SHARE = 0.7  # of all videos that one label may have: matters below some thirty classes
# Share of real 2018 videos with at least 2, 3, ... labels; with the primary label these add up to 3.0 labels per video.
COMPANIONS = np.array([0.75, 0.53, 0.345, 0.19, 0.1, 0.055, 0.03])
NUM_STYLES = 64

_PURPOSE = 0  # of the generator, beside those of `synthetic`
_TINY = 1e-30  # stands for a share of zero where one divides by it


@dataclass(frozen=True)
class World:
    """What a number of classes means.

    Attributes:
      primary: float64 [C], cumulative probability of the primary label.
      companions: int32 [C, 7], candidate labels that a primary label drags in, all more frequent than it.
      chances: float64 [C, 7], probability of each candidate; 0 where there is none.
      prototypes: float32 [C, 1152], what a label looks and sounds like, unit variance per dimension.
      styles: float32 [64, 1152], what any video can look like whatever its labels.
    """

    primary: np.ndarray
    companions: np.ndarray
    chances: np.ndarray
    prototypes: np.ndarray
    styles: np.ndarray


def label_shares(num_classes: int) -> np.ndarray:
    """Expected share of videos that carry each label, float64 [num_classes], falling; their sum is the mean number of labels per video."""
    rank = np.arange(1, num_classes + 1)
    law = rank**-ZIPF_EXPONENT * np.exp(-ZIPF_CUTOFF * rank / num_classes)
    return np.minimum(law * ((1 + COMPANIONS.sum()) / law.sum()), MAX_SHARE)


@lru_cache(maxsize=2)
def world_of(num_classes: int) -> World:
    """Build the world of a number of classes."""
    strength = 1.0
    for _ in range(4):  # the most frequent labels find few companions; the others take more, until the mean is the law's
        random = np.random.default_rng([_PURPOSE, num_classes])
        left, companions, chances = _companions(num_classes, strength, random)
        strength *= left.sum()
    prototypes = random.standard_normal((num_classes, sum(SIZES.values())), np.float32)
    for label in range(1, num_classes):  # labels under one parent resemble it, and so each other
        prototypes[label] = 0.8 * prototypes[label] + 0.6 * prototypes[companions[label, 0]]
    styles = random.standard_normal((NUM_STYLES, sum(SIZES.values())), np.float32)
    return World(np.cumsum(left) / left.sum(), companions, chances, prototypes, styles)


def _companions(num_classes: int, strength: float, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Choose companions from the rarest label up, so that every label's share, primary and dragged in, keeps to the law.

    Returns: what remains of each label's share to be primary, float64 [C], and `companions` and `chances` of `World`.
    """
    left = label_shares(num_classes)
    companions = np.zeros((num_classes, len(COMPANIONS)), np.int32)
    chances = np.zeros((num_classes, len(COMPANIONS)))
    for label in range(num_classes - 1, 0, -1):
        # The smallest of Exp(1) / w: draws without replacement in proportion to w.
        keys = random.standard_exponential(label) / np.maximum(left[:label], _TINY)
        chosen = np.argpartition(keys, min(len(COMPANIONS), label - 1))[: len(COMPANIONS)]
        chosen = chosen[np.argsort(keys[chosen])]
        granted = np.minimum(left[label] * np.minimum(COMPANIONS[: len(chosen)] * strength, 0.95), left[chosen])
        left[chosen] -= granted
        companions[label, : len(chosen)] = chosen
        chances[label, : len(chosen)] = granted / max(left[label], _TINY)
    return left, companions, chances
