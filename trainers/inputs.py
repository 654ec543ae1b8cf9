"""Video-level shards as tf.data batches: exact epochs for evaluation, an order that is a function of (seed, step) for training."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from trainers.metrics import check_labels
from trainers.recipe import DataSchema
from yt8m_data.errors import DataError
from yt8m_data.schema import sniff

Batch = dict[str, Any]  # "id" [B] bytes, "labels" [B, L] int32 padded with -1, "features" {name: [B, size] float32}

_OPEN_FILES = 16
_COUNT_BATCH = 4096


def layout(files: Sequence[str], num_classes: int | None = None) -> DataSchema:
    """The layout of video-level shards, sniffed off the first.

    Raises:
      DataError: the records are frame-level.
    """
    schema = sniff(files[0], num_classes)
    if schema.kind != "video":
        raise DataError(f"{files[0]} holds frame-level records: the trainer reads video-level shards (mean_rgb, mean_audio)")
    features = {feature.name: feature.size for feature in schema.features}
    return DataSchema(kind="video", id_key=schema.id_key, labels_key=schema.labels_key, features=features, num_classes=schema.num_classes)


def layout_for(model: DataSchema, files: Sequence[str]) -> DataSchema:
    """The layout of shards that a model of another layout is to score: their own keys, the model's classes.

    Raises:
      DataError: feature names or sizes differ from the model's.
    """
    found = layout(files, model.num_classes)
    if found.features != model.features:
        raise DataError(f"{files[0]} has the features {found.features}, but the model was trained on {model.features}")
    return found.model_copy(update={"features": model.features})  # in the model's order


def training_batches(
    files: Sequence[str], data: DataSchema, num_records: int, batch_size: int, seed: int, shuffle_buffer: int, first_step: int = 0
) -> tf.data.Dataset:
    """Endless full batches, of which the n-th depends on the files, the seed and n alone.

    Each epoch holds every record once: its files in an order of their own, read 16 at a time, and the records shuffled in a buffer. A
    batch may reach over the end of an epoch.

    Args:
      num_records: in all the files; a resumed run finds its epoch by it, and passes over at most one epoch's records.
      shuffle_buffer: records that the shuffle holds, as bytes.
      first_step: the batch to begin with.
    """
    paths = tf.constant(list(files))

    def epoch(number: tf.Tensor) -> tf.data.Dataset:
        order = tf.random.experimental.stateless_shuffle(paths, seed=tf.stack([tf.constant(seed, tf.int64), number]))
        records = tf.data.Dataset.from_tensor_slices(order).interleave(
            tf.data.TFRecordDataset, cycle_length=_OPEN_FILES, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
        )
        tf.random.set_seed(seed + 1)  # that of this function's graph: the order depends on no global seed
        return records.shuffle(shuffle_buffer, seed=number, reshuffle_each_iteration=False)

    first_epoch, first_record = divmod(first_step * batch_size, num_records)
    records = tf.data.Dataset.range(first_epoch, np.iinfo(np.int64).max).flat_map(epoch).skip(first_record)
    batches = records.batch(batch_size, drop_remainder=True)
    return batches.map(_parser(data), num_parallel_calls=tf.data.AUTOTUNE, deterministic=True).prefetch(tf.data.AUTOTUNE)


def evaluation_batches(files: Sequence[str], data: DataSchema, batch_size: int = 512) -> tf.data.Dataset:
    """Every record once, in the order of the files; the last batch is what is left."""
    batches = tf.data.TFRecordDataset(list(files)).batch(batch_size)
    return batches.map(_parser(data), num_parallel_calls=tf.data.AUTOTUNE, deterministic=True).prefetch(tf.data.AUTOTUNE)


def each(batches: tf.data.Dataset) -> Iterator[Batch]:
    """Iterate, with TensorFlow's reading errors told as a DataError."""
    try:
        yield from batches
    except (tf.errors.DataLossError, tf.errors.InvalidArgumentError) as error:
        reason = error.message.split("\n")[0].split("[[")[0].strip()
        raise DataError(f"a record cannot be read ({reason}): find it with `yt8m-data validate`") from None


def count_labels(files: Sequence[str], data: DataSchema) -> tuple[int, list[int]]:
    """The number of records, and that of each of the C classes.

    Raises:
      DataError: no record has a label, or one is not below the number of classes.
    """
    keys = {data.labels_key: tf.io.VarLenFeature(tf.int64)}
    batches = tf.data.TFRecordDataset(list(files)).batch(_COUNT_BATCH)
    counts, total = np.zeros(data.num_classes, np.int64), 0
    parsed = batches.map(lambda records: tf.io.parse_example(records, keys)[data.labels_key], num_parallel_calls=tf.data.AUTOTUNE)
    for labels in each(parsed.prefetch(tf.data.AUTOTUNE)):
        check_labels(labels.values.numpy(), data.num_classes)
        pairs = np.unique(np.stack([labels.indices.numpy()[:, 0], labels.values.numpy()]), axis=1)
        counts += np.bincount(pairs[1], minlength=data.num_classes)
        total += int(labels.dense_shape[0])
    if not counts.any():
        raise unlabelled(files)
    return total, counts.tolist()


def unlabelled(files: Sequence[str]) -> DataError:
    """The error for shards without a single label."""
    others = f" and {len(files) - 1} more" if len(files) > 1 else ""
    return DataError(f"there are no labels in {files[0]}{others}: give shards of a labelled split, or use `predict`")


def _parser(data: DataSchema) -> Any:
    """A function from [B] serialized tf.Examples to a Batch; keys that the layout does not name are ignored."""
    keys: dict[str, Any] = {name: tf.io.FixedLenFeature([size], tf.float32) for name, size in data.features.items()}
    keys[data.id_key] = tf.io.FixedLenFeature([], tf.string)
    keys[data.labels_key] = tf.io.VarLenFeature(tf.int64)

    def parse(records: tf.Tensor) -> Batch:
        parsed = tf.io.parse_example(records, keys)
        labels = tf.cast(tf.sparse.to_dense(parsed[data.labels_key], default_value=-1), tf.int32)
        return {"id": parsed[data.id_key], "labels": labels, "features": {name: parsed[name] for name in data.features}}

    return parse
