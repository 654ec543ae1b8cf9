"""Class names, from a vocabulary file such as YouTube-8M's `vocabulary.csv`."""

import csv

from yt8m_data.errors import DataError


def read(path: str) -> dict[int, str]:
    """Read the class names by number, from a CSV with the columns `Index` and `Name`.

    Raises:
      DataError: the file is missing, lacks a column, or its numbers are not 0, 1, 2 and so on.
    """
    try:
        with open(path, encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"the vocabulary {path} cannot be read: {error}") from None
    if not rows or not {"Index", "Name"} <= rows[0].keys():
        raise DataError(f"the vocabulary {path} lacks the columns 'Index' and 'Name'")
    names = {row["Index"]: row["Name"] for row in rows}
    if set(names) != {str(i) for i in range(len(rows))}:
        raise DataError(f"the vocabulary {path} does not number its {len(rows)} classes from 0 to {len(rows) - 1}")
    return {i: names[str(i)] or f"class {i}" for i in range(len(rows))}
