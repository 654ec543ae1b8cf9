"""What `stats.json` holds, from the results of the accumulators."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from yt8m_data import blas, zipf
from yt8m_data.statistics import measures
from yt8m_data.statistics.collection import Statistics
from yt8m_data.statistics.labels import TOP_SETS

SIMULATIONS = 100  # of the p-value of the power law: a second for four thousand labels, and a standard error of at most 0.05
STRONGEST_PAIRS = 50
MIN_TOGETHER = 5  # records that a pair needs to be told of: the PMI of rarer ones is chance

_BUILT_IN = ("labels", "frames", "ids", "cooccurrence", "label_sets", "features", "label_means", "slices")


def summarize(statistics: Statistics) -> dict[str, Any]:
    """Return the dictionary; docs/stats.md says what each key means."""
    results, schema = statistics.results(), statistics.schema
    counts, per_record = results["labels"]["counts"], results["labels"]["per_record"]
    num_records = int(per_record.sum())
    summary: dict[str, Any] = {
        "kind": schema.kind,
        "num_records": num_records,
        "num_unlabeled": int(per_record[0]),
        "num_classes": schema.num_classes,
        "labels_per_record": _histogram(per_record),
    }
    if statistics.reading.files:
        summary["read"] = statistics.reading.to_dict()
    if "frames" in results:
        frames = results["frames"]
        basis = "record length" if statistics.reading.how == "headers" else "frames"
        summary["frames_per_record"] = _histogram(frames["histogram"]) | {"num_unknown": frames["num_unknown"], "basis": basis}
    with blas.one_thread():  # the products are small
        fitted = zipf.fit(counts, SIMULATIONS).to_dict()
    kinds = sorted({record.kind for record in statistics.bad})
    by_kind = {kind: sum(record.kind == kind for record in statistics.bad) for kind in kinds}
    summary |= {
        "bad_records": {"total": len(statistics.bad), "by_reason": by_kind},
        "ids": results["ids"],
        "label_sets": _sets(results["label_sets"]),
        "measures": _measures(counts, per_record, results["label_sets"]),
        "pairs": _pairs(results["cooccurrence"], num_records),
        "zipf": fitted,
        "label_counts": counts.tolist(),
        "features": results.get("features", {}),
    }
    if "slices" in results:
        slices = results["slices"]
        totals = {key: slices[key].tolist() for key in ("num_records", "num_unlabeled")}
        summary["slices"] = {"by": slices["by"], "names": slices["names"]} | totals
    return summary | {name: result for name, result in results.items() if name not in _BUILT_IN}


def _histogram(histogram: np.ndarray) -> dict[str, Any]:
    total, number = int(histogram @ np.arange(len(histogram))), int(histogram.sum())
    return {"mean": round(total / max(number, 1), 6), "histogram": histogram.tolist()}


def _sets(sets: measures.LabelSets) -> dict[str, Any]:
    return {
        "distinct": sets.distinct,
        "exact": sets.exact,
        "standard_error": _rounded(sets.standard_error),
        "top": [{"labels": labels, "count": count} for labels, count in sets.top(TOP_SETS)],
    }


def _measures(counts: np.ndarray, per_record: np.ndarray, sets: measures.LabelSets) -> dict[str, Any]:
    cardinality = int(counts.sum()) / max(int(per_record.sum()), 1)
    mean, variation, largest = measures.mean_imbalance(counts)
    scumble = measures.scumble(sets, counts)
    return {
        "cardinality": _rounded(cardinality),
        "density": _rounded(cardinality / len(counts)),
        "mean_ir": _rounded(mean),
        "cv_ir": _rounded(variation),
        "max_ir": _rounded(largest),
        "scumble": _rounded(scumble.mean),
        "scumble_cv": _rounded(scumble.variation),
        "scumble_exact": sets.exact,
        "gini": _rounded(measures.gini(counts)),
        "groups": measures.describe_groups(counts),
    }


def _pairs(cooccurrence: Mapping[str, np.ndarray], num_records: int) -> dict[str, Any]:
    table = measures.pairs(cooccurrence, num_records)
    often = {key: column[table["count"] >= MIN_TOGETHER] for key, column in table.items()}
    rows = measures.strongest(often, STRONGEST_PAIRS).tolist()
    strongest = [{key: _rounded(column[row].item()) for key, column in often.items()} for row in rows]
    return {"num_pairs": len(table["count"]), "min_count": MIN_TOGETHER, "strongest": strongest}


def _rounded(value: Any) -> Any:
    return float(f"{value:.7g}") if isinstance(value, float) else value
