"""The tables of the page: rows of text, made of the contents of stats.json and manifest.json. What these lack is left out."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from yt8m_data.report.formats import DASH, named, number, setting, signed, span
from yt8m_data.statistics import measures

METRICS = {"gap": "GAP@20", "map": "MAP", "map_starter": "MAP (starter code)", "perr": "PERR", "hit_at_1": "Hit@1"}

Stats = Mapping[str, Any]
Stages = Sequence[tuple[str, Stats]]  # name and stats.json of one stage, or of before and after
Names = Mapping[int, str]
Rows = list[tuple[str, ...]]


@dataclass(frozen=True)
class Column:
    """A column of the label table: `numeric` ones stand to the right and sort from the top, `spare` ones are left out on a phone."""

    head: str
    cells: list[str]
    hint: str = ""
    numeric: bool = True
    spare: bool = False


# --- The law --------------------------------------------------------------------------------------------------------------


def groups(stages: Stages) -> Rows:
    """Head, torso and tail: labels, share of occurrences, videos per label."""
    rows: Rows = []
    for name in measures.GROUPS:
        for stage, stats in stages:
            group = stats.get("measures", {}).get("groups", {}).get(name)
            if group and group["num_labels"]:
                reach = span([group["min_count"], group["max_count"]])
                rows.append((_of(name, stage, stages), number(group["num_labels"]), f"{group['share']:.1%}", reach))
    return rows


def fits(stages: Stages) -> Rows:
    """The fits of the rank-frequency law: what, over which ranks, exponent with its 95 % interval, how well it fits."""
    return [(_of(fit, stage, stages), *row) for stage, stats in stages for fit, *row in _fits(stats.get("zipf", {}), len(stages) == 1)]


def _fits(law: Mapping[str, Any], lines: bool) -> Iterator[tuple[str, str, str, str]]:
    two, power = law.get("two_regimes"), law.get("power_law")
    if law.get("exponent") is not None:
        gain = f"AIC {number(abs(two['aic_gain']))} {'above' if two['aic_gain'] > 0 else 'below'} two regimes" if two else DASH
        yield "One law", span([1, law["num_classes"]]), _interval(law["exponent"], law.get("exponent_interval")), gain
    if two:
        ranks = ([1, two["break_rank"]], [two["break_rank"], law["num_classes"]])
        for name, reach, exponent, interval in zip(("First", "Second"), ranks, two["exponents"], two["intervals"], strict=True):
            yield f"{name} regime", span(reach), _interval(exponent, interval), DASH
    if power:
        exponent = _interval(power["rank_exponent"], sorted(1 / (alpha - 1) for alpha in power["alpha_interval"]))
        name = f"Power law from {number(power['min_count'])} videos up"
        yield name, span([1, power["num_labels"]]), exponent, f"KS {power['distance']:.2g}{_verdict(power)}"
    for line in law.get("lines", []) if lines else []:
        yield "Least squares", span([line["first_rank"], line["last_rank"]]), signed(-line["slope"]), f"R² {line['r_squared']:.3f}"


def _verdict(power: Mapping[str, Any]) -> str:
    """The p-value of a power law, and whether it speaks against it: below 0.1, as Clauset, Shalizi and Newman (2009) take it."""
    if power["p_value"] is None:
        return ""
    value = f"= {power['p_value']:.2g}" if power["p_value"] else f"< {1 / power['num_simulations']:.2g}"
    return f", p {value}" + (" (rejected)" if power["p_value"] < 0.1 else "")


def _interval(value: float, interval: Sequence[float] | None) -> str:
    return signed(value) + (f" ({signed(interval[0])} – {signed(interval[1])})" if interval else "")


def _of(name: str, stage: str, stages: Stages) -> str:
    return name if len(stages) == 1 else f"{name}, {stage.lower()}"


# --- Labels ---------------------------------------------------------------------------------------------------------------


def labels(stages: Stages, cooccurrence: Mapping[str, np.ndarray] | None, manifest: Mapping[str, Any] | None, names: Names) -> list[Column]:
    """The label table, most frequent first at the first stage, without labels that never have videos.

    The first column is the id. The second is the name and, on a line of its own, the best companions.
    """
    counts = np.array([stats["label_counts"] for _, stats in stages])
    imbalance, group = measures.imbalance(counts[-1]), measures.groups(counts[-1])
    order = [label for label in np.argsort(-counts[0], kind="stable").tolist() if counts[:, label].any()]
    before, after = counts[0, order].tolist(), counts[-1, order].tolist()
    two = len(stages) == 2

    together = _companions(cooccurrence, names)
    said = ["\n".join(filter(None, (named(label, names), together.get(label)))) for label in order]
    columns = [
        Column("Id", [str(label) for label in order], "number of the class", spare=two),
        Column("Label", said, "with the labels that most often come along", numeric=False),
        Column(stages[0][0], [number(count) for count in before]),
    ]
    if two:
        ratio = [f"{new / old:.2f}" if old else DASH for old, new in zip(before, after, strict=True)]
        columns += [Column("After", [number(count) for count in after]), Column("Ratio", ratio, "after / before", spare=True)]
    ratios = [number(round(imbalance[label], 2)) if counts[-1, label] else DASH for label in order]
    parts = [measures.GROUPS[group[label]] if group[label] >= 0 else DASH for label in order]
    columns.append(Column("IRLbl", ratios, "imbalance: how many times as many videos the commonest label has", spare=two))
    columns.append(Column("Group", parts, "head, torso or tail", numeric=False, spare=True))
    return columns + (_planned(order, after, manifest) if manifest else [])


def _planned(order: Sequence[int], after: Sequence[int], manifest: Mapping[str, Any]) -> list[Column]:
    """What augmentation did with each label."""
    plan = {entry["label"]: entry for entry in manifest["plan"]["labels"]}
    made = manifest.get("synthetic_label_counts")
    share = [f"{made.get(str(label), 0) / new:.0%}" if made is not None and new else DASH for label, new in zip(order, after, strict=True)]
    return [
        Column("Synthetic", share, "share of the videos after"),
        Column("Plan", [plan[label]["regime"] if label in plan else DASH for label in order], numeric=False, spare=True),
        Column("K", [str(plan[label]["neighbors"]) if label in plan else DASH for label in order], "neighbours of a video", spare=True),
    ]


def _companions(cooccurrence: Mapping[str, np.ndarray] | None, names: Names) -> dict[int, str]:
    """The labels that most often come along with each: "Video game 64%, Racing 5%"."""
    if cooccurrence is None:
        return {}
    found, share = measures.companions(cooccurrence, top=3)
    return {
        label: ", ".join(f"{named(other, names)} {part:.0%}" for other, part in zip(others, parts, strict=True) if other >= 0)
        for label, (others, parts) in enumerate(zip(found.tolist(), share.tolist(), strict=True))
    }


def pairs(stats: Stats, names: Names, top: int = 20) -> Rows:
    """The strongest pairs by PMI: the labels, videos with both, PMI in bits, P(second | first), P(first | second)."""
    return [
        (
            f"{named(pair['first'], names)} + {named(pair['second'], names)}",
            number(pair["count"]),
            f"{pair['pmi']:.1f}",
            f"{pair['p_second_given_first']:.0%}",
            f"{pair['p_first_given_second']:.0%}",
        )
        for pair in stats.get("pairs", {}).get("strongest", [])[:top]
    ]


def label_sets(stats: Stats, names: Names, top: int = 10) -> Rows:
    """The most frequent label sets: labels, videos, share of all videos."""
    return [
        (
            ", ".join(named(label, names) for label in found["labels"]),
            number(found["count"]),
            f"{found['count'] / stats['num_records']:.1%}",
        )
        for found in stats.get("label_sets", {}).get("top", [])[:top]
    ]


def slices(stats: Stats, top: int = 30) -> Rows:
    """The largest slices: name, videos, videos without labels."""
    found = stats.get("slices", {"names": [], "num_records": [], "num_unlabeled": []})
    rows = sorted(zip(found["names"], found["num_records"], found["num_unlabeled"], strict=True), key=lambda row: -row[1])
    return [(name, number(records), number(unlabeled)) for name, records, unlabeled in rows[:top]]


# --- Features and bad records ---------------------------------------------------------------------------------------------


def features(stages: Stages) -> Rows:
    """Each feature at each stage: dimensions, range, standard deviation over all, NaN, share of zeros, dimensions that never vary."""
    rows = []
    for name in stages[-1][1].get("features", {}):
        for stage, stats in stages:
            if name in stats.get("features", {}):
                rows.append((_of(name, stage, stages), *_feature(stats["features"][name])))
    return rows


def _feature(moments: Mapping[str, Any]) -> tuple[str, ...]:
    variance = np.array(moments["variance"], float)
    ends = [signed(value, ".3g") for value in (min(moments["min"]), max(moments["max"]))] if moments.get("min") else []
    return (
        number(moments["size"]),
        " to ".join(ends) or DASH,
        f"{np.sqrt(variance.mean()):.3g}",
        number(sum(moments["nan"])) if "nan" in moments else DASH,
        f"{np.mean(moments['zeros']):.2%}" if "zeros" in moments else DASH,
        number((variance == 0).sum()),
    )


def bad_reasons(stats: Stats) -> Rows:
    """Bad records by reason, most first."""
    reasons = stats.get("bad_records", {}).get("by_reason", {})
    return [(reason, number(count)) for reason, count in sorted(reasons.items(), key=lambda item: -item[1])]


# --- Augmentation and training --------------------------------------------------------------------------------------------


def books(totals: Mapping[str, Any]) -> list[tuple[str, int, float]]:
    """Where the records went: name, records, share of the larger of read and written."""
    synthetic = [(f"synthetic: {method}", count) for method, count in totals["synthetic"].items()]
    entries = [(name, totals[name]) for name in ("read", "kept", "dropped", "bad")] + synthetic + [("written", totals["written"])]
    largest = max(totals["read"], totals["written"], 1)
    return [(name, count, count / largest) for name, count in entries]


def settings(plan: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The settings of a plan that say something."""
    plain = {key: value for key, value in plan.items() if key != "labels" and value not in ([], None)}
    if "lambda" in plain:
        plain["lambda"] = span(plain["lambda"])
    return [(key.replace("_", " "), setting(value)) for key, value in plain.items()]


