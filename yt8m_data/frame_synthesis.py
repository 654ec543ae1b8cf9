"""Synthetic frames: the operators of `synthesis` on frame-level records, frame by frame.

Frame t of a base of N frames meets frame floor(t M / N) of its neighbour's M, so that both run through their videos side by side. They meet
as dequantised values, and what comes of it is cut to the range of the code and quantised. In units of the code that is

    round(clip(q_x + l (q_y - q_x) + 255 / 512, 0, 255)),

because dequantising is q * 4 / 255 + 4 / 512 - 2 and quantising its inverse but for the 4 / 512 (see `quantize`).
"""

from collections.abc import Callable

import numpy as np
import pyarrow as pa

from yt8m_data import quantize
from yt8m_data.sampling import Settings
from yt8m_data.schema import Feature
from yt8m_data.synthesis import gaussian

_SHIFT = np.float32(255 / 512)
_UNITS = np.float32(255 / (quantize.MAXIMUM - quantize.MINIMUM))  # of the code in 1.0


def frame_lists(recipes: pa.RecordBatch, take: Callable[[str, int], np.ndarray], feature: Feature, settings: Settings) -> pa.ListArray:
    """Make a feature of videos as `synthesis.vectors` does, each of as many frames as its base. There are no deltas.

    Args:
      recipes: with the columns of MOVES.
      take: gives the frames of a feature, uint8 [frames, size], by a key.
      feature: which.
      settings: for the features to hold, and the noise.
    """
    made = []
    columns = (recipes.column(name).to_pylist() for name in ("id", "move_base", "move_other", "move_noise"))
    for new_id, base, other, noisy, part in zip(*columns, recipes.column("move_part").to_numpy(), strict=True):
        frames = take(feature.name, base)
        if feature.name in settings.hold or (other < 0 and not noisy):
            made.append(frames)
        elif noisy:
            noise = gaussian(settings.seed, new_id, feature.name, frames.size, settings.sigma)
            made.append(_quantized(frames + noise.reshape(frames.shape) * _UNITS))
        else:
            made.append(moved(frames, take(feature.name, other), part))
    return _lists(made, feature.size)


def moved(frames: np.ndarray, others: np.ndarray, part: float) -> np.ndarray:
    """Move frames (uint8 [N, D]) by a part of the way to those of another video (uint8 [M, D]); away from them where it is negative."""
    met = others[np.arange(len(frames)) * len(others) // len(frames)]
    base = frames.astype(np.float32)
    way = np.subtract(met, base, dtype=np.float32)
    way *= np.float32(part)
    way += base
    return _quantized(way)


def _quantized(values: np.ndarray) -> np.ndarray:
    """Code values in units of the code, in place."""
    values += _SHIFT
    np.clip(values, 0, 255, out=values)
    return np.rint(values, out=values).astype(np.uint8)


def frames_of(column: pa.ListArray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """View the frames of a column, uint8 [frames, size], and where those of each record begin, int32 [rows + 1]."""
    frames = column.values
    codes = np.frombuffer(frames.buffers()[1], np.uint8)[frames.offset * size :][: len(frames) * size].reshape(-1, size)
    return codes, column.offsets.to_numpy()


def _lists(videos: list[np.ndarray], size: int) -> pa.ListArray:
    codes = np.concatenate([np.empty((0, size), np.uint8), *videos])
    frames = pa.Array.from_buffers(pa.binary(codes.shape[1]), len(codes), [None, pa.py_buffer(codes)])
    offsets = np.concatenate(([0], np.cumsum([len(video) for video in videos]))).astype(np.int32)
    return pa.ListArray.from_arrays(offsets, frames)
