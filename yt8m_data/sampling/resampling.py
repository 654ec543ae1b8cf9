"""The policies `ml-ros`, `ml-rus` and `remedial`, which go by IRLbl, how many times as many videos the commonest label has, and its mean.

ML-ROS and ML-RUS: Charte, Rivera, del Jesus and Herrera, "Addressing imbalance in multilabel classification: Measures and random
resampling algorithms", Neurocomputing 163, 2015. They pick one random video after the other; here each video's share of all those picks is
computed, which is their expectation, and a hash of its id rounds it. REMEDIAL: the same, "Resampling Multilabel Datasets by Decoupling
Highly Imbalanced Labels", HAIS 2015.
"""

import numpy as np

from yt8m_data.sampling.plan import KEEP, OVER, SPLIT, SUB, Plan
from yt8m_data.sampling.settings import Settings
from yt8m_data.sampling.targets import decided_sets, own_videos, videos_of
from yt8m_data.statistics import measures
from yt8m_data.statistics.measures import LabelSets


def over_sample(counts: np.ndarray, threshold: float, settings: Settings, sets: LabelSets) -> Plan:
    """ML-ROS: synthetic videos, `percent` of the records, go round the labels whose IRLbl is above the mean, one each in turn.

    Each is made of a random video with the label. A label whose IRLbl has come down to the mean gets no more. The authors clone, which is
    the method `copy`.
    """
    ratios, mean = measures.imbalance(counts), _mean(counts)
    videos, everywhere = videos_of(counts, sets), np.ones(len(sets.counts), bool)
    bags = np.flatnonzero(ratios > mean)  # NaN, of a label without videos, is not
    flows, room = _companions(bags, everywhere, sets, videos, len(counts))
    given = _go_round(counts, bags, flows, np.full(len(bags), np.inf), _budget(sets, videos, settings), mean, rise=True)
    shares = np.zeros(len(counts))
    shares[bags] = given / room
    copies = _sums(shares, sets)
    deciding = decided_sets(counts, sets)
    own = np.bincount(deciding, videos, len(counts))
    average, most = _averages(copies, deciding, videos, len(counts)), np.zeros(len(counts))
    np.maximum.at(most, deciding, copies)
    regime = np.where(average > 0, OVER, KEEP).astype(np.uint8)
    neighbors = np.minimum(np.ceil(most / len(settings.methods)), np.maximum(counts - 1, 0)).astype(np.int64)
    target = counts + _carried(copies, sets, videos, len(counts))
    return Plan(settings, threshold, counts, target, regime, np.ones(len(counts)), neighbors, average, shares, own=own)


def under_sample(counts: np.ndarray, threshold: float, settings: Settings, sets: LabelSets) -> Plan:
    """ML-RUS: drops, `percent` of the records, go round the labels whose IRLbl is below the mean, until it has risen to the mean.

    Each drops a random video with the label, of those that have no label whose IRLbl is above the mean.
    """
    ratios, mean = measures.imbalance(counts), _mean(counts)
    videos, deciding = videos_of(counts, sets), decided_sets(counts, sets)
    common = ~(ratios[deciding] > mean)  # the rarest label of a video is above the mean, or none is
    bags = np.flatnonzero(ratios < mean)
    flows, room = _companions(bags, common, sets, videos, len(counts))
    bags, flows, room = bags[room > 0], flows[room > 0], room[room > 0]
    given = _go_round(counts, bags, flows, room, _budget(sets, videos, settings), mean, rise=False)
    shares = np.zeros(len(counts))
    shares[bags] = given / room
    drops = np.minimum(_sums(shares, sets), 1) * common
    own = np.bincount(deciding, videos, len(counts))
    keep = 1 - _averages(drops, deciding, videos, len(counts))
    regime = np.where(keep < 1, SUB, KEEP).astype(np.uint8)
    target = counts - _carried(drops, sets, videos, len(counts))
    none = np.zeros(len(counts))
    return Plan(settings, threshold, counts, target, regime, keep, none.astype(np.int64), none, shares, own=own)


