"""Predictions as Parquet, keyed by id: whole score vectors, or each video's best classes; and looked up by id again.

    id       binary                       the video's
    scores   fixed_size_list<float>[C]    whole vectors: one score per class of the model
or
    id       binary
    classes  fixed_size_list<int32>[k]    the k best classes by the ids that the records give them, best first
    scores   fixed_size_list<float>[k]    theirs

The metadata key `yt8m` holds {"num_classes": C, "classes": null or the ids of the C classes, where the model knows but a list of them}.
"""

import contextlib
import json
import tempfile
from collections.abc import Iterator, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from trainers.recipe import DataSchema
from yt8m_data.errors import DataError
from yt8m_data.shards import atomic_write

_METADATA = b"yt8m"
_READ_ROWS = 4096
_DTYPES = {"classes": np.int32, "scores": np.float32}


class Classes(NamedTuple):
    """The classes that scores are of: how many, and their ids in the records, or None for 0..C-1."""

    num_classes: int
    listed: tuple[int, ...] | None = None

    @classmethod
    def of(cls, data: DataSchema) -> "Classes":
        """Those of a model of that layout."""
        return cls(data.num_classes, data.classes)

    @property
    def ids(self) -> np.ndarray:
        """[C] int32."""
        return np.array(self.listed or range(self.num_classes), np.int32)


class ParquetWriter:
    """Writes batches of scores; see the schema above.

    Args:
      stream: what is written to.
      classes: of the columns of the scores.
      top_k: classes per video; None writes whole vectors.
    """

    def __init__(self, stream: Any, classes: Classes, top_k: int | None) -> None:
        fields = [("id", pa.binary()), ("scores", pa.list_(pa.float32(), top_k or classes.num_classes))]
        if top_k:
            fields.insert(1, ("classes", pa.list_(pa.int32(), top_k)))
        metadata = {_METADATA: json.dumps({"num_classes": classes.num_classes, "classes": classes.listed})}
        self._schema = pa.schema(fields, metadata)
        self._writer = pq.ParquetWriter(stream, self._schema, compression="zstd", use_dictionary=False)

    def write(self, ids: Sequence[bytes], scores: np.ndarray, classes: np.ndarray | None = None) -> None:
        """Add B videos: scores [B, C], or [B, k] with their class ids [B, k]."""
        columns = [scores] if classes is None else [classes.astype(np.int32), scores]
        lists = [pa.FixedSizeListArray.from_arrays(np.ascontiguousarray(values).ravel(), values.shape[1]) for values in columns]
        self._writer.write_batch(pa.record_batch([pa.array(ids, pa.binary()), *lists], self._schema))

    def close(self) -> None:
        """Write the footer."""
        self._writer.close()


@contextlib.contextmanager
def parquet(path: str | PathLike[str], classes: Classes, top_k: int | None = None) -> Iterator[ParquetWriter]:
    """A ParquetWriter of a file that appears whole or not at all."""
    with atomic_write(path) as stream, contextlib.closing(ParquetWriter(stream, classes, top_k)) as writer:
        yield writer


class Predictions:
    """A file of predictions, to be looked up by id.

    The scores lie in a temporary file that is memory-mapped and goes with the object; ids and their order are in memory, some 20 bytes a
    video.

    Raises:
      DataError: the file is missing, is no file of predictions, or has an id twice.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        try:
            source = pq.ParquetFile(path)
        except FileNotFoundError:
            raise DataError(f"there is no file {path}: give one that `yt8m-train predict --out FILE.parquet` wrote") from None
        except (OSError, pa.ArrowInvalid) as error:
            raise DataError(f"{path} is no Parquet file ({str(error).splitlines()[0]}): give one of `yt8m-train predict`") from None
        with source:
            metadata = (source.schema_arrow.metadata or {}).get(_METADATA)
            if metadata is None or not {"id", "scores"} <= set(source.schema_arrow.names):
                raise DataError(f"{path} holds no predictions: give a file that `yt8m-train predict --out FILE.parquet` wrote")
            kept = json.loads(metadata)
            self.classes = Classes(kept["num_classes"], tuple(kept["classes"]) if kept["classes"] else None)
            ids, self._columns = _spill(source)
        self._order = np.argsort(ids, kind="stable")
        self._ids = ids[self._order]
        again = np.flatnonzero(self._ids[1:] == self._ids[:-1])
        if len(again):
            raise DataError(f"{path} has video {self._ids[again[0]].decode(errors='replace')!r} twice: predict each shard once")

    def __len__(self) -> int:
        return len(self._ids)

    def scores(self, ids: Sequence[bytes] | np.ndarray) -> np.ndarray:
        """The scores of B videos: [B, C] float32; classes that a file of best classes leaves out have 0.

        Raises:
          DataError: one of the videos is not in the file.
        """
        wanted = np.asarray(ids, "S")
        places = np.searchsorted(self._ids, wanted)
        inside = places < len(self._ids)
        found = inside & (self._ids[np.where(inside, places, 0)] == wanted) if len(self._ids) else inside
        if not found.all():
            first = wanted[np.argmin(found)].decode(errors="replace")
            raise DataError(f"{self.path} has no prediction for video {first!r}: give predictions for all the videos of the same shards")
        rows = self._order[places]
        if "classes" not in self._columns:
            return self._columns["scores"][rows]
        dense = np.zeros((len(rows), self.classes.num_classes), np.float32)
        np.put_along_axis(dense, self._columns_of(self._columns["classes"][rows]), self._columns["scores"][rows], axis=1)
        return dense

    def _columns_of(self, class_ids: np.ndarray) -> np.ndarray:
        """Class ids of the records as columns of the scores."""
        if self.classes.listed is None:
            return class_ids
        order = np.argsort(self.classes.ids)
        return order[np.searchsorted(self.classes.ids[order], class_ids)]


def is_predictions(path: str) -> bool:
    """Whether a path is to be read as a file of predictions, not as the folder of a run."""
    return Path(path).suffix == ".parquet"


def _spill(source: pq.ParquetFile) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The ids [N] as fixed-width strings, and the other columns [N, k], memory-mapped from temporary files."""
    names = [name for name in _DTYPES if name in source.schema_arrow.names]
    files = {name: tempfile.TemporaryFile() for name in names}  # noqa: SIM115 (they go with the arrays)
    ids = [np.zeros(0, "S1")]
    for batch in source.iter_batches(_READ_ROWS):
        ids.append(batch.column("id").to_numpy(zero_copy_only=False).astype("S"))
        for name in names:
            files[name].write(batch.column(name).flatten().to_numpy())
    num_rows = sum(map(len, ids))
    columns = {}
    for name, file in files.items():
        dtype, shape = _DTYPES[name], (num_rows, source.schema_arrow.field(name).type.list_size)
        file.flush()
        columns[name] = np.memmap(file, dtype, "r", shape=shape) if num_rows else np.zeros(shape, dtype)
    return np.concatenate(ids), columns
