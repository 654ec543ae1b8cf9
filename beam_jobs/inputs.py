"""What every job asks of its input before it starts."""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

from yt8m_data import gzipped, shards, storage, tfrecord
from yt8m_data import schema as schemas
from yt8m_data.errors import BadRecord, DataError
from yt8m_data.schema import Schema


@dataclass(frozen=True)
class Input:
    """The shards of a job.

    Attributes:
      files: sorted; a record's place in the input is that of its file, then its own.
      schema: what their records hold.
      skip_bad, max_bad_fraction: whether bad records are passed over, and how many may be before the input counts as rotten.
    """

    files: list[str]
    schema: Schema
    skip_bad: bool = False
    max_bad_fraction: float = 0.001

    @property
    def bytes(self) -> int:
        """The size of all files."""
        return sum(storage.size(path) for path in self.files)

    @property
    def estimated_records(self) -> int | None:
        """The number of records, judged by the size of the first ones; None where these cannot be read."""
        first = next(path for path in self.files if storage.size(path))
        with storage.open_read(first) as stream:
            block = next(tfrecord.read(stream, first))
            size = sum(map(gzipped.content_bytes, self.files))
            return round(size * len(block) / len(block.data)) if len(block) else None

    def check_bad(self, bad: Sequence[BadRecord], good: int) -> None:
        """Refuse a rotten input.

        Raises:
          DataError: more than `max_bad_fraction` of the records are bad; or one is, where none may be.
        """
        total = len(bad) + good
        if bad and not self.skip_bad:  # a killed run skipped it
            raise DataError(f"{min(bad)} (--on-bad-record skip leaves such records out)")
        if len(bad) > self.max_bad_fraction * total:
            limit = f"--max-bad-fraction {self.max_bad_fraction:g}"
            raise DataError(f"{len(bad)} of {total} records are bad, more than {limit} allows; the first is {min(bad)}")


def open_input(
    patterns: Sequence[str],
    num_classes: int | None = None,
    skip_bad: bool = False,
    max_bad_fraction: float = 0.001,
    extras: bool = False,
) -> Input:
    """Find the files and read the schema off the first one that has records, with `extras` for all that they hold.

    Raises:
      DataError: a pattern matches nothing, or the records are none that we know.
    """
    files = shards.expand(patterns)
    filled = [path for path in files if storage.size(path)]
    if not filled:
        raise DataError(f"all {len(files)} files that match are empty, such as {files[0]}")
    return Input(files, _sniff(filled, num_classes, skip_bad, extras), skip_bad, max_bad_fraction)


def _sniff(files: list[str], num_classes: int | None, skip_bad: bool, extras: bool) -> Schema:
    """Read the schema off the first file; off the first readable one, where bad records are passed over."""
    for path in files[:-1] if skip_bad else []:
        with contextlib.suppress(DataError):
            return schemas.sniff(path, num_classes, extras)
    return schemas.sniff(files[-1] if skip_bad else files[0], num_classes, extras)
