"""Power-law fit of the distribution of label counts, with goodness of fit, by the method of Clauset, Shalizi and Newman.

The share of labels with n videos falls as n^-alpha from some count on: the frequent labels, ranks 1 and on, are the tail of this
distribution. A rank-frequency line of slope -s is alpha = 1 + 1 / s. ("Power-law distributions in empirical data", SIAM Review 51(4), 2009:
equation 3.5 for alpha, 3.3 and 3.9 for the least count and its distance, section 4.1 for the p-value.)

The package `powerlaw` makes the same fit and no p-value; with a fit in some tenths of a second and a hundred of them to make for one, it is
too slow to ask for one by hand.
"""

import functools
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np

FEWEST_LABELS = 10  # in the tail: fewer fit any law
CANDIDATES = 100  # least counts that are tried, evenly spread over the labels' ranks
POINTS = 32  # of a tail, which mostly show that it is far from the law
CONFIDENCE_95 = 1.959964

_TABLE = 4096  # counts above the least one that are drawn from their exact probabilities; beyond, a rounded continuous law is as good
_DIRECT, _STEEP = 12, 0.2  # first terms of the zeta function that are summed one by one where q is small, or alpha large beside it


@dataclass(frozen=True)
class PowerLaw:
    """P(n) ~ n^-alpha over counts n >= min_count.

    Attributes:
      alpha, alpha_error, alpha_interval: maximum likelihood, its standard error, and the 95 % interval of a normal law.
      min_count: the least count that the law holds for, the one that brings the fit nearest to the data.
      num_labels: labels with that many or more: ranks 1 to num_labels.
      rank_exponent: 1 / (alpha - 1), the slope of the rank-frequency line that follows, with the sign turned.
      distance: Kolmogorov-Smirnov distance of fit and data.
      p_value: share of samples of the fitted law that lie further from their own fit than the data do; below 0.1 the law is ruled out.
        None without simulations.
      num_simulations: how many samples that was.
    """

    alpha: float
    alpha_error: float
    alpha_interval: tuple[float, float]
    min_count: int
    num_labels: int
    rank_exponent: float
    distance: float
    p_value: float | None
    num_simulations: int

    def to_dict(self) -> dict[str, Any]:
        """Return the fit in plain numbers, ready for JSON."""
        return asdict(self) | {"alpha_interval": list(self.alpha_interval)}


def fit(label_counts: np.ndarray, num_simulations: int = 0) -> PowerLaw | None:
    """Fit the counts of labels, integers [C]; labels without videos are left out. None where too few labels differ.

    Simulations draw from a generator with a fixed seed: the same counts give the same p-value.
    """
    counts = np.sort(label_counts[label_counts > 0])
    found = _best(counts)
    if found is None:
        return None
    alpha, least, distance = found
    tail = counts[counts >= least]
    error = 1 / np.sqrt(len(tail) * _log_variance(alpha, least))
    random = np.random.Generator(np.random.PCG64(0))
    samples = [_Tails.of(_simulated(counts, alpha, least, random)) for _ in range(num_simulations)]
    further = sum(_lies_further(tails, alphas, least, distance) for tails, alphas in zip(samples, _all_likeliest(samples), strict=True))
    return PowerLaw(
        alpha=alpha,
        alpha_error=float(error),
        alpha_interval=(float(alpha - CONFIDENCE_95 * error), float(alpha + CONFIDENCE_95 * error)),
        min_count=least,
        num_labels=len(tail),
        rank_exponent=1 / (alpha - 1),
        distance=distance,
        p_value=further / num_simulations if num_simulations else None,
        num_simulations=num_simulations,
    )


