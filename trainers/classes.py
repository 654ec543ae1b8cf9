"""Class ids as rows of the list of classes that narrows a data set (`yt8m_data.classes`)."""

from collections.abc import Sequence

import tensorflow as tf


def rows(labels: tf.RaggedTensor, classes: Sequence[int]) -> tf.RaggedTensor:
    """Class ids [B, (L)] int64 as rows of the list; ids that are not in it are dropped."""
    size = max(classes) + 1
    row_of = tf.scatter_nd(tf.constant(classes)[:, None], tf.range(1, len(classes) + 1), [size]) - 1
    ids = labels.flat_values
    known = (ids >= 0) & (ids < size)
    found = tf.where(known, tf.gather(row_of, tf.where(known, ids, 0)), -1)
    return tf.cast(tf.ragged.boolean_mask(labels.with_flat_values(found), labels.with_flat_values(found >= 0)), tf.int64)
