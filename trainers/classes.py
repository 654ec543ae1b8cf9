"""Class ids as rows of the list of classes that narrows a data set (`yt8m_data.classes`)."""

from collections.abc import Sequence

import tensorflow as tf


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
