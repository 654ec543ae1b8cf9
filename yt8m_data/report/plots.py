"""Plots of label statistics: rank-frequency, before and after augmentation, co-occurrence.

Each function writes one PNG, 1,280 pixels wide, whose bytes depend on its arguments and on the version of Matplotlib alone. The colours are
Okabe and Ito's, told apart with any kind of colour vision. `names` maps label ids to names; a label without one goes by its id.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator, PercentFormatter

from yt8m_data.errors import DataError
from yt8m_data.shards import atomic_write

INK, MUTED, FAINT = "#1f2933", "#616e7c", "#aab4bf"
BLUE, ORANGE, GREEN, PURPLE = "#0072b2", "#d55e00", "#009e73", "#cc79a7"
NAMED_RANKS = (1, 2, 3, 5, 8, 20, 60, 200, 700)
LONGEST_NAME = 22

_STYLE: dict[str, Any] = {
    "font.family": "DejaVu Sans",  # comes with Matplotlib, so text is the same everywhere
    "font.size": 10,
    "text.color": INK,
    "text.parse_math": False,  # a class name may hold a dollar sign
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "legend.frameon": False,
}


def zipf_plot(stats: Mapping[str, Any], path: str | Path, names: Mapping[int, str] | None = None, threshold: float | None = None) -> None:
    """Draw counts over ranks in log-log, with the fitted line of each regime.

    Args:
      stats: `label_counts` (integers [C]) and `zipf` (`zipf.Fit.to_dict()`), as in stats.json.
      path: PNG to write.
      names: label names; some along the curve are written beside it.
      threshold: count that parts over- from sub-sampled labels, drawn where given.
    """
    counts = np.asarray(stats["label_counts"])
    order, ranks = _ranked(counts)
    # The line over all ranks fits nowhere, so it stands only where there are too few labels for two regimes.
    whole, regimes = stats["zipf"]["lines"][:1], stats["zipf"]["lines"][1:]
    lines = regimes if len(regimes) > 1 else whole
    with _figure(path, (8, 5.6)) as figure:
        axes = _log_log(figure, counts[order], len(order))
        axes.plot(ranks, counts[order], ".", color=FAINT, markersize=6, markeredgewidth=0, label="one label", zorder=2)
        ceiling = counts[order].astype(float)
        for line, color in zip(lines, (BLUE, ORANGE, GREEN), strict=False):
            drawn = ranks[line["first_rank"] - 1 : line["last_rank"]]
            fitted = 10 ** (line["intercept"] + line["slope"] * np.log10(drawn))
            ceiling[drawn - 1] = np.maximum(ceiling[drawn - 1], fitted)
            label = f"ranks {drawn[0]:,}–{drawn[-1]:,}: slope {_minus(line['slope'])}"
            axes.plot(drawn, fitted, color=color, linewidth=1.8, label=label, zorder=3)
        if names:
            _name_ranks(axes, ceiling, [_name(names, label) for label in order])
        if threshold:
            _threshold(axes, threshold)
        axes.legend(loc="upper right", handlelength=1.6, labelspacing=0.4)
        _title(figure, "Videos per label", f"{len(counts):,} labels, {counts.sum():,} occurrences on videos", counts)


def before_after_plot(before: Mapping[str, Any], after: Mapping[str, Any], path: str | Path, threshold: float | None = None) -> None:
    """Draw label counts before and after augmentation, with the way that each label moved.

    After Fig. 2 of Cho et al., "Large-Scale Video Classification with Feature Space Augmentation Coupled with Learned Label Relations and
    Ensembling". Labels stand in the order of their count before.

    Args:
      before, after: `label_counts` (integers [C]), as in stats.json. Labels without videos before or after are left out of that curve.
      path: PNG to write.
      threshold: count that parts over- from sub-sampled labels, drawn where given.
    """
    counts, counts_after = np.asarray(before["label_counts"]), np.asarray(after["label_counts"])
    order, ranks = _ranked(counts)
    old, new = counts[order], counts_after[order]
    with _figure(path, (8, 5.6)) as figure:
        axes = _log_log(figure, np.concatenate([old, new[new > 0]]), len(order))
        _moves(axes, ranks, old, new)
        axes.plot(ranks, old, color=INK, linewidth=1.8, label="before", zorder=3)
        for kind, color, label in (
            (new > old, BLUE, "after: more"),
            ((new > 0) & (new < old), ORANGE, "after: fewer"),
            (new == old, MUTED, "after: as many"),
        ):
            if kind.any():
                style: dict[str, Any] = {"color": color, "markersize": 4.5, "markeredgewidth": 0, "alpha": 0.8, "zorder": 2}
                axes.plot(ranks[kind], new[kind], ".", label=f"{label} ({kind.sum():,} labels)", **style)
        if threshold:
            _threshold(axes, threshold)
        axes.set_xlabel("Label rank before (1 = most frequent)")
        axes.legend(loc="upper right", handlelength=1.6, labelspacing=0.4)
        _title(
            figure, "Videos per label, before and after", f"{counts.sum():,} label occurrences before, {counts_after.sum():,} after", counts
        )


def cooccurrence_plot(cooccurrence: Mapping[str, np.ndarray], names: Mapping[int, str] | None, path: str | Path, top: int = 40) -> None:
    """Draw how often the most frequent labels come together: P(column | row), the share of a row's videos that carry the column's label.

    Args:
      cooccurrence: CSR fields `data`, `indices`, `indptr`, `shape` of the symmetric counts [C, C], diagonal = label counts.
      names: label names.
      path: PNG to write.
      top: labels to show, the most frequent ones.

    Raises:
      DataError: no label has videos.
    """
    together, order = _top_counts(cooccurrence, top)
    if not len(order):
        raise DataError("no label has videos, so there is no co-occurrence to draw")
    share = together / np.maximum(together.diagonal(), 1)[:, None]
    np.fill_diagonal(share, np.nan)  # a label always comes with itself
    labels = [_name(names or {}, label) for label in order]
    with _figure(path, (8, 8)) as figure:
        axes = figure.add_axes((0.215, 0.02, 0.765, 0.765))
        palette = matplotlib.colormaps["Blues"].with_extremes(bad="#d9dde2")
        image = axes.imshow(share, cmap=palette, vmin=0, vmax=1, interpolation="nearest")
        edges = np.arange(len(order) + 1) - 0.5
        axes.hlines(edges, -0.5, len(order) - 0.5, color="white", linewidth=0.8)
        axes.vlines(edges, -0.5, len(order) - 0.5, color="white", linewidth=0.8)
        size = float(np.clip(300 / len(order), 5, 9))
        axes.set_xticks(range(len(order)), labels, rotation=90, fontsize=size)
        axes.set_yticks(range(len(order)), labels, fontsize=size)
        axes.tick_params(length=0, top=True, labeltop=True, bottom=False, labelbottom=False, labelcolor=INK)
        axes.spines[:].set_visible(False)
        bar = figure.colorbar(
            image, cax=figure.add_axes((0.03, 0.85, 0.16, 0.016)), orientation="horizontal", format=PercentFormatter(1, 0)
        )
        bar.set_ticks([0, 0.5, 1])
        bar.outline.set_visible(False)
        bar.ax.tick_params(labelsize=8, length=0)
        figure.text(0.03, 0.96, "Labels together", fontsize=12, fontweight="bold")
        figure.text(0.03, 0.875, "of the row's videos\nalso carry the\ncolumn's label", fontsize=8.5, color=MUTED, linespacing=1.4)


# --- Parts ----------------------------------------------------------------------------------------------------------------


@contextmanager
def _figure(path: str | Path, inches: tuple[float, float]) -> Iterator[Figure]:
    """A figure in the house style, written to `path` when the block ends well; no state of pyplot, no setting of the user's."""
    with matplotlib.style.context(["default", _STYLE]):
        figure = Figure(figsize=inches, dpi=160, facecolor="white")
        FigureCanvasAgg(figure)
        yield figure
        with atomic_write(path) as file:
            figure.savefig(file, format="png", metadata={"Software": None})


