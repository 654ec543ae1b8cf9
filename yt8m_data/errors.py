"""The errors that a wrong input or a wrong use raises."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass


class DataError(ValueError):
    """One sentence with the value and the mend; the commands print it and exit with status 2."""


@dataclass(frozen=True, order=True)
class BadRecord:
    """A record that cannot be used: where it stands and why."""

    file: str
    index: int  # position in the file, from 0; for lost bytes, that of the first record lost
    offset: int  # bytes from the start of the file to the record's header
    kind: str  # a short word that the books count by: "header", "crc", "truncated", "parse", "size", "label", "not finite"
    reason: str

    def __str__(self) -> str:
        return f"{self.file}: record {self.index} at byte {self.offset}: {self.reason}"


def bad_lines(bad: Iterable[BadRecord]) -> bytes:
    """Format `bad_records.jsonl`."""
    return "".join(json.dumps(asdict(record)) + "\n" for record in sorted(bad)).encode()
