"""Shards as tf.data batches: exact epochs for evaluation, an order that is a function of (seed, step) for training."""

import functools
import os
import re
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import tensorflow as tf

from trainers.frames import ALL
from trainers.metrics import check_labels
from trainers.parse import Batch, labels_of, parser, relabelled
from trainers.recipe import DataSchema, Frames
from yt8m_data import classes as class_list
from yt8m_data import codec
from yt8m_data.errors import DataError
from yt8m_data.heads import LocalFile, scan
from yt8m_data.schema import Feature, Schema, sniff

# By kind of record. A video-level one has some 5 KB, a frame-level one some 300 KB: the shuffle holds 160 and 300 MB of them. Of frames as
# float32, 64 videos have 90 MB.
SHUFFLE_BUFFER = {"video": 32_768, "frame": 1_024}
EVALUATION_BATCH = {"video": 512, "frame": 64}

_ANY_CLASS = 2**31  # which ones there are is looked at here
_OPEN_FILES = 16
_CHUNK = {"video": 4096, "frame": 64}  # records of which the labels alone are parsed at a time
_AHEAD = 2  # batches that are ready while one is used
PARALLEL = {"num_parallel_calls": min(8, os.cpu_count() or 1), "deterministic": True}


def layout(files: Sequence[str], num_classes: int | None = None, classes: str | None = None) -> DataSchema:
    """The layout of shards, sniffed off the first.

    Args:
      num_classes: of the records; None takes that of the published set whose keys they have.
      classes: path of a list of classes that narrows the data to them; see `yt8m_data.classes.read`.

    Raises:
      DataError: the shard or the list cannot be read.
    """
    schema = sniff(files[0], num_classes)
    features = {feature.name: feature.size for feature in schema.features}
    listed = class_list.read(classes, schema.num_classes) if classes else None
    known = len(listed) if listed else schema.num_classes
    return DataSchema(
        kind=schema.kind, id_key=schema.id_key, labels_key=schema.labels_key, features=features, num_classes=known, classes=listed
    )


def layout_for(model: DataSchema, files: Sequence[str]) -> DataSchema:
    """The layout of shards that a model of another layout is to score: their own keys, the model's classes.

    Raises:
      DataError: the records are of the other kind, or feature names or sizes differ from the model's.
    """
    found = layout(files, model.num_classes)
    if found.kind != model.kind:
        wanted = f"{model.kind}-level shards ({', '.join(model.features)})"
        raise DataError(f"{files[0]} holds {found.kind}-level records, but the model was trained on others: give {wanted}")
    if found.features != model.features:
        raise DataError(f"{files[0]} has the features {found.features}, but the model was trained on {model.features}")
    return found.model_copy(update={"features": model.features, "classes": model.classes})  # features in the model's order


