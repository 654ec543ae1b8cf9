"""Shards of the 2019 records as tf.data batches: whole videos, and their rated segments, many at a time."""

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from trainers import classes, inputs, parse
from trainers.inputs import PARALLEL, ahead, each
from trainers.metrics import check_labels
from trainers.parse import Batch
from trainers.recipe import DataSchema, Frames, Training
from trainers.segments.settings import LENGTH
from yt8m_data.errors import DataError

# A Batch of V videos and their S segments: "id" [V] bytes; "features": those of the videos, {name: uint8 [V, T, size], "num_frames": int32
# [V]}, and "segment_video" [S] int32, the row of the video that a segment is of, and "segment_start" [S] int32, its first frame. So frames
# cross to the device once, and are cut there. Rated segments also have "rated" [S, R] int32, the classes that were rated, padded with -1,
# and "ratings" [S, R] float32.
START, LABEL, SCORE = "segment_start_times", "segment_labels", "segment_scores"

_VIDEOS = {"rated": 64, "every": 16}  # of an evaluation, with some 5 segments each; of a prediction, with up to 60
_SPAN = 1 << 40  # (video, start) as one number: video * _SPAN + start
_CHUNK = 64  # records of which the ratings alone are parsed at a time


def training_batches(
    files: Sequence[str], data: DataSchema, num_videos: int, training: Training, first_step: int, max_frames: int
) -> tf.data.Dataset:
    """Endless full batches of videos that have rated segments, in the order of `trainers.inputs.training_batches`."""
    parse_batch = _parser(data, max_frames)
    return inputs.training_batches(
        files,
        data,
        num_videos,
        training.batch_size,
        training.seed,
        training.shuffle_buffer,
        first_step,
        parse=lambda records, _: parse_batch(records),
        keep=lambda records: _rated(records, data),
    )


def evaluation_batches(files: Sequence[str], data: DataSchema, max_frames: int) -> tf.data.Dataset:
    """Every video with rated segments once, in the order of the files."""
    records = _rated(tf.data.TFRecordDataset(list(files)), data)
    return ahead(records.batch(_VIDEOS["rated"]).map(_parser(data, max_frames), **PARALLEL))


