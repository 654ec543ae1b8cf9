"""The headline figures of the page.

A value that a file lacks, because an older version or another program wrote it, is a dash; a figure without any value is left out.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from yt8m_data.report.formats import DASH, number, size

Stats = Mapping[str, Any]


@dataclass(frozen=True)
class Figure:
    """A headline figure: its value at every stage, and what it says."""

    name: str
    values: list[str]
    hint: str


def figures(stages: Sequence[Stats]) -> list[Figure]:
    """The headline figures, from the contents of stats.json of every stage."""
    classes = number(len(stages[-1]["label_counts"]))
    rows = [Figure(name, [_said(say, stats) for stats in stages], hint.format(classes=classes)) for name, say, hint in _FIGURES]
    return [row for row in rows if any(value != DASH for value in row.values)]


def subtitle(stats: Stats) -> str:
    """What was counted, in one line."""
    read = stats.get("read", {})
    said = f"{number(stats['num_records'])} videos" + (f" ({stats['kind']} level)" if "kind" in stats else "")
    if read.get("files"):
        said += f" in {number(read['files'])} {'file' if read['files'] == 1 else 'files'}, {size(read['bytes'])}"
    if read.get("sample", 1) < 1:
        said += f"; a sample of {read['sample']:.3g} of {number(read['num_records'])}"
    if read.get("how") == "headers":
        said += "; labels only, checksums of the data not checked"
    return said


def _said(say: Callable[[Stats], str], stats: Stats) -> str:
    try:
        return say(stats)
    except (KeyError, TypeError):  # not in the file, or null there
        return DASH


def _estimate(counted: Mapping[str, Any], key: str) -> str:
    return ("" if counted["exact"] else "≈ ") + number(counted[key])


_FIGURES: list[tuple[str, Callable[[Stats], str], str]] = [
    ("Videos", lambda s: number(s["num_records"]), "that could be read"),
    ("Labels per video", lambda s: f"{s['labels_per_record']['mean']:.2f}", "on average (cardinality)"),
    ("Frames per video", lambda s: f"{s['frames_per_record']['mean']:.1f}", "on average"),
    ("Labels in use", lambda s: number(int(np.count_nonzero(s["label_counts"]))), "of {classes} classes have videos"),
    ("Median label", lambda s: f"{s['zipf']['median']:,g}", "videos; half of the classes have no more"),
    ("Top 100 labels", lambda s: f"{s['zipf']['top_100_share']:.1%}", "of all label occurrences"),
    ("Rarer half", lambda s: f"{s['zipf']['bottom_half_share']:.1%}", "of all label occurrences"),
    ("MeanIR", lambda s: number(s["measures"]["mean_ir"]), "times as many videos has the commonest label, on average"),
    ("CVIR", lambda s: f"{s['measures']['cv_ir']:.2f}", "how unequal that imbalance is"),
    ("Gini", lambda s: f"{s['measures']['gini']:.3f}", "0: all classes alike, 1: one has all"),
    ("SCUMBLE", lambda s: f"{s['measures']['scumble']:.3f}", "0 to 1: common and rare labels on the same videos"),
    ("Label sets", lambda s: _estimate(s["label_sets"], "distinct"), "different combinations"),
    ("Without labels", lambda s: number(s["num_unlabeled"]), "videos"),
    ("Repeated ids", lambda s: _estimate(s["ids"], "duplicates"), "videos whose id came before"),
    ("Bad records", lambda s: number(s["bad_records"]["total"]), "left out"),
]
