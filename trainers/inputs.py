"""Shards as batches of tensors: exact epochs for evaluation, an order that is a function of (seed, step) for training."""

import functools
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from trainers import order, videos
from trainers.ahead import ahead
from trainers.batch import Batch, Shelf, tensors
from trainers.frames import ALL
from trainers.metrics import check_labels
from trainers.pool import Pool
from trainers.recipe import DataSchema, Frames
from trainers.videos import Videos
from yt8m_data import classes as class_list
from yt8m_data import codec, heads
from yt8m_data.errors import DataError
from yt8m_data.schema import LABEL_WEIGHTS, sniff

# By kind of record. A video-level one has some 5 KB, a frame-level one some 300 KB: 150 and 350 MB are shuffled, while as many lie there
# shuffled. Of frames as float32, 64 videos have 90 MB.
SHUFFLE_BUFFER = {"video": 32_768, "frame": 1_024}
EVALUATION_BATCH = {"video": 512, "frame": 64}

_OPEN_FILES = 8  # each with two blocks of 8 MB
_SHELF_BYTES = 8 << 20  # of an evaluation: to go from one thread to another for every small batch takes as long as to fill it


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
    parts: range = range(1),
    num_parts: int = 1,
) -> Iterator[Batch]:
    """Endless full batches, of which the n-th depends on the files, the seed and n alone.

    Each epoch holds every record once: its files in an order of their own, read 8 at a time, and so many records at a time shuffled among
    each other. A batch may reach over the end of an epoch. Of a video each epoch draws other frames, where frames are drawn.

    Args:
      num_records: in all the files, as `count_labels` gives it; a resumed run finds its epoch by it, and passes over at most one epoch's
        records.
      shuffle_buffer: videos that are shuffled among each other, or a few more, in whole batches; None is SHUFFLE_BUFFER. Memory holds
        twice as many.
      first_step: the batch to begin with.
      frames: which frames of a video are taken, where records are frame-level.
      parts, num_parts: of each batch only these of so many equal parts, as batches of their own, one after the other.
    """
    keep, size = functools.partial(listed, data=data), batch_size // num_parts
    found = shuffled(files, data, frames, keep, num_records, size, seed, shuffle_buffer, first_step * num_parts, num_parts)
    return (tensors(batch) for number, batch in enumerate(found, first_step * num_parts) if number % num_parts in parts)


