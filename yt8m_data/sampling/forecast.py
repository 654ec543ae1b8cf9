"""What a plan will write, told from ids and labels alone."""

import numpy as np
import pyarrow as pa

from yt8m_data.sampling.plan import OVER, Plan
from yt8m_data.statistics.measures import LabelSets


def forecast(plan: Plan, ids: list[bytes], column: pa.ListArray) -> np.ndarray:
    """Return how many records with its labels each video becomes, float64 [N]: itself, if it is kept, and what is made of it.

    These are the numbers of the job itself, which draws by the ids too. For the published policies, whose pairs of neighbours are each used
    once, it is the most that they can be, unless no method needs a pair.
    """
    deciding = plan.decide(column)
    over = (deciding >= 0) & (plan.regime[deciding] == OVER)
    quotas = plan.quotas(ids, column, deciding)
    made = np.where(over, plan.expected()[deciding] - 1, 0.0) if quotas is None else quotas
    return plan.kept(ids, column, deciding) + made


def growth(plan: Plan, sets: LabelSets | None) -> float:
    """Return how many times as many records are written as read, if they have the labels of `sets`; without these by label counts.

    Those are rough: a video weighs once for each label, and so more if it has common ones, which make less.
    """
    if sets is None or not sets.counts.sum():
        return plan.growth()
    factor = forecast(plan, [b"%d" % number for number in range(len(sets.counts))], sets.lists())
    return float(sets.counts @ factor / sets.counts.sum())
