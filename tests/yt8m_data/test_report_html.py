"""The report: one file that loads nothing, shows every figure it was given, and trusts no name."""

import base64
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from yt8m_data import zipf
from yt8m_data.report.html import write_report
from yt8m_data.report.plots import zipf_plot

BEFORE, AFTER = np.array([400, 90, 0, 12]), np.array([200, 180, 0, 36])
PLAN = {
    "policy": "paper",
    "threshold": 100.0,
    "seed": 7,
    "methods": ["interpolate", "noise"],
    "lambda": [0.2, 0.8],
    "pool": "global",
    "label_rule": None,
    "labels": [
        {"label": 0, "count": 400, "target": 150.0, "regime": "sub", "keep_ratio": 0.5, "neighbors": 0},
        {"label": 1, "count": 90, "target": 120.0, "regime": "over", "keep_ratio": 1.0, "neighbors": 2},
        {"label": 3, "count": 12, "target": 60.0, "regime": "over", "keep_ratio": 1.0, "neighbors": 8},
    ],
}
TOTALS = {
    "read": 20_500,
    "kept": 18_000,
    "dropped": 2_497,
    "bad": 3,
    "written": 31_000,
    "synthetic": {"interpolate": 12_000, "noise": 1_000},
}
TRAINING = [
    {"name": "plain", "gap": 0.71234, "map": 0.25, "map_starter": 0.26, "perr": 0.6, "hit_at_1": 0.8, "num_examples": 5_805},
    {"name": "augmented", "gap": 0.70001, "map": 0.31, "hit_at_1": 0.8},
]


