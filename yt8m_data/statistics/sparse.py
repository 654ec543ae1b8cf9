"""Counts of few keys out of many: sorted keys and their counts, with what is not counted yet held back."""

from typing import Any

import numpy as np

PENDING = 1 << 20  # keys held back before they are counted


def zeros() -> dict[str, Any]:
    """Return the state of nothing: `keys` ascending and `counts`, int64 [K] both."""
    return {"keys": np.zeros(0, np.int64), "counts": np.zeros(0, np.int64)}


def add(state: dict[str, Any], keys: np.ndarray) -> None:
    """Count keys, integers [N], one for each."""
    state.setdefault("_fresh", []).append(keys)
    _relieve(state)


def merge(state: dict[str, Any], other: dict[str, Any]) -> None:
    """Add the counts of another state."""
    state.setdefault("_fresh", []).extend(other.get("_fresh", []))
    state.setdefault("_counted", []).extend([(other["keys"], other["counts"]), *other.get("_counted", [])])
    _relieve(state)


def compact(state: dict[str, Any]) -> dict[str, Any]:
    """Count what is held back."""
    parts = [(state["keys"], state["counts"]), *state.get("_counted", [])]
    if fresh := state.get("_fresh"):
        keys, counts = np.unique(np.concatenate(fresh), return_counts=True)
        parts.append((keys.astype(np.int64), counts.astype(np.int64)))
    keys, counts = _summed([part for part in parts if len(part[0])])
    rest = {key: value for key, value in state.items() if not key.startswith("_")}
    return rest | {"keys": keys, "counts": counts}


def _relieve(state: dict[str, Any]) -> None:
    """Count once as much is held back as is worth the sorting."""
    held = sum(map(len, state.get("_fresh", []))) + sum(len(keys) for keys, _ in state.get("_counted", []))
    if held > max(PENDING, len(state["keys"])):
        state.update(compact(state), _fresh=[], _counted=[])


def _summed(parts: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Add up counts by key; the keys of each part are distinct."""
    if len(parts) < 2:
        return parts[0] if parts else (np.zeros(0, np.int64), np.zeros(0, np.int64))
    keys, counts = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    order = np.argsort(keys)
    keys, counts = keys[order], counts[order]
    first = np.flatnonzero(np.concatenate(([True], keys[1:] != keys[:-1])))
    return keys[first], np.add.reduceat(counts, first)
