"""Frame-level records -> video-level ones: moments of the frames of each video, as the `mean_rgb` and `mean_audio` of YouTube-8M are.

The sums are of the codes, whole numbers, so nothing depends on the order of the frames; they are dequantised in float64 and rounded once.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa

from yt8m_data.errors import DataError
from yt8m_data.quantize import MAXIMUM, MINIMUM
from yt8m_data.schema import Feature, Schema

TOP = 5  # frames that make the top mean of a dimension; fewer where a video has fewer

_STEP = (MAXIMUM - MINIMUM) / 255
_SHIFT = (MAXIMUM - MINIMUM) / 512 + MINIMUM


def _mean(frames: np.ndarray) -> np.ndarray:
    return frames.sum(axis=0, dtype=np.uint64) * (_STEP / len(frames)) + _SHIFT


def _std(frames: np.ndarray) -> np.ndarray:
    """The population's standard deviation, from whole numbers: sqrt(n * sum(q^2) - sum(q)^2) / n, times the step."""
    count, sums = len(frames), frames.sum(axis=0, dtype=np.int64)
    squares = np.multiply(frames, frames, dtype=np.uint16).sum(axis=0, dtype=np.int64)
    return np.sqrt(count * squares - sums * sums) * (_STEP / count)


def _max(frames: np.ndarray) -> np.ndarray:
    return frames.max(axis=0) * _STEP + _SHIFT


def _top(frames: np.ndarray) -> np.ndarray:
    kept = min(TOP, len(frames))
    return _mean(np.partition(np.ascontiguousarray(frames.T), -kept, axis=1)[:, -kept:].T)  # along rows: three quarters of the time


MOMENTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {"mean": _mean, "std": _std, "max": _max, f"top{TOP}": _top}


def pooled_schema(schema: Schema, moments: Sequence[str]) -> Schema:
    """The schema of the pooled records: the features `mean_rgb`, `mean_audio`, then those of the other moments.

    Raises:
      DataError: the records are not frame-level ones, or there is no such moment.
    """
    if schema.kind != "frame":
        raise DataError(f"these are {schema.kind}-level records: only frame-level ones can be pooled")
    for moment in moments:
        if moment not in MOMENTS:
            raise DataError(f"there is no moment {moment!r}: choose among {', '.join(MOMENTS)}")
    features = [Feature(f"{moment}_{feature.name}", feature.size) for moment in moments for feature in schema.features]
    return replace(schema, kind="video", features=tuple(features))


def pool(batch: pa.RecordBatch, schema: Schema, moments: Sequence[str]) -> pa.RecordBatch:
    """Pool a batch with the columns of `schema.arrow` to those of `pooled_schema`: float32 [size] of frames uint8 [T, size].

    T is at least 1, as the codec sees to.
    """
    columns = {name: batch.column(name) for name in ("id", "labels", *schema.extras)}
    for feature in schema.features:
        lists = batch.column(feature.name)
        frames = lists.flatten()
        codes = np.frombuffer(frames.buffers()[1], np.uint8)[frames.offset * feature.size :][: len(frames) * feature.size]
        ends = np.cumsum(lists.value_lengths().to_numpy())[:-1]
        videos = np.split(codes.reshape(-1, feature.size), ends)[: batch.num_rows]
        for moment in moments:
            vectors = np.empty((len(videos), feature.size), np.float32)
            for row, video in enumerate(videos):
                vectors[row] = MOMENTS[moment](video)
            columns[f"{moment}_{feature.name}"] = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), feature.size)
    target = pooled_schema(schema, moments).arrow
    return pa.RecordBatch.from_arrays([columns[name] for name in target.names], schema=target)
