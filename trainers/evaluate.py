"""Score a run or an ensemble on labelled shards."""

from collections.abc import Iterable, Sequence
from typing import Any

import keras
import numpy as np

from trainers.ensemble import Scored, load
from trainers.frames import ALL
from trainers.inputs import each, evaluation_batches, unlabelled
from trainers.metrics import Metrics
from trainers.recipe import DataSchema, Frames
from trainers.run import predictions
from yt8m_data.shards import expand


def evaluate(folder: str, data: Sequence[str], repeat: int = 1) -> dict[str, Any]:
    """Exact metrics of a finished run, or of an ensemble, over all videos of some shards.

    Args:
      folder: what `fit`, `average` or `ensemble` wrote.
      data: patterns of labelled shards, of the kind that it was trained on.
      repeat: how often a run that draws frames scores a video, each time of other frames; its score is the mean.

    Returns:
      `gap`, `map`, `map_starter`, `perr`, `hit_at_1`, `num_examples`, and `map_by_frequency` over classes by their training positives.

    Raises:
      DataError: no run, no such file, no labels, labels beyond the model's classes, or records of another kind or of other features.
    """
    scorer, files = load(folder), expand(data)
    return measure(scorer.scores(files, repeat), files, scorer.layout_for(files), scorer.label_counts)


def score(
    model: keras.Model, files: Sequence[str], data: DataSchema, train_counts: np.ndarray, frames: Frames = ALL, seed: int = 0
) -> dict[str, Any]:
    """Metrics of a model over all videos of some files.

    Args:
      data: the layout; where it lists classes, videos of none of them are left out.
      train_counts: [C], sorts the classes into frequency buckets.
      frames, seed: which frames of a video are taken, where records are frame-level.
    """
    return measure(predictions(model, each(evaluation_batches(files, data, frames=frames, seed=seed))), files, data, train_counts)


def measure(batches: Iterable[Scored], files: Sequence[str], data: DataSchema, train_counts: np.ndarray | None) -> dict[str, Any]:
    """Metrics of all videos of some files, whose ids, scores [B, C] and labels come in batches."""
    metrics, labelled = Metrics(data.num_classes), False
    for ids, scores, labels in batches:
        metrics.update(ids, scores, labels)
        labelled |= bool((labels >= 0).any())
    if not labelled:
        raise unlabelled(files, data)
    return metrics.result(train_counts)
