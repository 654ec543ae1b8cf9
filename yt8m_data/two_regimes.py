"""A rank-frequency law with one break: p(r) ~ r^-s1 up to rank b, and r^-s2 beyond, without a jump.

The double power law of word frequencies (Ferrer i Cancho and Solé, Journal of Quantitative Linguistics 8(3), 2001; Gerlach and Altmann,
Physical Review X 3, 021006, 2013), here with both exponents free, fitted by maximum likelihood.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from yt8m_data.power_law import CONFIDENCE_95

FEWEST_RANKS = 10  # on each side of the break
BREAKS = 80  # ranks that are tried, evenly spread on a logarithmic scale


@dataclass(frozen=True)
class TwoRegimes:
    """The likeliest law with one break.

    Attributes:
      break_rank: the last rank of the first regime.
      exponents: s1 and s2.
      intervals: 95 % each. The spread of the counts around the law widens them: it is far larger than independent occurrences have.
      log10_scale: log10 of the count that the law gives rank 1: a count is 10^scale r^-s1 up to the break, that times
        (r / break_rank)^(s1 - s2) beyond.
      aic_gain: by how much Akaike's criterion prefers this law to one exponent for all ranks, with the same allowance for the spread.
    """

    break_rank: int
    exponents: tuple[float, float]
    intervals: tuple[tuple[float, float], tuple[float, float]]
    log10_scale: float
    aic_gain: float

    def to_dict(self) -> dict[str, Any]:
        """Return the fit in plain numbers and lists, ready for JSON."""
        return asdict(self) | {"exponents": list(self.exponents), "intervals": [list(each) for each in self.intervals]}


def fit(counts: np.ndarray) -> TwoRegimes | None:
    """Fit falling counts, integers [C]; labels without videos take no rank. None where fewer than 20 have some."""
    counts = counts[counts > 0]
    if len(counts) < 2 * FEWEST_RANKS:
        return None
    breaks = np.unique(np.geomspace(FEWEST_RANKS, len(counts) - FEWEST_RANKS, BREAKS).round().astype(int)).tolist()
    fits, exponents = [], np.ones(2)
    for at in breaks:
        fits.append(_fit(counts, _slopes(len(counts), at), exponents))
        exponents = fits[-1][1]  # the next break is near, and so are its exponents
    best = int(np.argmax([log_likelihood for log_likelihood, *_ in fits]))
    log_likelihood, exponents, information, log_total = fits[best]
    single, *_ = _fit(counts, _slopes(len(counts), None), np.ones(1))
    slopes = _slopes(len(counts), breaks[best])
    expected = counts.sum() * np.exp(-(exponents @ slopes) - log_total)
    spread = dispersion(counts, expected, 3)
    errors = np.sqrt(np.diag(np.linalg.inv(information)) * spread)
    (s1, s2), (e1, e2) = exponents.tolist(), (CONFIDENCE_95 * errors).tolist()
    return TwoRegimes(
        break_rank=breaks[best],
        exponents=(s1, s2),
        intervals=((s1 - e1, s1 + e1), (s2 - e2, s2 + e2)),
        log10_scale=float((np.log(counts.sum()) - log_total) / np.log(10)),
        aic_gain=2 * (log_likelihood - single) / spread - 4,  # two parameters more
    )


def dispersion(counts: np.ndarray, expected: np.ndarray, parameters: int) -> float:
    """How many times the variance of independent occurrences the counts have around the expected ones; 1 or more.

    Pearson's chi-squared by its degrees of freedom (McCullagh and Nelder, "Generalized Linear Models", section 4.5).
    """
    freedom = len(counts) - 1 - parameters
    return max(float(((counts - expected) ** 2 / expected).sum()) / freedom, 1.0) if freedom > 0 else 1.0


def _slopes(num_ranks: int, at: int | None) -> np.ndarray:
    """What each exponent multiplies, float64 [exponents, num_ranks]: -ln p(r) = s @ slopes + constant."""
    log_rank = np.log(np.arange(1, num_ranks + 1))
    if at is None:
        return log_rank[None]
    return np.stack([np.minimum(log_rank, np.log(at)), np.maximum(log_rank - np.log(at), 0)])


def _fit(counts: np.ndarray, slopes: np.ndarray, exponents: np.ndarray) -> tuple[float, np.ndarray, np.ndarray, float]:
    """Maximise the likelihood, which is concave, by Newton's method from some exponents on.

    Returns its logarithm, the exponents, their Fisher information, and ln Z.
    """
    total = counts.sum()
    observed = slopes @ counts / total
    value = _log_partition(exponents, slopes)
    for _ in range(100):
        weights = np.exp(-(exponents @ slopes) - value)
        centred = slopes - (slopes @ weights)[:, None]
        covariance = (centred * weights) @ centred.T
        step = np.linalg.solve(covariance, slopes @ weights - observed)
        while True:  # halve the step until the likelihood does not fall
            trial = exponents + step
            trial_value = _log_partition(trial, slopes)
            if trial @ observed + trial_value <= exponents @ observed + value + 1e-12:
                break
            step = step / 2
        exponents, value = trial, trial_value
        if np.abs(step).max() < 1e-9:
            break
    return float(-total * (exponents @ observed + value)), exponents, total * covariance, value


def _log_partition(exponents: np.ndarray, slopes: np.ndarray) -> float:
    powers = -(exponents @ slopes)
    return float(powers.max() + np.log(np.exp(powers - powers.max()).sum()))
