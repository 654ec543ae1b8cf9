"""In which order videos come: file after file, or files side by side and their videos shuffled, a function of the seed alone."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import TypeVar

import numpy as np

from trainers.batch import Batch, Shelf
from trainers.videos import Videos

T = TypeVar("T")

_HELD = 3  # batches that are held behind the one that is asked for


def endless(
    files: Sequence[str], read: Callable[[Sequence[str], int], Iterator[T]], seed: int, together: int, first_epoch: int
) -> Iterator[T]:
    """Epoch after epoch, each of all that is read once: the files in an order of their own, so many side by side.

    Args:
      read: what is in some files, given the epoch.
    """
    for epoch in count(first_epoch):
        ordered = [files[i] for i in np.random.default_rng([seed % 2**64, epoch]).permutation(len(files))]
        yield from in_turn([read(ordered[k::together], epoch) for k in range(together)])


def behind(given: Iterable[Videos], skip: int) -> Iterator[Videos]:
    """What comes behind the first `skip` videos."""
    for videos in given:
        if skip < len(videos):
            yield videos.take(slice(skip, None)) if skip else videos
        skip = max(0, skip - len(videos))


def in_turn(sources: Sequence[Iterator[T]]) -> Iterator[T]:
    """What the sources give, each in its turn, until the last has come to its end."""
    while sources:
        going = []
        for source in sources:
            if (found := next(source, None)) is not None:
                yield found
                going.append(source)
        sources = going


def shuffled_rows(size: int, num_records: int, seed: int, start: int) -> Iterator[np.ndarray]:
    """Of each shelf of `size` rows, which row each video that comes takes: int64 [size]; of the first shelf, those from video `start` on.

    Within a shelf the videos of an epoch, `num_records`, are shuffled among each other alone, so that each epoch has its own rows.
    """
    first, missing = divmod(start, size)
    for number in count(first):
        rng, rows = np.random.default_rng([seed % 2**64, number, 1]), np.arange(size)
        for part in np.split(rows, range(-number * size % num_records, size, num_records)):
            rng.shuffle(part)
        yield rows[missing:]
        missing = 0


def filled(given: Iterable[Sequence[Videos]], shelf: Callable[[], Shelf], rows: Iterator[np.ndarray]) -> Iterator[list[Shelf]]:
    """Shelves full of videos, but for the last ones.

    Args:
      given: the same videos several times, each with other frames; so there are several shelves of the same videos.
      shelf: makes one.
      rows: of each shelf, which videos take, as they come.
    """
    shelves, free = list[Shelf](), np.arange(0)
    for versions in given:
        start, end = 0, len(versions[0])
        while start < end:
            if not shelves:
                shelves, free = [shelf() for _ in versions], next(rows)
            taken, free = np.split(free, [end - start])
            some = slice(start, start + len(taken))
            for own, videos in zip(shelves, versions, strict=True):
                own.put(taken, videos.take(some))
            start = some.stop
            if not len(free):
                yield shelves
                shelves = []
    if shelves:
        yield shelves


def batches(given: Iterator[list[Shelf]]) -> Iterator[Batch]:
    """The batches of shelves, of those that go together in turn; while they are used, the next ones are filled on a thread.

    That begins when some of many are used, so that the memory of the ones before is free.
    """
    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(next, given, None)
        while shelves := waiting.result():
            number = len(shelves[0])
            for at in range(number):
                if at == min(_HELD, number // 8):
                    waiting = thread.submit(next, given, None)
                yield from [shelf.batch(at) for shelf in shelves]
