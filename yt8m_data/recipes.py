"""Videos to be made: what stands beside their features, and what these are made of.

A recipe is a hundred bytes where the features are thousands. So recipes are shuffled, and features come in where the videos are written.
"""

from collections.abc import Iterator
from typing import NamedTuple, Protocol

import numpy as np
import pyarrow as pa

from yt8m_data import quantize
from yt8m_data.deltas import Deltas
from yt8m_data.frame_synthesis import frame_lists, frames_of
from yt8m_data.quality import matrix
from yt8m_data.sampling import Settings
from yt8m_data.schema import PROVENANCE, Schema
from yt8m_data.synthesis import BLOCK_ROWS, MOVES, vectors


class Rows(Protocol):
    """Where the features of videos are, by their keys: rows of a batch, or places in a `Store`, or in an index of files."""

    def lying(self, keys: np.ndarray) -> np.ndarray | None:
        """Tell where in memory the vectors of some videos begin, int64 [M, F]; None where they are to be copied from elsewhere."""

    def vectors(self, keys: np.ndarray) -> np.ndarray:
        """Copy the vectors of some videos, float32 [M, D], that of each feature behind that of the one before."""

    def sought(self, keys: np.ndarray) -> np.ndarray:
        """Copy those by which neighbours are sought, float32 [M, D]: of the first feature, or the means of its frames."""

    def frames(self, feature: str, key: int) -> np.ndarray:
        """Give the frames of a video, uint8 [frames, size]."""


class InBatch:
    """The features of a batch, by its rows."""

    def __init__(self, batch: pa.RecordBatch, schema: Schema) -> None:
        self._first, self._vectors, self._frames = schema.features[0].name, [], {}
        for feature in schema.features:
            if schema.kind == "video":
                self._vectors.append(matrix(batch, feature.name, feature.size))
            else:
                self._frames[feature.name] = frames_of(batch.column(feature.name), feature.size)

    def lying(self, rows: np.ndarray) -> None:
        """Tell that vectors are to be copied: the batch may not have them as matrices."""

    def vectors(self, rows: np.ndarray) -> np.ndarray:
        """Copy the vectors of some videos, as `Rows` has it."""
        return np.hstack([each[rows] for each in self._vectors])

    def sought(self, rows: np.ndarray) -> np.ndarray:
        """Copy the vectors by which the neighbours of some videos are sought, as `Rows` has it; the means are of dequantised frames."""
        if self._vectors:
            return self._vectors[0][rows]
        means = [quantize.dequantized_mean(self.frames(self._first, row)) for row in rows.tolist()]
        return np.array(means, np.float32).reshape(len(rows), self._frames[self._first][0].shape[1])

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


class Made(NamedTuple):
    """Videos, made by their recipes when they are asked for.

    All features move with the same neighbour, or delta, and lambda, but those of `Settings.hold`, which are the base's.

    Attributes:
      recipes: columns beside the features, and those of MOVES.
      rows: where the features are.
      schema: of the records; the last of its features may be left out.
      settings: which features to hold, and what draws the noise.
      bank: where recipes move by deltas.
    """

    recipes: pa.RecordBatch
    rows: Rows
    schema: Schema
    settings: Settings
    bank: Deltas | None = None

    @property
    def heads(self) -> pa.RecordBatch:
        """The columns of `schema.arrow` and `PROVENANCE` but for the features."""
        features = {feature.name for feature in self.schema.features}
        return self.recipes.select([name for name in (*self.schema.arrow.names, *PROVENANCE.names) if name not in features])

    def only(self, rows: np.ndarray) -> "Made":
        """Take some of the videos, int64 [M]."""
        return self._replace(recipes=self.recipes.take(pa.array(rows)))

    def vectors(self) -> Iterator[list[np.ndarray]]:
        """Make video-level features, as `synthesis.vectors` gives them."""
        return vectors(self.recipes, self.rows.vectors, self.schema.features, self.settings, self.bank)

    def whole(self) -> pa.RecordBatch:
        """Make a batch with the columns of `schema.arrow` and `PROVENANCE`."""
        if self.schema.kind == "video":
            columns = self._matrices()
        else:
            columns = {each.name: frame_lists(self.recipes, self.rows.frames, each, self.settings) for each in self.schema.features}
        target = pa.schema([*self.schema.arrow, *PROVENANCE])
        return pa.RecordBatch.from_arrays([columns[n] if n in columns else self.recipes.column(n) for n in target.names], schema=target)

    def _matrices(self) -> dict[str, pa.FixedSizeListArray]:
        features = self.schema.features
        matrices = [np.empty((self.recipes.num_rows, feature.size), np.float32) for feature in features]
        for number, block in enumerate(self.vectors()):
            for of_feature, made in zip(matrices, block, strict=True):
                of_feature[number * BLOCK_ROWS :][: len(made)] = made
        values = (pa.array(matrix.reshape(-1)) for matrix in matrices)
        return {feature.name: pa.FixedSizeListArray.from_arrays(each, feature.size) for feature, each in zip(features, values, strict=True)}


def moved_by(recipes: pa.RecordBatch, keys: np.ndarray) -> pa.RecordBatch:
    """Name the videos that recipes speak of by other keys: `keys[row]` (int64 [N]) for each row."""
    for name in ("move_base", "move_other"):
        old = recipes.column(name).to_numpy()
        at = recipes.schema.get_field_index(name)
        recipes = recipes.set_column(at, MOVES.field(name), pa.array(np.where(old < 0, -1, keys[old])))
    return recipes
