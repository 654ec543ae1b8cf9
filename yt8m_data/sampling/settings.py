"""What the user chose: the policy, the methods and their parameters."""

import csv
import math
from dataclasses import dataclass
from typing import Literal, get_args

from yt8m_data.errors import DataError

Policy = Literal["paper", "authors", "target", "joint", "ml-ros", "ml-rus", "remedial", "auto"]
Method = Literal["interpolate", "extrapolate", "noise", "copy", "delta"]
LabelRule = Literal["base", "intersection", "union", "ranking", "soft"]
POLICIES, METHODS, LABEL_RULES = get_args(Policy), get_args(Method), get_args(LabelRule)

PAIRED = ("interpolate", "extrapolate")  # the methods that need a neighbour from the pool
DECOUPLE = "decouple"  # how the policy `remedial` makes its copies; no method to choose

_SHAPED = ("cap", "floor", "power", "effective", "targets", "max_copies")  # options of the policies that have targets
_NEUTRAL = {"power": 1.0, "targets": ()}
_OF_SYNTHETIC = {"lambdas": (0.5, 0.5), "sigma": 0.03, "labels": "base", "neighbors": None, "hold": ()}


@dataclass(frozen=True)
class Settings:
    """What the user chose.

    Attributes:
      threshold: the count between the regimes; None scales the paper's 10,000 with the number of records.
      methods: what is made with each neighbour, in this order; none with `auto`.
      lambdas: the factor is drawn from this range; equal ends fix it.
      sigma: standard deviation of the noise.
      labels: what a synthetic video is labelled with; see `synthetic_labels`.
      hold: features that are copied from the base instead of moved.
      neighbors: K, instead of the policy's own.
      cap, floor, power, effective, targets: shape the targets of `target` and `joint`; see `targets.shape`.
      max_copies: with those, synthetic videos of one video at most.
      percent: of the records with labels, how many `ml-ros` adds or `ml-rus` drops.
      deltas: how many deltas the method `delta` draws from, or the policy `auto` makes.

    Raises:
      DataError: a setting is out of its range, or belongs to another policy.
    """

    policy: Policy = "paper"
    threshold: float | None = None
    methods: tuple[Method, ...] = ("interpolate", "extrapolate")
    lambdas: tuple[float, float] = (0.5, 0.5)
    sigma: float = 0.03
    labels: LabelRule = "base"
    hold: tuple[str, ...] = ()
    neighbors: int | None = None
    cap: float | None = None
    floor: float | None = None
    power: float = 1.0
    effective: float | None = None
    targets: tuple[tuple[int, float], ...] = ()
    max_copies: float | None = None
    percent: float | None = None
    deltas: int = 16_384
    seed: int = 0

    def __post_init__(self) -> None:
        low, high = self.lambdas
        if self.policy not in POLICIES:
            raise DataError(f"there is no policy {self.policy!r}: choose one of {', '.join(POLICIES)}")
        if (not self.methods and self.policy != "auto") or set(self.methods) - set(METHODS) or len(set(self.methods)) < len(self.methods):
            raise DataError(f"the methods {', '.join(self.methods) or '(none)'} are not a subset of {', '.join(METHODS)}")
        if not 0 <= low <= high or not math.isfinite(high):
            raise DataError(f"lambda {low}:{high} is no range of factors from 0 up: give one number, or low:high")
        if self.threshold is not None and not 0 < self.threshold < math.inf:
            raise DataError(f"the threshold {self.threshold:g} is not a number above 0")
        for name in ("sigma", "cap", "floor", "power", "max_copies"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < math.inf:
                raise DataError(f"the {name.replace('_', '-')} {value:g} is not a number from 0 up")
        if not -(2**63) <= self.seed < 2**63:
            raise DataError(f"the seed {self.seed} does not fit 64 bits")
        if self.labels not in LABEL_RULES:
            raise DataError(f"there is no label rule {self.labels!r}: choose one of {', '.join(LABEL_RULES)}")
        if self.neighbors is not None and self.neighbors < 1:
            raise DataError(f"{self.neighbors} neighbors are none: give 1 or more")
        if self.deltas < 1:
            raise DataError(f"{self.deltas} deltas are none: give 1 or more")
        self._check_targets()
        self._check_percent()
        self._check_auto()

    def _check_targets(self) -> None:
        given = [name for name in _SHAPED if getattr(self, name) != _NEUTRAL.get(name)]
        if self.policy not in ("target", "joint"):
            if given:
                options = "--cap, --floor, --power, --effective, --targets and --max-copies"
                raise DataError(f"{options} belong to --policy target and joint, not {self.policy}")
            return
        if not set(given) - {"max_copies"}:
            raise DataError(f"--policy {self.policy} needs one of --cap, --floor, --power, --effective and --targets")
        if self.effective is not None and not 0 <= self.effective < 1:
            raise DataError(f"the effective {self.effective:g} is not a beta from 0 to below 1, such as 0.999")
        if self.effective is not None and self.power != 1.0:
            raise DataError("--power and --effective both bend the law: give one of them")
        if self.cap is not None and self.floor is not None and self.floor > self.cap:
            raise DataError(f"the floor {self.floor:g} is above the cap {self.cap:g}")

    def _check_percent(self) -> None:
        resamples = self.policy in ("ml-ros", "ml-rus")
        if resamples and self.percent is None:
            raise DataError(f"--policy {self.policy} needs --percent, how much of the records it {_VERBS[self.policy]}: 10 or 25, say")
        if self.percent is not None and not resamples:
            raise DataError(f"--percent belongs to --policy ml-ros and ml-rus, not {self.policy}")
        if self.percent is not None and not (0 < self.percent < math.inf and (self.percent <= 100 or self.policy == "ml-ros")):
            raise DataError(f"--policy {self.policy} cannot have {self.percent:g} percent: give more than 0, such as 10")

    def _check_auto(self) -> None:
        if self.policy == "auto" and (self.methods, *(getattr(self, name) for name in _OF_SYNTHETIC)) != ((), *_OF_SYNTHETIC.values()):
            options = "--method, --lambda, --sigma, --labels, --neighbors and --hold"
            raise DataError(f"--policy auto makes no synthetic videos, so {options} would do nothing: leave them out")

    @property
    def paired(self) -> bool:
        """Whether neighbours are sought: for a method, or to vote on labels."""
        return bool(set(self.methods) & set(PAIRED)) or self.labels == "ranking"


_VERBS = {"ml-ros": "adds", "ml-rus": "drops"}


def parse_threshold(text: str) -> float | None:
    """Read "auto" (None) or a positive number."""
    return None if text == "auto" else _number(text, "threshold")


def parse_range(text: str) -> tuple[float, float]:
    """Read a number, or a range as in "0.2:0.8"."""
    low, _, high = text.partition(":")
    return _number(low, "lambda"), _number(high or low, "lambda")


def read_targets(path: str) -> tuple[tuple[int, float], ...]:
    """Read a CSV with the columns `Index` and `Target`: the counts to aim at, of some labels.

    Raises:
      DataError: no such file or columns, a cell that is no number, or a label that comes twice.
    """
    try:
        with open(path, encoding="utf-8-sig", newline="") as stream:
            rows = list(csv.DictReader(stream))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"the targets {path} cannot be read: {error}") from None
    found: dict[int, float] = {}
    for row in rows:
        label, target = row.get("Index") or "", row.get("Target") or ""
        if not label.strip().isdecimal():
            raise DataError(f"the targets {path} have {label!r} for a label: give a CSV with the columns Index and Target")
        value = _number(target, f"target of label {label.strip()} in {path}")
        if not 0 <= value < math.inf:
            raise DataError(f"the target {value:g} of label {label.strip()} in {path} is not a number from 0 up")
        if int(label) in found:
            raise DataError(f"the targets {path} have label {int(label)} twice: leave one out")
        found[int(label)] = value
    if not found:
        raise DataError(f"the targets {path} are empty: give a CSV with the columns Index and Target")
    return tuple(sorted(found.items()))


def _number(text: str, name: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise DataError(f"the {name} {text!r} is not a number") from None
