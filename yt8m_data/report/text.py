"""What the commands print for a person: short tables of plain text."""

import shlex
from collections.abc import Mapping
from typing import Any

import numpy as np

from yt8m_data.sampling import OVER, REGIMES, Plan

_SHOWN = 20  # labels and dimensions of a comparison
_BATCH = 256  # of the recipes logistic and moe


def statistics(stats: Mapping[str, Any], names: Mapping[int, str] | None) -> str:
    """Summarise what `stats.json` holds: the headline figures, the law, the most frequent labels and the strongest pairs."""
    counts = np.array(stats["label_counts"])
    zipf, measures, ids, sets = stats["zipf"], stats["measures"], stats["ids"], stats["label_sets"]
    lines = [f"{stats['num_records']:>12,} records, {stats['num_unlabeled']:,} without labels, {stats['bad_records']['total']:,} bad"]
    if ids["duplicates"]:
        lines.append(f"{_about(ids['duplicates'], ids['exact']):>12} records with an id that came before: yt8m-data validate tells which")
    lines += [
        f"{stats['labels_per_record']['mean']:>12.3f} labels per record",
        f"{np.count_nonzero(counts):>12,} of {stats['num_classes']:,} labels have records; the median label has {zipf['median']:,.10g}",
        f"{_about(sets['distinct'], sets['exact']):>12} different label sets",
    ]
    if "frames_per_record" in stats:
        lines.append(f"{stats['frames_per_record']['mean']:>12.1f} frames per record")
    for name in ("mean_ir", "cv_ir", "scumble", "gini"):
        if measures[name] is not None:
            lines.append(f"{measures[name]:>12,.3f} {_MEASURES[name]}")
    for line in zipf["lines"]:
        lines.append(
            f"{line['slope']:>12.3f} log-log slope over ranks {line['first_rank']:,} to {line['last_rank']:,} (R2 {line['r_squared']:.3f})"
        )
    lines += _laws(zipf)
    for label in np.argsort(-counts, kind="stable")[:5].tolist():
        lines.append(f"{counts[label]:>12,} records with label {label}{_named(label, names)}")
    for pair in stats["pairs"]["strongest"][:3]:
        both = " and ".join(f"{label}{_named(label, names)}" for label in (pair["first"], pair["second"]))
        lines.append(f"{pair['count']:>12,} records with {both} (PMI {pair['pmi']:.1f} bits)")
    read = stats.get("read")
    if read and read["how"] == "headers":
        share = f"{read['bytes_read'] / max(read['bytes'], 1):.1%} of {read['bytes'] / 1e9:,.1f} GB"
        lines.append(f"read: headers and contexts, {share}; checksums of the frames not checked (--verify does, --features reads them)")
    return "\n".join(lines)


_MEASURES = {
    "mean_ir": "mean imbalance ratio of a label (MeanIR)",
    "cv_ir": "its coefficient of variation (CVIR)",
    "scumble": "SCUMBLE: frequent and rare labels together, from 0 to 1",
    "gini": "Gini coefficient of the label counts",
}


def _laws(zipf: Mapping[str, Any]) -> list[str]:
    lines = []
    if zipf["exponent"] is not None:
        low, high = zipf["exponent_interval"]
        lines.append(f"{zipf['exponent']:>12.3f} likeliest Zipf exponent ({low:.3f} to {high:.3f})")
    if two := zipf["two_regimes"]:
        first, second = two["exponents"]
        better = "better" if two["aic_gain"] > 0 else "no better"
        lines.append(f"{first:>12.3f} up to rank {two['break_rank']:,} and {second:.3f} beyond: two exponents fit {better} than one")
    if law := zipf["power_law"]:
        verdict = "" if law["p_value"] is None else f", p = {law['p_value']:.2f}{': ruled out' if law['p_value'] < 0.1 else ''}"
        kept = f"{law['num_labels']:,} labels with {law['min_count']:,} records or more"
        lines.append(f"{law['alpha']:>12.3f} power-law exponent of the counts of the {kept}{verdict}")
    return lines


def comparison(result: Mapping[str, Any], names: Mapping[int, str] | None) -> str:
    """Print the outcome of `compare`: a line for each check, and for what moved where one is breached."""
    lines = [
        f"{'BREACH' if check['breached'] else 'ok':>6} {check['name']:<28} {check['value']:>9.4f}, allowed {check['limit']:.4f}"
        f" ({check['threshold']:g} and {check['chance']:.4f} for chance)"
        for check in result["checks"]
    ]
    breached = " ".join(check["name"] for check in result["checks"] if check["breached"])
    if "labels:" in breached:
        lines.append("labels that moved most, by their share of all label occurrences:")
        for label in result["labels"][:_SHOWN]:
            shares = f"{label['share_a']:>9.4%} -> {label['share_b']:.4%}"
            lines.append(f"  {label['label']:>6} {shares}{_named(label['label'], names)}")
    for name, dimensions in result["features"].items():
        if f"{name}:" in breached:
            lines.append(f"dimensions of {name} that moved most:")
            for each in dimensions[:_SHOWN]:
                mean = f"mean {each['mean_a']:.4g} -> {each['mean_b']:.4g}"
                lines.append(f"  {each['dimension']:>6} {mean}, standard deviation {each['std_a']:.4g} -> {each['std_b']:.4g}")
    return "\n".join(lines)


