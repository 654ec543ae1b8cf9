"""How many records have an id that another record has, from a sample of the ids in bounded memory."""

from typing import Any

import numpy as np

from yt8m_data.statistics import sketch
from yt8m_data.statistics.accumulator import Accumulator, Records, State, register

KEPT_IDS = 1 << 16


@register
class DuplicateIds(Accumulator):
    """Records whose id came before, exact up to KEPT_IDS distinct ids and estimated beyond.

    Of the ids in the sketch every record is counted. So no duplicate among them makes the estimate 0, whatever the number of records; its
    standard error is that of a mean over a simple random sample. `yt8m-data validate` finds them all, and where they are.

    Result: `distinct`, `duplicates` (adding up to the records), `exact`, and the `standard_error` of both.
    """

    name = "ids"
    needs_features = False

    def create(self) -> State:
        """Return the state of nothing."""
        return sketch.zeros() | {"num_records": np.zeros(1, np.int64)}

    def add_batch(self, state: State, records: Records) -> State:
        """Add the ids of a batch."""
        state["num_records"] = state["num_records"] + len(records)
        sketch.add(state, KEPT_IDS, records.id_hashes)
        return state

    def merge(self, state: State, other: State) -> State:
        """Add the counts of equal ids."""
        state["num_records"] = state["num_records"] + other["num_records"]
        sketch.merge(state, other, KEPT_IDS)
        return state

    def compact(self, state: State) -> State:
        """Add up what is held back."""
        return sketch.compact(state, KEPT_IDS) | {"num_records": state["num_records"]}

    def extract(self, state: State) -> dict[str, Any]:
        """Return the estimate."""
        total, (number, _) = int(state["num_records"][0]), sketch.distinct(state, KEPT_IDS)
        repeats = state["counts"] - 1
        exact = sketch.is_exact(state, KEPT_IDS)
        duplicates = int(repeats.sum()) if exact else min(round(number * float(repeats.mean())), total - 1)
        error = 0.0 if exact else number * float(repeats.std()) / len(repeats) ** 0.5
        return {"distinct": total - duplicates, "duplicates": duplicates, "exact": exact, "standard_error": float(f"{error:.4g}")}
