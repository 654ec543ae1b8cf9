"""Rules that part the videos of a data set: disjoint, and exhaustive."""

import fnmatch
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from yt8m_data import shards
from yt8m_data.errors import DataError

PURPOSE = "split"  # of the hash that fractions go by


@dataclass(frozen=True)
class Splits:
    """Into which split a video goes.

    Attributes:
      names: of the splits.
      fractions: of all videos, by a hash of their ids; empty where files decide.
      patterns: of the shards' file names, for each split but the last, which has the rest; empty where ids decide.
    """

    names: tuple[str, ...]
    fractions: tuple[float, ...] = ()
    patterns: tuple[str, ...] = ()

    def of_ids(self, ids: Sequence[bytes], seed: int) -> np.ndarray:
        """The split of each id, int64 [N]; 0 where files decide."""
        if not self.fractions:
            return np.zeros(len(ids), np.int64)
        places = shards.unit_interval(shards.stable_hash(seed, ids, PURPOSE))
        return np.searchsorted(np.cumsum(self.fractions)[:-1], places, side="right")

    def of_files(self, files: Sequence[str]) -> list[int]:
        """The split of each file; 0 where ids decide.

        Raises:
          DataError: several patterns match a file, or no file is left for one of the splits.
        """
        if not self.patterns:
            return [0] * len(files)
        found = []
        for path in files:
            matches = [number for number, pattern in enumerate(self.patterns) if fnmatch.fnmatchcase(os.path.basename(path), pattern)]
            if len(matches) > 1:
                both = " and ".join(repr(self.names[number]) for number in matches)
                raise DataError(f"{path} would be in the splits {both}: a shard must match one pattern")
            found.append(matches[0] if matches else len(self.patterns))
        for number, name in enumerate(self.names):
            if number not in found:
                what = f"matches {self.patterns[number]!r}" if number < len(self.patterns) else "is left"
                raise DataError(f"no shard {what} for the split {name!r}: look at the patterns and the files")
        return found


def parse(name: str, fractions: Sequence[str], by_name: Sequence[str]) -> Splits:
    """Make the rule of the options `--split NAME=FRACTION` and `--split-by-name NAME=PATTERN`.

    Args:
      name: of the output; of the split that holds the rest, where patterns of shard names make the others.
      fractions, by_name: the options; none for a single split.

    Raises:
      DataError: an option is malformed, a name comes twice, or the fractions do not add up to 1.
    """
    if fractions and by_name:
        raise DataError("--split and --split-by-name exclude one another: videos are parted by their ids or by their shards")
    if by_name:
        pairs = [_pair(text, "--split-by-name heldout='validate???5*'") for text in by_name]
        return Splits(_distinct([*(pair[0] for pair in pairs), name]), patterns=tuple(pair[1] for pair in pairs))
    if not fractions:
        return Splits((name,))
    pairs = [_pair(text, "--split train=0.9") for text in fractions]
    shares = tuple(_fraction(text) for _, text in pairs)
    if abs(sum(shares) - 1) > 1e-9:
        raise DataError(f"the fractions of the splits add up to {sum(shares):g}: they must to 1, so that every video is in one")
    return Splits(_distinct([pair[0] for pair in pairs]), fractions=shares)


def _pair(text: str, example: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    if not name or not value or os.path.basename(name) != name or name.startswith("."):
        raise DataError(f"{text!r} names no split: give one as in {example}")
    return name, value


def _fraction(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 1:
        raise DataError(f"{text!r} is no fraction of the videos: give more than 0, and at most 1")
    return value


def _distinct(names: list[str]) -> tuple[str, ...]:
    [(name, count)] = Counter(names).most_common(1)
    if count > 1:
        raise DataError(f"two splits are called {name!r}: give each a name of its own (--name is that of the rest)")
    return tuple(names)