def every_segment(files: Sequence[str], data: DataSchema, max_frames: int) -> tf.data.Dataset:
    """Every video once, cut into back-to-back segments of 5 frames, of which the last may reach over the end; ratings are not read."""
    videos = parse.parser(data, Frames(max_frames=max_frames), 0)

    def cut(records: tf.Tensor) -> Batch:
        batch = videos(records, tf.zeros(tf.shape(records), tf.int64))
        counts = -(-batch["features"]["num_frames"] // LENGTH)
        ordinals = tf.ragged.range(counts)
        segments = {"segment_video": tf.cast(ordinals.value_rowids(), tf.int32), "segment_start": ordinals.flat_values * LENGTH}
        return {"id": batch["id"], "features": batch["features"] | segments}

    records = tf.data.TFRecordDataset(list(files))
    return ahead(records.batch(_VIDEOS["every"]).map(cut, **PARALLEL))


def count_ratings(files: Sequence[str], data: DataSchema) -> tuple[int, list[int]]:
    """The number of videos with rated segments, and that of the segments rated positive for each of the C classes.

    Raises:
      DataError: no segment is rated, none is rated positive, or a label is not below the number of classes.
    """
    batches = tf.data.TFRecordDataset(list(files)).batch(_CHUNK).map(lambda records: _pairs(records, data), **PARALLEL)
    counts, videos = np.zeros(data.num_classes, np.int64), 0
    for _, rows, _, labels, scores in each(ahead(batches)):
        labels = labels.numpy()
        check_labels(labels, data.num_classes)
        if (smallest := int(labels.min(initial=0))) < 0:
            raise DataError(f"a segment has the label {smallest}, but class numbers begin at 0: leave that record out")
        counts += np.bincount(labels[scores.numpy() >= 0.5], minlength=data.num_classes)
        videos += len(np.unique(rows.numpy()))
    if not videos:
        listed = "" if data.classes is None else f" for one of the {data.num_classes} listed classes"
        raise DataError(f"no segment in {files[0]} ({len(files)} files) is rated{listed}: give shards with {START}, {LABEL} and {SCORE}")
    if not counts.any():
        raise DataError(f"no segment in {files[0]} ({len(files)} files) is rated 1: there is nothing to find in them")
    return videos, counts.tolist()


def _parser(data: DataSchema, max_frames: int) -> Callable[[tf.Tensor], Batch]:
    """A function from [V] serialized records to a Batch with their rated segments."""
    videos = parse.parser(data, Frames(max_frames=max_frames), 0)

    def parse_batch(records: tf.Tensor) -> Batch:
        batch = videos(records, tf.zeros(tf.shape(records), tf.int64))
        _, rows, starts, labels, scores = _pairs(records, data)
        segments, of_pair = tf.unique(rows * _SPAN + starts + _SPAN // 2)  # a start may be negative, in a wrong record
        order = tf.argsort(of_pair, stable=True)

        def lists(values: tf.Tensor) -> tf.RaggedTensor:
            count = tf.size(segments, tf.int64)
            return tf.RaggedTensor.from_value_rowids(tf.gather(values, order), tf.cast(tf.gather(of_pair, order), tf.int64), count)

        placed = {
            "segment_video": tf.cast(segments // _SPAN, tf.int32),
            "segment_start": tf.cast(segments % _SPAN - _SPAN // 2, tf.int32),
        }
        rated = {"rated": tf.cast(lists(labels).to_tensor(-1), tf.int32), "ratings": lists(scores).to_tensor(0.0)}
        return {"id": batch["id"], "features": batch["features"] | placed, **rated}

    return parse_batch


def _pairs(records: tf.Tensor, data: DataSchema) -> tuple[tf.Tensor, ...]:
    """The rated pairs of [V] serialized records: ids [V], and of each pair [P] its video's row, start, class and score.

    Pairs of classes that are not listed, where there is a list, are left out.
    """
    keys = {key: tf.io.RaggedFeature(tf.float32 if key == SCORE else tf.int64) for key in (START, LABEL, SCORE)}
    parsed = tf.io.parse_example(records, {data.id_key: tf.io.FixedLenFeature([], tf.string), **keys})
    ids, starts, labels, scores = parsed[data.id_key], parsed[START], parsed[LABEL], parsed[SCORE]
    counts = [lists.row_lengths() for lists in (starts, labels, scores)]
    parallel = (counts[0] == counts[1]) & (counts[0] == counts[2])
    sentence = ("video ", ids, " has ", counts[0], f" {START}, but ", counts[1], f" {LABEL} and ", counts[2], f" {SCORE}")
    with tf.control_dependencies([parse.require(parallel, *sentence)]):
        found = tf.identity(labels.flat_values)
    rows, begins = tf.cast(starts.value_rowids(), tf.int64), tf.clip_by_value(starts.flat_values, -(2**30), 2**30)
    if data.classes is None:
        return ids, rows, begins, found, scores.flat_values
    found = classes.row_numbers(found, data.classes)
    listed = found >= 0
    kept = [tf.boolean_mask(values, listed) for values in (rows, begins, found, scores.flat_values)]
    return ids, *kept


def _rated(records: tf.data.Dataset, data: DataSchema) -> tf.data.Dataset:
    """The records that have a rated segment, parsed in chunks."""

    def keep(chunk: tf.Tensor) -> tf.Tensor:
        _, rows, *_ = _pairs(chunk, data)
        return tf.boolean_mask(chunk, tf.math.bincount(tf.cast(rows, tf.int32), minlength=tf.size(chunk)) > 0)

    return records.batch(_CHUNK).map(keep, **PARALLEL).unbatch()
