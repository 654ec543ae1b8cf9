"""Bottom-k sketches: of all distinct keys, those with the smallest hashes, each with its exact count.

A key below the final threshold was below every earlier one, so it was never dropped and its count is exact; which keys are kept depends on
the keys alone, not on the order they came in. While there are fewer than k distinct keys the sketch holds them all. Beyond, k - 1 keys lie
below the k-th smallest hash h (a fraction of all hashes), and (k - 1) / h estimates the number of distinct keys with a relative standard
error of 1 / sqrt(k - 2) (Bar-Yossef et al., "Counting distinct elements in a data stream", RANDOM 2002; Beyer et al., SIGMOD 2007).
"""

from typing import Any

import numpy as np

from yt8m_data import wire

PENDING = 1 << 18  # keys held back before they are merged
_ALL = 2.0**64

# One part of a sketch: hashes uint64 [N], counts int64 [N], lengths int64 [N] and values int32 [sum of lengths], what each key says.
_Part = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def zeros() -> dict[str, Any]:
    """Return the state of nothing: `hashes` ascending, and `counts`, `lengths` and `values` as they are added."""
    return {
        "hashes": np.zeros(0, np.uint64),
        "counts": np.zeros(0, np.int64),
        "lengths": np.zeros(0, np.int64),
        "values": np.zeros(0, np.int32),
    }


def add(state: dict[str, Any], size: int, hashes: np.ndarray, lengths: np.ndarray | None = None, values: np.ndarray | None = None) -> None:
    """Add keys with these hashes, uint64 [N]; what a key says may be kept beside it, `lengths[i]` numbers of `values` each."""
    if len(state["hashes"]) >= size:  # what lies beyond the largest of a full sketch never comes in
        below = hashes <= state["hashes"][-1]
        if lengths is not None and values is not None:
            values = values[np.repeat(below, lengths)]
            lengths = lengths[below]
        hashes = hashes[below]
    none = np.zeros(0, np.int32)
    lengths = np.zeros(len(hashes), np.int64) if lengths is None else lengths
    part = (hashes, np.ones(len(hashes), np.int64), lengths, none if values is None else values.astype(np.int32))
    state.setdefault("_parts", []).append(part)
    _relieve(state, size)


def merge(state: dict[str, Any], other: dict[str, Any], size: int) -> None:
    """Add another sketch of the same size."""
    state.setdefault("_parts", []).extend([_part(other), *other.get("_parts", [])])
    _relieve(state, size)


def compact(state: dict[str, Any], size: int) -> dict[str, Any]:
    """Keep the `size` smallest hashes and add up their counts."""
    parts = [part for part in (_part(state), *state.get("_parts", [])) if len(part[0])]
    if len(parts) < 2 and not state.get("_parts"):
        return {key: value for key, value in state.items() if not key.startswith("_")}
    hashes, counts, lengths, values = (np.concatenate(columns) for columns in zip(*parts, strict=True)) if parts else _part(zeros())
    order = np.argsort(hashes)  # equal ones are of equal keys, so their order does not matter
    ordered = hashes[order]
    first = np.flatnonzero(np.concatenate((np.ones(min(len(ordered), 1), bool), ordered[1:] != ordered[:-1])))
    totals = np.add.reduceat(counts[order], first) if len(first) else counts
    kept = order[first[:size]]
    starts = np.cumsum(lengths) - lengths
    return {
        "hashes": hashes[kept],
        "counts": totals[:size],
        "lengths": lengths[kept],
        "values": wire.concatenate(values, starts[kept], lengths[kept]),
    }


def is_exact(state: dict[str, Any], size: int) -> bool:
    """Return whether a compact sketch holds all keys."""
    return len(state["hashes"]) < size


def distinct(state: dict[str, Any], size: int) -> tuple[float, float]:
    """Return the number of distinct keys of a compact sketch, and its standard error: 0 where the number is exact."""
    if is_exact(state, size):
        return float(len(state["hashes"])), 0.0
    estimate = (size - 1) / ((float(state["hashes"][-1]) + 1) / _ALL)
    return estimate, estimate / max(size - 2, 1) ** 0.5


def _part(state: dict[str, Any]) -> _Part:
    return state["hashes"], state["counts"], state["lengths"], state["values"]


def _relieve(state: dict[str, Any], size: int) -> None:
    if sum(len(part[0]) for part in state["_parts"]) > max(PENDING, len(state["hashes"]) // 2):
        state.update(compact(state, size), _parts=[])
