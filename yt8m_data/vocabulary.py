"""Class names, from a vocabulary file such as YouTube-8M's `vocabulary.csv`."""

import csv

from yt8m_data.errors import DataError


def read(path: str) -> dict[int, str]:
    """Read the class names by number, from a CSV with the columns `Index` and `Name`.

    Raises:
      DataError: the file is missing, lacks a column, or its numbers are not 0, 1, 2 and so on.
    """
    return {i: row["Name"] or f"class {i}" for i, row in _rows(path, "Name").items()}


def read_verticals(path: str) -> dict[int, str]:
    """Read the vertical of each class by number, from the columns `Index` and `Vertical1`; a class without one has "".

    Raises:
      DataError: as `read` does.
    """
    return {i: row["Vertical1"] or "" for i, row in _rows(path, "Vertical1").items()}


def _rows(path: str, column: str) -> dict[int, dict[str, str]]:
    try:
        with open(path, encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"the vocabulary {path} cannot be read: {error}") from None
    if not rows or not {"Index", column} <= rows[0].keys():
        raise DataError(f"the vocabulary {path} lacks the columns 'Index' and {column!r}")
    numbered = {row["Index"]: row for row in rows}
    if set(numbered) != {str(i) for i in range(len(rows))}:
        raise DataError(f"the vocabulary {path} does not number its {len(rows)} classes from 0 to {len(rows) - 1}")
    return {i: numbered[str(i)] for i in range(len(rows))}
