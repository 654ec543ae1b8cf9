"""What augmentation made: how far the neighbours were, and how much of each label is synthetic."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from yt8m_data.report.plots.canvas import BLUE, HALF, NARROW, ORANGE, Plot, log_axis, panel, plot, ranked, share_axis
from yt8m_data.report.plots.moves import binned


def distances(neighbors: Mapping[str, Any], typical: float | None) -> Plot:
    """Draw how far the neighbour of a synthetic video was from its base.

    Args:
      neighbors: of the manifest: `feature`, `identical`, `bins_per_octave`, `first_bin`, `counts`.
      typical: distance of two videos drawn at random (root mean square), where known.
    """
    counts = np.asarray(neighbors["counts"], np.int64)
    edges = 2.0 ** ((neighbors["first_bin"] + np.arange(len(counts) + 1)) / neighbors["bins_per_octave"])
    total = int(counts.sum()) + neighbors["identical"]

    def paint(figure: Figure, narrow: bool) -> None:
        axes = panel(figure, 48, 44, top=26)
        axes.grid(visible=False, axis="x")
        axes.set_xscale("log")
        axes.stairs(counts / max(total, 1), edges, fill=True, color=BLUE, alpha=0.55)
        if typical:
            axes.axvline(typical, color=ORANGE, linewidth=2, linestyle="--")
            place: dict[str, Any] = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points", "ha": "right"}
            axes.annotate("two videos at random", (typical, 1), (8, 6), color=ORANGE, fontsize=11, **place)
        axes.set_xlabel(f"Distance from base to neighbour, {neighbors['feature']}")
        share_axis(axes.yaxis)
        log_axis(axes.xaxis)

    said = f"of {total:,} synthetic videos; in {neighbors['identical']:,} the neighbour was identical"
    table: list[list[Any]] = [["From", "To", "Synthetic videos"], [0, 0, neighbors["identical"]]]
    table += [[f"{low:.6g}", f"{high:.6g}", count] for low, high, count in zip(edges[:-1], edges[1:], counts.tolist(), strict=True)]
    alt = f"Histogram of the distance between base and neighbour {said}."
    return plot("distances", "Distance to the neighbours", alt, paint, table, HALF, NARROW)


def synthetic_share(before: Sequence[int], after: Sequence[int], synthetic: Mapping[str, int], names: Mapping[int, str]) -> Plot:
    """Draw the share of each label's videos after that is synthetic, over the label's rank before.

    Args:
      before, after: label counts [C].
      synthetic: label id, as text, -> synthetic videos with the label; labels without any may be left out.
      names: label names.
    """
    order, _ = ranked(np.asarray(before))
    new = np.asarray(after)[order]
    made = np.array([synthetic.get(str(label), 0) for label in order.tolist()], np.int64)
    share = made / np.maximum(new, 1)
    ranks = np.arange(1, len(order) + 1)
    at, (low, middle, high) = binned(ranks, share)

    def paint(figure: Figure, narrow: bool) -> None:
        axes = panel(figure, 48, 44, top=12)
        axes.set(xscale="log", xlim=(0.85, max(len(order), 2) * 1.2), ylim=(0, 1.02))
        axes.vlines(at, low, high, color=BLUE, linewidth=2.5, alpha=0.4, label="most labels of that rank")
        axes.plot(at, middle, "o", color=BLUE, markersize=4, markeredgewidth=0, label="median")
        axes.set_xlabel("Rank of the label before")
        share_axis(axes.yaxis)
        log_axis(axes.xaxis)
        axes.legend(loc="upper left", fontsize=11)

    said = f"half of the labels have {np.median(share):.0%} or more" if len(share) else "no label has videos"
    rows = zip(ranks.tolist(), order.tolist(), new.tolist(), made.tolist(), share.tolist(), strict=True)
    table: list[list[Any]] = [["Rank before", "Label", "Name", "After", "Synthetic", "Share"]]
    table += [[rank, label, names.get(label, ""), *counts, f"{part:.6f}"] for rank, label, *counts, part in rows]
    alt = f"Share of synthetic videos per label over the rank before: {said}."
    return plot("synthetic_share", "Synthetic videos per label", alt, paint, table, HALF, NARROW)
