"""Label counts of parts of the data: by shard, by vertical of the labels, by how a record was made."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from yt8m_data.errors import DataError
from yt8m_data.schema import ORDER, Schema
from yt8m_data.statistics import sparse
from yt8m_data.statistics.accumulator import Accumulator, Records, State, register

WAYS = ("shard", "vertical", "synthetic")
NO_VERTICAL, REAL = "(none)", "real"

_PENDING = 1 << 20  # counts held back before they are merged


@register
class Slices(Accumulator):
    """Records, unlabelled records and label counts of each slice.

    By `shard`, a record is in the slice of its file. By `vertical`, it is in those of all its labels, so slices overlap; labels without one
    are in `(none)`, and so is a record without labels. By `synthetic`, it is in that of the method that made it, or in `real`.

    Result: `by`, `names` (sorted), `num_records`, `num_unlabeled` and `label_counts`, int64 [S, num_classes] in the fields of scipy's CSR.

    Args:
      schema: what the records hold.
      by: one of WAYS.
      files: by shard, the input files by their number.
      verticals: by vertical, that of each label; a label without one may be missing.

    Raises:
      DataError: there are no such slices.
    """

    name = "slices"
    needs_features = False
    optional = True

    def __init__(self, schema: Schema, by: str, files: Sequence[str] = (), verticals: Mapping[int, str] = MappingProxyType({})) -> None:
        super().__init__(schema)
        if by not in WAYS:
            raise DataError(f"there are no slices by {by!r}: choose one of {', '.join(WAYS)}")
        self.settings = {"by": by}
        self.by, self.files = by, files
        names, of_label = np.unique([verticals.get(label) or NO_VERTICAL for label in range(schema.num_classes)], return_inverse=True)
        self.verticals, self.vertical_of = [*names.tolist(), NO_VERTICAL], of_label

    def create(self) -> State:
        """Return the state of nothing: `keys` are slice * num_classes + label."""
        return sparse.zeros() | {"names": np.zeros(0, "U1"), "records": np.zeros(0, np.int64), "unlabeled": np.zeros(0, np.int64)}

    def add_batch(self, state: State, records: Records) -> State:
        """Count the records of a batch, slice by slice."""
        rows, members = self._members(records)
        names, slices = np.unique(members, return_inverse=True)
        labels = records.labels
        repeats = labels.per_record[rows]  # every label of a record counts in every slice that the record is in
        at = np.repeat(labels.starts[rows] - np.cumsum(repeats) + repeats, repeats) + np.arange(int(repeats.sum()))
        keys, counts = np.unique(np.repeat(slices, repeats) * self.schema.num_classes + labels.values[at], return_counts=True)
        part = {
            "names": names.astype(str),
            "records": np.bincount(slices, minlength=len(names)),
            "unlabeled": np.bincount(slices[repeats == 0], minlength=len(names)),
            "keys": keys,
            "counts": counts,
        }
        return self._hold(state, [part])

    def merge(self, state: State, other: State) -> State:
        """Add the counts of slices with equal names."""
        return self._hold(state, [{key: value for key, value in other.items() if not key.startswith("_")}, *other.get("_parts", [])])

    def _hold(self, state: State, parts: list[State]) -> State:
        state.setdefault("_parts", []).extend(parts)
        held = sum(len(part["keys"]) for part in state["_parts"])
        return self.compact(state) if held > max(_PENDING, len(state["keys"])) else state

    def compact(self, state: State) -> State:
        """Merge what is held back."""
        own = {key: value for key, value in state.items() if not key.startswith("_")}
        parts = [own, *state.get("_parts", [])]
        names = np.unique(np.concatenate([part["names"] for part in parts]))
        merged: State = {"names": names, "records": np.zeros(len(names), np.int64), "unlabeled": np.zeros(len(names), np.int64)}
        counted = sparse.zeros()
        for part in parts:
            place = np.searchsorted(names, part["names"])
            merged["records"][place] += part["records"]
            merged["unlabeled"][place] += part["unlabeled"]
            number, label = np.divmod(part["keys"], self.schema.num_classes)
            keys = place[number] * self.schema.num_classes + label  # the names are sorted in every part, so the keys stay so
            sparse.merge(counted, {"keys": keys, "counts": part["counts"]})
        return merged | sparse.compact(counted)

    def extract(self, state: State) -> dict[str, Any]:
        """Return the slices that have records."""
        rows, columns = np.divmod(state["keys"], self.schema.num_classes)
        counts = {
            "indices": columns.astype(np.int32),
            "indptr": np.concatenate(([0], np.cumsum(np.bincount(rows, minlength=len(state["names"]))))).astype(np.int32),
            "format": np.array(b"csr"),
            "shape": np.array([len(state["names"]), self.schema.num_classes]),
            "data": state["counts"],
        }
        return {
            "by": self.by,
            "names": state["names"].tolist(),
            "num_records": state["records"],
            "num_unlabeled": state["unlabeled"],
            "label_counts": counts,
        }

    def _members(self, records: Records) -> tuple[np.ndarray, np.ndarray]:
        """Return which records (int64 [M], of N) are in which slices (their names, [M])."""
        everyone = np.arange(len(records))
        if self.by == "shard":
            numbers = records.batch.column(ORDER).to_numpy() >> 32
            return everyone, np.array(self.files)[numbers]
        if self.by == "synthetic":
            methods = records.batch.column("aug_method").to_pylist()
            return everyone, np.array([REAL if method is None else method.decode(errors="backslashreplace") for method in methods], str)
        labels, count = records.labels, len(self.verticals)
        pairs = np.unique(labels.rows * count + self.vertical_of[labels.values])
        unlabelled = np.flatnonzero(labels.per_record == 0) * count + count - 1
        rows, verticals = np.divmod(np.concatenate((pairs, unlabelled)), count)
        return rows, np.array(self.verticals)[verticals]
