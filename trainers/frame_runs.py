"""Frames cut out of serialized tf.SequenceExamples as runs of bytes, where every writer in use lays them out alike.

A FeatureList of N frames of one size is N times the same header and so many bytes (see `yt8m_data.wire`): a matrix with a few columns too
many. TensorFlow's parser makes a string of each frame instead, 600 for a video. All is of TensorFlow's operations, so an exported model
can hold it.
"""

from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from yt8m_data.wire import FIELD_1, FIELD_2, frame_header

_LENGTH_BYTES = 5  # of a field's length at most


def cut(records: tf.Tensor, sizes: Mapping[str, int], max_frames: int) -> tuple[tf.Tensor, tf.Tensor, dict[str, tf.Tensor]]:
    """Cut the frames of all features out of records, up to the longest of them.

    Args:
      records: [B] string.
      sizes: of each feature's frames, in bytes.
      max_frames: the rest of a video is left out.

    Returns:
      Whether all records are laid out as usual, and have as many frames, one at least, of each feature; where they are not, all else means
      nothing. The frames of each video, [B] int32; and of each feature uint8 [B, T, size], with zeros behind them.
    """
    ends = tf.strings.length(records)
    usual = tf.ones_like(ends, tf.bool)
    _, pos, usual = _field(records, ends, tf.zeros_like(ends), FIELD_1, usual)
    pos, end, usual = _field(records, ends, pos, FIELD_2, usual)
    usual &= end == ends
    starts, lengths, found = ({name: tf.zeros_like(ends) for name in sizes} for _ in range(3))
    for _ in sizes:
        entry, entry_end, usual = _field(records, ends, pos, FIELD_1, usual)
        key, key_end, usual = _field(records, ends, entry, FIELD_1, usual)
        value, value_end, usual = _field(records, ends, key_end, FIELD_2, usual)
        usual &= value_end == entry_end
        name_here = tf.strings.substr(records, key, key_end - key)
        for name in sizes:
            here = tf.cast(name_here == name, tf.int32)
            starts[name] += here * value
            lengths[name] += here * (value_end - value)
            found[name] += here
        pos = entry_end
    usual &= pos == ends

    strides = {name: len(frame_header(size)) + size for name, size in sizes.items()}
    first = next(iter(sizes))
    num_frames = lengths[first] // strides[first]
    for name in sizes:
        usual &= (found[name] == 1) & (lengths[name] == num_frames * strides[name])
    usual &= num_frames > 0
    num_frames = tf.ensure_shape(tf.where(usual, tf.minimum(num_frames, max_frames), 0), records.shape)
    longest = tf.maximum(1, tf.reduce_max(num_frames))
    real = tf.sequence_mask(num_frames, longest)
    frames = {}
    for name, size in sizes.items():
        start = tf.ensure_shape(tf.where(num_frames > 0, starts[name], 0), records.shape)
        run = tf.strings.substr(records, start, num_frames * strides[name])
        rows = tf.reshape(tf.io.decode_raw(run, tf.uint8, fixed_length=longest * strides[name]), [-1, longest, strides[name]])
        header = np.frombuffer(frame_header(size), np.uint8)
        same = tf.reduce_all(rows[:, :, : len(header)] == header, axis=2)
        usual &= tf.reduce_all(same | ~real, axis=1)
        frames[name] = rows[:, :, len(header) :]
    return tf.reduce_all(usual), num_frames, frames


def _field(records: tf.Tensor, ends: tf.Tensor, pos: tf.Tensor, tag: int, usual: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Where the payload of the length-delimited field at `pos` [B] starts and ends, within `ends`; `usual` where that is such a field."""
    head = tf.strings.substr(records, pos, tf.fill(tf.shape(pos), 1 + _LENGTH_BYTES))
    head = tf.cast(tf.io.decode_raw(head, tf.uint8, fixed_length=1 + _LENGTH_BYTES), tf.int64)
    septets, goes_on = head[:, 1:] % 128, head[:, 1:] // 128
    taken = tf.math.cumprod(goes_on, axis=1, exclusive=True)  # 1 up to the byte that ends the length
    length = tf.reduce_sum(taken * septets * 128 ** np.arange(_LENGTH_BYTES), axis=1)
    start = tf.cast(pos, tf.int64) + 1 + tf.reduce_sum(taken, axis=1)
    end = start + length
    within = tf.cast(ends, tf.int64)
    usual &= (head[:, 0] == tag) & (end <= within) & (tf.reduce_prod(goes_on, axis=1) == 0)
    return tf.cast(tf.minimum(start, within), tf.int32), tf.cast(tf.minimum(end, within), tf.int32), usual