def regimes(planned: Sequence[Mapping[str, Any]]) -> Rows:
    """The plan by regime: labels, and the ranges of their videos, of the share that is kept, and of the neighbours."""
    rows = []
    for regime in sorted({entry["regime"] for entry in planned}):
        inside = [entry for entry in planned if entry["regime"] == regime]
        ranges = [span([entry[key] for entry in inside]) for key in ("count", "keep_ratio", "neighbors")]
        rows.append((regime, number(len(inside)), *ranges))
    return rows


def training(runs: Sequence[Mapping[str, Any]], metrics: Iterable[str] = METRICS) -> list[dict[str, Any]]:
    """Runs with some metrics, and which of them is the best of its column."""
    best = {metric: max((run[metric] for run in runs if metric in run), default=None) for metric in metrics}
    rows = []
    for run in runs:
        cells = [
            (f"{run[metric]:.4f}", len(runs) > 1 and run[metric] == best[metric]) if metric in run else (DASH, False) for metric in metrics
        ]
        rows.append({"name": run["name"], "cells": cells, "videos": number(run["num_examples"]) if "num_examples" in run else DASH})
    return rows


def frequencies(runs: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[dict[str, Any]]]:
    """Ranges of training videos of a class, from the rarest, and the runs with their MAP over the classes of each, where they tell it."""
    telling = [{"name": run["name"], **run["map_by_frequency"]} for run in runs if "map_by_frequency" in run]
    ranges = list(dict.fromkeys(key for run in telling for key in run if key != "name"))
    known = [{key: value for key, value in run.items() if value is not None} for run in telling]
    return ranges, training(known, ranges)