class Page(HTMLParser):
    """What a reader sees: the tables as lists of cell texts, the text outside of style and script, and every attribute."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tables: list[list[list[str]]] = []
        self.text, self.attributes, self.tags = "", [], []
        self._hidden = self._cell = False
        self.feed(source)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, *attr) for attr in attrs]
        self._hidden |= tag in ("style", "script")
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
            self._cell = True

    def handle_endtag(self, tag):
        self._hidden &= tag not in ("style", "script")
        self._cell &= tag not in ("td", "th")

    def handle_data(self, data):
        if not self._hidden:
            self.text += data
            if self._cell:
                self.tables[-1][-1][-1] += data.strip()


def words(source: str) -> str:
    """All text, with a space for each tag."""
    return " ".join(re.sub(r"<[^>]+>", " ", source).split())


def stats(counts: np.ndarray, num_records: int, bad: int = 0) -> dict:
    return {
        "num_records": num_records,
        "num_unlabeled": 0,
        "num_classes": len(counts),
        "label_counts": counts.tolist(),
        "labels_per_record": {"mean": counts.sum() / num_records, "histogram": [0, num_records]},
        "zipf": zipf.fit(counts).to_dict(),
        "features": {},
        "bad_records": {"total": bad, "by_reason": {}},
    }


def report(path: Path, **changes) -> str:
    arguments = {"title": "A data set", "plots": {}, "command": "yt8m-data stats 'a*'", "versions": {"numpy": "2.4.1"}}
    write_report(path / "report.html", **(arguments | changes))
    return (path / "report.html").read_text(encoding="utf-8")


@pytest.fixture
def full(tmp_path: Path) -> str:
    zipf_plot(stats(BEFORE, 500), tmp_path / "zipf.png")
    return report(
        tmp_path,
        stats_before=stats(BEFORE, 500, bad=3),
        stats_after=stats(AFTER, 1_416),
        plan=PLAN,
        manifest={"totals": TOTALS},
        training=TRAINING,
        plots={"Label frequencies": tmp_path / "zipf.png"},
        names={0: "Game", 1: "Vehicle", 3: "Concert"},
    )


# --- One file -------------------------------------------------------------------------------------------------------------


def test_nothing_is_loaded_from_anywhere(full):
    without_plots = re.sub(r"base64,[\w+/=]+", "", full)
    assert not re.search(r"https?:|//[a-z]|@import|url\(", without_plots)
    for tag, name, value in Page(full).attributes:
        if name in ("src", "href"):
            assert value.startswith("data:"), (tag, name)
    assert "default-src 'none'" in full


def test_plots_are_inside(full, tmp_path):
    ((_, _, source),) = [each for each in Page(full).attributes if each[:2] == ("img", "src")]
    assert base64.b64decode(source.removeprefix("data:image/png;base64,")) == (tmp_path / "zipf.png").read_bytes()
    assert ("img", "alt", "Label frequencies") in Page(full).attributes


def test_the_same_arguments_make_the_same_bytes(tmp_path):
    assert report(tmp_path, stats_before=stats(BEFORE, 500)) == report(tmp_path, stats_before=stats(BEFORE, 500))
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]


def test_it_follows_light_dark_phone_and_paper(full):
    for query in ("prefers-color-scheme: dark", "max-width: 600px", "@media print", 'name="viewport"'):
        assert query in full


# --- What it shows --------------------------------------------------------------------------------------------------------


def test_headline_figures_of_both_stages(full):
    for figure in (
        "Videos 1,416 from 500",
        "Labels per video 0.29 from 1.00",
        "Labels in use 3 of 4 unchanged",
        "Median videos per label 108 from 51",
        "Held by the rarer half 8.7% from 2.4%",
        "Bad records 0 from 3",
    ):
        assert figure in words(full)


def test_the_books(full):
    books = Page(full).tables[0]
    assert [row[:2] for row in books[1:]] == [
        ["read", "20,500"],
        ["kept", "18,000"],
        ["dropped", "2,497"],
        ["bad", "3"],
        ["synthetic: interpolate", "12,000"],
        ["synthetic: noise", "1,000"],
        ["written", "31,000"],
    ]
    widths = [float(width) for width in re.findall(r'class="bar" style="width: ([\d.]+)%', full)]
    np.testing.assert_allclose(widths, np.array([20_500, 18_000, 2_497, 3, 12_000, 1_000, 31_000]) / 310, atol=0.01)


def test_the_plan(full):
    page = Page(full)
    assert page.tables[1][1:] == [["over", "2", "12 – 90", "1", "2 – 8"], ["sub", "1", "400", "0.5", "0"]]
    for setting in (
        "policy paper",
        "threshold 100",
        "seed 7",
        "methods interpolate, noise",
        "lambda 0.2, 0.8",
        "pool global",
        "label rule –",
    ):
        assert setting in words(full)


def test_runs_side_by_side_with_the_best_of_each_column(full):
    table = Page(full).tables[2]
    assert table[0] == ["Run", "GAP@20", "MAP", "MAP (starter code)", "PERR", "Hit@1", "Videos"]
    assert table[1] == ["plain", "0.7123", "0.2500", "0.2600", "0.6000", "0.8000", "5,805"]
    assert table[2] == ["augmented", "0.7000", "0.3100", "–", "–", "0.8000", "–"]
    assert re.findall(r'class="n best">([\d.]+)<', full) == ["0.7123", "0.2600", "0.6000", "0.8000", "0.3100", "0.8000"]


def test_the_label_table(full):
    assert Page(full).tables[3] == [
        ["Id", "Name", "Before", "After", "Ratio", "Regime", "Neighbours"],
        ["0", "Game", "400", "200", "0.50", "sub", "0"],
        ["1", "Vehicle", "90", "180", "2.00", "over", "2"],
        ["3", "Concert", "12", "36", "3.00", "over", "8"],
    ]
    assert 'type="search"' in full


def test_a_label_that_only_the_output_has(tmp_path):
    page = Page(report(tmp_path, stats_before=stats(np.array([5, 0]), 5), stats_after=stats(np.array([5, 2]), 7)))
    assert page.tables[0][1:] == [["0", "5", "5", "1.00"], ["1", "0", "2", "–"]]


def test_the_command_and_the_versions(full):
    text = Page(full).text
    assert "yt8m-data stats 'a*'" in text
    assert "numpy 2.4.1" in text


# --- Names are not trusted ------------------------------------------------------------------------------------------------


def test_markup_in_names_is_text(tmp_path):
    evil = "<script>alert('x')</script> & \"co\""
    source = report(
        tmp_path,
        title=evil,
        stats_before=stats(BEFORE, 500),
        names={0: evil},
        training=[{"name": evil, "gap": 0.5}],
        command=f"yt8m-data stats {evil}",
        versions={evil: evil},
    )
    page = Page(source)
    assert page.tags.count("script") == 1  # our own
    assert "alert" not in source.split("<script>")[1]
    assert page.tables[-1][1][1] == evil
    assert f"yt8m-data stats {evil}" in page.text


# --- Missing parts --------------------------------------------------------------------------------------------------------


def test_with_nothing_but_a_title_and_a_command(tmp_path):
    page = Page(report(tmp_path))
    assert page.tables == []
    assert page.tags.count("h2") == 1
    assert "script" not in page.tags


def test_statistics_alone_have_one_column_of_counts(tmp_path):
    page = Page(report(tmp_path, stats_before=stats(BEFORE, 500)))
    assert page.tables == [[["Id", "Videos"], ["0", "400"], ["1", "90"], ["3", "12"]]]
    assert "from" not in page.text
    assert "unchanged" not in page.text


def test_statistics_without_any_label(tmp_path):
    page = Page(report(tmp_path, stats_before=stats(np.zeros(4, np.int64), 20)))
    assert page.tables == []
    assert "Zipf exponent" in page.text
    assert "none" in page.text


@pytest.mark.parametrize("part", [{"plan": PLAN}, {"manifest": {"totals": TOTALS}}, {"training": TRAINING}])
def test_each_part_alone(tmp_path, part):
    assert len(Page(report(tmp_path, **part)).tables) == 1


def test_one_run_is_not_called_the_best(tmp_path):
    assert "n best" not in report(tmp_path, training=TRAINING[:1])
