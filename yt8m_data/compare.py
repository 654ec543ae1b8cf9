"""Drift between two sets of records, from their statistics: whose labels moved, and which dimensions of the features.

Two random halves of one data set differ too. What chance alone explains is estimated for the sizes at hand and allowed on top of every
threshold, so that a small set is not called different for its smallness.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from yt8m_data import shards
from yt8m_data.errors import DataError
from yt8m_data.storage import to_path

# Standard errors that are put down to chance. The largest of some five thousand normal deviates (labels, dimensions) reaches 3.7 on
# average, and goes beyond 5 once in 350 times.
CHANCE_ERRORS = 5.0
SHUFFLES = 50
MOVED_LABELS, MOVED_DIMENSIONS = 50, 20  # told at most


@dataclass(frozen=True)
class Thresholds:
    """How much may differ, beyond what chance explains.

    Attributes:
      linf: of the shares of the label occurrences, the largest difference (Chebyshev distance).
      js: Jensen-Shannon divergence of the shares, in bits: 0 for equal ones, 1 for disjoint ones.
      shift: of a dimension's mean, in pooled standard deviations.
      spread: of a dimension's standard deviation, in powers of two.

    Raises:
      DataError: one is negative or no number.
    """

    linf: float = 0.01
    js: float = 0.01
    shift: float = 0.1
    spread: float = 0.2

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not value >= 0:
                raise DataError(f"the threshold {name} {value:g} is not a number from 0 up")


DEFAULTS = Thresholds()


def read(path: str) -> dict[str, Any]:
    """Read the statistics of a folder of `stats`, or of a `stats.json`.

    Raises:
      DataError: there are none.
    """
    file = to_path(path)
    file = file / "stats.json" if file.is_dir() else file
    found = shards.read_json(file)
    if not isinstance(found, dict) or not {"num_records", "label_counts", "features"} <= found.keys():
        raise DataError(f"{file} is no stats.json of yt8m-data stats: it lacks 'num_records', 'label_counts' or 'features'")
    return found


def compare(a: Mapping[str, Any], b: Mapping[str, Any], thresholds: Thresholds = DEFAULTS) -> dict[str, Any]:
    """Compare what two `stats.json` hold.

    Returns `ok`; `checks`, each with `name`, `value`, `chance`, `threshold`, `limit` (threshold + chance) and `breached`; `labels`, those
    whose share differs by more than chance, the largest part of the divergence first; and `features`, by name the dimensions that moved by
    more than chance.

    Raises:
      DataError: the two are of different numbers of classes, or have a feature of different sizes.
    """
    _check(a, b)
    checks, labels = _compare_labels(a, b, thresholds)
    moved: dict[str, list[dict[str, Any]]] = {}
    for name in sorted(a["features"].keys() & b["features"].keys()):
        found, moved[name] = _compare_feature(name, a, b, thresholds)
        checks += found
    return {"ok": not any(check["breached"] for check in checks), "checks": checks, "labels": labels, "features": moved}


def _check(a: Mapping[str, Any], b: Mapping[str, Any]) -> None:
    if a["num_classes"] != b["num_classes"]:
        raise DataError(f"one has {a['num_classes']} classes and the other {b['num_classes']}: these cannot be compared")
    for name in a["features"].keys() & b["features"].keys():
        sizes = [each["features"][name]["size"] for each in (a, b)]
        if sizes[0] != sizes[1]:
            raise DataError(f"{name!r} has {sizes[0]} dimensions in one and {sizes[1]} in the other: these cannot be compared")


def _compare_labels(
    a: Mapping[str, Any], b: Mapping[str, Any], thresholds: Thresholds
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    counts = np.array([a["label_counts"], b["label_counts"]], np.int64)
    totals = counts.sum(axis=1, keepdims=True)
    if not totals.all():
        return [], []  # without labels on one side there is nothing to hold against the other
    share = counts / totals
    difference = share[1] - share[0]
    pooled = counts.sum(axis=0) / totals.sum()
    inverse = float((1 / totals).sum())
    error = np.sqrt(pooled * (1 - pooled) * inverse)
    parts = jensen_shannon(share[0], share[1])
    chance = CHANCE_ERRORS * float(error[np.argmax(np.abs(difference))])
    checks = [
        _verdict("labels: L-infinity", float(np.abs(difference).max()), chance, thresholds.linf),
        _verdict("labels: Jensen-Shannon", float(parts.sum()), _chance_divergence(counts), thresholds.js),
    ]
    order = np.lexsort((np.arange(len(parts)), -parts))
    beyond = [label for label in order.tolist() if abs(difference[label]) > CHANCE_ERRORS * error[label]]
    labels = [
        {
            "label": label,
            "share_a": _rounded(share[0, label]),
            "share_b": _rounded(share[1, label]),
            "difference": _rounded(difference[label]),
            "divergence": _rounded(parts[label]),
        }
        for label in beyond[:MOVED_LABELS]
    ]
    return checks, labels


def jensen_shannon(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Each entry's part of the Jensen-Shannon divergence of two distributions, float64 [C], in bits (Lin, IEEE Trans. IT 37(1), 1991)."""
    middle = (p + q) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = [np.where(side > 0, side * np.log2(side / middle), 0.0) for side in (p, q)]
    return np.maximum((terms[0] + terms[1]) / 2, 0)


