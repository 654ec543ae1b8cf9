"""Serialized records -> a batch of tensors, many at a time: video-level tf.Examples and frame-level tf.SequenceExamples."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from trainers import classes
from trainers.frames import draw
from trainers.recipe import DataSchema, Frames
from yt8m_data.schema import LABEL_WEIGHTS

# "id" [B] bytes; "labels" [B, L] int32, padded with -1: class ids, or their rows in the list of classes where there is one;
# "label_weights" [B, L] float32, how much each counts, 1 where the records say nothing; "features": video level {name: float32 [B, size]},
# frame level {name: uint8 [B, T, size], "num_frames": int32 [B]}, whose bytes behind num_frames mean nothing.
Batch = dict[str, Any]

_LABELS = 8  # the width of padded labels is a multiple of it, so that batches have few shapes, for each of which XLA compiles a step anew
_FEW = 64  # frames: so many strings are drawn faster before they are decoded, more of them faster after


def parser(data: DataSchema, frames: Frames, seed: int) -> Callable[[tf.Tensor, tf.Tensor], Batch]:
    """A function from [B] serialized records and [B] int64 repetitions, which vary the frames drawn, to a Batch.

    Keys that the layout does not name are ignored. The function fails with an InvalidArgumentError that says what is wrong with a record.
    """
    if data.kind == "video":
        return lambda records, _: _parse_videos(data, records)
    return lambda records, repetitions: _parse_frames(data, frames, seed, records, repetitions)


def labels_of(data: DataSchema, records: tf.Tensor) -> tf.RaggedTensor:
    """Labels [B, (L)] int64 of serialized records of either kind: a SequenceExample's context is the field of an Example's features."""
    return relabelled(data, tf.io.parse_example(records, {data.labels_key: tf.io.RaggedFeature(tf.int64)})[data.labels_key])


def _parse_videos(data: DataSchema, records: tf.Tensor) -> Batch:
    keys = _context_keys(data) | {name: tf.io.FixedLenFeature([size], tf.float32) for name, size in data.features.items()}
    parsed = tf.io.parse_example(records, keys)
    return _batch(data, parsed, {name: parsed[name] for name in data.features})


def _parse_frames(data: DataSchema, frames: Frames, seed: int, records: tf.Tensor, repetitions: tf.Tensor) -> Batch:
    lists = {name: tf.io.FixedLenSequenceFeature([], tf.string, allow_missing=True) for name in data.features}
    context, encoded, counts = tf.io.parse_sequence_example(records, _context_keys(data), lists)
    ids = context[data.id_key]
    first = next(iter(data.features))
    same = [
        require(number == counts[first], "video ", ids, " has ", number, f" frames of {name}, but ", counts[first], f" of {first}")
        for name, number in counts.items()
    ]
    with tf.control_dependencies(same):  # before frames are drawn that one of the features may not have
        num_frames = tf.cast(tf.minimum(counts[first], frames.max_frames), tf.int32)
    chosen = None if frames.sample == "all" else draw(frames, ids, num_frames, seed, repetitions)
    features = {}
    for name, size in data.features.items():
        strings = _at_least_one(encoded[name][:, : frames.max_frames])
        whole = tf.reduce_sum(tf.cast(tf.strings.length(strings) == size, tf.int32), axis=1)
        require(whole == num_frames, "video ", ids, f" has frames of {name} that are not of {size} bytes")
        features[name] = _decode(strings, size, chosen)
    features["num_frames"] = num_frames if chosen is None else tf.where(num_frames > 0, frames.count, 0)
    return _batch(data, context, features)


def _decode(strings: tf.Tensor, size: int, chosen: tf.Tensor | None) -> tf.Tensor:
    """[B, T] strings to [B, T, size] uint8, or to the chosen frames alone: [B, S, size]."""
    if chosen is not None and chosen.shape[1] <= _FEW:
        strings, chosen = tf.gather(strings, chosen, batch_dims=1), None
    decoded = tf.io.decode_raw(strings, tf.uint8, fixed_length=size)
    return decoded if chosen is None else tf.gather(decoded, chosen, batch_dims=1)


def _at_least_one(strings: tf.Tensor) -> tf.Tensor:
    """[B, T] strings, with one empty column where T is 0: a batch whose videos have no frames."""
    return tf.cond(tf.shape(strings)[1] > 0, lambda: strings, lambda: tf.fill([tf.shape(strings)[0], 1], ""))


def _context_keys(data: DataSchema) -> dict[str, Any]:
    weights = tf.io.RaggedFeature(tf.float32)
    return {data.id_key: tf.io.FixedLenFeature([], tf.string), data.labels_key: tf.io.RaggedFeature(tf.int64), LABEL_WEIGHTS: weights}


def _batch(data: DataSchema, context: dict[str, Any], features: dict[str, tf.Tensor]) -> Batch:
    labels, weights = relabelled(data, context[data.labels_key]), context[LABEL_WEIGHTS]
    shape = tf.stack([labels.nrows(), -(-labels.bounding_shape(axis=1) // _LABELS) * _LABELS])
    padded = tf.cast(labels.to_tensor(-1, shape=shape), tf.int32)
    any_weight = tf.size(weights.flat_values) > 0
    weights = tf.cond(any_weight, lambda: _weights(data, context).to_tensor(1.0, shape=shape), lambda: tf.ones(shape))
    return {"id": context[data.id_key], "labels": padded, "label_weights": weights, "features": features}


def _weights(data: DataSchema, context: dict[str, Any]) -> tf.RaggedTensor:
    """The weight of each label [B, (L)] float32: 1 where a record has none."""
    labels, weights = context[data.labels_key], context[LABEL_WEIGHTS]
    counts, given = labels.row_lengths(), weights.row_lengths()
    ids = context[data.id_key]
    fitting = require((given == counts) | (given == 0), "video ", ids, " has ", given, " label_weights, but ", counts, " labels")
    with tf.control_dependencies([] if fitting is None else [fitting]):
        dense = weights.to_tensor(1.0, shape=tf.stack([labels.nrows(), labels.bounding_shape(axis=1)]))
    whole = labels.with_flat_values(tf.RaggedTensor.from_tensor(dense, lengths=counts).flat_values)
    return whole if data.classes is None else tf.ragged.boolean_mask(whole, classes.listed(labels, data.classes))


def relabelled(data: DataSchema, labels: tf.RaggedTensor) -> tf.RaggedTensor:
    """Labels [B, (L)] int64 of records, as the layout's classes."""
    return labels if data.classes is None else classes.rows(labels, data.classes)


def require(good: tf.Tensor, *sentence: str | tf.Tensor) -> tf.Operation:
    """Fail unless all of `good` [B] are true, with a sentence in which a tensor [B] stands for its value of the first bad video."""
    bad = tf.argmin(tf.cast(good, tf.int32))
    words = [part if isinstance(part, str) else tf.strings.as_string(part[bad]) for part in sentence]
    return tf.debugging.Assert(tf.reduce_all(good), [tf.strings.join(words)])
