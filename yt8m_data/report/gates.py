"""The tables of an augmentation's quality gates: rows of text, made of manifest.json. What it lacks is left out."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from yt8m_data.report.formats import DASH, named, number

SHOWN = 30  # rows of the labels that fell short, and of the near-duplicates

Rows = list[tuple[str, ...]]

_PLACES = {
    "base": "their base",
    "neighbor": "their neighbour",
    "other": "the nearest real video that another label decides for",
}


def unfilled(manifest: Mapping[str, Any], names: Mapping[int, str]) -> Rows:
    """The labels that fell short, those that lack most first: label, videos before, after, target, why."""
    entries = sorted(manifest.get("unfilled", []), key=lambda entry: (entry["after"] - (entry["target"] or entry["after"]), entry["label"]))
    return [
        (
            named(entry["label"], names),
            number(entry["count"]),
            number(entry["after"]),
            DASH if entry["target"] is None else number(round(entry["target"])),
            entry["reason"],
        )
        for entry in entries[:SHOWN]
    ]


def distances(manifest: Mapping[str, Any]) -> Rows:
    """How far the synthetic videos that were looked at are from real ones: to what, videos, 10 %, 50 % and 90 % of them are within."""
    quality = manifest.get("quality", {})
    rows = []
    for key, place in _PLACES.items():
        histogram = quality.get(key, {"counts": [], "identical": 0})
        total = sum(histogram["counts"]) + histogram["identical"]
        if total:
            rows.append((place, number(total), *(f"{within(histogram, share):.3g}" for share in (0.1, 0.5, 0.9))))
    return rows


def within(histogram: Mapping[str, Any], share: float) -> float:
    """The upper end of the bin in which so large a share of the distances is reached; 0 where they are identical."""
    counts = np.array([histogram["identical"], *histogram["counts"]])
    place = int(np.searchsorted(np.cumsum(counts), share * counts.sum()))
    return 2.0 ** ((histogram["first_bin"] + place) / histogram["bins_per_octave"]) if place else 0.0


def near_duplicates(manifest: Mapping[str, Any]) -> Rows:
    """The synthetic videos that came nearest a held-out one: their ids, and the distance."""
    nearest: Sequence[Mapping[str, Any]] = manifest.get("holdout", {}).get("nearest", [])
    return [(each["id"], each["held_out"], f"{each['distance']:.3g}") for each in nearest[:SHOWN]]
