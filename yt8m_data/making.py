"""Video-level records made by recipes: encoded some at a time while they are in the cache, and summed up on the way."""

import importlib.util
from collections.abc import Callable, Iterator
from typing import Protocol

from yt8m_data.encoding import encode_with
from yt8m_data.recipes import Made
from yt8m_data.sums import Passing, Sums
from yt8m_data.tfrecord import Framed


class Making(Protocol):
    """Makes some videos."""

    def records(self) -> Iterator[Framed]:
        """Encode the videos, some at a time; each is gone when the next are asked for."""

    def sums(self) -> dict[str, Sums] | None:
        """Return the sums of the vectors of each feature when all are made; None where only a look at all of them will do."""


class Plain:
    """Makes videos by NumPy."""

    def __init__(self, videos: Made) -> None:
        self._videos, self._passing = videos, Passing({feature.name: feature.size for feature in videos.schema.features})

    def records(self) -> Iterator[Framed]:
        """Encode the videos, as `Making` has it."""
        return encode_with(self._videos.heads, self._passing.watch(self._videos.vectors()), self._videos.schema)

    def sums(self) -> dict[str, Sums] | None:
        """Return the sums, as `Making` has it."""
        return self._passing.sums()


def compiled() -> Callable[[Made], Making]:
    """Return what makes videos by compiled loops where that can be; importing `numba` takes a third of a second."""
    if importlib.util.find_spec("numba") is None:
        return Plain
    from yt8m_data import compiled_rows

    room = compiled_rows.Room()
    return lambda videos: compiled_rows.Compiled(videos, room) if compiled_rows.serves(videos) else Plain(videos)
