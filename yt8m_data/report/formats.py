"""How the page writes values."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

DASH = "–"  # a value that there is not


def number(value: float) -> str:
    """Thousands apart, and three digits of a fraction: 1,234,567 and 0.0213."""
    return f"{value:,.0f}" if float(value).is_integer() or abs(value) >= 1000 else f"{value:.3g}"


def signed(value: float, format: str = ".3f") -> str:
    """A number with a true minus sign, and none before zero."""
    text = f"{value:{format}}"
    return text.replace("-", "\N{MINUS SIGN}" if float(text) else "")


def span(values: Sequence[float]) -> str:
    """The range of some values: 2 – 8."""
    low, high = number(min(values)), number(max(values))
    return low if low == high else f"{low} – {high}"


def size(num_bytes: float) -> str:
    """Bytes as a person says them: 132 MB."""
    power = min(int(np.log10(max(num_bytes, 1)) // 3), 4)
    return f"{num_bytes / 1000**power:,.3g} {('bytes', 'kB', 'MB', 'GB', 'TB')[power]}"


def named(label: int, names: Mapping[int, str]) -> str:
    """The name of a label, on one line, or its id where it has none."""
    return " ".join(names.get(label, "").split()) or f"label {label}"


def setting(value: Any) -> str:
    """A setting as a person writes it, lists with commas."""
    if isinstance(value, list | tuple):
        return ", ".join(map(setting, value))
    return number(value) if isinstance(value, float) else str(value)
