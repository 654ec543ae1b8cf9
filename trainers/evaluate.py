"""Score a run on labelled shards."""

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Any

import keras
import numpy as np

from trainers.frames import ALL
from trainers.inputs import each, evaluation_batches, layout_for, unlabelled
from trainers.metrics import Metrics
from trainers.noise import read_label_counts
from trainers.recipe import DataSchema, Frames
from trainers.run import Run, load_run, predictions
from yt8m_data.shards import atomic_write, expand

_PER_CLASS = ("class", "training_videos", "videos", "average_precision")
_RELIABILITY = ("low", "high", "pairs", "mean_score", "share_true")


def evaluate(
    run_dir: str, data: Sequence[str], counts: str | None = None, per_class: str | None = None, reliability: str | None = None
) -> dict[str, Any]:
    """Exact metrics of a finished run over all videos of some shards.

    Args:
      run_dir: the folder that `fit` wrote.
      data: patterns of labelled shards, of the kind that it was trained on.
      counts: path of the stats.json that sorts classes by frequency; None takes the run's training set.
      per_class: path of a CSV to write: of each class its id, its videos in the training set (or in `counts`) and in `data`, and its
        average precision, which is empty where `data` has no video of it.
      reliability: path of a CSV to write: the reliability curve, see `Metrics.reliability`.

    Returns:
      `gap`, `map`, `map_starter`, `perr`, `hit_at_1`, `num_examples`, and `map_by_frequency` over classes by their training positives; with
      `reliability` also `calibration_error`.

    Raises:
      DataError: no run, no such file, no labels, labels beyond the model's classes, records of another kind or of other features, or counts
        of other classes.
    """
    run, files = load_run(run_dir), expand(data)
    found, train_counts = layout_for(run.recipe.data, files), training_counts(run, counts)
    metrics = scored(run.model, files, found, run.recipe.frames, run.recipe.training.seed)
    if per_class:
        ids = found.classes or range(found.num_classes)
        columns = (ids, train_counts.tolist(), metrics.positive_counts().tolist(), metrics.average_precisions().tolist())
        _write(per_class, _PER_CLASS, zip(*columns, strict=True))
    result = metrics.result(train_counts)
    if reliability:
        _write(reliability, _RELIABILITY, metrics.reliability())
        result["calibration_error"] = metrics.calibration_error()
    return result


def score(
    model: keras.Model, files: Sequence[str], data: DataSchema, train_counts: np.ndarray, frames: Frames = ALL, seed: int = 0
) -> dict[str, Any]:
    """Metrics of a model over all videos of some files; see `scored`. `train_counts` [C] sort the classes into frequency buckets."""
    return scored(model, files, data, frames, seed).result(train_counts)


def scored(model: keras.Model, files: Sequence[str], data: DataSchema, frames: Frames = ALL, seed: int = 0) -> Metrics:
    """A model's scores of all videos of some files, ready for any metric.

    Args:
      data: the layout; where it lists classes, videos of none of them are left out.
      frames, seed: which frames of a video are taken, where records are frame-level.

    Raises:
      DataError: there are no labels.
    """
    metrics = Metrics(data.num_classes)
    for ids, probabilities, labels in predictions(model, each(evaluation_batches(files, data, frames=frames, seed=seed))):
        metrics.update(ids, probabilities, labels)
    if not metrics.positive_counts().any():
        raise unlabelled(files, data)
    return metrics


def training_counts(run: Run, counts: str | None = None) -> np.ndarray:
    """The number of videos with each class, [C], in a run's training set or in a stats.json.

    Raises:
      DataError: the file holds no counts, or those of other classes.
    """
    data = run.recipe.data
    return np.array(read_label_counts(counts, data.num_classes, data.classes) if counts else run.train_set.label_counts)


def _write(path: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """A CSV that appears whole; NaN is an empty cell."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(columns)
    writer.writerows(["" if value != value else value for value in row] for row in rows)
    with atomic_write(path) as stream:
        stream.write(text.getvalue().encode())
