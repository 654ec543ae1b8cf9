"""In which order videos come: file after file, or files side by side and their videos shuffled, a function of the seed alone."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import TypeVar

import numpy as np

from trainers.batch import Batch, Filling
from trainers.recipe import DataSchema, Frames
from trainers.videos import FILL, Clips, Rows, Vectors, Videos, row_shapes, widened

T = TypeVar("T")

_DRAINED = 512  # videos that a shuffle gives at a time, when nothing more comes in


def endless(
    files: Sequence[str],
    read: Callable[[Sequence[str], int], Iterator[Videos]],
    shuffle: "Shuffle",
    seed: int,
    together: int,
    first_epoch: int,
) -> Iterator[Videos]:
    """Epoch after epoch, each of all videos once: the files in an order of their own, so many side by side, and their videos shuffled.

    Args:
      read: the videos of some files, given the epoch.
    """
    for epoch in count(first_epoch):
        rng = np.random.default_rng([seed % 2**64, epoch])
        ordered = [files[i] for i in rng.permutation(len(files))]
        sources = [read(ordered[k::together], epoch) for k in range(together)]
        yield from shuffle(ahead(in_turn(sources), 1), rng)


def in_turn(sources: Sequence[Iterator[Videos]]) -> Iterator[Videos]:
    """What the sources give, each in its turn, until the last has come to its end."""
    while sources:
        going = []
        for source in sources:
            if (found := next(source, None)) is not None:
                yield found
                going.append(source)
        sources = going


class Shuffle:
    """Memory for `size` videos: each stays until a random one of those that come takes its place."""

    def __init__(self, data: DataSchema, frames: Frames, size: int) -> None:
        self._size, self._columns = size, dict[str, np.ndarray]()
        self._features = {name: np.empty((size, *shape), np.uint8) for name, shape in row_shapes(data, frames).items()}

    def __call__(self, given: Iterable[Videos], rng: np.random.Generator) -> Iterator[Videos]:
        """As many videos as are given, in another order."""
        filled = 0
        for chunk in given:
            for start in range(0, len(chunk), self._size):
                piece = chunk.take(slice(start, start + self._size))
                if filled < self._size:
                    first = piece.take(slice(self._size - filled))
                    self._put(slice(filled, filled + len(first)), first)
                    filled, piece = filled + len(first), piece.take(slice(self._size - filled, None))
                if len(piece):
                    places = rng.choice(self._size, len(piece), replace=False)
                    yield self._at(places)
                    self._put(places, piece)
        places = rng.permutation(filled)
        for start in range(0, filled, _DRAINED):
            yield self._at(places[start : start + _DRAINED])

    def _put(self, places: Rows, videos: Videos) -> None:
        for name, column in videos.columns.items():
            if name not in self._columns:
                self._columns[name] = np.empty((self._size, *column.shape[1:]), column.dtype)
            held = self._columns[name]
            if name in FILL:
                held = self._columns[name] = widened(name, held, column.shape[1])
                column = widened(name, column, held.shape[1])
            held[places] = column
        for name, feature in videos.features.items():
            feature.copy_to(self._features[name], places)

    def _at(self, places: np.ndarray) -> Videos:
        columns = {name: column[places] for name, column in self._columns.items()}
        if "num_frames" not in columns:
            return Videos(columns, {name: Vectors(held, places) for name, held in self._features.items()})
        lengths = list(zip(places.tolist(), columns["num_frames"].tolist(), strict=True))
        return Videos(columns, {name: Clips([held[place, :n] for place, n in lengths]) for name, held in self._features.items()})


def batched(given: Iterable[Sequence[Videos]], filling: Callable[[], Filling], skip: int = 0, rest: bool = False) -> Iterator[Batch]:
    """Full batches of what comes behind the first `skip` videos; and, with `rest`, one of what is left.

    Args:
      given: the same videos several times, each with other frames; so do their batches come, one behind the other.
      filling: makes a batch to be filled.
    """
    batches: list[Filling] = []
    for versions in given:
        start, end = min(skip, len(versions[0])), len(versions[0])
        skip -= start
        while start < end:
            batches = batches or [filling() for _ in versions]
            rows = slice(start, start + batches[0].room)
            for batch, videos in zip(batches, versions, strict=True):
                batch.add(videos.take(rows))
            start = min(rows.stop, end)
            if not batches[0].room:
                yield from (batch.done() for batch in batches)
                batches = []
    if rest:
        yield from (batch.done() for batch in batches)


def ahead(given: Iterable[T], number: int = 2) -> Iterator[T]:
    """What is given, so much of it made on a thread of its own while what came before is used."""
    source = iter(given)
    with ThreadPoolExecutor(1) as thread:
        waiting = deque(thread.submit(next, source, None) for _ in range(number))
        while (found := waiting.popleft().result()) is not None:
            waiting.append(thread.submit(next, source, None))
            yield found
