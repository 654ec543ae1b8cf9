"""What the commands print: the figures of stats.json, of a plan and of the books."""

import numpy as np
import pytest

from yt8m_data import sampling, zipf
from yt8m_data.report import text
from yt8m_data.sampling import Settings

COUNTS = [1200, 5, 0, 34567, 80]
NAMES = {0: "Game", 3: "Video game", 4: "Trumpet"}


def stats(**more: object) -> dict:
    pair = {"first": 0, "second": 3, "count": 70, "pmi": 2.345}
    return {
        "num_records": 40_123,
        "num_unlabeled": 1017,
        "num_classes": 5,
        "bad_records": {"total": 3, "by_reason": {"crc": 3}},
        "labels_per_record": {"mean": 1.2345, "histogram": []},
        "ids": {"distinct": 40_123, "duplicates": 0, "exact": True},
        "label_sets": {"distinct": 17, "exact": True},
        "measures": {"mean_ir": 1234.5678, "cv_ir": None, "scumble": 0.25, "gini": 0.5},
        "pairs": {"strongest": [pair] * 5},
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
    assert words(lines[3]) == words("17 different label sets")
    assert words(lines[4]) == words("1,234.568 mean imbalance ratio of a label (MeanIR)")
    assert words(lines[5])[:2] == ["0.250", "SCUMBLE:"]  # there is no CVIR
    assert words(lines[-8]) == words("34,567 records with label 3 Video game")
    assert words(lines[-5]) == words("5 records with label 1")  # no name
    assert words(lines[-4]) == words("0 records with label 2")
    assert lines[-3:] == ["          70 records with 0 Game and 3 Video game (PMI 2.3 bits)"] * 3
    slopes = [line for line in lines if "log-log slope" in line]
    line = zipf.fit(np.array(COUNTS)).lines[0]
    assert words(slopes[0]) == words(f"{line.slope:.3f} log-log slope over ranks 1 to 4 (R2 {line.r_squared:.3f})")
    assert not any("frames" in line or "came before" in line or line.startswith("read:") for line in lines)


def test_statistics_of_frames_and_without_names():
    lines = text.statistics(stats(frames_per_record={"mean": 210.26, "histogram": []}), None).split("\n")
    assert "       210.3 frames per record" in lines
    assert words(lines[-8]) == words("34,567 records with label 3")
    assert words(lines[-1]) == words("70 records with 0 and 3 (PMI 2.3 bits)")


def test_estimates_are_called_so():
    ids, sets = {"distinct": 40_000, "duplicates": 123, "exact": False}, {"distinct": 1_234_567, "exact": False}
    printed = text.statistics(stats(ids=ids, label_sets=sets), None)
    assert "   about 123 records with an id that came before: yt8m-data validate tells which" in printed
    assert "about 1,234,567 different label sets" in printed


def test_what_a_header_scan_did_not_look_at_is_told():
    printed = text.statistics(stats(read={"how": "headers", "bytes_read": 4_000_000, "bytes": 2_000_000_000}), None)
    assert printed.endswith(
        "read: headers and contexts, 0.2% of 2.0 GB; checksums of the frames not checked (--verify does, --features reads them)"
    )
    assert "read:" not in text.statistics(stats(read={"how": "whole", "bytes_read": 5, "bytes": 5}), None)


def test_the_laws_in_lines():
    rank = np.arange(1, 301)
    counts = np.rint(1e6 * rank**-0.8 * np.exp(-rank / 100)).astype(int)
    fitted = zipf.fit(counts, num_simulations=20)
    lines = text.statistics(stats(zipf=fitted.to_dict(), label_counts=counts.tolist(), num_classes=300), None).split("\n")
    low, high = fitted.exponent_interval
    assert f"{fitted.exponent:>12.3f} likeliest Zipf exponent ({low:.3f} to {high:.3f})" in lines
    (first, second), at = fitted.two_regimes.exponents, fitted.two_regimes.break_rank
    assert f"{first:>12.3f} up to rank {at} and {second:.3f} beyond: two exponents fit better than one" in lines
    law = next(line for line in lines if "power-law" in line)
    assert words(law)[0] == f"{fitted.power_law.alpha:.3f}"
    assert law.endswith(": ruled out") == (fitted.power_law.p_value < 0.1)
    assert f"p = {fitted.power_law.p_value:.2f}" in law


def comparison(breached: str) -> dict:
    checks = [
        {"name": name, "value": 0.123456, "chance": 0.01, "threshold": 0.1, "limit": 0.11, "breached": name == breached}
        for name in ("labels: L-infinity", "x: mean shift")
    ]
    label = {"label": 3, "share_a": 0.25, "share_b": 0.125}
    dimension = {"dimension": 7, "mean_a": 0.5, "mean_b": 1.5, "std_a": 1.0, "std_b": 2.0}
    return {"checks": checks, "labels": [label] * 30, "features": {"x": [dimension]}}


def test_a_comparison_in_lines():
    lines = text.comparison(comparison(""), NAMES).split("\n")
    assert [words(line)[0] for line in lines] == ["ok", "ok"]
    assert words(lines[0])[1:] == words("labels: L-infinity 0.1235, allowed 0.1100 (0.1 and 0.0100 for chance)")
    lines = text.comparison(comparison("labels: L-infinity"), NAMES).split("\n")
    assert words(lines[0])[0] == "BREACH"
    assert len(lines) == 3 + 20
    assert words(lines[3]) == words("3 25.0000% -> 12.5000% Video game")
    lines = text.comparison(comparison("x: mean shift"), NAMES).split("\n")
    assert words(lines[-1]) == words("7 mean 0.5 -> 1.5, standard deviation 1 -> 2")
    assert len(lines) == 4


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


def test_the_gates():
    exact = {"forecast": {"bound": "", "records": 41_000.0}, "unfilled": []}
    assert words(text.gates(exact)) == ["41,000", "foretold"]
    told = text.gates({"forecast": {"bound": "at most", "records": 41_000.4}, "unfilled": [{}] * 3, "holdout": {"near_duplicates": 12}})
    assert [words(line)[:4] for line in told.split("\n")] == [
        ["41,000", "foretold,", "at", "most"],
        ["3", "labels", "could", "not"],
        ["12", "near-duplicates", "of", "held-out"],
    ]
    plan = sampling.plan(np.array(COUNTS), 40_123, Settings(policy="target", floor=100.0))
    lines = text.plan(plan, np.full(5, 77.0), 3380.0, None).split("\n")
    assert words(lines[0])[:4] == ["label", "before", "after", "target"]
    assert words(lines[4])[:5] == ["1", "5", "77", "100", "over"]
