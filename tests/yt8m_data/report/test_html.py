"""The page: one file that loads nothing, shows every figure it was given, and trusts no name."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from yt8m_data import pools, sampling
from yt8m_data.report.html import PAGE_ROWS, write_report
from yt8m_data.sampling import Settings

NAMES = {0: "Game", 1: "Vehicle", 3: "Concert"}
BEFORE = [[0]] * 40 + [[0, 1]] * 9 + [[1, 3]] * 3
AFTER = [[0]] * 20 + [[0, 1]] * 20 + [[1, 3]] * 12
TRAINING = [
    {"name": "plain", "gap": 0.71234, "map": 0.25, "map_starter": 0.26, "perr": 0.6, "hit_at_1": 0.8, "num_examples": 5_805},
    {"name": "augmented", "gap": 0.70001, "map": 0.31, "hit_at_1": 0.8},
]
BAD = [{"file": "/data/yt8m/train07.tfrecord", "index": 1204, "offset": 5_600_123, "kind": "crc", "reason": "its checksum does not fit"}]


class Page(HTMLParser):
    """What a reader sees: tables as lists of cell texts, the text outside of style and script, every tag, attribute and script."""

    def __init__(self, source):
        super().__init__()
        self.tables, self.captions, self.headings, self.scripts, self.tags, self.attributes = [], [], [], [], [], []
        self.text = ""
        self._open = []
        self.feed(source)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, *attr) for attr in attrs]
        self._open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        for name, into in (("caption", self.captions), ("h2", self.headings), ("script", self.scripts)):
            if tag == name:
                into.append("")
        if tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_endtag(self, tag):
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data):
        inside = set(self._open)
        if not inside & {"style", "script"}:
            self.text += data
        for name, into in (("caption", self.captions), ("h2", self.headings), ("script", self.scripts)):
            if name in inside:
                into[-1] += data
        if inside & {"td", "th"}:
            self.tables[-1][-1][-1] += data.strip()

    def table(self, heads):
        """The rows of the table with these heads."""
        return next(table[1:] for table in self.tables if table[0] == heads)


def words(source):
    return " ".join(re.sub(r"<[^>]+>", " ", source).split())


def report(folder, *stages, **changes):
    arguments = {"title": "A data set", "names": {}, "command": "yt8m-data stats 'a*'", "versions": {"numpy": "2.4.1"}}
    write_report(folder / "report.html", stages=stages, **(arguments | changes))
    return (folder / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def manifest():
    plan = sampling.plan(np.array([49, 12, 0, 3]), 52, Settings(threshold=20, lambdas=(0.2, 0.8), seed=7))
    totals = {
        "read": 55,
        "kept": 30,
        "dropped": 22,
        "bad": 3,
        "written": 52,
        "synthetic": {"interpolate": 12, "extrapolate": 9, "noise": 1},
    }
    neighbors = pools.distance_histogram("rgb", {4: 15, 5: 6})
    return {"totals": totals, "plan": plan.to_dict(), "neighbors": neighbors, "synthetic_label_counts": {"0": 11, "1": 20, "3": 9}}


@pytest.fixture(scope="module")
def full(tmp_path_factory, stage, manifest):
    before, after = stage("Before", BEFORE, 4, bad=3), stage("After", AFTER, 4)
    return report(tmp_path_factory.mktemp("full"), before, after, manifest=manifest, training=TRAINING, names=NAMES, bad=BAD)


@pytest.fixture(scope="module")
def plain(tmp_path_factory, stage):
    """The page of one stage, in a folder of its own."""
    folder = tmp_path_factory.mktemp("plain")
    report(folder, stage("Videos", BEFORE, 4))
    return folder / "report.html"


# --- One file -------------------------------------------------------------------------------------------------------------


def test_nothing_is_loaded_from_anywhere(full):
    assert not re.search(r"https?:|@import|url\((?!#)", full)
    for tag, name, value in Page(full).attributes:
        if name == "src":
            raise AssertionError(tag)
        if name == "href" and tag != "a":
            assert value.startswith(("data:", "#")), (tag, value)
        if name == "href" and tag == "a":
            assert value.startswith(("report_plots/", "#")), value


def test_the_policy_lets_run_our_script_and_no_other(full):
    (policy,) = [each[2] for each in Page(full).attributes if each[1] == "content" and "default-src" in each[2]]
    script = Page(full).scripts[-1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    assert not [name for _, name, _ in Page(full).attributes if name.startswith("on")]


def test_the_same_arguments_make_the_same_bytes(tmp_path, plain, stage):
    assert report(tmp_path, stage("Videos", BEFORE, 4)) == plain.read_text(encoding="utf-8")
    files = [{path.name: path.read_bytes() for path in (folder / "report_plots").iterdir()} for folder in (tmp_path, plain.parent)]
    assert files[0] == files[1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html", "report_plots"]


def test_every_plot_lies_beside_the_page_as_picture_and_data(full, plain):
    page = Page(plain.read_text())
    linked = {value for tag, name, value in page.attributes if tag == "a" and name == "href" and not value.startswith("#")}
    written = {f"report_plots/{path.name}" for path in (plain.parent / "report_plots").iterdir()}
    assert linked == written
    plots = {"rank_frequency", "cooccurrence", "labels_per_video", "moments_rgb", "moments_audio"}
    assert written == {f"report_plots/{plot}.{suffix}" for plot in plots for suffix in ("png", "csv")}
    assert {value for tag, name, value in Page(full).attributes if name == "data-plot"} == plots | {"moves", "distances", "synthetic_share"}


def test_plots_of_an_earlier_page_go(tmp_path, stage):
    report(tmp_path, stage("Videos", BEFORE, 4, frames=[2] * 52))
    assert (tmp_path / "report_plots" / "frames_per_video.png").exists()
    (tmp_path / "report_plots" / "notes.txt").write_text("mine")
    report(tmp_path, stage("Videos", BEFORE, 4))
    assert not (tmp_path / "report_plots" / "frames_per_video.png").exists()
    assert (tmp_path / "report_plots" / "notes.txt").exists()


def test_a_page_with_an_odd_name_finds_its_plots(tmp_path, stage):
    write_report(tmp_path / "50% #1.html", title="x", stages=[stage("Videos", BEFORE, 4)], names={}, command="", versions={})
    assert (tmp_path / "50% #1_plots" / "rank_frequency.png").exists()
    assert 'href="50%25%20%231_plots/rank_frequency.png"' in (tmp_path / "50% #1.html").read_text()


# --- Made for everybody ---------------------------------------------------------------------------------------------------


def test_it_follows_light_dark_phone_and_paper(full):
    for query in ("prefers-color-scheme: dark", "max-width: 640px", "@media print", 'name="viewport"', ":focus-visible"):
        assert query in full


def test_every_plot_has_a_text_and_every_table_its_heads(full):
    page = Page(full)
    pictures = page.tags.count("svg")
    assert [each for each in page.attributes if each[:2] == ("svg", "role")] == [("svg", "role", "img")] * pictures
    labels = [each[2] for each in page.attributes if each[:2] == ("svg", "aria-label")]
    assert len(labels) == pictures
    assert all(len(label) > 30 for label in labels)
    assert [each[2] for each in page.attributes if each[:2] == ("th", "scope")].count("col") == sum(
        len(table[0]) for table in page.tables
    ) - 1
    assert ("html", "lang", "en") in page.attributes
    assert page.tags.count("h1") == page.tags.count("main") == 1


def test_the_contents_lead_to_every_heading(full):
    page = Page(full)
    targets = {each[2] for each in page.attributes if each[:2] == ("h2", "id")}
    links = {each[2][1:] for each in page.attributes if each[:2] == ("a", "href") and each[2].startswith("#")}
    assert links == targets
    assert len(targets) == len(page.headings)


def test_ids_are_not_given_twice(full):
    ids = [each[2] for each in Page(full).attributes if each[1] == "id"]
    assert len(ids) == len(set(ids))


# --- What it shows --------------------------------------------------------------------------------------------------------


def test_headline_figures_of_both_stages(full):
    for figure in (
        "Videos 52 unchanged",
        "Labels per video 1.62 from 1.23",
        "Labels in use 3 unchanged of 4 classes",
        "Bad records 0 from 3",
    ):
        assert figure in words(full), figure


def test_the_books_and_the_plan(full, manifest):
    page = Page(full)
    books = page.table(["Videos", "Number", ""])
    assert [row[:2] for row in books] == [
        *(["read", "55"], ["kept", "30"], ["dropped", "22"], ["bad", "3"]),
        *(["synthetic: interpolate", "12"], ["synthetic: extrapolate", "9"], ["synthetic: noise", "1"], ["written", "52"]),
    ]
    widths = [float(width) for width in re.findall(r'class="bar" style="width: ([\d.]+)%', full)]
    np.testing.assert_allclose(widths, np.array([55, 30, 22, 3, 12, 9, 1, 52]) / 0.55, atol=0.01)
    assert [row[:3] for row in page.table(["Regime", "Labels", "Videos each", "Share kept", "Neighbours"])] == [
        ["over", "2", "3 – 12"],
        ["sub", "1", "49"],
    ]
    for setting in ("policy paper", "threshold 20", "seed 7", "methods interpolate, extrapolate", "lambda 0.2 – 0.8"):
        assert setting in words(full), setting


def test_runs_side_by_side_with_the_best_of_each_column(full):
    table = Page(full).table(["Run", "GAP@20", "MAP", "MAP (starter code)", "PERR", "Hit@1", "Videos"])
    assert table == [
        ["plain", "0.7123", "0.2500", "0.2600", "0.6000", "0.8000", "5,805"],
        ["augmented", "0.7000", "0.3100", "–", "–", "0.8000", "–"],
    ]
    assert re.findall(r'class="n best">([\d.]+)<', full) == ["0.7123", "0.2600", "0.6000", "0.8000", "0.3100", "0.8000"]


def test_the_label_table_is_in_the_document_and_in_the_script_data(full):
    page = Page(full)
    heads = ["Id", "Label", "Before", "After", "Ratio", "IRLbl", "Group", "Synthetic", "Plan", "K"]
    rows = page.table(heads)
    assert [row[:5] for row in rows] == [
        ["0", "GameVehicle 18%", "49", "40", "0.82"],
        ["1", "VehicleGame 75%, Concert 25%", "12", "32", "2.67"],
        ["3", "ConcertVehicle 100%", "3", "12", "4.00"],
    ]
    assert [row[7] for row in rows] == ["28%", "62%", "75%"]
    data = json.loads(page.scripts[0])
    assert [["".join(cell.split("\n")) for cell in row] for row in data["rows"]] == rows
    assert data["cooccurrence"]["names"] == ["Game", "Vehicle", "Concert"]


def test_a_long_label_table_is_a_page_of_rows_and_data_for_the_rest(tmp_path, zipfian, stage):
    labels = [*zipfian, *([label] for label in range(120))]
    page = Page(report(tmp_path, stage("Videos", labels, 130)))
    assert len(page.table(["Id", "Label", "Videos", "IRLbl", "Group"])) == PAGE_ROWS
    assert len(json.loads(page.scripts[0])["rows"]) == 120
    assert "120 labels with videos" in page.text


def test_pairs_label_sets_and_features(full):
    page = Page(full)
    pairs = page.table(["Labels", "Videos", "PMI, bits", "P(2nd | 1st)", "P(1st | 2nd)"])
    assert pairs[0][:2] == ["Game + Vehicle", "9"]  # the other pair is on fewer than five videos
    assert page.table(["Labels", "Videos", "Share"]) == [
        ["Game", "40", "76.9%"],
        ["Game, Vehicle", "9", "17.3%"],
        ["Vehicle, Concert", "3", "5.8%"],
    ]
    features = page.table(["Feature", "Dimensions", "Range", "Spread", "NaN", "Zeros", "Constant dimensions"])
    assert [row[:2] for row in features] == [["rgb, before", "4"], ["rgb, after", "4"], ["audio, before", "2"], ["audio, after", "2"]]


def test_bad_records_by_reason_and_the_first_of_them(full):
    page = Page(full)
    assert page.table(["Reason", "Records"]) == [["crc", "3"]]
    assert page.table(["File", "Record", "Byte", "Why"]) == [["train07.tfrecord", "1,204", "5,600,123", "its checksum does not fit"]]
    assert "The first of them: bad_records.jsonl lists all" in page.captions
    assert "/data/yt8m" not in full


def test_the_command_and_the_versions(full):
    assert "yt8m-data stats 'a*'" in Page(full).text
    assert "numpy 2.4.1" in Page(full).text


# --- Names are not trusted ------------------------------------------------------------------------------------------------


def test_markup_in_names_is_text(tmp_path, stage):
    evil = ["</script><script>alert('x')</script> & \"co\"", "<img src=x onerror=alert(1)>", "]]>--><!--", "a\nb", "{{ 7 * 7 }}"]
    labels = [[0, 1, 2, 3, 4]] * 5 + [[at] for at in range(5) for _ in range(5 - at)]
    source = report(
        tmp_path,
        stage("Videos", labels, 5),
        title=evil[0],
        names=dict(enumerate(evil)),
        training=[{"name": name, "gap": 0.5} for name in evil],
        command=f"yt8m-data stats {evil[0]}",
        versions={name: name for name in evil},
        bad=[BAD[0] | {"reason": name, "file": name} for name in evil],
    )
    page = Page(source)
    assert page.tags.count("script") == 2  # the data and our own
    assert "img" not in page.tags
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]
    data = json.loads(page.scripts[0])
    lines = [" ".join(name.split()) for name in evil]
    assert [row[1].split("\n")[0] for row in data["rows"]] == lines
    assert data["cooccurrence"]["names"] == lines
    for line, row in zip(lines, page.table(["Id", "Label", "Videos", "IRLbl", "Group"]), strict=True):
        assert row[1].startswith(line)
    assert f"yt8m-data stats {evil[0]}" in page.text


# --- Missing parts --------------------------------------------------------------------------------------------------------


def test_one_stage_has_one_column_of_counts(plain):
    page = Page(plain.read_text())
    assert [row[2] for row in page.table(["Id", "Label", "Videos", "IRLbl", "Group"])] == ["49", "12", "3"]
    for absent in ("from ", "unchanged", "Before", ", before", "after"):
        assert absent not in page.text, absent
    assert "None: every record could be read." in page.text
    assert page.headings == [
        *("At a glance", "The label law", "Labels that come together", "Every label", "Lengths and label sets", "Features", "Bad records"),
        "How this was made",
    ]


def test_bare_counts_have_what_they_say(tmp_path, stage):
    bare = stage("Before", BEFORE, 4)
    bare = type(bare)("Before", {"num_records": 52, "label_counts": [49, 12, 0, 3]})
    page = Page(report(tmp_path, bare, stage("After", AFTER, 4)))
    assert page.headings == ["At a glance", "Where each label went", "Every label", "Features", "How this was made"]
    assert page.table(["Id", "Label", "Before", "After", "Ratio", "IRLbl", "Group"])[0][:4] == ["0", "label 0", "49", "40"]


def test_no_label_has_videos(tmp_path, stage):
    page = Page(report(tmp_path, stage("Videos", [[], []], 3)))
    assert "At a glance" in page.headings
    assert "Every label" not in page.headings
    assert "script" not in page.tags
    assert (tmp_path / "report_plots" / "labels_per_video.png").exists()
