"""A list of classes that narrows a data set: videos of none of them are left out, and a class is its row in the list."""

import csv
import re
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from yt8m_data.errors import DataError
from yt8m_data.schema import SEGMENTS


def read(path: str, num_classes: int) -> tuple[int, ...]:
    """Read a list of class ids: the column `Index` of a CSV, as in the vocabulary of the segments, or a text file with one id a line.

    Args:
      num_classes: of the records; ids are below it.

    Raises:
      DataError: no such file, no ids, a line that is none, one that is given twice or one that is no class of the records.
    """
    try:
        with open(path, encoding="utf-8-sig", newline="") as stream:
            lines = [line for line in csv.reader(stream) if line]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"the list of classes {path} cannot be read: {error}") from None
    column = 0
    if lines and "Index" in lines[0]:
        column = lines.pop(0).index("Index")
    ids: dict[int, None] = {}
    for line in lines:
        cell = line[column] if column < len(line) else ""
        if not re.fullmatch(r"\s*[0-9]+\s*", cell):
            raise DataError(f"the list of classes {path} has {cell!r} for an id: give a CSV with a column 'Index', or one number a line")
        if int(cell) >= num_classes:
            raise DataError(f"the list of classes {path} has {int(cell)}, but the records' classes end at {num_classes - 1}: leave it out")
        if int(cell) in ids:
            raise DataError(f"the list of classes {path} has {int(cell)} twice: leave one out")
        ids[int(cell)] = None
    if not ids:
        raise DataError(f"the list of classes {path} is empty: give one id a line")
    return tuple(ids)


def rows_of(classes: Sequence[int], num_classes: int) -> np.ndarray:
    """The row of each class 0..num_classes-1 in the list, int64 [num_classes]; -1 for a class that is not in it."""
    rows = np.full(num_classes, -1)
    rows[list(classes)] = np.arange(len(classes))
    return rows


def reindex(lists: pa.ListArray, rows: np.ndarray) -> tuple[pa.ListArray, np.ndarray]:
    """Replace the classes of each list by their `rows`, and drop those that have none.

    Returns the lists, and which of their flattened values were kept (bool), to cut lists that run parallel.
    """
    found = rows[lists.flatten().to_numpy()]
    return filter_lists(lists, found >= 0, pa.array(found[found >= 0], lists.type.value_type)), found >= 0


def filter_lists(lists: pa.ListArray, kept: np.ndarray, values: pa.Array | None = None) -> pa.ListArray:
    """Keep those flattened values of the lists that `kept` (bool) marks; `values` replaces what remains. A null list is an empty one."""
    ends = np.cumsum(lists.value_lengths().fill_null(0).to_numpy())
    offsets = np.concatenate(([0], np.concatenate(([0], np.cumsum(kept)))[ends])).astype(np.int32)
    if values is None:
        values = lists.flatten().filter(pa.array(kept))
    return pa.ListArray.from_arrays(pa.array(offsets), values, type=lists.type)


def narrow(batch: pa.RecordBatch, rows: np.ndarray) -> pa.RecordBatch:
    """Re-index the labels of a batch by `rows`, those of its segments too, and leave out the videos that have none left."""
    labels, _ = reindex(batch.column("labels"), rows)
    some = labels.value_lengths().to_numpy() > 0
    batch = batch.set_column(batch.schema.get_field_index("labels"), batch.schema.field("labels"), labels)
    if "segment_labels" in batch.schema.names:
        old = batch.column("segment_labels")
        lists, kept = reindex(old, rows)
        some |= lists.value_lengths().to_numpy() > 0
        absent = old.is_null()
        for name in (name for name in SEGMENTS.names if name in batch.schema.names):
            cut = lists if name == "segment_labels" else filter_lists(batch.column(name), kept)
            place = batch.schema.get_field_index(name)
            batch = batch.set_column(place, batch.schema.field(name), pc.if_else(absent, pa.scalar(None, cut.type), cut))
    return batch if some.all() else batch.filter(pa.array(some))