def shuffled(
    files: Sequence[str],
    data: DataSchema,
    frames: Frames,
    keep: Callable[[Videos], Videos],
    num_records: int,
    size: int,
    seed: int,
    shuffle_buffer: int | None,
    first: int,
    num_parts: int = 1,
    rated: bool = False,
) -> Iterator[Batch]:
    """The batches of `training_batches` from the `first` of `size` videos on, of those that `keep` keeps of what is read."""
    drawn, pool = videos.drawer(data, frames, seed), Pool()
    shuffled_together = min(shuffle_buffer or SHUFFLE_BUFFER[data.kind], num_records)
    number = -(-shuffled_together // (size * num_parts)) * num_parts  # of batches on a shelf, whatever the parts
    room, position = size * number, size * first
    begin = position - position % num_records  # of the epoch
    start = max(begin, position - position % room)  # the first video that is put on a shelf

    def read(paths: Sequence[str], epoch: int) -> Iterator[tuple[videos.Block, int]]:
        return ((block, epoch) for block in videos.blocks(paths, pool.lend))

    blocks = ahead(order.endless(files, read, seed, _OPEN_FILES, begin // num_records), 1)
    found = order.behind((drawn(keep(videos.decoded(block, data, frames, rated)), epoch) for block, epoch in blocks), start - begin)
    rows = order.shuffled_rows(room, num_records, seed, start)
    shelves = order.filled(zip(found), lambda: Shelf(data, frames, size, number, pool), rows)
    return itertools.islice(order.batches(shelves), first - start // room * number, None)


def evaluation_batches(
    files: Sequence[str],
    data: DataSchema,
    batch_size: int | None = None,
    frames: Frames = ALL,
    seed: int = 0,
    keep_all: bool = False,
    repeat: int = 1,
) -> Iterator[Batch]:
    """Every record once, in the order of the files; the last batch is what is left.

    Args:
      batch_size: None is EVALUATION_BATCH.
      frames, seed: drawn frames are the same in every pass.
      keep_all: also the videos of none of the listed classes, where there is a list.
      repeat: each batch comes so many times in a row, each time with other frames drawn.
    """
    keep = (lambda found: found) if keep_all else functools.partial(listed, data=data)
    return map(tensors, in_order(files, data, frames, keep, batch_size or EVALUATION_BATCH[data.kind], seed, repeat))


def in_order(
    files: Sequence[str],
    data: DataSchema,
    frames: Frames,
    keep: Callable[[Videos], Videos],
    size: int,
    seed: int = 0,
    repeat: int = 1,
    rated: bool = False,
) -> Iterator[Batch]:
    """The batches of `evaluation_batches`, of those videos that `keep` keeps of what is read."""
    drawn, pool = videos.drawer(data, frames, seed), Pool()
    found = map(keep, videos.read(files, data, frames, rated))
    versions = ([drawn(kept, number) for number in range(repeat)] for kept in found)
    number = max(1, _SHELF_BYTES // (size * sum(map(math.prod, videos.row_shapes(data, frames).values()))))
    shelves = order.filled(versions, lambda: Shelf(data, frames, size, number, pool), itertools.repeat(np.arange(size * number)))
    return order.batches(shelves)


def specs(data: DataSchema, frames: Frames, size: int | None = None) -> dict[str, Any]:
    """The shapes and types of a Batch of `size` videos, or of any number."""
    if data.kind == "video":
        features = {name: tf.TensorSpec([size, width], tf.float32) for name, width in data.features.items()}
    else:
        features = {name: tf.TensorSpec([size, frames.count, width], tf.uint8) for name, width in data.features.items()}
        features["num_frames"] = tf.TensorSpec([size], tf.int32)
    lists = {"labels": tf.TensorSpec([size, None], tf.int32), LABEL_WEIGHTS: tf.TensorSpec([size, None], tf.float32)}
    return {"id": tf.TensorSpec([size], tf.string), **lists, "features": features}


def count_labels(files: Sequence[str], data: DataSchema) -> tuple[int, list[int]]:
    """The number of records, and that of each of the C classes; with a list of classes, of the records that carry one of them.

    Raises:
      DataError: no record has a label, or one is not below the number of classes.
    """
    counts, total = np.zeros(data.num_classes, np.int64), 0
    for rows, labels, number in _labels_of_frames(files, data) if data.kind == "frame" else _labels_of_videos(files, data):
        check_labels(labels, data.num_classes)
        pairs = np.unique(np.stack([rows, labels]), axis=1)
        counts += np.bincount(pairs[1], minlength=data.num_classes)
        total += number if data.classes is None else len(np.unique(pairs[0]))
    if not counts.any():
        raise unlabelled(files, data)
    return total, counts.tolist()


def _labels_of_videos(files: Sequence[str], data: DataSchema) -> Iterator[tuple[np.ndarray, np.ndarray, int]]:
    """Of some records at a time: the row and the class of every label, int [P] each, and how many records there are."""
    for found in videos.read(files, data, ALL):
        labels = found.columns["labels"]
        rows, columns = np.nonzero(labels >= 0)
        yield rows, labels[rows, columns], len(found)


def _labels_of_frames(files: Sequence[str], data: DataSchema) -> Iterator[tuple[np.ndarray, np.ndarray, int]]:
    """Likewise of frame-level records, of which the beginnings alone are read: a hundredth of the time."""
    schema = videos.schema_of(data)
    for path in files:
        with heads.open_source(path) as source:
            for block in heads.scan(source, gap_bytes=source.gap_bytes, window_bytes=source.window_bytes):
                decoded = codec.decode_heads(block, schema)
                if decoded.bad:
                    raise videos.unreadable(decoded.bad[0])
                lists = decoded.batch.column("labels")
                rows = np.repeat(np.arange(len(lists)), lists.value_lengths().to_numpy())
                labels = videos.listed_rows(lists.flatten().to_numpy(), data)
                yield rows[labels >= 0], labels[labels >= 0], len(lists)


def unlabelled(files: Sequence[str], data: DataSchema) -> DataError:
    """The error for shards without a single label."""
    others = f" and {len(files) - 1} more" if len(files) > 1 else ""
    kind = "labels" if data.classes is None else f"labels of the {data.num_classes} listed classes"
    return DataError(f"there are no {kind} in {files[0]}{others}: give shards of a labelled split, or use `predict`")


def listed(found: Videos, data: DataSchema) -> Videos:
    """The videos that carry a listed class, or all where there is no list."""
    return found if data.classes is None else found.carrying("labels")
