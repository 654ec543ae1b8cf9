"""How long videos are: labels and frames per video."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from yt8m_data.report.plots.canvas import BLUE, HALF, MUTED, NARROW, Plot, count_axis, panel, plot, share_axis

MOST_BARS = 60  # longer histograms are drawn in coarser bars

Stages = Sequence[tuple[str, Mapping[str, Any]]]


def labels_per_video(stages: Stages) -> Plot:
    """Draw the share of videos over their number of labels, from the name and stats.json of one stage, or of before and after."""
    return _histogram("labels", [(stage, stats["labels_per_record"]) for stage, stats in stages])


def frames_per_video(stages: Stages) -> Plot:
    """Draw the share of videos over their number of frames, likewise; of frame-level data."""
    return _histogram("frames", [(stage, stats["frames_per_record"]) for stage, stats in stages])


def _histogram(unit: str, stages: Stages) -> Plot:
    counts = [np.asarray(found["histogram"], np.int64) for _, found in stages]
    longest = max(len(each) for each in counts)
    step = next(step for step in itertools.count(1) if step * MOST_BARS >= longest)

    def paint(figure: Figure, narrow: bool) -> None:
        axes = panel(figure, 44, 44, top=12)
        axes.grid(visible=False, axis="x")
        for at, ((stage, _), each) in enumerate(zip(stages, counts, strict=True)):
            look: dict[str, Any] = {"color": BLUE, "linewidth": 2}
            if at == 0:
                look = {"fill": True, "color": BLUE if len(stages) == 1 else MUTED, "alpha": 0.5}
            edges = np.arange(0, len(each) + step, step)
            bars = np.add.reduceat(each, edges[:-1])
            axes.stairs(bars / max(each.sum(), 1), edges - 0.5, label=stage.lower(), **look)
        axes.set_xlim(-0.6, max(-(-longest // step) * step, 5) - 0.4)
        axes.set_xlabel(f"{unit.capitalize()} per video")
        share_axis(axes.yaxis)
        count_axis(axes.xaxis)
        if len(stages) > 1:
            axes.legend(loc="upper right")

    averages = [
        f"{stage}: {found['mean'] or 0:.2f} on average, {len(each) - 1:,} at most."
        for (stage, found), each in zip(stages, counts, strict=True)
    ]
    heads = ["Videos" if len(stages) == 1 else stage for stage, _ in stages]
    table: list[list[Any]] = [
        [unit.capitalize(), *heads],
        *([at, *(each[at] if at < len(each) else 0 for each in counts)] for at in range(longest)),
    ]
    title = f"{unit.capitalize()} per video"
    return plot(f"{unit}_per_video", title, f"Histogram of {unit} per video. {' '.join(averages)}", paint, table, HALF, NARROW)
