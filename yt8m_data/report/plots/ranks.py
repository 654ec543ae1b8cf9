"""How counts fall with rank: the law and its fits."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from yt8m_data.report.formats import signed
from yt8m_data.report.plots.canvas import BLUE, GREEN, MUTED, ORANGE, Plot, log_log, plot, ranked, shorten

NAMED_RANKS = (1, 2, 3, 5, 8, 20, 60, 200, 700)
NAMED_WHERE_NARROW = (1, 3, 20, 200)
LONGEST_NAME = 22
SINGLE_RANKS = 30  # drawn as points of their own


def rank_frequency(stages: Sequence[tuple[str, Mapping[str, Any]]], names: Mapping[int, str]) -> Plot:
    """Draw counts over ranks in log-log, each stage by its own ranks, with the fits of its law.

    Args:
      stages: name and contents of stats.json (`label_counts`, integers [C], and `zipf`) of one stage, or of before and after.
      names: label names; some along the curve of the first stage are written beside it.
    """
    curves = [ranked(np.asarray(stats["label_counts"])) for _, stats in stages]
    alone = len(stages) == 1

    def paint(figure: Figure, narrow: bool) -> None:
        axes = log_log(figure, np.concatenate([counts for _, counts in curves]), max(len(counts) for _, counts in curves), narrow)
        axes.set_xlabel("Rank of the label (1 = most frequent)")
        if alone:
            _groups(axes, stages[0][1], narrow)
        for (stage, stats), (_, counts), color, marker in zip(stages, curves, (MUTED, BLUE), "os", strict=False):
            ranks = np.arange(1, len(counts) + 1)
            axes.plot(ranks, counts, color=color, linewidth=5, alpha=0.4, solid_capstyle="round")
            points: dict[str, Any] = {"color": color, "markersize": 5, "markeredgewidth": 0, "label": "labels" if alone else stage.lower()}
            axes.plot(ranks[:SINGLE_RANKS], counts[:SINGLE_RANKS], marker, **points)
            _rank_fit(axes, stats["zipf"], ORANGE if alone else color, None if alone else stage.lower())
            if alone:
                _power_law(axes, stats["zipf"].get("power_law"))
        _name_ranks(axes, curves, names, narrow)
        axes.legend(loc="lower left", handlelength=2.4, labelspacing=0.35, fontsize=10.5 if narrow else 12)

    table: list[list[Any]] = [["Stage", "Rank", "Label", "Name", "Count"]]
    said = []
    for (stage, _), (order, counts) in zip(stages, curves, strict=True):
        table += [[stage, at + 1, label, names.get(label, ""), counts[at]] for at, label in enumerate(order.tolist())]
        said.append(f"{stage}: {len(counts):,} labels, from {counts[0]:,} down to {counts[-1]:,}." if len(counts) else f"{stage}: none.")
    alt = f"Videos per label over rank, both axes logarithmic. {' '.join(said)}"
    return plot("rank_frequency", "Videos per label, by rank", alt, paint, table)


def _rank_fit(axes: Axes, law: Mapping[str, Any], color: str, stage: str | None) -> None:
    """The law of two regimes, with its break; where none was fitted, the least-squares line over all ranks."""
    two, prefix = law.get("two_regimes"), f"{stage}: " if stage else ""
    if two:
        first, second = two["exponents"]
        at, last = float(two["break_rank"]), float(law["num_classes"] - law["num_empty"])
        fitted = 10 ** two["log10_scale"] * np.array([1.0, at**-first, at ** (second - first) * last**-second])
        label = f"{prefix}exponents {first:.2f}, {second:.2f}" if stage else f"two regimes: exponents {first:.2f}, {second:.2f}"
        axes.plot([1, at, last], fitted, "--", color=color, linewidth=1.8, label=label)
        axes.plot([at], [fitted[1]], "D", color=color, markersize=7, label=None if stage else f"their break: rank {at:,.0f}")
    elif law["lines"]:
        line = law["lines"][0]
        ranks = np.array([line["first_rank"], line["last_rank"]])
        fitted = 10 ** (line["intercept"] + line["slope"] * np.log10(ranks))
        axes.plot(ranks, fitted, "--", color=color, linewidth=1.8, label=f"{prefix}least squares, slope {signed(line['slope'], '.2f')}")


def _power_law(axes: Axes, power: Mapping[str, Any] | None) -> None:
    """The rank law that a power law of the counts from `min_count` up implies."""
    if power:
        ranks = np.array([1, power["num_labels"]])
        fitted = power["min_count"] * (ranks / power["num_labels"]) ** -power["rank_exponent"]
        label = f"power law to rank {power['num_labels']:,}: exponent {power['rank_exponent']:.2f}"
        axes.plot(ranks, fitted, "-.", color=GREEN, linewidth=1.8, label=label)


def _groups(axes: Axes, stats: Mapping[str, Any], narrow: bool) -> None:
    """Head, torso and tail: their borders, and their names along the top."""
    start = 1
    for name, group in stats.get("measures", {}).get("groups", {}).items():
        size = group["num_labels"]
        if size:
            if start > 1:
                axes.axvline(start - 0.5, color=MUTED, linewidth=1, linestyle=(0, (1, 3)))
            said = name if narrow else f"{name}: {size:,} labels, {group['share']:.0%}"
            place: dict[str, Any] = {
                "transform": axes.get_xaxis_transform(),
                "ha": "center",
                "va": "center",
                "color": MUTED,
                "fontsize": 11,
            }
            axes.text(np.sqrt(start * (start + size - 1)), 0.975, said, **place)
        start += size


def _name_ranks(axes: Axes, curves: Sequence[tuple[np.ndarray, np.ndarray]], names: Mapping[int, str], narrow: bool) -> None:
    """Write some names of the first curve above all curves."""
    place: dict[str, Any] = {"xytext": (2, 8), "textcoords": "offset points", "rotation": 32, "rotation_mode": "anchor"}
    for rank in NAMED_WHERE_NARROW if narrow else NAMED_RANKS:
        if rank <= len(curves[0][0]):
            label = int(curves[0][0][rank - 1])
            height = max(counts[rank - 1] for _, counts in curves if rank <= len(counts))
            text = shorten(names.get(label, str(label)), LONGEST_NAME)
            axes.annotate(text, (rank, height), fontsize=10 if narrow else 11, annotation_clip=False, **place)
