"""What became of a plan: the labels that could not be brought to their targets, and why."""

from typing import Any

import numpy as np

from yt8m_data.sampling.plan import OVER, Plan

TOLERANCE = 0.01  # a label is as good as at its target within this share, or one video, of it


def unfilled(plan: Plan, after: np.ndarray, own: np.ndarray, fillers: np.ndarray) -> list[dict[str, Any]]:
    """List the labels that fell short, with the reason.

    Args:
      plan: what was planned.
      after: int64 [num_classes], the videos with each label that were written.
      own: int64 [num_classes], the videos that each label decides for.
      fillers: int64 [num_classes], synthetic videos for which a label's pool had no pair left.

    Returns:
      A dictionary for each label: `label`, `count`, `after`, `target` (None with the published policies, which have none that they
      reach), `fillers` and `reason`.
    """
    aims = plan.settings.policy in ("target", "joint")
    most = plan.settings.max_copies
    found = []
    for label in np.flatnonzero(plan.counts).tolist():
        target = float(plan.target[label])
        missed = aims and target > plan.counts[label] and after[label] < target - max(1, TOLERANCE * target)
        if missed and not own[label]:
            reason = "it decides for no video: all of its videos have a rarer label"
        elif missed and most is not None and plan.regime[label] == OVER and plan.copies[label] >= most:
            reason = f"its own videos, {own[label]:,} of {plan.counts[label]:,}, may give {most:g} copies each"
        elif missed:
            reason = f"it moves its own videos alone, {own[label]:,} of {plan.counts[label]:,}; the others follow rarer labels"
        elif fillers[label]:
            reason = f"its {plan.counts[label]:,} videos have too few pairs of neighbours"
        else:
            continue
        entry = {"label": label, "count": int(plan.counts[label]), "after": int(after[label])}
        found.append(entry | {"target": round(target, 3) if aims else None, "fillers": int(fillers[label]), "reason": reason})
    return found
