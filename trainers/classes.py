"""A list of classes that narrows a data set: videos of none of them are left out, and a class is its row in the list."""

import csv
import re
from collections.abc import Sequence

import tensorflow as tf

from yt8m_data.errors import DataError


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


def rows(labels: tf.RaggedTensor, classes: Sequence[int]) -> tf.RaggedTensor:
    """Class ids [B, (L)] int64 as rows of the list; ids that are not in it are dropped."""
    found = _rows(labels, classes)
    return tf.cast(tf.ragged.boolean_mask(found, found >= 0), tf.int64)


def listed(labels: tf.RaggedTensor, classes: Sequence[int]) -> tf.RaggedTensor:
    """Which class ids [B, (L)] are in the list: bool [B, (L)]."""
    return _rows(labels, classes) >= 0


def _rows(labels: tf.RaggedTensor, classes: Sequence[int]) -> tf.RaggedTensor:
    """Class ids [B, (L)] as rows of the list, int32, -1 where they are not in it."""
    size = max(classes) + 1
    row_of = tf.scatter_nd(tf.constant(classes)[:, None], tf.range(1, len(classes) + 1), [size]) - 1
    ids = labels.flat_values
    known = (ids >= 0) & (ids < size)
    return labels.with_flat_values(tf.where(known, tf.gather(row_of, tf.where(known, ids, 0)), -1))
