"""Which labels fell short, and the reason that is given."""

import numpy as np

from yt8m_data import sampling
from yt8m_data.sampling import Settings, unfilled

NONE = np.zeros(5, int)


def told(after: list[int], own: list[int], fillers: np.ndarray = NONE, **options: object) -> dict[int, str]:
    plan = sampling.plan(np.array([500, 50, 20, 10, 0]), 580, Settings(**options))
    return {entry["label"]: entry["reason"] for entry in unfilled(plan, np.array(after), np.array(own), fillers)}


def test_reasons():
    target = {"policy": "target", "floor": 100.0, "max_copies": 5.0}
    found = told([500, 90, 98, 60, 0], [400, 30, 0, 10, 0], **target)
    assert found == {
        1: "it moves its own videos alone, 30 of 50; the others follow rarer labels",
        2: "it decides for no video: all of its videos have a rarer label",
        3: "its own videos, 10 of 10, may give 5 copies each",
    }
    assert told([500, 99, 101, 100, 0], [400, 30, 0, 10, 0], **target) == {}  # within a video or a hundredth
    assert told([400, 100, 100, 100, 0], [400, 30, 20, 10, 0], **target) == {}  # what lost videos was not to be raised


def test_pools_that_are_too_small():
    assert told([9] * 5, [400, 30, 0, 10, 0], threshold=100.0) == {}  # the published policies aim at no count
    entries = unfilled(
        sampling.plan(np.array([500, 50, 20, 10, 0]), 580, Settings(threshold=100.0)), np.array([9] * 5), NONE, np.array([0, 0, 7, 0, 0])
    )
    assert entries == [
        {"label": 2, "count": 20, "after": 9, "target": None, "fillers": 7, "reason": "its 20 videos have too few pairs of neighbours"}
    ]
