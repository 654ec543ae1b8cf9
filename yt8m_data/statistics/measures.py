"""Measures of label imbalance and of how labels go together, from counts.

IRLbl, MeanIR and CVIR: Charte, Rivera, del Jesus and Herrera, "Addressing imbalance in multilabel classification: Measures and random
resampling algorithms", Neurocomputing 163, 2015. SCUMBLE: the same, "Concurrence among imbalanced labels and its influence on multilabel
resampling algorithms", HAIS 2014. Cardinality and density: Tsoumakas and Katakis, "Multi-label classification: an overview", 2007.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

HEAD_SHARE, TORSO_SHARE = 0.5, 0.9  # of the label occurrences: the head holds the first half, head and torso together nine tenths
GROUPS = ("head", "torso", "tail")


class LabelSets(NamedTuple):
    """Distinct label sets: set i has `lengths[i]` labels, ascending, in `labels` behind those of the sets before, and `counts[i]` records.

    `distinct` is their number; where not `exact` it is an estimate with a standard error, and the sets are a simple random sample of all.
    """

    lengths: np.ndarray
    labels: np.ndarray
    counts: np.ndarray
    distinct: int
    exact: bool
    standard_error: float

    def lists(self) -> pa.ListArray:
        """Return the sets as a column of labels."""
        offsets = np.concatenate(([0], np.cumsum(self.lengths))).astype(np.int32)
        return pa.ListArray.from_arrays(pa.array(offsets), pa.array(self.labels.astype(np.int32)))

    def top(self, number: int) -> list[tuple[list[int], int]]:
        """Return the most frequent sets and their counts; ties go to the smaller labels."""
        if not len(self.counts):
            return []
        floor = np.sort(self.counts)[::-1][:number][-1]
        starts = np.cumsum(self.lengths) - self.lengths
        found = [
            (self.labels[starts[i] : starts[i] + self.lengths[i]].tolist(), int(self.counts[i]))
            for i in np.flatnonzero(self.counts >= floor)
        ]
        return sorted(found, key=lambda item: (-item[1], item[0]))[:number]


class Scumble(NamedTuple):
    """The mean over labelled records, and its coefficient of variation over them (with n - 1); None where there are too few."""

    mean: float | None
    variation: float | None


def imbalance(counts: np.ndarray) -> np.ndarray:
    """IRLbl of each label, float64 [C]: how many times as many records the most frequent label has; NaN for a label without records."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(counts > 0, np.max(counts, initial=0) / counts, np.nan)


def mean_imbalance(counts: np.ndarray) -> tuple[float | None, float | None, float | None]:
    """MeanIR, CVIR and the largest IRLbl, over the labels that have records; None where there are none (for CVIR: fewer than two)."""
    ratios = imbalance(counts)[counts > 0]
    if not len(ratios):
        return None, None, None
    mean = float(ratios.mean())
    return mean, float(ratios.std(ddof=1)) / mean if len(ratios) > 1 else None, float(ratios.max())


def scumble(sets: LabelSets, counts: np.ndarray) -> Scumble:
    """How much frequent and rare labels come together, from 0 (never) to 1.

    The mean over records of 1 - geometric / arithmetic mean of the IRLbl of their labels. Records with equal label sets have equal terms,
    so one term per distinct set is enough, and one pass over the data: the counts that IRLbl needs are known before the sets are gone
    through.
    """
    weights = sets.counts.astype(np.float64)
    if not len(weights):
        return Scumble(None, None)
    terms = scumble_terms(counts, sets.labels, sets.lengths)
    total = weights.sum()
    mean = float(weights @ terms / total)
    if total < 2 or mean == 0:
        return Scumble(mean, None)
    return Scumble(mean, float(np.sqrt(weights @ (terms - mean) ** 2 / (total - 1))) / mean)


