"""Score a run or an ensemble on labelled shards."""

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Any

import keras
import numpy as np

from trainers.ensemble import Ensemble, Scored, load
from trainers.frames import ALL
from trainers.inputs import evaluation_batches, unlabelled
from trainers.metrics import Metrics
from trainers.noise import read_label_counts
from trainers.recipe import DataSchema, Frames
from trainers.run import predictions
from yt8m_data.shards import atomic_write, expand, write_json

_PER_CLASS = ("class", "training_videos", "videos", "average_precision")
_RELIABILITY = ("low", "high", "pairs", "mean_score", "share_true")


def evaluate(
    folder: str,
    data: Sequence[str],
    repeat: int = 1,
    counts: str | None = None,
    per_class: str | None = None,
    reliability: str | None = None,
    out: str | None = None,
) -> dict[str, Any]:
    """Exact metrics of a finished run, or of an ensemble, over all videos of some shards.

    Args:
      folder: what `fit`, `average`, `neighbors`, `correct` or `ensemble` wrote.
      data: patterns of labelled shards, of the kind that it was trained on.
      repeat: how often a run that draws frames scores a video, each time of other frames; its score is the mean.
      counts: path of the stats.json that sorts classes by frequency; None takes the run's training set.
      per_class: path of a CSV to write: of each class its id, its videos in the training set (or in `counts`) and in `data`, and its
        average precision, which is empty where `data` has no video of it.
      reliability: path of a CSV to write: the reliability curve, see `Metrics.reliability`.
      out: path of a JSON file to write: what is returned, as `yt8m-data report` takes it.

    Returns:
      `gap`, `map`, `map_starter`, `perr`, `hit_at_1`, `num_examples`, and `map_by_frequency` over classes by their training positives; with
      `reliability` also `calibration_error`.

    Raises:
      DataError: no run, no such file, no labels, labels beyond the model's classes, records of another kind or of other features, or counts
        of other classes.
    """
    scorer, files = load(folder), expand(data)
    found, train_counts = scorer.layout_for(files), training_counts(scorer, counts)
    metrics = scored(scorer.scores(files, repeat), files, found)
    if per_class:
        ids = found.classes or range(found.num_classes)
        known = [""] * len(ids) if train_counts is None else train_counts.tolist()
        columns = (ids, known, metrics.positive_counts().tolist(), metrics.average_precisions().tolist())
        _write(per_class, _PER_CLASS, zip(*columns, strict=True))
    result = metrics.result(train_counts)
    if reliability:
        _write(reliability, _RELIABILITY, metrics.reliability())
        result["calibration_error"] = metrics.calibration_error()
    if out:
        write_json(out, result)
    return result


def score(
    model: keras.Model, files: Sequence[str], data: DataSchema, train_counts: np.ndarray, frames: Frames = ALL, seed: int = 0
) -> dict[str, Any]:
    """Metrics of a model over all videos of some files.

    Args:
      data: the layout; where it lists classes, videos of none of them are left out.
      train_counts: [C], sorts the classes into frequency buckets.
      frames, seed: which frames of a video are taken, where records are frame-level.
    """
    batches = predictions(model, evaluation_batches(files, data, frames=frames, seed=seed))
    return scored(batches, files, data).result(train_counts)


def scored(batches: Iterable[Scored], files: Sequence[str], data: DataSchema) -> Metrics:
    """The videos of some files, whose ids, scores [B, C] and labels come in batches, ready for any metric.

    Raises:
      DataError: there are no labels.
    """
    metrics = Metrics(data.num_classes)
    for ids, scores, labels in batches:
        metrics.update(ids, scores, labels)
    if not metrics.positive_counts().any():
        raise unlabelled(files, data)
    return metrics


def training_counts(scorer: Ensemble, counts: str | None = None) -> np.ndarray | None:
    """The number of videos with each class, [C], in a stats.json, or else in the training set of the first run, where there is one.

    Raises:
      DataError: the file holds no counts, or those of other classes.
    """
    if counts is None:
        return scorer.label_counts
    return np.array(read_label_counts(counts, scorer.classes.num_classes, scorer.classes.listed))


def _write(path: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """A CSV that appears whole; NaN is an empty cell."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(columns)
    writer.writerows(["" if value != value else value for value in row] for row in rows)
    with atomic_write(path) as stream:
        stream.write(text.getvalue().encode())
