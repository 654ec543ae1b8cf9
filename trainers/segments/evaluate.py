"""Score a segment run on shards with rated segments."""

from collections.abc import Sequence
from typing import Any

import keras

from trainers.recipe import DataSchema
from trainers.segments.metrics import SegmentMetrics
from trainers.segments.reader import count_ratings, evaluation_batches
from trainers.segments.run import layout_of, load_run, predictions
from yt8m_data.shards import expand


def evaluate(run_dir: str, data: Sequence[str]) -> dict[str, Any]:
    """Exact metrics of a finished run over the rated segments of some shards.

    Args:
      run_dir: the folder that `segments fit` wrote.
      data: patterns of shards with rated segments.

    Returns:
      See `SegmentMetrics.result`.

    Raises:
      DataError: no run, no such file, no ratings, or labels, records or features that the model does not know.
    """
    run, files = load_run(run_dir), expand(data)
    found = layout_of(run.settings, files)
    count_ratings(files, found)
    return score(run.model, files, found, run.settings.video.frames.max_frames)


def score(model: keras.Model, files: Sequence[str], data: DataSchema, max_frames: int) -> dict[str, Any]:
    """Metrics of a model over the rated segments of some files, of a layout."""
    metrics = SegmentMetrics(data.num_classes)
    for videos, places, probabilities, batch in predictions(model, evaluation_batches(files, data, max_frames)):
        ids = [b"%b:%d" % (videos[video], start) for video, start in places.tolist()]
        metrics.update(ids, probabilities, batch["rated"].numpy(), batch["ratings"].numpy())
    return metrics.result()
