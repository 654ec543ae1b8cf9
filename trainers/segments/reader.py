"""Shards of the 2019 records as batches of tensors: whole videos, and their rated segments, many at a time."""

from collections.abc import Iterator, Sequence

import numpy as np

from trainers import inputs, videos
from trainers.ahead import ahead
from trainers.batch import Batch, tensors
from trainers.frames import ALL
from trainers.metrics import check_labels
from trainers.recipe import DataSchema, Frames, Training
from trainers.segments.settings import LENGTH
from trainers.videos import SEGMENT_KEYS, Videos
from yt8m_data.errors import DataError

# A Batch of V videos and their S segments: "id" [V] bytes; "features": those of the videos, {name: uint8 [V, T, size], "num_frames": int32
# [V]}, and "segment_video" [S] int32, the row of the video that a segment is of, and "segment_start" [S] int32, its first frame. So frames
# cross to the device once, and are cut there. Rated segments also have "rated" [S, R] int32, the classes that were rated, padded with -1,
# and "ratings" [S, R] float32.

_VIDEOS = {"rated": 64, "every": 16}  # of an evaluation, with some 5 segments each; of a prediction, with up to 60
_SPAN = 2**30  # the start of a segment is within so many frames, either way


def training_batches(
    files: Sequence[str], data: DataSchema, num_videos: int, training: Training, first_step: int, max_frames: int
) -> Iterator[Batch]:
    """Endless full batches of videos that have rated segments, in the order of `trainers.inputs.training_batches`."""

    frames, settings = Frames(max_frames=max_frames), (training.batch_size, training.seed, training.shuffle_buffer, first_step)
    found = inputs.shuffled(files, data, frames, _rated, num_videos, *settings, rated=True)
    return ahead(tensors(_with_segments(batch)) for batch in found)


def evaluation_batches(files: Sequence[str], data: DataSchema, max_frames: int) -> Iterator[Batch]:
    """Every video with rated segments once, in the order of the files."""
    found = inputs.in_order(files, data, Frames(max_frames=max_frames), _rated, _VIDEOS["rated"], rated=True)
    return ahead(tensors(_with_segments(batch)) for batch in found)


def every_segment(files: Sequence[str], data: DataSchema, max_frames: int) -> Iterator[Batch]:
    """Every video once, cut into back-to-back segments of 5 frames, of which the last may reach over the end; ratings are not read."""

    def cut(batch: Batch) -> Batch:
        counts = -(-batch["features"]["num_frames"] // LENGTH)
        ordinals = np.concatenate([np.arange(count) for count in counts])
        return _of_segments(batch, np.repeat(np.arange(len(counts)), counts), ordinals * LENGTH)

    found = inputs.in_order(files, data, Frames(max_frames=max_frames), lambda found: found, _VIDEOS["every"])
    return ahead(tensors(cut(batch)) for batch in found)


def count_ratings(files: Sequence[str], data: DataSchema) -> tuple[int, list[int]]:
    """The number of videos with rated segments, and that of the segments rated positive for each of the C classes.

    Raises:
      DataError: no segment is rated, none is rated positive, or a label is not below the number of classes.
    """
    counts, total = np.zeros(data.num_classes, np.int64), 0
    for found in videos.read(files, data, ALL, rated=True):
        classes, ratings = found.columns["rated"], found.columns["ratings"]
        check_labels(classes, data.num_classes)
        counts += np.bincount(classes[(classes >= 0) & (ratings >= 0.5)], minlength=data.num_classes)
        total += np.count_nonzero((classes >= 0).any(axis=1))
    if not total:
        listed = "" if data.classes is None else f" for one of the {data.num_classes} listed classes"
        keys = "{starts}, {rated} and {ratings}".format(**SEGMENT_KEYS)
        raise DataError(f"no segment in {files[0]} ({len(files)} files) is rated{listed}: give shards with {keys}")
    if not counts.any():
        raise DataError(f"no segment in {files[0]} ({len(files)} files) is rated 1: there is nothing to find in them")
    return int(total), counts.tolist()


def _rated(found: Videos) -> Videos:
    """The videos that have a rated segment."""
    return found.carrying("rated")


def _with_segments(batch: Batch) -> Batch:
    """A batch of videos with their rated segments, by video and start."""
    pairs = np.nonzero(batch["rated"] >= 0)
    starts = np.clip(batch["starts"][pairs], -_SPAN, _SPAN - 1)  # one may be anything, in a wrong record
    segments, of_pair = np.unique(pairs[0] * (2 * _SPAN) + starts + _SPAN, return_inverse=True)
    counts, in_order = np.bincount(of_pair, minlength=len(segments)), np.argsort(of_pair, kind="stable")
    here = np.arange(counts.max(initial=0)) < counts[:, None]
    rated = {name: np.full(here.shape, videos.FILL[name], batch[name].dtype) for name in ("rated", "ratings")}
    for name, lists in rated.items():
        lists[here] = batch[name][pairs][in_order]
    return _of_segments(batch, segments // (2 * _SPAN), segments % (2 * _SPAN) - _SPAN) | rated


def _of_segments(batch: Batch, rows: np.ndarray, starts: np.ndarray) -> Batch:
    segments = {"segment_video": rows.astype(np.int32), "segment_start": starts.astype(np.int32)}
    return {"id": batch["id"], "features": batch["features"] | segments}
