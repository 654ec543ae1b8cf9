"""Which labels come together: the commonest ones, ordered so that companions stand side by side."""

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path as Outline
from scipy.cluster import hierarchy

from yt8m_data.report.formats import named
from yt8m_data.report.plots.canvas import BLUE, INK, LINE, MUTED, Plot, panel, plot, shorten

TOP, TOP_WHERE_NARROW = 40, 20
SHADES, LEAST = 12, 0.01  # between none and all; the share below which a square stays empty
LONGEST_NAME, LONGEST_WHERE_NARROW = 20, 16


def cooccurrence(counts: Mapping[str, np.ndarray], names: Mapping[int, str]) -> Plot:
    """Draw P(column | row), the share of a row's videos that carry the column's label, among the most frequent labels.

    Args:
      counts: CSR fields `data`, `indices`, `indptr` of the symmetric counts [C, C], label counts on the diagonal.
      names: label names.
    """
    together, top = most_frequent(counts, TOP)
    wide, narrow_order = seriate(together), seriate(together[:TOP_WHERE_NARROW, :TOP_WHERE_NARROW])
    share = together / np.maximum(together.diagonal(), 1)[:, None]

    def paint(figure: Figure, narrow: bool) -> None:
        order = narrow_order if narrow else wide
        shown = share[np.ix_(order, order)]
        margin = 98 if narrow else 168
        axes = panel(figure, margin, 4, 4, margin)
        axes.set(xlim=(0, len(order)), ylim=(len(order), 0))
        axes.grid(False)
        axes.spines[:].set_visible(False)
        axes.add_artist(PathPatch(_squares(np.ones_like(shown, bool)), facecolor=LINE, alpha=0.35, linewidth=0))
        axes.add_artist(PathPatch(_squares(np.eye(len(order), dtype=bool)), facecolor=LINE, linewidth=0))
        shade = np.where(np.eye(len(order), dtype=bool) | (shown < LEAST), 0, np.ceil(shown * SHADES)).astype(int)
        for level in range(1, SHADES + 1):
            if (shade == level).any():
                axes.add_artist(PathPatch(_squares(shade == level), facecolor=BLUE, alpha=level / SHADES, linewidth=0))
        labels = [shorten(names.get(label, str(label)), LONGEST_WHERE_NARROW if narrow else LONGEST_NAME) for label in top[order].tolist()]
        font = min(11.0, 0.62 * (360 if narrow else 1000) / max(len(order), 1))
        axes.set_xticks(np.arange(len(order)) + 0.5, labels, rotation=90, fontsize=font)
        axes.set_yticks(np.arange(len(order)) + 0.5, labels, fontsize=font)
        axes.tick_params(top=True, labeltop=True, bottom=False, labelbottom=False, labelcolor=INK, pad=3)
        _key(figure, narrow)

    alt = f"Heat map of the {len(top)} most frequent labels: which share of a row's videos also carry the column's label."
    table: list[list[Any]] = [["Label", "Name", "Other", "Other name", "Together", "P(other|label)"]]
    for i, j in itertools.permutations(wide, 2):
        if together[i, j]:
            a, b = int(top[i]), int(top[j])
            table.append([a, names.get(a, ""), b, names.get(b, ""), int(together[i, j]), f"{share[i, j]:.6f}"])
    data = {
        "names": [named(label, names) for label in top.tolist()],
        "share": [[round(value, 4) for value in row] for row in share.tolist()],
        "wide": wide,
        "narrow": narrow_order,
    }
    return plot("cooccurrence", "Labels that come together", alt, paint, table, wide=(1000, 1000), narrow=(360, 360), data=data)


def seriate(together: np.ndarray) -> list[int]:
    """Order labels so that companions stand side by side: average linkage on 1 - n_ij / sqrt(n_i n_j), with the best order of its leaves.

    The order of the leaves is that of Bar-Joseph, Gifford and Jaakkola, "Fast optimal leaf ordering for hierarchical clustering" (2001).

    Args:
      together: float64 [K, K], symmetric counts, label counts on the diagonal.
    """
    if len(together) < 3:
        return list(range(len(together)))
    size = np.sqrt(together.diagonal())
    apart = 1 - (together / size[:, None] / size)[np.triu_indices(len(together), 1)]
    order = hierarchy.leaves_list(hierarchy.linkage(np.maximum(apart, 0), "average", optimal_ordering=True)).tolist()
    return order if order[0] < order[-1] else order[::-1]


def most_frequent(counts: Mapping[str, np.ndarray], top: int) -> tuple[np.ndarray, np.ndarray]:
    """Dense counts float64 [K, K] among the K <= top most frequent labels with videos, and those labels, most frequent first."""
    data, indices, indptr = (np.asarray(counts[key]) for key in ("data", "indices", "indptr"))
    rows = np.repeat(np.arange(len(indptr) - 1), np.diff(indptr))
    own = np.zeros(len(indptr) - 1, np.int64)
    own[rows[rows == indices]] = data[rows == indices]
    order = np.argsort(-own, kind="stable")[: min(top, np.count_nonzero(own))]
    place = np.full(len(own), -1)
    place[order] = np.arange(len(order))
    inside = (place[rows] >= 0) & (place[indices] >= 0)
    dense = np.zeros((len(order), len(order)))
    dense[place[rows[inside]], place[indices[inside]]] = data[inside]
    return dense, order


def _squares(where: np.ndarray) -> Outline:
    """One outline of a square for each true cell, with a gap around it."""
    row, column = np.nonzero(where)
    corners = np.array([[0.04, 0.04], [0.96, 0.04], [0.96, 0.96], [0.04, 0.96], [0.04, 0.04]])
    vertices = (np.column_stack([column, row])[:, None] + corners).reshape(-1, 2)
    codes = np.tile([Outline.MOVETO, Outline.LINETO, Outline.LINETO, Outline.LINETO, Outline.CLOSEPOLY], len(row))
    return Outline(vertices, codes)


def _key(figure: Figure, narrow: bool) -> None:
    """The scale of shades, in the corner that the names leave free."""
    side = 98 if narrow else 168
    axes = panel(figure, 4, 0, 0, 0)
    width, height = figure.get_size_inches() * 72
    axes.set_position((4 / width, 1 - (side * 0.62) / height, (side - 24) / width, (8 if narrow else 12) / height))
    axes.set(xlim=(0, SHADES), ylim=(1, 0))
    for level in range(1, SHADES + 1):
        axes.axvspan(level - 1, level, color=BLUE, alpha=level / SHADES, linewidth=0)
    axes.grid(False)
    axes.spines[:].set_visible(False)
    axes.set_xticks([0, SHADES], ["0%", "100%"], fontsize=9 if narrow else 11)
    axes.set_yticks([])
    said = "of the row's videos\ncarry the column's\nlabel as well"
    figure.text(4 / width, 1 - 0.56 * side / height, said, fontsize=8.5 if narrow else 11, color=MUTED, va="bottom", linespacing=1.3)
