"""How fast the input pipeline feeds a training, beside how fast the disk gives the same files."""

import os
import time
from collections.abc import Callable, Iterator, Sequence

from trainers.inputs import layout, training_batches
from trainers.recipe import Frames
from yt8m_data.heads import LocalFile, scan
from yt8m_data.shards import expand

_READ_BYTES = 8 << 20
_ENDLESS = 1 << 40  # records of an epoch, where nothing depends on their number


def bench_input(data: Sequence[str], batch_size: int = 256, frames: int | None = None, seconds: float = 10.0) -> dict[str, float | int]:
    """Read shards as `fit` does, shuffled and in batches, without a model.

    Both measurements begin with files that are not in the page cache, as far as the system allows it.

    Args:
      data: patterns of shards.
      batch_size: of a step.
      frames: drawn of each video at random; None takes all, padded to the longest of the batch.
      seconds: to read for, after the first batch, which waits for the shuffle to fill.

    Returns:
      `records_per_second`, `megabytes_per_second` (of the files), `disk_megabytes_per_second` of a bare read of the same files, one after
      the other, `share_of_disk`, and `seconds_to_first_batch`.

    Raises:
      DataError: no such file, or one that cannot be read.
    """
    files = expand(data)
    found = layout(files)
    with LocalFile(files[0]) as first:
        bytes_per_record = first.size / max(1, sum(len(block) for block in scan(first)))
    disk = _rate(_reads(files), seconds)

    drawn = Frames(sample="random", count=frames) if frames else Frames()
    for path in files:
        _drop(path)
    begun = time.perf_counter()
    batches = training_batches(files, found, _ENDLESS, batch_size, seed=0, frames=drawn)
    next(batches)
    waited = time.perf_counter() - begun
    records = _rate((len(batch["id"]) for batch in batches), seconds)
    return {
        "records_per_second": round(records),
        "megabytes_per_second": round(records * bytes_per_record / 1e6, 1),
        "disk_megabytes_per_second": round(disk / 1e6, 1),
        "share_of_disk": round(records * bytes_per_record / disk, 3),
        "seconds_to_first_batch": round(waited, 2),
    }


def _rate(amounts: Iterator[int], seconds: float, now: Callable[[], float] = time.perf_counter) -> float:
    """How much comes in a second, over some seconds or to the end."""
    begun, total = now(), 0
    for amount in amounts:
        total += amount
        if now() - begun >= seconds:
            break
    return total / (now() - begun)


def _reads(files: Sequence[str]) -> Iterator[int]:
    """Read files whole; the bytes of each read."""
    buffer = bytearray(_READ_BYTES)
    for path in files:
        _drop(path)
        with open(path, "rb", buffering=0) as stream:
            while count := stream.readinto(buffer):
                yield count


def _drop(path: str) -> None:
    """Take a file out of the page cache, where the system can."""
    if hasattr(os, "posix_fadvise"):
        file = os.open(path, os.O_RDONLY)
        try:
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(file)
