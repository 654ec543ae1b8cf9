"""What the commands print: the figures of stats.json, of a plan and of the books."""

import numpy as np
import pytest

from yt8m_data import sampling, zipf
from yt8m_data.report import text
from yt8m_data.sampling import Settings

COUNTS = [1200, 5, 0, 34567, 80]
NAMES = {0: "Game", 3: "Video game", 4: "Trumpet"}


def stats(**more: object) -> dict:
    return {
        "num_records": 40_123,
        "num_unlabeled": 1017,
        "num_classes": 5,
        "bad_records": {"total": 3, "by_reason": {"crc": 3}},
        "labels_per_record": {"mean": 1.2345, "histogram": []},
        "zipf": zipf.fit(np.array(COUNTS)).to_dict(),
        "label_counts": COUNTS,
        **more,
    }


def words(line: str) -> list[str]:
    return line.split()


def test_statistics_in_lines():
    lines = text.statistics(stats(), NAMES).split("\n")
    assert words(lines[0]) == words("40,123 records, 1,017 without labels, 3 bad")
    assert words(lines[1]) == words("1.234 labels per record")
    assert words(lines[2]) == words("4 of 5 labels have records; the median label has 80")
    assert words(lines[-5]) == words("34,567 records with label 3 Video game")
    assert words(lines[-2]) == words("5 records with label 1")  # no name
    assert words(lines[-1]) == words("0 records with label 2")
    slopes = [line for line in lines if "log-log slope" in line]
    line = zipf.fit(np.array(COUNTS)).lines[0]
    assert words(slopes[0]) == words(f"{line.slope:.3f} log-log slope over ranks 1 to 4 (R2 {line.r_squared:.3f})")
    assert not any("frames" in line for line in lines)


def test_statistics_of_frames_and_without_names():
    lines = text.statistics(stats(frames_per_record={"mean": 210.26, "histogram": []}), None).split("\n")
    assert "       210.3 frames per record" in lines
    assert words(lines[-5]) == words("34,567 records with label 3")


def test_the_plan_in_lines():
    plan = sampling.plan(np.array(COUNTS), 40_123, Settings(threshold=10_000))
    lines = text.plan(plan, np.array([6000.0, 60.0, 0.0, 17_283.5, 1000.0]), 23_456.7, NAMES).split("\n")
    assert words(lines[0]) == ["label", "before", "after", "at", "most", "regime", "kept", "K", "name"]
    assert [words(line)[0] for line in lines[1:-1]] == ["3", "0", "4", "1"]  # commonest first; label 2 has no video
    assert words(lines[1]) == words("3 34,567 17,284 sub 0.5000 0 Video game")
    assert words(lines[2]) == words("0 1,200 6,000 over 1.0000 5 Game")
    assert words(lines[4]) == words("1 5 60 over 1.0000 8")
    assert lines[-1] == "policy paper, threshold 10,000.0: 23,457 records at most"
    assert not any(line != line.rstrip() for line in lines)


def test_the_plan_of_a_target_is_no_bound():
    plan = sampling.plan(np.array(COUNTS), 40_123, Settings(policy="target", cap=2000.0, floor=100.0))
    printed = text.plan(plan, np.zeros(5), 3380.0, None)
    assert "at most" not in printed
    assert printed.endswith("3,380 records")


@pytest.mark.parametrize(("threshold", "told"), [(3, True), (5, False)])
def test_a_plan_that_over_samples_nothing_says_so(threshold, told):
    plan = sampling.plan(np.array(COUNTS), 40_123, Settings(threshold=threshold))
    assert ("none is over-sampled: --threshold sets that count" in text.plan(plan, np.zeros(5), 1.0, None)) is told


def test_the_books():
    totals = {"read": 12_345, "kept": 10_000, "dropped": 2340, "bad": 5, "written": 41_000}
    lines = text.books(totals | {"synthetic": {"interpolate": 15_000, "extrapolate": 15_000, "noise": 1000}}).split("\n")
    assert [words(line) for line in lines] == [
        ["12,345", "read"],
        ["10,000", "kept"],
        ["2,340", "dropped"],
        ["5", "bad"],
        ["15,000", "made", "by", "interpolate"],
        ["15,000", "made", "by", "extrapolate"],
        ["1,000", "made", "by", "noise"],
        ["41,000", "written"],
    ]
    assert len({line.index(words(line)[1]) for line in lines}) == 1  # the figures stand in one column
