"""What the values of a feature look like, dimension by dimension."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from yt8m_data.report.plots.canvas import BLUE, HALF, MUTED, NARROW, Plot, count_axis, panel, plot


def moments(name: str, stages: Sequence[tuple[str, Mapping[str, Any]]]) -> Plot:
    """Draw the mean of every dimension of a feature, with a standard deviation around it.

    Args:
      name: of the feature.
      stages: name of the stage, and `mean` and `variance` (float [D]) as in stats.json, of one stage, or of before and after.
    """
    means = [np.asarray(found["mean"], float) for _, found in stages]
    spreads = [np.sqrt(np.asarray(found["variance"], float)) for _, found in stages]
    prefixes = [""] if len(stages) == 1 else [f"{stage.lower()}: " for stage, _ in stages]

    def paint(figure: Figure, narrow: bool) -> None:
        axes = panel(figure, 52, 44, top=12)
        colors = (BLUE,) if len(stages) == 1 else (MUTED, BLUE)
        for at, (prefix, mean, spread, color) in enumerate(zip(prefixes, means, spreads, colors, strict=True)):
            dimension = np.arange(len(mean))
            if at == 0:
                axes.fill_between(dimension, mean - spread, mean + spread, color=color, alpha=0.3, linewidth=0, label=f"{prefix}mean ± std")
            else:
                axes.plot(dimension, mean + spread, "--", color=color, linewidth=1.2, label=f"{prefix}mean ± std")
                axes.plot(dimension, mean - spread, "--", color=color, linewidth=1.2)
            axes.plot(dimension, mean, color=color, linewidth=1.2, label=f"{prefix}mean")
        axes.set_xlabel("Dimension")
        axes.margins(y=0.25)
        count_axis(axes.xaxis)
        axes.legend(loc="upper right", fontsize=11, ncols=1 if narrow else len(stages))

    heads = [f"{prefix}{what}" for prefix in prefixes for what in ("mean", "standard deviation")]
    columns = [column for pair in zip(means, spreads, strict=True) for column in pair]
    table: list[list[Any]] = [
        ["dimension", *heads],
        *([at, *(f"{value:.7g}" for value in row)] for at, row in enumerate(zip(*columns, strict=True))),
    ]
    said = [
        f"{prefix}standard deviations from {each.min():.3g} to {each.max():.3g}" for prefix, each in zip(prefixes, spreads, strict=True)
    ]
    alt = f"Mean and standard deviation of {name} by dimension; {'; '.join(said)}."
    file = "moments_" + re.sub(r"\W", "_", name)
    return plot(file, f"{name}, by dimension", alt, paint, table, HALF, NARROW)
