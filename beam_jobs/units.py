"""Files as units of work: neighbours are read, spilled and noted together, since a unit costs some milliseconds however little it holds."""

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import apache_beam as beam

from yt8m_data import storage

UNIT_BYTES = 64 << 20  # of files in one unit: they take so long to read that what it costs beside hardly counts
_FULL = 3 / 4  # of it is filled on average, so that few units must be halved
_UNITS = 8  # that each process has, if there are as many files: all are busy to the end


def of_files(step: str, files: Sequence[Any], processes: int) -> list[tuple[str, list[Any]]]:
    """Divide files, tuples of a number, a path, and anything more, among units for so many processes.

    A unit's name tells its first and last number, so a job that is cut otherwise finds it under its name only if it holds the same files.
    """
    parts = cut([storage.size(path) for _, path, *_ in files], _UNITS * processes)
    units = [files[part.start : part.stop] for part in parts]
    return [(f"{step}-{unit[0][0]:06d}-{unit[-1][0]:06d}", list(unit)) for unit in units]


def cut(sizes: Sequence[int], wanted: int) -> list[range]:
    """Cut files of some sizes, in order, into units of at most UNIT_BYTES, or of one file; `wanted` of them, if there are as many files.

    Beam deals units out by number, so there are a multiple of `wanted`, of about as many files each. One of larger files is halved.
    """
    number = min(len(sizes), wanted * max(1, math.ceil(sum(sizes) / (wanted * UNIT_BYTES * _FULL))))
    bounds = [unit * len(sizes) // number for unit in range(number)] + [len(sizes)]
    return [part for start, stop in itertools.pairwise(bounds) for part in _halved(sizes, range(start, stop))]


def _halved(sizes: Sequence[int], files: range) -> Iterator[range]:
    """Halve a unit that is too large, until none is."""
    if len(files) == 1 or sum(sizes[files.start : files.stop]) <= UNIT_BYTES:
        yield files
        return
    middle = (files.start + files.stop) // 2
    yield from _halved(sizes, range(files.start, middle))
    yield from _halved(sizes, range(middle, files.stop))


class Each(beam.DoFn):
    """A list of elements -> what a DoFn gives of each, one after the other."""

    def __init__(self, do: beam.DoFn) -> None:
        self.do = do

    def setup(self) -> None:
        """Set the DoFn up."""
        self.do.setup()

    def teardown(self) -> None:
        """Let the DoFn go."""
        self.do.teardown()

    def process(self, elements: list[Any]) -> Iterator[Any]:
        """Give what the DoFn gives."""
        for element in elements:
            yield from self.do.process(element) or ()