def plan(plan: Plan, expected: np.ndarray, records: float, names: Mapping[int, str] | None, exact: bool = False) -> str:
    """Print the plan, a line for each label with records, commonest first, and the totals below; `exact` if neighbours were sought."""
    bound = "" if exact or not plan.bound else f" {plan.bound}"
    aims = plan.settings.policy not in ("paper", "authors")
    aim = f" {'target':>14}" if aims else ""
    lines = [f"{'label':>6} {'before':>10} {'after' + bound:>14}{aim} {'regime':>6} {'kept':>7} {'K':>3}  name"]
    for label in np.argsort(-plan.counts, kind="stable").tolist():
        if plan.counts[label]:
            target = f" {plan.target[label]:>14,.0f}" if aims else ""
            lines.append(
                f"{label:>6} {plan.counts[label]:>10,} {expected[label]:>14,.0f}{target} {REGIMES[plan.regime[label]]:>6}"
                f" {plan.keep[label]:>7.4f} {plan.neighbors[label]:>3}  {_named(label, names).lstrip()}".rstrip()
            )
    if not aims and not (plan.counts[plan.regime == OVER]).any():
        lines.append(f"no label has {plan.threshold:,.1f} videos or fewer, so none is over-sampled: --threshold sets that count")
    lines.append(f"policy {plan.settings.policy}, threshold {plan.threshold:,.1f}: {records:,.0f} records{bound}")
    return "\n".join(lines)


def books(totals: Mapping[str, Any]) -> str:
    """Print the books of an augmentation."""
    lines = [f"{totals[entry]:>12,} {entry}" for entry in ("read", "kept", "dropped", "bad")]
    lines += [f"{count:>12,} made by {method}" for method, count in totals["synthetic"].items()]
    return "\n".join([*lines, f"{totals['written']:>12,} written"])


def resharding(manifest: Mapping[str, Any]) -> str:
    """Print the books of a resharding."""
    lines = [f"{manifest['totals'][entry]:>12,} {entry}" for entry in ("read", "kept", "dropped", "bad", "written")]
    if "splits" in manifest:
        lines += [f"{split['records']:>12,} in {split['shards']} shards of {split['name']}" for split in manifest["splits"]]
    else:
        lines.append(f"{len(manifest['shards']):>12,} shards")
    return "\n".join(lines)


def gates(manifest: Mapping[str, Any]) -> str:
    """Print how an augmentation's outcome compares with what was foretold and aimed at."""
    forecast, unfilled = manifest["forecast"], len(manifest["unfilled"])
    lines = [f"{forecast['records']:>12,.0f} foretold" + (f", {forecast['bound']}" if forecast["bound"] else "")]
    if unfilled:
        lines.append(f"{unfilled:>12,} labels could not be filled: the manifest and the report say why")
    if "holdout" in manifest:
        lines.append(f"{manifest['holdout']['near_duplicates']:>12,} near-duplicates of held-out videos")
    return "\n".join(lines)


DOUBT = (
    "Where it was measured, on real shards, rebalancing made models worse (paper and target: docs/RESULTS.md). Before you keep these,\n"
    "train on the plain ones as well, and compare (yt8m-train compare). --policy auto does what the study supports for video-level shards."
)


def advice(out: str, name: str, records: int) -> str:
    """Print the commands that make use of what the policy `auto` wrote, with the settings that were measured (docs/RESULTS.md)."""
    train, eval_, steps = shlex.quote(f"{out}/{name}*"), "--eval 'EVAL*'", [max(epochs * records // _BATCH, 1) for epochs in (3, 10, 11)]
    decay = "--set training.decay=0.3 --set training.decay_examples="
    names = ("moe", "logistic")
    move = f"{{deltas: {out}/deltas.arrow, scale: 0.7, probability: 1.0, steps: {steps[1]}}}"
    return "\n".join(
        [
            "No video was added: no policy that adds some made models better where that was measured. What did is the mean of two runs,",
            "one of them on videos that deltas.arrow moves, with the votes of each video's neighbours (docs/RESULTS.md). EVAL* are shards",
            "that you hold out:",
            f"  yt8m-data stats {train} --out stats",
            f"  yt8m-train fit moe --train {train} {eval_} --out runs/moe --set training.epochs=4 {decay}{steps[0] * _BATCH}",
            f"  yt8m-train fit logistic --train {train} {eval_} --out runs/logistic --set {shlex.quote('input.move=' + move)}"
            f" --set training.steps={steps[2]} {decay}{steps[1] * _BATCH}",
            *(f"  yt8m-train neighbors runs/{name} --out runs/{name}_voted" for name in names),
            *(f"  yt8m-train correct runs/{name}_voted --counts stats/cooccurrence.npz --out runs/{name}_corrected" for name in names),
            "  yt8m-train ensemble runs/moe_corrected runs/logistic_corrected --out both",
        ]
    )


def _named(label: int, names: Mapping[int, str] | None) -> str:
    return f" {names[label]}" if names and label in names else ""


def _about(number: int, exact: bool) -> str:
    return f"{number:,}" if exact else f"about {number:,}"
