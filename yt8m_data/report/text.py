"""What the commands print for a person: short tables of plain text."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from yt8m_data.sampling import OVER, REGIMES, Plan


def statistics(stats: Mapping[str, Any], names: Mapping[int, str] | None) -> str:
    """Summarise what `stats.json` holds: the headline figures, and the most frequent labels."""
    counts = np.array(stats["label_counts"])
    zipf = stats["zipf"]
    lines = [
        f"{stats['num_records']:>12,} records, {stats['num_unlabeled']:,} without labels, {stats['bad_records']['total']:,} bad",
        f"{stats['labels_per_record']['mean']:>12.3f} labels per record",
        f"{np.count_nonzero(counts):>12,} of {stats['num_classes']:,} labels have records; the median label has {zipf['median']:,.10g}",
    ]
    if "frames_per_record" in stats:
        lines.append(f"{stats['frames_per_record']['mean']:>12.1f} frames per record")
    for line in zipf["lines"]:
        lines.append(
            f"{line['slope']:>12.3f} log-log slope over ranks {line['first_rank']:,} to {line['last_rank']:,} (R2 {line['r_squared']:.3f})"
        )
    for label in np.argsort(-counts, kind="stable")[:5].tolist():
        lines.append(f"{counts[label]:>12,} records with label {label}{_named(label, names)}")
    return "\n".join(lines)


def plan(plan: Plan, expected: np.ndarray, records: float, names: Mapping[int, str] | None) -> str:
    """Print the plan, a line for each label with records, commonest first, and the totals below."""
    bound = "" if plan.settings.policy == "target" else " at most"
    lines = [f"{'label':>6} {'before':>10} {'after' + bound:>14} {'regime':>6} {'kept':>7} {'K':>3}  name"]
    for label in np.argsort(-plan.counts, kind="stable").tolist():
        if plan.counts[label]:
            lines.append(
                f"{label:>6} {plan.counts[label]:>10,} {expected[label]:>14,.0f} {REGIMES[plan.regime[label]]:>6}"
                f" {plan.keep[label]:>7.4f} {plan.neighbors[label]:>3}  {_named(label, names).lstrip()}".rstrip()
            )
    if not (plan.counts[plan.regime == OVER]).any():
        lines.append(f"no label has {plan.threshold:,.1f} videos or fewer, so none is over-sampled: --threshold sets that count")
    lines.append(f"policy {plan.settings.policy}, threshold {plan.threshold:,.1f}: {records:,.0f} records{bound}")
    return "\n".join(lines)


def books(totals: Mapping[str, Any]) -> str:
    """Print the books of an augmentation."""
    lines = [f"{totals[entry]:>12,} {entry}" for entry in ("read", "kept", "dropped", "bad")]
    lines += [f"{count:>12,} made by {method}" for method, count in totals["synthetic"].items()]
    return "\n".join([*lines, f"{totals['written']:>12,} written"])


def _named(label: int, names: Mapping[int, str] | None) -> str:
    return f" {names[label]}" if names and label in names else ""
