"""One self-contained HTML file that shows what the data looks like, what augmentation did to it and what training made of it.

It loads nothing from anywhere, fits a phone and paper, follows the reader's light or dark setting, and has the same bytes for the same
arguments. A part whose data is not given is left out.
"""

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

from yt8m_data.shards import atomic_write

METRICS = {"gap": "GAP@20", "map": "MAP", "map_starter": "MAP (starter code)", "perr": "PERR", "hit_at_1": "Hit@1"}


def write_report(
    path: str | Path,
    *,
    title: str,
    stats_before: Mapping[str, Any] | None = None,
    stats_after: Mapping[str, Any] | None = None,
    plan: Mapping[str, Any] | None = None,
    manifest: Mapping[str, Any] | None = None,
    training: Sequence[Mapping[str, Any]] | None = None,
    plots: Mapping[str, str | Path],
    names: Mapping[int, str] | None = None,
    command: str,
    versions: Mapping[str, str],
) -> None:
    """Write the report.

    Args:
      path: HTML file to write; it appears whole or not at all.
      title: heading, such as the name of the data set.
      stats_before, stats_after: contents of stats.json; give one for a plain look at data, both around an augmentation.
      plan: settings, and `labels`: a list of `label`, `count`, `target`, `regime`, `keep_ratio`, `neighbors`.
      manifest: `totals` with `read`, `kept`, `dropped`, `bad`, `written` and `synthetic` (method -> records).
      training: one mapping per run: `name`, `num_examples` and any of the metrics `gap`, `map`, `map_starter`, `perr`, `hit_at_1`.
      plots: heading -> PNG file, in the order to show them.
      names: label id -> name.
      command: the command line that made all this.
      versions: package -> version.
    """
    stages = [stats for stats in (stats_before, stats_after) if stats]
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("yt8m_data", "report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": _number, "value": _value}
    page = environment.get_template("report.html.j2").render(
        title=title,
        figures=_figures(stages),
        plots={heading: base64.b64encode(Path(file).read_bytes()).decode() for heading, file in plots.items()},
        books=_books(manifest["totals"]) if manifest else [],
        settings={key: value for key, value in plan.items() if key != "labels"} if plan else {},
        regimes=_regimes(plan["labels"]) if plan else [],
        labels=_labels(stages, plan, names or {}),
        stages=["Before", "After"] if len(stages) == 2 else ["Videos"] * len(stages),
        named=bool(names),
        planned=bool(plan),
        training=_training(training or []),
        metrics=METRICS,
        command=command,
        versions=versions,
    )
    with atomic_write(path) as file:
        file.write(page.encode())


def _figures(stages: Sequence[Mapping[str, Any]]) -> list[tuple[str, list[str]]]:
    """Headline figures, each with its value at every stage."""

    def row(stats: Mapping[str, Any]) -> dict[str, str]:
        law = stats["zipf"]
        return {
            "Videos": _number(stats["num_records"]),
            "Labels per video": f"{stats['labels_per_record']['mean']:.2f}",
            "Labels in use": f"{_number(stats['num_classes'] - law['num_empty'])} of {_number(stats['num_classes'])}",
            "Median videos per label": f"{law['median']:,g}",
            "Held by the top 100 labels": f"{law['top_100_share']:.1%}",
            "Held by the rarer half": f"{law['bottom_half_share']:.1%}",
            "Zipf exponent": "none" if law["exponent"] is None else f"{law['exponent']:.3f}",
            "Bad records": _number(stats["bad_records"]["total"]),
        }

    rows = [row(stats) for stats in stages]
    return [(name, [each[name] for each in rows]) for name in rows[0]] if rows else []


def _books(totals: Mapping[str, Any]) -> list[tuple[str, int, float]]:
    """Where the records went: name, records, share of the larger of read and written."""
    synthetic = [(f"synthetic: {method}", count) for method, count in totals["synthetic"].items()]
    entries = [(name, totals[name]) for name in ("read", "kept", "dropped", "bad")] + synthetic + [("written", totals["written"])]
    largest = max(totals["read"], totals["written"], 1)
    return [(name, count, count / largest) for name, count in entries]


def _regimes(labels: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The plan by regime: how many labels, and the range of what happens to their videos."""
    rows = []
    for regime in sorted({label["regime"] for label in labels}):
        inside = [label for label in labels if label["regime"] == regime]
        ranges = {key: _range([label[key] for label in inside]) for key in ("count", "keep_ratio", "neighbors")}
        rows.append({"regime": regime, "num_labels": len(inside), **ranges})
    return rows


def _labels(stages: Sequence[Mapping[str, Any]], plan: Mapping[str, Any] | None, names: Mapping[int, str]) -> list[dict[str, Any]]:
    """The label table, most frequent first: label, name, count at each stage, ratio of the last to the first, what the plan says."""
    if not stages:
        return []
    counts = np.array([stats["label_counts"] for stats in stages])
    planned = {label["label"]: label for label in plan["labels"]} if plan else {}
    rows = []
    for label in np.argsort(-counts[0], kind="stable").tolist():
        if counts[:, label].any():
            before, after = int(counts[0, label]), int(counts[-1, label])
            rows.append(
                {
                    "label": label,
                    "name": names.get(label, ""),
                    "counts": counts[:, label].tolist(),
                    "ratio": after / before if before else None,
                    "regime": planned.get(label, {}).get("regime", ""),
                    "neighbors": planned.get(label, {}).get("neighbors"),
                }
            )
    return rows


def _training(runs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Runs with their metrics, and which of them is the best of its column."""
    best = {metric: max((run[metric] for run in runs if metric in run), default=None) for metric in METRICS}
    rows = []
    for run in runs:
        cells = [(run.get(metric), metric in run and len(runs) > 1 and run[metric] == best[metric]) for metric in METRICS]
        rows.append({"name": run["name"], "num_examples": run.get("num_examples"), "cells": cells})
    return rows


def _number(value: float) -> str:
    """Thousands apart, and three digits of a fraction: 1,234,567 and 0.0213."""
    return f"{value:,.0f}" if float(value).is_integer() or abs(value) >= 1000 else f"{value:.3g}"


def _range(values: Sequence[float]) -> str:
    low, high = _number(min(values)), _number(max(values))
    return low if low == high else f"{low} – {high}"


def _value(value: Any) -> str:
    """A setting as a person writes it: lists with commas, nothing as a dash."""
    if isinstance(value, list | tuple):
        return ", ".join(map(_value, value)) or "–"
    if isinstance(value, float):
        return _number(value)
    return "–" if value is None else str(value)
