"""A plot, painted once: an SVG that takes the page's colours, in a wide and a narrow cut, and a PNG and its data for elsewhere.

The bytes depend on the arguments and on the version of Matplotlib alone. In the SVG the colours are the page's variables, so it follows the
reader's light or dark setting. Those of the light theme are Okabe and Ito's, told apart with any kind of colour vision.
"""

import csv
import io
import re
from collections.abc import Callable, Sequence
from typing import Any
from xml.etree import ElementTree

import matplotlib
import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from yt8m_data.report.plots.forms import Plot

INK, MUTED, LINE, PAPER = "#1f2933", "#566370", "#dde2e7", "#ffffff"
BLUE, ORANGE, GREEN = "#0072b2", "#d55e00", "#009e73"
VARIABLES = {INK: "ink", MUTED: "muted", LINE: "line", PAPER: "paper", BLUE: "blue", ORANGE: "orange", GREEN: "green"}

WIDE, HALF, NARROW = (1000, 540), (490, 300), (360, 280)  # CSS pixels: a whole column, half of one, a phone; text is 12 pixels high
PNG_SCALE = 2

_STYLE: dict[str, Any] = {
    "figure.dpi": 72,  # a point is a pixel
    "font.family": "DejaVu Sans",  # comes with Matplotlib, so text is the same everywhere
    "font.size": 12,
    "text.color": INK,
    "text.parse_math": False,  # a class name may hold a dollar sign
    "axes.facecolor": PAPER,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": LINE,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "legend.frameon": False,
    "svg.fonttype": "none",
}
_SVG = "{http://www.w3.org/2000/svg}"
_XLINK = "{http://www.w3.org/1999/xlink}"
_HEX = re.compile("|".join(VARIABLES))
_FRACTION = re.compile(r"-?\d+\.\d\d\d+")


def plot(
    name: str,
    title: str,
    alt: str,
    paint: Callable[[Figure, bool], None],
    table: Sequence[Sequence[Any]],
    wide: tuple[int, int] = WIDE,
    narrow: tuple[int, int] = (360, 360),
    data: Any = None,
) -> Plot:
    """Make a plot.

    Args:
      name, title, alt: see `Plot`.
      paint: draws into a figure in the house style; told whether it is the narrow one.
      table: its data, the heads first.
      wide, narrow: width and height in CSS pixels.
      data: see `Plot`.
    """
    cuts = {}
    for cut, size in (("wide", wide), ("narrow", narrow)):
        # The style holds until the file is written: text is laid out only then.
        with matplotlib.style.context(["default", _STYLE, {"svg.hashsalt": f"{name} {cut}"}]):
            figure = Figure(figsize=(size[0] / 72, size[1] / 72), facecolor=PAPER)
            FigureCanvasAgg(figure)
            paint(figure, cut == "narrow")
            stream = io.StringIO()
            figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
            cuts[cut] = _themed(
                stream.getvalue(), {"viewBox": f"0 0 {size[0]} {size[1]}", "role": "img", "aria-label": alt, **_frame(figure)}
            )
            if cut == "wide":
                png = io.BytesIO()
                figure.savefig(png, format="png", dpi=72 * PNG_SCALE, metadata={"Software": None})
    rows = io.StringIO()
    csv.writer(rows, lineterminator="\n").writerows(table)
    return Plot(name, title, alt, cuts["wide"], cuts["narrow"], png.getvalue(), rows.getvalue().encode(), data)


def log_axis(axis: Any) -> None:
    """Mark a logarithmic axis with plain numbers, on its decades or, where it spans few, between them too."""
    low, high = axis.get_view_interval()
    axis.set_major_locator(LogLocator(subs=(1,) if high > 50 * low else (1, 2, 5), numticks=12))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}" if value >= 1 else f"{value:g}"))


def log_log(figure: Figure, counts: np.ndarray, num_ranks: int, narrow: bool) -> Axes:
    """Axes of counts over ranks, both logarithmic, with room for all of `counts` (positive) and for names above them."""
    axes = panel(figure, 56 if narrow else 76, 44 if narrow else 52)
    lowest, highest = counts.min(initial=10**9), counts.max(initial=1)
    axes.set(xscale="log", yscale="log", xlim=(0.85, max(num_ranks, 2) * 1.25), ylim=(min(lowest, highest) / 2.5, highest * 4))
    axes.set_ylabel("" if narrow else "Videos with the label")
    log_axis(axes.xaxis)
    log_axis(axes.yaxis)
    return axes


def ranked(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Labels with videos by falling count, ties by id, and their counts: two arrays [ranks]."""
    order = np.argsort(-counts, kind="stable")[: np.count_nonzero(counts)]
    return order, counts[order]


def count_axis(axis: Any) -> None:
    """Mark an axis with a few plain whole numbers."""
    axis.set_major_locator(MaxNLocator(5, integer=True))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))


def share_axis(axis: Any) -> None:
    """Mark an axis with per cents."""
    axis.set_major_locator(MaxNLocator(6))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.3g}%"))


def panel(figure: Figure, left: float, bottom: float, right: float = 8, top: float = 12) -> Axes:
    """Axes that leave margins of so many pixels."""
    width, height = figure.get_size_inches() * 72
    return figure.add_axes((left / width, bottom / height, 1 - (left + right) / width, 1 - (bottom + top) / height))


def shorten(name: str, longest: int) -> str:
    """Cut a name to so many characters, and to what can be printed on one line."""
    name = "".join(character for character in name if character.isprintable())
    return name if len(name) <= longest else name[: longest - 1].rstrip() + "…"


def _frame(figure: Figure) -> dict[str, str]:
    """Where the first axes are, and what their x axis spans, for the page's script."""
    axes = figure.axes[0]
    width, height = figure.get_size_inches() * 72
    box = axes.get_position()
    place = (box.x0 * width, (1 - box.y1) * height, box.width * width, box.height * height)
    return {"data-box": " ".join(f"{value:.2f}" for value in place), "data-x": " ".join(f"{value:.6g}" for value in axes.get_xlim())}


def _themed(source: str, attributes: dict[str, str]) -> str:
    """Strip an SVG of Matplotlib's to what a page needs: its variables for colours, its fonts, no ids that another plot may have too."""
    root = ElementTree.fromstring(source)
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag == f"{_SVG}style" or child.tag.endswith("metadata"):
                parent.remove(child)
    for element in root.iter():
        element.tag = element.tag.removeprefix(_SVG)
        if "_" in element.get("id", ""):  # of a group; ids that are referred to are hashes
            del element.attrib["id"]
        for key, value in list(element.attrib.items()):
            value = _FRACTION.sub(lambda match: f"{float(match[0]):.2f}".rstrip("0").rstrip("."), value)
            if key == "style":
                value = re.sub(r"font-family: [^;]*;? ?", "", _HEX.sub(lambda match: f"var(--{VARIABLES[match[0]]})", value))
            del element.attrib[key]
            element.set(key.removeprefix(_XLINK), " ".join(value.split()))
        element.tail = None
        if element.tag != "text":
            element.text = None
    root.attrib = attributes
    return ElementTree.tostring(root, encoding="unicode")
