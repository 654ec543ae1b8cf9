"""Serialized records -> features in TensorFlow's own operations, as an exported model has them; training reads with `trainers.videos`."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from trainers.frames import draw
from trainers.recipe import DataSchema, Frames

Parsed = dict[str, Any]  # "id" [B] bytes, and "features" as in a `trainers.batch.Batch`

_FEW = 64  # frames: so many strings are drawn faster before they are decoded, more of them faster after


def parser(data: DataSchema, frames: Frames, seed: int) -> Callable[[tf.Tensor], Parsed]:
    """A function from [B] serialized records to their ids and features; drawn frames are those of the first epoch.

    Keys that the layout does not name are ignored. The function fails with an InvalidArgumentError that says what is wrong with a record.
    """
    if data.kind == "video":
        return lambda records: _parse_videos(data, records)
    return lambda records: _parse_frames(data, frames, seed, records)


def _parse_videos(data: DataSchema, records: tf.Tensor) -> Parsed:
    features = {name: tf.io.FixedLenFeature([size], tf.float32) for name, size in data.features.items()}
    parsed = tf.io.parse_example(records, {data.id_key: tf.io.FixedLenFeature([], tf.string)} | features)
    return {"id": parsed[data.id_key], "features": {name: parsed[name] for name in features}}


def _parse_frames(data: DataSchema, frames: Frames, seed: int, records: tf.Tensor) -> Parsed:
    lists = {name: tf.io.FixedLenSequenceFeature([], tf.string, allow_missing=True) for name in data.features}
    context, encoded, counts = tf.io.parse_sequence_example(records, {data.id_key: tf.io.FixedLenFeature([], tf.string)}, lists)
    ids = context[data.id_key]
    first = next(iter(data.features))
    same = [
        require(number == counts[first], "video ", ids, " has ", number, f" frames of {name}, but ", counts[first], f" of {first}")
        for name, number in counts.items()
    ]
    with tf.control_dependencies(same):  # before frames are drawn that one of the features may not have
        num_frames = tf.cast(tf.minimum(counts[first], frames.max_frames), tf.int32)
    chosen = None if frames.sample == "all" else draw(frames, ids, num_frames, seed, tf.zeros(tf.shape(records), tf.int64))
    features = {}
    for name, size in data.features.items():
        strings = _at_least_one(encoded[name][:, : frames.max_frames])
        whole = tf.reduce_sum(tf.cast(tf.strings.length(strings) == size, tf.int32), axis=1)
        require(whole == num_frames, "video ", ids, f" has frames of {name} that are not of {size} bytes")
        features[name] = _decode(strings, size, chosen)
    features["num_frames"] = num_frames if chosen is None else tf.where(num_frames > 0, frames.count, 0)
    return {"id": ids, "features": features}


def _decode(strings: tf.Tensor, size: int, chosen: tf.Tensor | None) -> tf.Tensor:
    """[B, T] strings to [B, T, size] uint8, or to the chosen frames alone: [B, S, size]."""
    if chosen is not None and chosen.shape[1] <= _FEW:
        strings, chosen = tf.gather(strings, chosen, batch_dims=1), None
    decoded = tf.io.decode_raw(strings, tf.uint8, fixed_length=size)
    return decoded if chosen is None else tf.gather(decoded, chosen, batch_dims=1)


def _at_least_one(strings: tf.Tensor) -> tf.Tensor:
    """[B, T] strings, with one empty column where T is 0: a batch whose videos have no frames."""
    return tf.cond(tf.shape(strings)[1] > 0, lambda: strings, lambda: tf.fill([tf.shape(strings)[0], 1], ""))


def require(good: tf.Tensor, *sentence: str | tf.Tensor) -> tf.Operation:
    """Fail unless all of `good` [B] are true, with a sentence in which a tensor [B] stands for its value of the first bad video."""
    bad = tf.argmin(tf.cast(good, tf.int32))
    words = [part if isinstance(part, str) else tf.strings.as_string(part[bad]) for part in sentence]
    return tf.debugging.Assert(tf.reduce_all(good), [tf.strings.join(words)])