def _log_log(figure: Figure, counts: np.ndarray, num_ranks: int) -> Axes:
    """Axes of counts over ranks, both logarithmic, with plain numbers on the decades and room for all of `counts`."""
    axes = figure.add_axes((0.135, 0.105, 0.845, 0.76))
    lowest, highest = counts.min(initial=10**9), counts.max(initial=1)
    axes.set(xscale="log", yscale="log", xlim=(0.85, max(num_ranks, 2) * 1.25), ylim=(min(lowest, highest) / 2.5, highest * 4))
    axes.set(xlabel="Label rank (1 = most frequent)", ylabel="Videos with the label")
    axes.yaxis.set_label_coords(-0.125, 0.5)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(numticks=12))
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.grid(color="#e8ebee", linewidth=0.8)
    axes.set_axisbelow(True)
    return axes


def _moves(axes: Axes, ranks: np.ndarray, old: np.ndarray, new: np.ndarray) -> None:
    """A bar from before to after for each label: a stroke where ranks lie apart, a band of one tone where they touch."""
    half = np.minimum(0.01 * ranks, 0.5)
    for way, color in ((new > old, BLUE), ((new > 0) & (new < old), ORANGE)):
        x = np.column_stack([ranks - half, ranks - half, ranks + half, ranks + half])[way]
        y = np.column_stack([old, new, new, old])[way]
        bars = PolyCollection(list(np.stack([x, y], axis=2)), facecolors=color, linewidths=0, antialiaseds=False, alpha=0.2, zorder=1)
        axes.add_collection(bars, autolim=False)


