"""Write a run's best classes for every video, as a Kaggle submission."""

from collections.abc import Sequence

import numpy as np

from trainers.inputs import each, evaluation_batches, layout_for
from trainers.metrics import top_classes
from trainers.run import load_run, predictions
from yt8m_data.errors import DataError
from yt8m_data.shards import atomic_write, expand


def predict(run_dir: str, data: Sequence[str], out_csv: str, top_k: int = 20) -> int:
    """Write `VideoId,LabelConfidencePairs`: per video its `top_k` best classes, best first, each with its probability.

    Args:
      run_dir: the folder that `fit` wrote.
      data: patterns of shards, of the kind that it was trained on; labels are not needed.
      out_csv: appears when it is whole.
      top_k: pairs per video.

    Returns:
      The number of videos.

    Raises:
      DataError: no run, no such file, records of another kind or of other features, or a top_k that is not positive.
    """
    if top_k < 1:
        raise DataError(f"top_k is {top_k}, but a video needs at least 1 class: set it to 20, as the challenge did")
    run = load_run(run_dir)
    files = expand(data)
    found, settings = layout_for(run.recipe.data, files), run.recipe
    batches = evaluation_batches(files, found, frames=settings.frames, seed=settings.training.seed, keep_all=True)
    class_ids = np.array(found.classes or range(found.num_classes))  # what the records call the model's classes
    videos = 0
    with atomic_write(out_csv) as stream:
        stream.write(b"VideoId,LabelConfidencePairs\n")
        for ids, probabilities, _ in predictions(run.model, each(batches)):
            scores, classes = top_classes(ids, probabilities, top_k)
            for video, row, confidences in zip(ids, class_ids[classes].tolist(), scores.tolist(), strict=True):
                pairs = " ".join(f"{label} {confidence:.6f}" for label, confidence in zip(row, confidences, strict=True))
                stream.write(video + b"," + pairs.encode() + b"\n")
            videos += len(ids)
    return videos
