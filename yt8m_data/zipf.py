"""Rank-frequency fits: how the number of videos per label falls with the label's rank.

One power law does not fit YouTube-8M, whose tail falls faster than its head (log-log slopes -0.93, -1.12 and -1.38 on the 2018 counts).
So a fit holds one least-squares line for the whole range and one per regime, and beside them the maximum-likelihood exponent, which weighs
every label occurrence alike and is ruled by the head; the likeliest law with a break (`two_regimes`); and the power law of the counts
themselves with its goodness of fit (`power_law`).
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from yt8m_data import power_law, two_regimes
from yt8m_data.errors import DataError
from yt8m_data.power_law import CONFIDENCE_95, PowerLaw
from yt8m_data.two_regimes import TwoRegimes

REGIMES = ((1, 100), (10, 1000), (100, None))  # first and last rank; None: the last
FEWEST_RANKS = 10  # that a regime's line may rest on


@dataclass(frozen=True)
class Line:
    """Least-squares line log10 count = intercept + slope * log10 rank over ranks first_rank .. last_rank, inclusive.

    Rank 1 is the most frequent label. `r_squared` is the explained share of the variance of log10 count, 1 where all counts are equal.
    """

    first_rank: int
    last_rank: int
    slope: float
    intercept: float
    r_squared: float


@dataclass(frozen=True)
class Fit:
    """The rank-frequency law of label counts.

    Attributes:
      num_classes: labels that exist, with or without videos.
      num_empty: labels without videos. They take no rank in the lines, whose logarithms they do not have, and count everywhere else.
      num_labels: label occurrences, the sum of all counts.
      median: median count of all labels.
      lines: the line over all ranks, then those of the regimes 1-100, 10-1000 and 100-C, cut to the labels with videos. A regime left
        with fewer than ten ranks is not fitted, nor one that equals the whole. None where fewer than two labels have videos.
      exponent: maximum-likelihood s of p(r) = r^-s / sum_k k^-s over ranks r = 1..C; None where no finite s is most likely.
      exponent_error: its standard error, taking label occurrences as independent.
      exponent_interval: 95 %, widened by how much further the counts lie from the law than those of independent occurrences would.
      power_law: fit of the distribution of the counts, from some count on; None where too few labels differ.
      two_regimes: the likeliest law with one break; None where there are too few labels.
      top_10_share, top_100_share: share of label occurrences that the most frequent 10 and 100 labels hold.
      bottom_half_share: share that the less frequent half of all labels holds.
    """

    num_classes: int
    num_empty: int
    num_labels: int
    median: float
    lines: tuple[Line, ...]
    exponent: float | None
    exponent_error: float | None
    exponent_interval: tuple[float, float] | None
    power_law: PowerLaw | None
    two_regimes: TwoRegimes | None
    top_10_share: float
    top_100_share: float
    bottom_half_share: float

    def to_dict(self) -> dict[str, Any]:
        """The fit in plain numbers, lists and dictionaries, ready for JSON."""
        return asdict(self) | {
            "lines": [asdict(line) for line in self.lines],
            "exponent_interval": self.exponent_interval and list(self.exponent_interval),
            "power_law": self.power_law and self.power_law.to_dict(),
            "two_regimes": self.two_regimes and self.two_regimes.to_dict(),
        }


def fit(label_counts: np.ndarray, num_simulations: int = 0) -> Fit:
    """Fit the law of label counts, integers [C] in any order; the p-value of `power_law` takes simulations, of some ten milliseconds each.

    Raises:
      DataError: a count is negative.
    """
    counts = np.sort(np.asarray(label_counts, np.int64))[::-1]
    if len(counts) and counts[-1] < 0:
        raise DataError(f"label count {counts[-1]} is negative: give the number of videos per label")
    total = int(counts.sum())
    exponent, error = _likeliest_exponent(counts)
    return Fit(
        num_classes=len(counts),
        num_empty=int((counts == 0).sum()),
        num_labels=total,
        median=float(np.median(counts)) if len(counts) else 0.0,
        lines=_lines(counts[counts > 0]),
        exponent=exponent,
        exponent_error=error,
        exponent_interval=_interval(counts, exponent, error),
        power_law=power_law.fit(counts, num_simulations),
        two_regimes=two_regimes.fit(counts),
        top_10_share=int(counts[:10].sum()) / max(total, 1),
        top_100_share=int(counts[:100].sum()) / max(total, 1),
        bottom_half_share=int(counts[(len(counts) + 1) // 2 :].sum()) / max(total, 1),
    )


def _lines(counts: np.ndarray) -> tuple[Line, ...]:
    """The whole range and the regimes that differ from it, on falling positive counts."""
    if len(counts) < 2:
        return ()
    whole = (1, len(counts))
    regimes = [(first, min(last or len(counts), len(counts))) for first, last in REGIMES]
    fitted = [whole] + [(first, last) for first, last in regimes if last - first + 1 >= FEWEST_RANKS and (first, last) != whole]
    return tuple(_line(counts, first, last) for first, last in fitted)


def _line(counts: np.ndarray, first: int, last: int) -> Line:
    x = np.log10(np.arange(first, last + 1))
    y = np.log10(counts[first - 1 : last])
    dx, dy = x - x.mean(), y - y.mean()
    slope = dx @ dy / (dx @ dx)
    flat = counts[first - 1] == counts[last - 1]
    r_squared = 1.0 if flat else 1 - ((dy - slope * dx) ** 2).sum() / (dy @ dy)
    return Line(first, last, float(slope), float(y.mean() - slope * x.mean()), float(r_squared))


def _likeliest_exponent(counts: np.ndarray) -> tuple[float | None, float | None]:
    """Exponent whose expected log rank is the observed one, and 1 / sqrt(Fisher information); the mean falls as the exponent grows."""
    if len(counts) < 2 or counts[1] == 0:
        return None, None  # nothing beyond rank 1: the steeper the likelier
    log_rank = np.log(np.arange(1, len(counts) + 1))
    observed = counts @ log_rank / counts.sum()

    def moments(exponent: float) -> tuple[float, float]:
        weights = np.exp(-exponent * log_rank)
        mean = weights @ log_rank / weights.sum()
        return mean, weights @ (log_rank - mean) ** 2 / weights.sum()

    low, high = 0.0, 1.0
    while moments(high)[0] > observed:
        low, high = high, 2 * high
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if moments(middle)[0] > observed else (low, middle)
    return low, float(1 / np.sqrt(counts.sum() * moments(low)[1]))


def _interval(counts: np.ndarray, exponent: float | None, error: float | None) -> tuple[float, float] | None:
    if exponent is None or error is None:
        return None
    weights = np.arange(1, len(counts) + 1) ** -exponent
    spread = two_regimes.dispersion(counts, counts.sum() * weights / weights.sum(), 1)
    reach = float(CONFIDENCE_95 * error * np.sqrt(spread))
    return exponent - reach, exponent + reach
