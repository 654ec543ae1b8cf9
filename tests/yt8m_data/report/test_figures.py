"""Headline figures: right, at every stage, and left out where the file lacks them."""

import numpy as np
import pytest

from yt8m_data.report import figures


def by_name(stages):
    return {figure.name: figure.values for figure in figures.figures(stages)}


def test_figures_against_a_count_by_hand(stage):
    """Four labels of five classes on six videos: counts 4, 2, 1, 1, 0."""
    labels = [[0], [0, 1], [0, 1, 2], [0], [3], []]
    found = by_name([stage("Videos", labels, 5, bad=2).stats])
    ratios = 4 / np.array([4, 2, 1, 1])
    assert found["Videos"] == ["6"]
    assert found["Labels per video"] == [f"{8 / 6:.2f}"]
    assert found["Labels in use"] == ["4"]
    assert "of 5 classes have videos" in {figure.hint for figure in figures.figures([stage("Videos", labels, 5).stats])}
    assert found["Median label"] == ["1"]
    assert found["MeanIR"] == [f"{ratios.mean():.3g}"]
    assert found["CVIR"] == [f"{ratios.std(ddof=1) / ratios.mean():.2f}"]
    assert found["Rarer half"] == ["12.5%"]  # the counts 1 and 0 of eight occurrences
    assert found["Label sets"] == ["4"]  # of labelled videos
    assert found["Without labels"] == ["1"]
    assert found["Repeated ids"] == ["0"]
    assert found["Bad records"] == ["2"]
    assert "Frames per video" not in found


def test_frames_at_frame_level(stage):
    assert by_name([stage("Videos", [[0], [1]], 2, frames=[3, 6]).stats])["Frames per video"] == ["4.5"]


def test_both_stages_stand_side_by_side(stage):
    before, after = stage("Before", [[0], [0], [1]], 2), stage("After", [[0], [1]], 2)
    assert by_name([before.stats, after.stats])["Videos"] == ["3", "2"]


def test_what_a_file_lacks_is_a_dash_or_left_out(stage):
    bare = {"num_records": 7, "label_counts": [3, 0]}
    assert by_name([bare]) == {"Videos": ["7"], "Labels in use": ["1"]}
    whole = stage("After", [[0], [0, 1]], 2).stats
    assert by_name([bare, whole])["Gini"] == ["–", f"{whole['measures']['gini']:.3f}"]
    assert by_name([whole | {"measures": whole["measures"] | {"scumble": None}}]).keys().isdisjoint({"SCUMBLE"})


def test_estimates_say_so(stage):
    stats = stage("Videos", [[0], [1]], 2).stats
    assert by_name([stats | {"ids": {"distinct": 10**6, "duplicates": 1234, "exact": False}}])["Repeated ids"] == ["≈ 1,234"]


@pytest.mark.parametrize(
    ("read", "said"),
    [
        ({}, "25,953 videos (video level)"),
        ({"files": 1, "bytes": 2_000_000}, "25,953 videos (video level) in 1 file, 2 MB"),
        ({"files": 90, "bytes": 122e6, "sample": 1.0}, "25,953 videos (video level) in 90 files, 122 MB"),
        ({"sample": 0.25, "num_records": 104_000}, "25,953 videos (video level); a sample of 0.25 of 104,000"),
        ({"how": "headers"}, "25,953 videos (video level); labels only, checksums of the data not checked"),
    ],
)
def test_the_subtitle_says_what_was_read(read, said):
    assert figures.subtitle({"kind": "video", "num_records": 25_953, "read": read}) == said


def test_the_subtitle_of_bare_counts():
    assert figures.subtitle({"num_records": 5}) == "5 videos"
