"""Write the scores of a run or an ensemble for every video: a Kaggle submission, or a Parquet file."""

from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np

from trainers.ensemble import load
from trainers.prediction_file import parquet
from trainers.ranks import top_classes
from yt8m_data.errors import DataError
from yt8m_data.shards import atomic_write, expand

SUBMITTED = 20  # classes per video, as the challenge asked for


def predict(folder: str, data: Sequence[str], out: str, top_k: int | None = None, repeat: int = 1) -> int:
    """Write the scores of every video, in the order of the files.

    `.csv` is the challenge's `VideoId,LabelConfidencePairs`: per video its best classes, best first, each with its score. `.parquet` has
    whole vectors, or the best classes; see `trainers.prediction_file`.

    Args:
      folder: what `fit`, `average` or `ensemble` wrote.
      data: patterns of shards, of the kind that it was trained on; labels are not needed.
      out: ends in .csv or .parquet; appears when it is whole.
      top_k: classes per video; None is 20 in a CSV, and whole vectors in Parquet.
      repeat: how often a run that draws frames scores a video; its score is the mean.

    Returns:
      The number of videos.

    Raises:
      DataError: no run, no such file, records of another kind or of other features, another suffix, or a top_k that is not positive.
    """
    if top_k is not None and top_k < 1:
        raise DataError(f"top_k is {top_k}, but a video needs at least 1 class: set it to {SUBMITTED}, as the challenge did")
    suffix = Path(out).suffix
    if suffix not in (".csv", ".parquet"):
        raise DataError(f"{out} does not say its format: let it end in .csv, for the challenge, or in .parquet")
    scorer, files, videos = load(folder), expand(data), 0
    class_ids = scorer.classes.ids
    k = min(top_k or SUBMITTED, len(class_ids))
    batches = scorer.scores(files, repeat, keep_all=True)
    if suffix == ".csv":
        with atomic_write(out) as stream:
            stream.write(b"VideoId,LabelConfidencePairs\n")
            for ids, scores, _ in batches:
                best, columns = top_classes(ids, scores, k)
                _write_lines(stream, ids, class_ids[columns], best)
                videos += len(ids)
        return videos
    with parquet(out, scorer.classes, k if top_k else None) as file:
        for ids, scores, _ in batches:
            if top_k:
                best, columns = top_classes(ids, scores, k)
                file.write(ids, best, class_ids[columns])
            else:
                file.write(ids, scores)
            videos += len(ids)
    return videos


def _write_lines(stream: BinaryIO, ids: Sequence[bytes], classes: np.ndarray, scores: np.ndarray) -> None:
    for video, row, confidences in zip(ids, classes.tolist(), scores.tolist(), strict=True):
        pairs = " ".join(f"{label} {confidence:.6f}" for label, confidence in zip(row, confidences, strict=True))
        stream.write(video + b"," + pairs.encode() + b"\n")
