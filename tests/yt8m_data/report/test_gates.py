"""The tables of the quality gates."""

import numpy as np

from yt8m_data import pools
from yt8m_data.report import gates


def test_unfilled_labels_by_what_they_lack():
    entries = [
        {"label": 1, "count": 5, "after": 50, "target": 60.4, "fillers": 0, "reason": "a"},
        {"label": 2, "count": 6, "after": 20, "target": 1200.0, "fillers": 0, "reason": "b"},
        {"label": 3, "count": 7, "after": 9, "target": None, "fillers": 4, "reason": "c"},
    ]
    assert gates.unfilled({"unfilled": entries}, {2: "Car"}) == [
        ("Car", "6", "20", "1,200", "b"),
        ("label 1", "5", "50", "60", "a"),
        ("label 3", "7", "9", "–", "c"),
    ]
    assert gates.unfilled({}, {}) == []


def test_distances_within_which_a_share_lies():
    random = np.random.default_rng(0)
    apart = random.uniform(1, 9, 1000)
    bins = pools.distance_bins(np.append(apart**2, [0.0] * 50))
    histogram = pools.distance_histogram("rgb", {number: bins.count(number) for number in set(bins)})
    for share in (0.1, 0.5, 0.9):
        true = np.quantile(np.append(apart, [0.0] * 50), share)
        assert true <= gates.within(histogram, share) * (1 + 1e-9) <= true * 2 ** (1 / 4) * 1.02
    assert gates.within(histogram, 0.04) == 0
    nothing = pools.distance_histogram("rgb", {})
    rows = gates.distances({"quality": {"base": histogram, "neighbor": nothing, "other": nothing}})
    assert [row[:2] for row in rows] == [("their base", "1,050")]
    assert gates.distances({}) == []


def test_near_duplicates():
    nearest = [{"id": "a_o01", "held_out": "b", "label": 3, "distance": 0.12345}]
    assert gates.near_duplicates({"holdout": {"near_duplicates": 1, "nearest": nearest}}) == [("a_o01", "b", "0.123")]
    assert gates.near_duplicates({}) == []
