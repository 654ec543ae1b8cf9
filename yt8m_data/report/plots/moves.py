"""Where each label went when the data was augmented."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from yt8m_data.report.formats import number
from yt8m_data.report.plots.canvas import BLUE, INK, MUTED, ORANGE, Plot, log_log, plot, ranked

BINS_PER_DECADE = 30


def moves(before: Mapping[str, Any], after: Mapping[str, Any], threshold: float | None, names: Mapping[int, str]) -> Plot:
    """Draw label counts before and after over the rank before: the curve before, and where neighbouring ranks went.

    After Fig. 2 of Cho et al., "Large-Scale Video Classification with Feature Space Augmentation Coupled with Learned Label Relations and
    Ensembling" (2018).

    Args:
      before, after: `label_counts` (integers [C]).
      threshold: count that parts over- from sub-sampled labels, where the policy has one.
      names: label names.
    """
    order, old = ranked(np.asarray(before["label_counts"]))
    new = np.asarray(after["label_counts"])[order]
    ranks = np.arange(1, len(order) + 1)
    at, (_, start, _) = binned(ranks, old)
    _, (low, middle, high) = binned(ranks, new)

    def paint(figure: Figure, narrow: bool) -> None:
        shown = np.concatenate([old, low, high])
        axes = log_log(figure, shown[shown > 0], len(order), narrow)
        axes.set_xlabel("Rank of the label before")
        floor = axes.get_ylim()[0]  # of what went to 0
        for way, color, marker, label in (
            (middle > start, BLUE, "^", "after: more"),
            (middle < start, ORANGE, "v", "after: fewer"),
            (middle == start, MUTED, "o", "after: as many"),
        ):
            if way.any():
                ends = np.maximum([low[way], middle[way], high[way]], floor)
                axes.vlines(at[way], start[way], ends[1], color=color, linewidth=3 if narrow else 5, alpha=0.3)
                axes.vlines(at[way], ends[0], ends[2], color=color, linewidth=1.2)
                axes.plot(at[way], ends[1], marker, color=color, markersize=4 if narrow else 6, markeredgewidth=0, label=label)
        axes.plot(ranks, old, color=INK, linewidth=1.8, label="before")
        if threshold:
            _threshold(axes, threshold, narrow)
        axes.legend(loc="lower left", handlelength=1.6, labelspacing=0.35, fontsize=10.5 if narrow else 12)

    more, fewer = int((new > old).sum()), int((new < old).sum())
    said = f"{more:,} labels have more videos, {fewer:,} fewer, {len(old) - more - fewer:,} as many"
    rows = zip(ranks.tolist(), order.tolist(), old.tolist(), new.tolist(), strict=True)
    table = [
        ["Rank before", "Label", "Name", "Before", "After"],
        *([rank, label, names.get(label, ""), *counts] for rank, label, *counts in rows),
    ]
    return plot("moves", "Where each label went", f"Videos per label before and after, over the rank before: {said}.", paint, table)


def binned(ranks: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sum up values over neighbouring ranks, ascending: low ranks stand alone, higher ones share bins of 1 / BINS_PER_DECADE of a decade.

    Returns:
      The geometric middles of the bins, float64 [B], and the 10th, 50th and 90th percentile of the values there, [3, B].
    """
    starts = np.flatnonzero(np.diff(np.floor(np.log10(ranks) * BINS_PER_DECADE), prepend=-1))
    middles = [np.exp(np.log(part).mean()) for part in np.split(ranks, starts[1:]) if len(part)]
    spread = [np.percentile(part, (10, 50, 90), method="nearest") for part in np.split(values, starts[1:]) if len(part)]
    return np.array(middles), np.array(spread).reshape(-1, 3).T


def _threshold(axes: Axes, threshold: float, narrow: bool) -> None:
    axes.axhline(threshold, color=MUTED, linewidth=1.4, linestyle=(0, (2, 2)))
    place: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points", "color": MUTED}
    for said, offset in ((f"sub-sampled above {number(threshold)}", 5), ("over-sampled below", -14)):
        axes.annotate(said, (0, threshold), (6, offset), fontsize=10 if narrow else 11, **place)