def scumble_terms(counts: np.ndarray, labels: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """The term of each of N records that carry labels, float64 [N]: record i has `lengths[i]` of `labels`, behind those before it."""
    if not len(lengths):
        return np.zeros(0)
    ratios, starts = imbalance(counts)[labels], np.cumsum(lengths) - lengths
    geometric = np.exp(np.add.reduceat(np.log(ratios), starts) / lengths)
    return np.maximum(1 - geometric / (np.add.reduceat(ratios, starts) / lengths), 0)  # equal ratios: 0, not -1e-16


def gini(counts: np.ndarray) -> float | None:
    """Gini coefficient of the counts, over all classes: 0 where all are equal, near 1 where one has all; None where there are none."""
    total = int(counts.sum())
    if not total:
        return None
    rank = np.arange(1, len(counts) + 1)
    return float((2 * rank - len(counts) - 1) @ np.sort(counts) / (len(counts) * total))


def groups(counts: np.ndarray) -> np.ndarray:
    """Part labels into head (0), torso (1) and tail (2), int8 [C]; -1 for those without records.

    The head is the fewest most frequent labels that hold half of the label occurrences, with the torso they hold nine tenths.
    """
    order = np.argsort(-counts, kind="stable")
    before = np.cumsum(counts[order]) - counts[order]  # a label belongs to the part in which its first record falls
    total = counts.sum()
    group = np.full(len(counts), -1, np.int8)
    group[order] = np.where(before < HEAD_SHARE * total, 0, np.where(before < TORSO_SHARE * total, 1, 2))
    group[counts == 0] = -1
    return group


def describe_groups(counts: np.ndarray) -> dict[str, dict[str, Any]]:
    """Number of labels, share of the occurrences and range of counts in head, torso and tail."""
    group, total = groups(counts), max(int(counts.sum()), 1)
    parts = {name: counts[group == number] for number, name in enumerate(GROUPS)}
    return {
        name: {
            "num_labels": len(part),
            "share": round(int(part.sum()) / total, 6),
            "min_count": int(part.min()) if len(part) else 0,
            "max_count": int(part.max(initial=0)),
        }
        for name, part in parts.items()
    }


def pairs(cooccurrence: Mapping[str, np.ndarray], num_records: int, min_count: int = 1) -> dict[str, np.ndarray]:
    """What each pair of labels first < second says that come together in `min_count` records or more.

    Returns arrays [P] by the pair: `first`, `second`, `count`; `lift` = P(both) / (P(first) P(second)), 1 for labels that ignore each
    other; `pmi`, its logarithm in bits; `p_second_given_first` and `p_first_given_second`.
    """
    first, second, count, alone = _upper(cooccurrence)
    often = count >= max(min_count, 1)
    first, second, count = first[often], second[often], count[often]
    given_first, given_second = count / alone[first], count / alone[second]
    lift = given_first * (num_records / alone[second])
    return {
        "first": first,
        "second": second,
        "count": count,
        "pmi": np.log2(lift),
        "lift": lift,
        "p_second_given_first": given_first,
        "p_first_given_second": given_second,
    }


def strongest(table: Mapping[str, np.ndarray], number: int) -> np.ndarray:
    """Return the rows of a table of `pairs` with the largest PMI, falling; ties go to the pair that comes more often, then to the first."""
    order = np.lexsort((table["second"], table["first"], -table["count"], -np.round(table["lift"], 9)))
    return order[:number]


def companions(cooccurrence: Mapping[str, np.ndarray], top: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """The labels that come most often with each label i, int32 [C, top], -1 where there are fewer; and P(companion | i), float64."""
    first, second, count, alone = _upper(cooccurrence)
    label, other, together = np.concatenate((first, second)), np.concatenate((second, first)), np.concatenate((count, count))
    order = np.lexsort((other, -together, label))
    label, other, together = label[order], other[order], together[order]
    starts = np.searchsorted(label, np.arange(len(alone)))
    place = np.arange(len(label)) - starts[label]
    near = place < top
    labels, shares = np.full((len(alone), top), -1, np.int32), np.zeros((len(alone), top))
    labels[label[near], place[near]] = other[near]
    shares[label[near], place[near]] = together[near] / alone[label[near]]
    return labels, shares


def _upper(cooccurrence: Mapping[str, np.ndarray]) -> tuple[np.ndarray, ...]:
    """Return first, second and count of the pairs first < second, and the diagonal."""
    data, indices, indptr = (np.asarray(cooccurrence[key]) for key in ("data", "indices", "indptr"))
    rows = np.repeat(np.arange(len(indptr) - 1), np.diff(indptr))
    diagonal = rows == indices
    alone = np.zeros(len(indptr) - 1, np.int64)
    alone[rows[diagonal]] = data[diagonal]
    upper = rows < indices
    return rows[upper], indices[upper].astype(np.int64), data[upper], alone
