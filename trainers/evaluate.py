"""Score a run on labelled shards."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from trainers.frames import ALL
from trainers.inputs import each, evaluation_batches, layout_for, unlabelled
from trainers.metrics import Metrics
from trainers.recipe import DataSchema, Frames
from trainers.run import load_run, predictions
from yt8m_data.shards import expand


def evaluate(run_dir: str, data: Sequence[str]) -> dict[str, Any]:
    """Exact metrics of a finished run over all videos of some shards.

    Args:
      run_dir: the folder that `fit` wrote.
      data: patterns of labelled shards, of the kind that it was trained on.

    Returns:
      `gap`, `map`, `map_starter`, `perr`, `hit_at_1`, `num_examples`, and `map_by_frequency` over classes by their training positives.

    Raises:
      DataError: no run, no such file, no labels, labels beyond the model's classes, or records of another kind or of other features.
    """
    run = load_run(run_dir)
    files = expand(data)
    found, counts = layout_for(run.recipe.data, files), np.array(run.train_set.label_counts)
    return score(run.model, files, found, counts, run.recipe.frames, run.recipe.training.seed)


def score(
    model: keras.Model, files: Sequence[str], data: DataSchema, train_counts: np.ndarray, frames: Frames = ALL, seed: int = 0
) -> dict[str, Any]:
    """Metrics of a model over all videos of some files.

    Args:
      data: the layout; where it lists classes, videos of none of them are left out.
      train_counts: [C], sorts the classes into frequency buckets.
      frames, seed: which frames of a video are taken, where records are frame-level.
    """
    metrics, labelled = Metrics(data.num_classes), False
    for ids, probabilities, labels in predictions(model, each(evaluation_batches(files, data, frames=frames, seed=seed))):
        metrics.update(ids, probabilities, labels)
        labelled |= bool((labels >= 0).any())
    if not labelled:
        raise unlabelled(files, data)
    return metrics.result(train_counts)
