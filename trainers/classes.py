"""Class ids as rows of the list of classes that narrows a data set (`yt8m_data.classes`)."""

from collections.abc import Sequence

import tensorflow as tf


def rows(labels: tf.RaggedTensor, classes: Sequence[int]) -> tf.RaggedTensor:
    """Class ids [B, (L)] int64 as rows of the list; ids that are not in it are dropped."""
    found = row_numbers(labels.flat_values, classes)
    return tf.ragged.boolean_mask(labels.with_flat_values(found), labels.with_flat_values(found >= 0))


def listed(labels: tf.RaggedTensor, classes: Sequence[int]) -> tf.RaggedTensor:
    """Which class ids [B, (L)] are in the list: bool [B, (L)]."""
    return labels.with_flat_values(row_numbers(labels.flat_values, classes) >= 0)


def row_numbers(ids: tf.Tensor, classes: Sequence[int]) -> tf.Tensor:
    """Class ids [N] int64 as rows of the list [N] int64, or -1 for those that are not in it."""
    size = max(classes) + 1
    row_of = tf.scatter_nd(tf.constant(classes)[:, None], tf.range(1, len(classes) + 1), [size]) - 1
    known = (ids >= 0) & (ids < size)
    return tf.cast(tf.where(known, tf.gather(row_of, tf.where(known, ids, 0)), -1), tf.int64)