def training_batches(
    files: Sequence[str],
    data: DataSchema,
    num_records: int,
    batch_size: int,
    seed: int,
    shuffle_buffer: int | None = None,
    first_step: int = 0,
    frames: Frames = ALL,
    parse: Callable[[tf.Tensor, tf.Tensor], Batch] | None = None,
    keep: Callable[[tf.data.Dataset], tf.data.Dataset] | None = None,
    parts: range = range(1),
    num_parts: int = 1,
) -> tf.data.Dataset:
    """Endless full batches, of which the n-th depends on the files, the seed and n alone.

    Each epoch holds every record once: its files in an order of their own, read 16 at a time, and the records shuffled in a buffer. A
    batch may reach over the end of an epoch. Of a video each epoch draws other frames, where frames are drawn.

    Args:
      num_records: in all the files, as `count_labels` gives it; a resumed run finds its epoch by it, and passes over at most one epoch's
        records.
      shuffle_buffer: records that the shuffle holds, as serialized bytes; None is SHUFFLE_BUFFER.
      first_step: the batch to begin with.
      frames: which frames of a video are taken, where records are frame-level.
      parse: from [B] records and [B] int64 epochs to a batch; None is that of the layout, `trainers.parse.parser`.
      keep: the records to train on, out of a file's; None keeps those of the listed classes.
      parts, num_parts: of each batch only these of so many equal parts, as batches of their own, one after the other.
    """
    paths = tf.constant(list(files))
    parse = parse or parser(data, frames, seed)
    keep = keep or functools.partial(_listed, data=data)

    def epoch(number: tf.Tensor) -> tf.data.Dataset:
        order = tf.random.experimental.stateless_shuffle(paths, seed=tf.stack([tf.constant(seed, tf.int64), number]))
        records = tf.data.Dataset.from_tensor_slices(order).interleave(tf.data.TFRecordDataset, cycle_length=_OPEN_FILES, **PARALLEL)
        tf.random.set_seed(seed + 1)  # that of this function's graph: the order depends on no global seed
        return keep(records).shuffle(shuffle_buffer or SHUFFLE_BUFFER[data.kind], seed=number, reshuffle_each_iteration=False)

    first_epoch, first_record = divmod(first_step * batch_size, num_records)
    records = tf.data.Dataset.range(first_epoch, np.iinfo(np.int64).max).flat_map(epoch).skip(first_record)

    size = batch_size // num_parts

    def part(number: tf.Tensor, batch: tf.Tensor) -> Batch:
        return parse(batch, (number * size + tf.range(size, dtype=tf.int64)) // num_records)

    batches = records.batch(size, drop_remainder=True).enumerate(first_step * num_parts)
    if num_parts > 1:
        batches = batches.filter(lambda number, _: (number % num_parts >= parts.start) & (number % num_parts < parts.stop))
    return ahead(batches.map(part, **PARALLEL))


def evaluation_batches(
    files: Sequence[str],
    data: DataSchema,
    batch_size: int | None = None,
    frames: Frames = ALL,
    seed: int = 0,
    keep_all: bool = False,
    repeat: int = 1,
) -> tf.data.Dataset:
    """Every record once, in the order of the files; the last batch is what is left.

    Args:
      batch_size: None is EVALUATION_BATCH.
      frames, seed: drawn frames are the same in every pass.
      keep_all: also the videos of none of the listed classes, where there is a list.
      repeat: each batch comes so many times in a row, each time with other frames drawn.
    """
    records, parse = tf.data.TFRecordDataset(list(files)), parser(data, frames, seed)
    batches = (records if keep_all else _listed(records, data)).batch(batch_size or EVALUATION_BATCH[data.kind])
    if repeat > 1:  # a flat_map copies the records, which takes as long as parsing them
        batches = batches.flat_map(lambda batch: tf.data.Dataset.range(repeat).map(lambda number: (batch, number)))

    def numbered(batch: tf.Tensor, number: tf.Tensor | int = 0) -> Batch:
        return parse(batch, tf.fill(tf.shape(batch), tf.cast(number, tf.int64)))

    return ahead(batches.map(numbered, **PARALLEL))


def ahead(batches: tf.data.Dataset) -> tf.data.Dataset:
    """Batches that are made while the one before is used.

    How many of them is set, not tuned while they are read: tuned pipelines measured slower on two cores, above all of small records.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return batches.prefetch(_AHEAD).with_options(options)


def each(batches: tf.data.Dataset) -> Iterator[Batch]:
    """Iterate, with TensorFlow's reading errors told as a DataError, and those that Python code raised in between as they were."""
    try:
        yield from batches
    except (tf.errors.DataLossError, tf.errors.InvalidArgumentError) as error:
        if raised := re.search(r"DataError: (.*)", error.message):
            raise DataError(raised[1]) from None
        ours = re.search(r"assertion failed: \[(.*?)\]", error.message)
        reason = ours[1] if ours else re.sub(r"^.* Iterator::\S+ ", "", error.message.split("\n")[0].split("[[")[0].strip())
        raise DataError(f"a record cannot be read ({reason}): find it with `yt8m-data validate`") from None


def count_labels(files: Sequence[str], data: DataSchema) -> tuple[int, list[int]]:
    """The number of records, and that of each of the C classes; with a list of classes, of the records that carry one of them.

    Raises:
      DataError: no record has a label, or one is not below the number of classes.
    """
    counts, total = np.zeros(data.num_classes, np.int64), 0
    for labels in _labels_of_frames(files, data) if data.kind == "frame" else _labels_of_videos(files, data):
        check_labels(labels.values.numpy(), data.num_classes)
        if (smallest := int(labels.values.numpy().min(initial=0))) < 0:  # -1 is the padding of batches
            raise DataError(f"a record has the label {smallest}, but class numbers begin at 0: find it with `yt8m-data validate`")
        pairs = np.unique(np.stack([labels.value_rowids().numpy(), labels.values.numpy()]), axis=1)
        counts += np.bincount(pairs[1], minlength=data.num_classes)
        total += int(labels.nrows() if data.classes is None else np.count_nonzero(labels.row_lengths()))
    if not counts.any():
        raise unlabelled(files, data)
    return total, counts.tolist()


def _labels_of_videos(files: Sequence[str], data: DataSchema) -> Iterator[tf.RaggedTensor]:
    """Labels [B, (L)] int64 of the records, many at a time."""
    batches = tf.data.TFRecordDataset(list(files)).batch(_CHUNK[data.kind]).map(lambda records: labels_of(data, records), **PARALLEL)
    return each(ahead(batches))


def _labels_of_frames(files: Sequence[str], data: DataSchema) -> Iterator[tf.RaggedTensor]:
    """Likewise of frame-level records, of which the beginnings alone are read: a hundredth of the time."""
    schema = Schema("frame", data.id_key, data.labels_key, tuple(Feature(*each) for each in data.features.items()), _ANY_CLASS)
    for path in files:
        with LocalFile(path) as source:
            for block in scan(source):
                decoded = codec.decode_heads(block, schema)
                if decoded.bad:
                    raise DataError(f"a record cannot be read ({decoded.bad[0]}): find it with `yt8m-data validate`")
                lists = decoded.batch.column("labels")
                splits, values = (part.to_numpy().astype(np.int64) for part in (lists.offsets, lists.values))
                yield relabelled(data, tf.RaggedTensor.from_row_splits(values, splits, validate=False))


def unlabelled(files: Sequence[str], data: DataSchema) -> DataError:
    """The error for shards without a single label."""
    others = f" and {len(files) - 1} more" if len(files) > 1 else ""
    kind = "labels" if data.classes is None else f"labels of the {data.num_classes} listed classes"
    return DataError(f"there are no {kind} in {files[0]}{others}: give shards of a labelled split, or use `predict`")


def _listed(records: tf.data.Dataset, data: DataSchema) -> tf.data.Dataset:
    """The records that carry a listed class, or all where there is no list; parsed in chunks, which is five times as fast as one by one."""
    if data.classes is None:
        return records

    def keep(chunk: tf.Tensor) -> tf.Tensor:
        return tf.boolean_mask(chunk, labels_of(data, chunk).row_lengths() > 0)

    return records.batch(_CHUNK[data.kind]).map(keep, **PARALLEL).unbatch()