def decouple(counts: np.ndarray, threshold: float, settings: Settings, sets: LabelSets) -> Plan:
    """REMEDIAL: a video whose SCUMBLE is above the mean keeps its rare labels, and a copy of it has the others.

    Rare are the labels whose IRLbl is above the mean. A video that has only rare or only common labels stays whole.
    """
    rare = measures.imbalance(counts) > _mean(counts)
    limit = measures.scumble(sets, counts).mean
    nothing = np.zeros(len(counts))
    plan = Plan(
        *(settings, threshold, counts, counts.astype(np.float64), np.full(len(counts), KEEP, np.uint8), np.ones(len(counts))),
        *(nothing.astype(np.int64), nothing),
        scumble=np.inf if limit is None else limit,
        rare=rare,
        own=own_videos(counts, sets),
    )
    parted = plan.decoupled(sets.lists()).astype(np.float64)
    plan.copies[:] = _averages(parted, decided_sets(counts, sets), videos_of(counts, sets), len(counts))
    plan.regime[plan.copies > 0] = SPLIT
    return plan


def _mean(counts: np.ndarray) -> float:
    mean, _, _ = measures.mean_imbalance(counts)
    return np.inf if mean is None else mean


def _budget(sets: LabelSets, videos: np.ndarray, settings: Settings) -> float:
    return float(videos.sum()) * (settings.percent or 0) / 100


def _companions(
    bags: np.ndarray, chosen: np.ndarray, sets: LabelSets, videos: np.ndarray, num_classes: int
) -> tuple[np.ndarray, np.ndarray]:
    """What a random video of each bag carries, among the sets that are chosen (bool [sets]).

    Returns:
      float64 [bags, num_classes], the probability of each label, and float64 [bags], the number of videos in each bag.
    """
    row_of = np.full(num_classes, -1)
    row_of[bags] = np.arange(len(bags))
    set_of = np.repeat(np.arange(len(sets.lengths)), sets.lengths)
    member = np.flatnonzero((row_of[sets.labels] >= 0) & chosen[set_of])
    sizes, starts = sets.lengths[set_of[member]], (np.cumsum(sets.lengths) - sets.lengths)[set_of[member]]
    inside = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    companions = sets.labels[np.repeat(starts, sizes) + inside]
    cells = np.repeat(row_of[sets.labels[member]], sizes) * num_classes + companions
    together = np.bincount(cells, np.repeat(videos[set_of[member]], sizes), len(bags) * num_classes).reshape(len(bags), num_classes)
    room = together[np.arange(len(bags)), bags]
    return together / np.maximum(room, 1)[:, None], room


def _go_round(
    counts: np.ndarray, bags: np.ndarray, flows: np.ndarray, room: np.ndarray, budget: float, mean: float, rise: bool
) -> np.ndarray:
    """Give each bag one video in turn until the budget is spent, or IRLbl has reached the mean everywhere: float64 [bags] videos.

    As many rounds are done at once as surely pass before another bag leaves.
    """
    count, given, sign = counts.astype(np.float64), np.zeros(len(bags)), 1 if rise else -1
    active, flow = np.ones(len(bags), bool), flows.sum(axis=0)
    while True:
        gap = np.minimum(sign * (count.max() / mean - count[bags]), room - given)  # videos that a bag lacks
        leaving = active & (gap <= 1e-9)
        active &= ~leaving
        flow -= flows[leaving].sum(axis=0)
        if budget <= 1e-9 or not active.any():
            return given
        rounds = max(1.0, np.floor((gap[active] / np.maximum(flow[bags[active]], 1)).min()))
        rounds = min(rounds, budget / active.sum(), float((room - given)[active].min()))
        given[active] += rounds
        count += sign * rounds * flow
        budget -= rounds * active.sum()


def _sums(shares: np.ndarray, sets: LabelSets) -> np.ndarray:
    """Add up a value per label over each set, float64 [sets]."""
    return np.add.reduceat(shares[sets.labels], np.cumsum(sets.lengths) - sets.lengths)


def _averages(values: np.ndarray, deciding: np.ndarray, videos: np.ndarray, num_classes: int) -> np.ndarray:
    """The mean of a value per set over the videos that each label decides for, float64 [num_classes]; 0 where there are none."""
    own = np.bincount(deciding, videos, num_classes)
    return np.bincount(deciding, videos * values, num_classes) / np.where(own > 0, own, 1)


def _carried(values: np.ndarray, sets: LabelSets, videos: np.ndarray, num_classes: int) -> np.ndarray:
    """Add up a value per video over the videos that carry each label, float64 [num_classes]."""
    return np.bincount(sets.labels, np.repeat(values * videos, sets.lengths), num_classes)
