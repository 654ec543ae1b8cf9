"""A plot in every form: SVG for the page, PNG and CSV beside it, the same bytes every time, whatever the user's settings and the texts."""

import csv
import io
import re
from pathlib import Path
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
from matplotlib.image import imread

from yt8m_data.report.plots import canvas

SHEET = (Path(canvas.__file__).parents[1] / "page" / "report.css").read_text(encoding="utf-8")
HOSTILE = '<b onload="x">\'&#0072b2 $x_1$ #0072b2'


def draw(text="text", **settings):
    def paint(figure, narrow):
        axes = canvas.panel(figure, 40, 30)
        axes.plot([1, 2, 3], [1.23456789, 4, 9], "o-", color=canvas.BLUE, label=text)
        axes.set_title("narrow" if narrow else "wide")
        axes.text(1, 5, text, color=canvas.ORANGE)
        axes.legend()

    return canvas.plot("some", "Some", "What it shows", paint, [["x", "y"], [1, 1.5], [2, text]], **settings)


def texts(svg):
    return [element.text for element in ElementTree.fromstring(svg).iter("text")]


# --- SVG ------------------------------------------------------------------------------------------------------------------


def test_the_two_cuts_have_their_sizes_and_say_what_they_show():
    plot = draw(wide=(800, 400), narrow=(300, 200))
    for svg, size, title in ((plot.wide, "0 0 800 400", "wide"), (plot.narrow, "0 0 300 200", "narrow")):
        root = ElementTree.fromstring(svg)
        assert root.tag == "svg"
        assert (root.get("viewBox"), root.get("role"), root.get("aria-label")) == (size, "img", "What it shows")
        assert root.get("width") is None  # the page's style sizes it
        assert title in texts(svg)


def test_colours_are_the_pages_and_so_are_fonts():
    svg = draw().wide
    assert "var(--blue)" in svg
    assert "var(--orange)" in svg
    assert "var(--paper)" in svg
    assert not re.search(r"#[0-9a-f]{6}\b", re.sub(r'href="#\w+"|url\(#\w+\)', "", svg))
    assert "font-family" not in svg
    assert "<style" not in svg


def test_every_colour_of_the_light_theme_has_a_variable_of_the_page():
    light = SHEET[: SHEET.index("prefers-color-scheme")]
    for color, name in canvas.VARIABLES.items():
        assert f"--{name}: {color}" in light, name
        assert SHEET.count(f"--{name}: ") == 3, f"{name} in light, dark and print"


def test_coordinates_are_hundredths_of_a_pixel():
    assert not re.search(r"\d\.\d{3,}", draw().wide)
    assert re.search(r"\d\.\d\d\b", draw().wide)


def test_ids_of_two_plots_on_a_page_differ():
    other = canvas.plot("other", "Other", "", lambda figure, narrow: canvas.panel(figure, 40, 30).plot([1, 2], "o-"), [["x"]])
    plots = [*(draw().wide, draw().narrow), other.wide, other.narrow]
    ids = [set(re.findall(r' id="([^"]+)"', svg)) for svg in plots]
    assert all(ids)
    assert sum(map(len, ids)) == len(set.union(*ids))
    for svg, own in zip(plots, ids, strict=True):
        assert set(re.findall(r'(?:href="#|url\(#)(\w+)', svg)) <= own


def test_texts_are_texts_whatever_they_hold():
    svg = draw(HOSTILE).wide
    assert texts(svg).count(HOSTILE) == 2  # no markup, no formula, and no colour taken for a variable
    assert not list(ElementTree.fromstring(svg).iter("b"))


def test_the_frame_tells_where_the_axes_are():
    root = ElementTree.fromstring(draw(wide=(800, 400)).wide)
    left, top, width, height = map(float, root.get("data-box").split())
    assert (left, top) == (40, 12)
    assert (left + width, top + height) == (792, 370)
    low, high = map(float, root.get("data-x").split())
    assert low < 1 < 3 < high


# --- PNG and CSV ----------------------------------------------------------------------------------------------------------


def test_the_picture_is_the_wide_cut_at_twice_its_size():
    assert imread(io.BytesIO(draw(wide=(500, 300)).png)).shape[:2] == (600, 1000)


