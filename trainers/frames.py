"""Which frames of a video are drawn: a pure function of the seed, the video's id and the repetition, for a whole batch in the graph.

There is no generator with a state: the s-th number of a video is the s-th output of SplitMix64 (Steele, Lea & Flood, 2014) from a start
that is a hash of the three. So the frames of a video depend neither on its batch nor on what was read before.
"""

import tensorflow as tf

from trainers.recipe import Frames

ALL = Frames()  # up to the 300 that a video has

_GOLDEN, _MIX_1, _MIX_2 = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB  # the constants of SplitMix64


def draw(frames: Frames, ids: tf.Tensor, num_frames: tf.Tensor, seed: int, repetitions: tf.Tensor) -> tf.Tensor:
    """Draw frames of every video.

    `random` draws floor(u N), u uniform in [0, 1), with replacement; `sequence` takes S frames in a row from a start uniform in
    0..max(N - S, 0), and repeats the last one where N < S.

    Args:
      frames: `count` (S) is set.
      ids: [B] string.
      num_frames: [B] int32, N of each video; where it is 0 so are the indices.
      repetitions: [B] int64; each gives other frames.

    Returns:
      Indices [B, S] int32.
    """
    bits = _bits(ids, seed, repetitions, 1 if frames.sample == "sequence" else frames.count)
    last = tf.maximum(num_frames - 1, 0)[:, None]
    if frames.sample == "sequence":
        starts = _below(bits, tf.maximum(num_frames - frames.count, 0)[:, None] + 1)
        return tf.minimum(starts + tf.range(frames.count), last)
    drawn = _below(bits, last + 1)
    return tf.sort(drawn, axis=1) if frames.sort else drawn


def _bits(ids: tf.Tensor, seed: int, repetitions: tf.Tensor, count: int) -> tf.Tensor:
    """Random bits [B, count] uint64."""
    hashes = tf.cast(tf.strings.to_hash_bucket_fast(ids, 2**63 - 1), tf.uint64)  # FarmHash's Fingerprint64, which never changes
    keys = _mix(hashes + _mix(_uint64(seed)))
    starts = _mix(keys + tf.cast(repetitions, tf.uint64))
    return _mix(starts[:, None] + _uint64(_GOLDEN) * tf.cast(tf.range(1, count + 1), tf.uint64))


def _below(bits: tf.Tensor, bound: tf.Tensor) -> tf.Tensor:
    """Uniform int32 in 0..bound-1: floor(u bound), u of the upper 32 bits."""
    high = tf.bitwise.right_shift(bits, _uint64(32))
    return tf.cast(tf.bitwise.right_shift(high * tf.cast(bound, tf.uint64), _uint64(32)), tf.int32)


def _mix(x: tf.Tensor) -> tf.Tensor:
    """The output function of SplitMix64: a bijection of uint64 whose every output bit depends on every input bit."""
    for shift, factor in ((30, _MIX_1), (27, _MIX_2)):
        x = tf.bitwise.bitwise_xor(x, tf.bitwise.right_shift(x, _uint64(shift))) * _uint64(factor)
    return tf.bitwise.bitwise_xor(x, tf.bitwise.right_shift(x, _uint64(31)))


def _uint64(value: int) -> tf.Tensor:
    return tf.constant(value % 2**64, tf.uint64)