def log_zeta(alpha: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Logarithm of the Hurwitz zeta function, the sum of (q + k)^-alpha over k = 0, 1, 2 ..., for alpha > 1 and q >= 1.

    Euler-Maclaurin summation (Abramowitz and Stegun, "Handbook of Mathematical Functions", 3.6.28), right to 1e-8 of the value: faster than
    `scipy.special.zeta`, and without its underflow for large alpha.
    """
    alpha, q = np.broadcast_arrays(np.asarray(alpha, np.float64), np.asarray(q, np.float64))
    total = np.log(_scaled_tail(alpha, q))
    steep = (q < _DIRECT) | (alpha > _STEEP * q)
    if steep.any():
        a, b = alpha[steep], q[steep]
        first = np.exp(-a * np.log1p(np.arange(_DIRECT)[:, None] / b)).sum(axis=0)
        rest = np.exp(-a * np.log1p(_DIRECT / b)) * _scaled_tail(a, b + _DIRECT)
        total[steep] = np.log(first + rest)
    return total - alpha * np.log(q)


def _scaled_tail(alpha: np.ndarray, q: np.ndarray) -> np.ndarray:
    """The zeta function times q^alpha, up to terms of alpha^5 / (30240 q^5)."""
    series = q / (alpha - 1) + 0.5 + alpha / (12 * q) - alpha * (alpha + 1) * (alpha + 2) / (720 * q * q * q)
    return np.maximum(series, 0.5)


class _Tails(NamedTuple):
    """The tails of sorted positive counts that a law may hold for.

    `values` are the distinct counts, int64 [V], and `first` is where each begins among the `size` counts. Tails begin at `values[chosen]`;
    the logarithms of their counts have the means `mean_logs`, float64 [T].
    """

    values: np.ndarray
    first: np.ndarray
    size: int
    chosen: np.ndarray
    mean_logs: np.ndarray

    @classmethod
    def of(cls, counts: np.ndarray) -> "_Tails":
        """Find them; none where too few counts differ."""
        values, first = np.unique(counts, return_index=True)
        usable = np.flatnonzero(len(counts) - first[:-1] >= FEWEST_LABELS)  # not the largest count: equal counts have no exponent
        spread = np.linspace(0, first[usable].max(initial=0), CANDIDATES)
        chosen = np.unique(np.searchsorted(first[usable], spread))[: len(usable)]
        sums = np.cumsum(np.log(counts)[::-1])[::-1]
        return cls(values, first, len(counts), chosen, sums[first[chosen]] / (len(counts) - first[chosen]))


def _best(counts: np.ndarray) -> tuple[float, int, float] | None:
    """Alpha, least count and distance of the best fit to sorted positive counts."""
    tails = _Tails.of(counts)
    return min(_fits(tails, _all_likeliest([tails])[0]), key=lambda fitted: fitted[2], default=None)


def _fits(tails: _Tails, alphas: np.ndarray, near: int = 0, enough: float = np.inf) -> Iterator[tuple[float, int, float]]:
    """Alpha, least count and distance of the fits to tails, those with a least count near `near` first.

    Where a few points of a tail show that its distance is `enough` or more, what they show stands for it.
    """
    values, first, size, chosen, _ = tails
    shown = _shown_distances(tails, alphas) if enough < np.inf else np.zeros(len(chosen))
    for i in np.argsort(np.abs(values[chosen] - near), kind="stable").tolist():
        at = chosen[i]
        distance = shown[i] if shown[i] >= enough else _distance(values[at:], first[at:] - first[at], size - first[at], alphas[i])
        yield float(alphas[i]), int(values[at]), float(distance)


def _all_likeliest(samples: Sequence[_Tails]) -> list[np.ndarray]:
    """The likeliest alpha of each tail of each sample, all sought side by side: most of the time goes into calls, not into numbers."""
    if not any(len(tails.chosen) for tails in samples):
        return [np.empty(0)] * len(samples)
    least = np.concatenate([tails.values[tails.chosen] for tails in samples]).astype(np.float64)
    alphas = _likeliest(least, np.concatenate([tails.mean_logs for tails in samples]))
    return np.split(alphas, np.cumsum([len(tails.chosen) for tails in samples])[:-1])


def _likeliest(least: np.ndarray, mean_log: np.ndarray) -> np.ndarray:
    """Alpha for which the mean of ln n over n >= least is the observed one: Newton's method on the logarithm of alpha - 1, side by side."""
    alpha = 1 + 1 / np.maximum(mean_log - np.log(np.maximum(least - 0.5, 0.5)), 1e-6)  # equation 3.7
    for _ in range(12):
        mean, variance = _log_moments(alpha, least)
        step = (mean - mean_log) / (variance * (alpha - 1))
        alpha = 1 + (alpha - 1) * np.exp(np.clip(step, -1, 1))
        if np.abs(step).max() < 1e-10:
            break
    return alpha


def _log_moments(alpha: np.ndarray, least: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of ln n: minus the first and second derivative of ln zeta in alpha, by central differences."""
    h = 1e-4 * (alpha - 1)
    low, middle, high = log_zeta(alpha + np.array([[-1], [0], [1]]) * h, least)
    return (low - high) / (2 * h), np.maximum((low - 2 * middle + high) / h**2, 1e-12)


def _log_variance(alpha: float, least: int) -> float:
    return float(_log_moments(np.array([alpha]), np.array([float(least)]))[1][0])


def _distance(values: np.ndarray, below: np.ndarray, size: int, alpha: float) -> float:
    """Largest gap between the distribution functions of a tail and of the law.

    The tail has `size` counts, of the distinct `values` (the first is the least count of the law), and `below[i]` of them below value i.
    """
    logs = log_zeta(np.array(alpha), np.concatenate((values, values + 1)))
    above = np.exp(logs - logs[0])  # P(n >= value), then P(n > value)
    empirical = 1 - np.concatenate((below, below[1:], [size])) / size
    return float(np.abs(above - empirical).max())


def _shown_distances(tails: _Tails, alphas: np.ndarray) -> np.ndarray:
    """What POINTS values of each tail show of its distance, side by side."""
    values, first, size, chosen, _ = tails
    places = np.linspace(chosen, len(values) - 1, POINTS).astype(np.int64)
    logs = log_zeta(alphas, values[places])
    below = (first[places] - first[chosen]) / (size - first[chosen])
    return np.abs(np.exp(logs - logs[0]) - (1 - below)).max(axis=0)


def _simulated(counts: np.ndarray, alpha: float, least: int, random: np.random.Generator) -> np.ndarray:
    """Draw as many counts, sorted: below the least one as they are, above it from the law."""
    start = int(np.searchsorted(counts, least))
    size = int(random.binomial(len(counts), 1 - start / len(counts)))
    below = random.choice(counts[:start], len(counts) - size) if start else counts[:0]
    return np.sort(np.concatenate((below, sample(alpha, least, size, random))))


def _lies_further(tails: _Tails, alphas: np.ndarray, least: int, distance: float) -> bool:
    """Whether even the best fit to simulated counts is `distance` away; most samples have a nearer one, at about the law's least count."""
    fits = _fits(tails, alphas, least, enough=distance)
    nearest = next(fits, None)
    return nearest is not None and nearest[2] >= distance and all(apart >= distance for _, _, apart in fits)


def sample(alpha: float, least: int, size: int, random: np.random.Generator) -> np.ndarray:
    """Draw from P(n) ~ n^-alpha, n >= least: int64 [size]."""
    above = _table(alpha, least)
    draws = 1 - random.random(size)
    found = least + np.searchsorted(-above, -draws, side="right") - 1
    far = draws <= above[-1]
    continuous = (least + _TABLE - 0.5) * (draws[far] / above[-1]) ** (-1 / (alpha - 1)) + 0.5  # appendix D of the paper
    found[far] = np.floor(np.minimum(continuous, 2.0**62)).astype(np.int64)
    return found


@functools.lru_cache(1)  # a hundred samples are drawn of one law
def _table(alpha: float, least: int) -> np.ndarray:
    """P(n >= least + k) for k = 0 .. _TABLE, float64."""
    logs = log_zeta(np.array(alpha), least + np.arange(_TABLE + 1))
    above: np.ndarray = np.exp(logs - logs[0])
    return above
