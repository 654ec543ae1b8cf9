"""Synthetic frames: the operators of `synthesis` on frame-level records, frame by frame.

Frame t of a base of N frames meets frame floor(t M / N) of its neighbour's M, so that both run through their videos side by side. They meet
as dequantised values, and what comes of it is cut to the range of the code and quantised. In units of the code that is

    round(clip(q_x + l (q_y - q_x) + 255 / 512, 0, 255)),

because dequantising is q * 4 / 255 + 4 / 512 - 2 and quantising its inverse but for the 4 / 512 (see `quantize`).
"""

import itertools
from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa

from yt8m_data import quantize
from yt8m_data.sampling import Plan
from yt8m_data.schema import ORDER, Schema
from yt8m_data.synthesis import NOISE, Synthetics, gaussian, heads, moves

MAKE_ROWS = 32  # synthetic videos made at a time: some 8 MB
_SHIFT = np.float32(255 / 512)
_UNITS = np.float32(255 / (quantize.MAXIMUM - quantize.MINIMUM))  # of the code in 1.0


class Videos:
    """Frame-level records in the order of the input. Frames stay where the batches have them, which may be a file that is mapped to memory.

    Attributes:
      heads: the columns that are no features, of all records.
    """

    def __init__(self, batches: Iterable[pa.RecordBatch], schema: Schema) -> None:
        """Order records with the columns of `schema.arrow` and ORDER by the latter."""
        self._batches = list(batches)
        features = {feature.name for feature in schema.features}
        others = [name for name in self._batches[0].schema.names if name not in features]
        all_heads = pa.concat_batches([batch.select(others) for batch in self._batches])
        sequence = np.argsort(all_heads.column(ORDER).to_numpy())
        self.heads = all_heads.take(pa.array(sequence))
        sizes = [batch.num_rows for batch in self._batches]
        self._batch = np.repeat(np.arange(len(sizes)), sizes)[sequence]
        self._row = np.concatenate([np.arange(size) for size in sizes])[sequence]
        self._frames = {
            feature.name: [_matrix(batch.column(feature.name), feature.size) for batch in self._batches] for feature in schema.features
        }

    def frames(self, feature: str, row: int) -> np.ndarray:
        """Return the frames of a record, uint8 [frames, size], without a copy."""
        codes, offsets = self._frames[feature][self._batch[row]]
        at = self._row[row]
        return codes[offsets[at] : offsets[at + 1]]

    def means(self, feature: str) -> np.ndarray:
        """Return the mean of each record's dequantised frames, float32 [N, size]."""
        return np.stack([quantize.dequantized_mean(self.frames(feature, row)) for row in range(self.heads.num_rows)])

    def take(self, rows: np.ndarray) -> Iterator[pa.RecordBatch]:
        """Yield records with all their columns, those of one batch at a time, in any order."""
        for number in np.unique(self._batch[rows]).tolist():
            yield self._batches[number].take(pa.array(self._row[rows[self._batch[rows] == number]]))


def means(column: pa.ListArray, size: int) -> np.ndarray:
    """Average the dequantised frames of each record of a column, float32 [N, size]."""
    codes, offsets = _matrix(column, size)
    found = [quantize.dequantized_mean(codes[start:end]) for start, end in itertools.pairwise(offsets.tolist())]
    return np.array(found, np.float32).reshape(-1, size)


def make(videos: Videos, chosen: Synthetics, plan: Plan, schema: Schema, neighbors: np.ndarray | None = None) -> pa.RecordBatch:
    """Make synthetic videos as `synthesis.make` does, of as many frames as their bases have. There are no deltas."""
    columns = heads(videos.heads, chosen, plan, schema, neighbors)
    ids = columns.column("id").to_pylist()
    other, part = moves(chosen)
    for place, feature in enumerate(schema.features):
        made = []
        for new_id, base, neighbor, factor, method in zip(ids, chosen.base.tolist(), other.tolist(), part, chosen.method, strict=True):
            frames = videos.frames(feature.name, base)
            if feature.name in plan.settings.hold:
                made.append(frames)
            elif method == NOISE:
                noise = gaussian(plan.settings.seed, new_id, feature.name, frames.size, plan.settings.sigma)
                made.append(_quantized(frames + noise.reshape(frames.shape) * _UNITS))
            else:
                made.append(moved(frames, videos.frames(feature.name, neighbor), factor))
        columns = columns.add_column(2 + place, schema.arrow.field(feature.name), _lists(made))
    return columns


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


def _matrix(column: pa.ListArray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """The frames of a column, uint8 [frames, size], and where those of each record begin, int32 [rows + 1]; without a copy."""
    frames = column.values
    codes = np.frombuffer(frames.buffers()[1], np.uint8)[frames.offset * size :][: len(frames) * size].reshape(-1, size)
    return codes, column.offsets.to_numpy()


def _lists(videos: list[np.ndarray]) -> pa.ListArray:
    codes = np.concatenate(videos)
    frames = pa.Array.from_buffers(pa.binary(codes.shape[1]), len(codes), [None, pa.py_buffer(codes)])
    offsets = np.concatenate(([0], np.cumsum([len(video) for video in videos]))).astype(np.int32)
    return pa.ListArray.from_arrays(offsets, frames)
