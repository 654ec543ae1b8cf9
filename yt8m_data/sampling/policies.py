"""The policies by name, and how a plan is made."""

from collections.abc import Callable

import numpy as np

from yt8m_data.errors import DataError
from yt8m_data.sampling import published, resampling, targets
from yt8m_data.sampling.plan import KEEP, OVER, Plan
from yt8m_data.sampling.settings import Settings
from yt8m_data.statistics.measures import LabelSets

FULL_RECORDS = 5_001_275  # train + validate of 2018, on which the paper's threshold was chosen (its Table 3)


def _as_they_are(counts: np.ndarray, threshold: float, settings: Settings) -> Plan:
    """Plan to keep all videos and to add none: the policy `auto`, whose deltas move them while a model trains (docs/RESULTS.md)."""
    nothing = np.zeros(len(counts))
    regime = np.full(len(counts), KEEP, np.uint8)
    return Plan(settings, threshold, counts, counts.astype(np.float64), regime, nothing + 1, nothing.astype(np.int64), nothing)


_BY_COUNTS: dict[str, Callable[[np.ndarray, float, Settings], Plan]] = {
    "paper": published.plan,
    "authors": published.plan,
    "target": targets.plan,
    "auto": _as_they_are,
}
_BY_SETS: dict[str, Callable[[np.ndarray, float, Settings, LabelSets], Plan]] = {
    "joint": targets.plan_jointly,
    "ml-ros": resampling.over_sample,
    "ml-rus": resampling.under_sample,
    "remedial": resampling.decouple,
}


def needs_sets(settings: Settings) -> bool:
    """Whether the policy plans from the label sets too, not from the label counts alone."""
    return settings.policy in _BY_SETS


def plan(counts: np.ndarray, num_records: int, settings: Settings, sets: LabelSets | None = None) -> Plan:
    """Make the plan for label counts (int64 [num_classes]) over `num_records` videos.

    Args:
      sets: the distinct label sets and how many videos have each, for the policies that need them.

    Raises:
      DataError: no video has a label, or the policy needs the label sets and there are none.
    """
    if not counts.any():
        raise DataError("no record has a label: augment needs labelled shards (the test split of YouTube-8M has none)")
    counts = counts.astype(np.int64)
    threshold = settings.threshold or published.FULL_THRESHOLD * num_records / FULL_RECORDS
    if settings.policy in _BY_COUNTS:
        made = _BY_COUNTS[settings.policy](counts, threshold, settings)
    elif sets is None:
        raise DataError(f"--policy {settings.policy} needs to know which labels come together, and has counts alone: leave out --counts")
    else:
        made = _BY_SETS[settings.policy](counts, threshold, settings, sets)
    if settings.neighbors is not None:
        made.neighbors[made.regime == OVER] = settings.neighbors
    made.neighbors[counts == 0] = 0
    return made
