"""Videos to be made: what stands beside their features, and what these are made of.

A recipe is a hundred bytes where the features are thousands. So recipes are shuffled, and features come in where the videos are written.
"""

from typing import Protocol

import numpy as np
import pyarrow as pa

from yt8m_data import quantize
from yt8m_data.deltas import Deltas
from yt8m_data.frame_synthesis import frame_lists, frames_of
from yt8m_data.quality import matrix
from yt8m_data.sampling import Settings
from yt8m_data.schema import PROVENANCE, Schema
from yt8m_data.synthesis import MOVES, vectors


class Rows(Protocol):
    """Where the features of videos are, by their keys: rows of a batch, or places in a `Store`."""

    def vectors(self, feature: str, keys: np.ndarray) -> np.ndarray:
        """Copy the vectors of some videos, float32 [M, size]; of ones with frames the means of the first feature."""

    def frames(self, feature: str, key: int) -> np.ndarray:
        """Give the frames of a video, uint8 [frames, size]."""


class InBatch:
    """The features of a batch, by its rows."""

    def __init__(self, batch: pa.RecordBatch, schema: Schema) -> None:
        if schema.kind == "video":
            self._vectors = {feature.name: matrix(batch, feature.name, feature.size) for feature in schema.features}
        else:
            self._vectors = {}
            self._frames = {feature.name: frames_of(batch.column(feature.name), feature.size) for feature in schema.features}

    def vectors(self, feature: str, rows: np.ndarray) -> np.ndarray:
        """Copy the vectors of some videos, float32 [M, size]; of ones with frames take the mean of these, dequantised."""
        if self._vectors:
            return self._vectors[feature][rows]
        means = [quantize.dequantized_mean(self.frames(feature, row)) for row in rows.tolist()]
        return np.array(means, np.float32).reshape(len(rows), self._frames[feature][0].shape[1])

    def frames(self, feature: str, row: int) -> np.ndarray:
        """View the frames of a video, uint8 [frames, size]."""
        codes, offsets = self._frames[feature]
        return codes[offsets[row] : offsets[row + 1]]


def of_originals(heads: pa.RecordBatch, keys: np.ndarray) -> pa.RecordBatch:
    """Make recipes of videos as they are: their columns beside the features, and their keys (int64 [N])."""
    count = heads.num_rows
    columns = [keys, np.full(count, -1), np.zeros(count, np.float32), np.zeros(count, bool), np.full(count, -1)]
    moves = [pa.array(column, field.type) for column, field in zip(columns, MOVES, strict=True)]
    return pa.RecordBatch.from_arrays([*heads.columns, *moves], schema=pa.schema([*heads.schema, *MOVES]))


def make(recipes: pa.RecordBatch, rows: Rows, schema: Schema, settings: Settings, bank: Deltas | None = None) -> pa.RecordBatch:
    """Make videos: a batch with the columns of `schema.arrow` and `PROVENANCE`.

    All features move with the same neighbour, or delta, and lambda, but those of `Settings.hold`, which are the base's.

    Args:
      recipes: columns beside the features, and those of MOVES.
      rows: where the features are.
      schema: of the records.
      settings: which features to hold, and what draws the noise.
      bank: where recipes move by deltas.
    """
    columns = {}
    for feature in schema.features:
        if schema.kind == "video":
            made = vectors(recipes, rows.vectors, feature, settings, bank)
            columns[feature.name] = pa.FixedSizeListArray.from_arrays(pa.array(made.reshape(-1)), feature.size)
        else:
            columns[feature.name] = frame_lists(recipes, rows.frames, feature, settings)
    target = pa.schema([*schema.arrow, *PROVENANCE])
    return pa.RecordBatch.from_arrays([columns[n] if n in columns else recipes.column(n) for n in target.names], schema=target)


def moved_by(recipes: pa.RecordBatch, keys: np.ndarray) -> pa.RecordBatch:
    """Name the videos that recipes speak of by other keys: `keys[row]` (int64 [N]) for each row."""
    for name in ("move_base", "move_other"):
        old = recipes.column(name).to_numpy()
        at = recipes.schema.get_field_index(name)
        recipes = recipes.set_column(at, MOVES.field(name), pa.array(np.where(old < 0, -1, keys[old])))
    return recipes