def test_the_data_are_a_csv():
    assert list(csv.reader(io.StringIO(draw(HOSTILE).csv.decode()))) == [["x", "y"], ["1", "1.5"], ["2", HOSTILE]]


def test_bytes_repeat_whatever_the_users_settings_and_leave_them_alone():
    first = draw()
    settings = {"font.size": 30, "lines.linewidth": 9, "savefig.dpi": 40, "axes.facecolor": "red", "svg.fonttype": "path"}
    with matplotlib.rc_context(settings):
        mine = dict(matplotlib.rcParams)
        assert draw() == first
        assert dict(matplotlib.rcParams) == mine
    assert b"Software" not in first.png


# --- Parts ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "short"), [("Game", "Game"), ("Exactly ten", "Exactly t…"), ("Two words and", "Two words…"), ("a\x00b\nc", "abc")]
)
def test_names_are_cut_and_held_to_one_line(name, short):
    assert canvas.shorten(name, 10) == short


def test_ranked_leaves_out_labels_without_videos():
    order, counts = canvas.ranked(np.array([3, 0, 9, 3]))
    assert (order.tolist(), counts.tolist()) == ([2, 0, 3], [9, 3, 3])


@pytest.mark.parametrize(("limits", "shown"), [((1, 2000), {"1", "10", "100", "1,000"}), ((4, 60), {"5", "10", "20", "50"})])
def test_a_logarithmic_axis_has_plain_numbers(limits, shown):
    def paint(figure, narrow):
        axes = canvas.panel(figure, 40, 30)
        axes.set(xscale="log", xlim=limits)
        axes.set_yticks([])
        canvas.log_axis(axes.xaxis)

    assert shown <= set(texts(canvas.plot("some", "", "", paint, [[]]).wide))


def test_shares_are_per_cents():
    def paint(figure, narrow):
        axes = canvas.panel(figure, 40, 30)
        axes.set_ylim(0, 0.1)
        canvas.share_axis(axes.yaxis)

    assert {"2%", "10%"} <= set(texts(canvas.plot("some", "", "", paint, [[]]).wide))


# --- Colours that anybody can tell apart ----------------------------------------------------------------------------------

# Machado, Oliveira and Fernandes, "A physiologically-based model for simulation of color vision deficiency" (2009), severity 1.0.
VISION = {
    "trichromat": np.eye(3),
    "protanope": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranope": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanope": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
TOGETHER = [
    ("blue", "orange"),
    ("blue", "muted"),
    ("orange", "green"),
    ("orange", "muted"),
    ("blue", "ink"),
    ("orange", "ink"),
    ("green", "muted"),
]


def themes():
    parts = re.split(r"@media \(prefers-color-scheme: dark\)|@media \(max-width", SHEET)[:2]
    return {name: dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", part)) for name, part in zip(("light", "dark"), parts, strict=True)}


def linear(color):
    value = np.array([int(color[at : at + 2], 16) for at in (1, 3, 5)]) / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def lab(rgb):
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) @ rgb / [0.9505, 1, 1.089]
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("vision", VISION)
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_colours_that_meet_in_a_plot_differ_for_every_kind_of_colour_vision(theme, vision):
    """By 20 in CIE Lab, some nine times what is just noticeable."""
    colors = themes()[theme]
    for one, other in TOGETHER:
        seen = [lab(np.clip(np.array(VISION[vision]) @ linear(colors[name]), 0, 1)) for name in (one, other)]
        assert np.linalg.norm(seen[0] - seen[1]) > 20, (one, other)


def contrast(one, other):
    light = sorted(linear(color) @ [0.2126, 0.7152, 0.0722] for color in (one, other))
    return (light[1] + 0.05) / (light[0] + 0.05)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_contrast_is_that_of_wcag_aa(theme):
    colors = themes()[theme]
    for surface in ("paper", "card"):
        for text in ("ink", "muted", "blue"):
            assert contrast(colors[text], colors[surface]) > 4.5, (text, surface)
    for line in ("orange", "green"):
        assert contrast(colors[line], colors["paper"]) > 3, line
