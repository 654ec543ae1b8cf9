"""The policies `paper` and `authors`: what Cho et al. 2018 describe, and what their scripts do (SYSTEMS 8.3)."""

import math

import numpy as np

from yt8m_data.sampling.plan import OVER, SUB, Plan
from yt8m_data.sampling.settings import Settings

FULL_THRESHOLD = 10_000
PEAK_COUNT = 100 * math.e  # where the authors' number of neighbours is largest; it falls to 0 at 100


def plan(counts: np.ndarray, threshold: float, settings: Settings) -> Plan:
    """Plan with the published target t(n) = 5000 (log10 n - 2), n being the count of the deciding label, in units of threshold / 10,000.

    Above the threshold, one video in floor(n / t(n)) is kept. Up to it, each has K = int(t(n) / n + 1) neighbours. That K peaks at 8 where
    n = 272 and falls below 1 under 100: `authors` reproduces it (no neighbour then: a noisy copy), `paper` stays at the peak, as the
    paper's text says that rarer labels have more neighbours (A1).
    """
    full = np.maximum(counts, 1) * FULL_THRESHOLD / threshold  # rounded once: 100 videos in 10,000 are so at any scale
    target = _target(full)
    regime = np.where(counts > threshold, SUB, OVER)
    neighbors = np.maximum(_neighbors(np.maximum(full, PEAK_COUNT) if settings.policy == "paper" else full), 0)
    keep = np.where(regime == SUB, 1 / np.maximum(np.floor(full / np.maximum(target, 1)), 1), 1.0)
    neighbors = np.where(regime == OVER, neighbors, 0).astype(np.int64)
    as_many_as_there_are = np.full(len(counts), np.nan)
    return Plan(
        settings, threshold, counts, target * threshold / FULL_THRESHOLD, regime.astype(np.uint8), keep, neighbors, as_many_as_there_are
    )


def _target(n: np.ndarray) -> np.ndarray:
    return 5000 * (np.log10(n) - 2)


def _neighbors(n: np.ndarray) -> np.ndarray:
    return np.trunc(_target(n) / n + 1)