def _name_ranks(axes: Axes, ceiling: np.ndarray, names: list[str]) -> None:
    """Write some names above the curve and its fits."""
    place: dict[str, Any] = {
        "xytext": (1, 6),
        "textcoords": "offset points",
        "rotation": 32,
        "rotation_mode": "anchor",
        "annotation_clip": False,
    }
    for rank in NAMED_RANKS:
        if rank <= len(names):
            axes.annotate(names[rank - 1], (rank, ceiling[rank - 1]), fontsize=9, **place)


def _threshold(axes: Axes, threshold: float) -> None:
    axes.axhline(threshold, color=PURPLE, linewidth=1.2, linestyle=(0, (2, 2)), zorder=1)
    place: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points", "fontsize": 9, "color": "#8f4c74"}
    axes.annotate(f"sub-sampled above {threshold:,.0f} videos", (0, threshold), xytext=(8, 5), **place)
    axes.annotate("over-sampled below", (0, threshold), xytext=(8, -13), **place)


def _title(figure: Figure, headline: str, remark: str, counts: np.ndarray) -> None:
    """Headline and remark; the remark ends with the classes that a logarithmic axis cannot show."""
    empty = int((counts == 0).sum())
    figure.text(0.02, 0.945, headline, fontsize=13, fontweight="bold")
    figure.text(0.02, 0.9, remark + (f"; not drawn: {empty:,} without videos" if empty else ""), fontsize=9.5, color=MUTED)


def _ranked(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Labels with videos by falling count, ties by id, and their ranks from 1."""
    order = np.argsort(-counts, kind="stable")[: np.count_nonzero(counts)]
    return order, np.arange(1, len(order) + 1)


def _top_counts(cooccurrence: Mapping[str, np.ndarray], top: int) -> tuple[np.ndarray, np.ndarray]:
    """Dense counts [k, k] among the k <= top most frequent labels with videos, and those labels."""
    data, indices, indptr = (np.asarray(cooccurrence[key]) for key in ("data", "indices", "indptr"))
    rows = np.repeat(np.arange(len(indptr) - 1), np.diff(indptr))
    on_diagonal = rows == indices
    counts = np.zeros(len(indptr) - 1, np.int64)
    counts[rows[on_diagonal]] = data[on_diagonal]
    order = _ranked(counts)[0][:top]
    place = np.full(len(counts), -1)
    place[order] = np.arange(len(order))
    inside = (place[rows] >= 0) & (place[indices] >= 0)
    dense = np.zeros((len(order), len(order)))
    dense[place[rows[inside]], place[indices[inside]]] = data[inside]
    return dense, order


def _name(names: Mapping[int, str], label: int) -> str:
    name = names.get(int(label), str(label))
    return name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1].rstrip() + "…"


def _minus(value: float) -> str:
    """Two decimals, with a true minus sign."""
    return f"{value:.2f}".replace("-", "\N{MINUS SIGN}")