def _chance_divergence(counts: np.ndarray) -> float:
    """The divergence that comes from dealing the occurrences of both sides, int64 [2, C], to two sides of these sizes at random.

    Its mean, and CHANCE_ERRORS standard deviations on top, over SHUFFLES deals from a generator with a fixed seed.
    """
    random = np.random.Generator(np.random.PCG64(0))
    together, first = counts.sum(axis=0), counts[0].sum() / counts.sum()
    found = []
    for _ in range(SHUFFLES):
        dealt = random.binomial(together, first)
        found.append(float(jensen_shannon(dealt / max(dealt.sum(), 1), (together - dealt) / max((together - dealt).sum(), 1)).sum()))
    return float(np.mean(found) + CHANCE_ERRORS * np.std(found))


def _compare_feature(
    name: str, a: Mapping[str, Any], b: Mapping[str, Any], thresholds: Thresholds
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    sides = [each["features"][name] for each in (a, b)]
    records = [max(each["num_records"], 1) for each in (a, b)]  # frames of one video resemble one another: videos are what is sampled
    mean, variance = (np.array([side[key] for side in sides]) for key in ("mean", "variance"))
    pooled = np.sqrt(variance.mean(axis=0))
    with np.errstate(divide="ignore", invalid="ignore"):
        shift = np.where(mean[0] == mean[1], 0.0, np.abs(mean[0] - mean[1]) / pooled)
        spread = np.where(variance[0] == variance[1], 0.0, np.abs(np.log2(variance[1] / variance[0])) / 2)
    shift, spread = np.nan_to_num(shift, posinf=1e9), np.nan_to_num(spread, posinf=1e9)  # a constant that is another constant
    inverse = sum(1 / count for count in records)
    error_of_mean, error_of_spread = inverse**0.5, (inverse / 2) ** 0.5 / np.log(2)  # the second for normal values
    checks = [
        _verdict(f"{name}: mean shift", float(shift.max(initial=0)), CHANCE_ERRORS * error_of_mean, thresholds.shift),
        _verdict(f"{name}: spread shift", float(spread.max(initial=0)), CHANCE_ERRORS * error_of_spread, thresholds.spread),
    ]
    far = np.maximum(shift / (CHANCE_ERRORS * error_of_mean), spread / (CHANCE_ERRORS * error_of_spread))
    order = [i for i in np.lexsort((np.arange(len(far)), -far)).tolist() if far[i] > 1]
    deviation = np.sqrt(variance)
    moved = [
        {
            "dimension": i,
            "mean_a": _rounded(mean[0, i]),
            "mean_b": _rounded(mean[1, i]),
            "shift": _rounded(shift[i]),
            "std_a": _rounded(deviation[0, i]),
            "std_b": _rounded(deviation[1, i]),
            "spread": _rounded(spread[i]),
        }
        for i in order[:MOVED_DIMENSIONS]
    ]
    return checks, moved


def _verdict(name: str, value: float, chance: float, threshold: float) -> dict[str, Any]:
    limit = threshold + chance
    figures = {"value": _rounded(value), "chance": _rounded(chance), "threshold": threshold, "limit": _rounded(limit)}
    return {"name": name, **figures, "breached": bool(value > limit)}


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")
