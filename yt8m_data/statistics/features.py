"""Statistics of the features: the length of videos in frames, and what the values of each dimension look like.

A record batch is summed up in floating point, in the order of its rows, and batches are added up exactly. A reader cuts a file into the
same batches every time, so every figure is the same for any number of workers, any order of files and any merging.
"""

from typing import Any

import numpy as np
import pyarrow as pa

from yt8m_data import sums
from yt8m_data.errors import DataError
from yt8m_data.quantize import MAXIMUM, MINIMUM, dequantize
from yt8m_data.schema import Feature, Schema
from yt8m_data.statistics import exact
from yt8m_data.statistics.accumulator import Accumulator, Records, State, add_histograms, register

_PENDING = 32  # sums of batches held back before they are added up exactly

_CODE_ROWS = 255  # the squares of so many bytes are below 2^24, so float32 holds their sum exactly; and a byte counts so many zeros
_SCALE, _SHIFT = (MAXIMUM - MINIMUM) / 255, (MAXIMUM - MINIMUM) / 512 + MINIMUM  # value = code * scale + shift, as `dequantize` has it

_FIXED = 2.0**24  # label means are sums of whole numbers of 2^-24


@register
class FrameCounts(Accumulator):
    """Frames per video, of frame-level records.

    Result: `histogram` int64, whose entry k is the number of records with k frames, and `num_unknown`.
    """

    name = "frames"
    needs_features = False

    @classmethod
    def applies(cls, schema: Schema) -> bool:
        """Return whether the records have frames."""
        return schema.kind == "frame"

    def create(self) -> State:
        """Return the state of nothing."""
        return {"histogram": np.zeros(1, np.int64), "unknown": np.zeros(1, np.int64)}

    def add_batch(self, state: State, records: Records) -> State:
        """Count the frames of a batch."""
        lengths = records.num_frames
        known = lengths >= 0
        return {
            "histogram": add_histograms(state["histogram"], np.bincount(lengths[known])),
            "unknown": state["unknown"] + (~known).sum(),
        }

    def merge(self, state: State, other: State) -> State:
        """Add both."""
        return {"histogram": add_histograms(state["histogram"], other["histogram"]), "unknown": state["unknown"] + other["unknown"]}

    def extract(self, state: State) -> dict[str, Any]:
        """Return the histogram and the number of records that are not in it."""
        return {"histogram": state["histogram"], "num_unknown": int(state["unknown"][0])}


@register
class Moments(Accumulator):
    """Mean, variance, minimum, maximum, values that are not finite, and share of zeros, per dimension.

    Over videos at video level, over dequantised frames at frame level; there the sums are of the codes, as whole numbers, and a zero is the
    code 0, which stands for all that is -2 or less. Values that are not finite count as such and for nothing else. (A reader passes no such
    record on: it is bad.)

    Result: per feature `size`, `count`, and lists of `size` numbers: `mean`, `variance`, `min`, `max`, `nan`, `zeros`.
    """

    name = "features"
    takes_sums = True

    def create(self) -> State:
        """Return the state of nothing."""
        state: State = {}
        for feature in self.schema.features:
            size = feature.size
            state |= {
                f"{feature.name}/count": np.zeros(1, np.int64),
                f"{feature.name}/min": np.full(size, np.inf, np.float32),
                f"{feature.name}/max": np.full(size, -np.inf, np.float32),
                f"{feature.name}/nan": np.zeros(size, np.int64),
                f"{feature.name}/zeros": np.zeros(size, np.int64),
                f"{feature.name}/sum": self._no_sum(size),
                f"{feature.name}/squares": self._no_sum(size),
            }
        return state

    def _no_sum(self, size: int) -> np.ndarray:
        return exact.zeros(size) if self.schema.kind == "video" else np.zeros(size, np.int64)

    def add_batch(self, state: State, records: Records) -> State:
        """Sum up a batch."""
        for feature in self.schema.features:
            if added := records.sums.get(feature.name):
                self._add_floats(state, feature.name, added)
                continue
            matrix = values_of(records.batch.column(feature.name), feature)
            if len(matrix) and self.schema.kind == "frame":
                self._add_codes(state, feature.name, matrix)
            elif len(matrix):
                self._add_floats(state, feature.name, sums.of_matrix(matrix))
        held = max((len(pending) for key, pending in state.items() if key.startswith("_")), default=0)
        return _settled(state) if held >= _PENDING else state

    def merge(self, state: State, other: State) -> State:
        """Add the sums of both."""
        state = _settled(state)
        other = _settled(other)
        add = exact.merge if self.schema.kind == "video" else np.add
        combine = {"count": np.add, "min": np.minimum, "max": np.maximum, "nan": np.add, "zeros": np.add, "sum": add, "squares": add}
        return {key: combine[key.rpartition("/")[2]](state[key], other[key]) for key in state}

    def compact(self, state: State) -> State:
        """Add up what is held back."""
        return _settled(state)

    def extract(self, state: State) -> dict[str, dict[str, Any]]:
        """Return the table of each feature, rounded to the precision of float32."""
        return {feature.name: self._table(state, feature) for feature in self.schema.features}

    def _add_floats(self, state: State, name: str, added: sums.Sums) -> None:
        """Add the sums of videos."""
        state.setdefault(f"_{name}", []).append((added.total, added.squares))
        state[f"{name}/count"] = state[f"{name}/count"] + added.rows
        state[f"{name}/nan"] = state[f"{name}/nan"] + added.nan
        state[f"{name}/zeros"] = state[f"{name}/zeros"] + added.zeros
        state[f"{name}/min"] = np.minimum(state[f"{name}/min"], added.low)
        state[f"{name}/max"] = np.maximum(state[f"{name}/max"], added.high)

    def _add_codes(self, state: State, name: str, matrix: np.ndarray) -> None:
        """Add frames, uint8 [N, size]."""
        buffer = np.empty((min(_CODE_ROWS, len(matrix)), matrix.shape[1]), np.float32)
        total, squares, zeros = (np.zeros(matrix.shape[1], np.int64) for _ in range(3))
        for at in range(0, len(matrix), _CODE_ROWS):
            rows = matrix[at : at + _CODE_ROWS]
            block = buffer[: len(rows)]
            np.copyto(block, rows)
            total += block.sum(axis=0).astype(np.int64)
            np.multiply(block, block, out=block)
            squares += block.sum(axis=0).astype(np.int64)
            zeros += sums.count(rows == 0)
        state[f"{name}/count"] = state[f"{name}/count"] + len(matrix)
        state[f"{name}/sum"] = state[f"{name}/sum"] + total
        state[f"{name}/squares"] = state[f"{name}/squares"] + squares
        state[f"{name}/zeros"] = state[f"{name}/zeros"] + zeros
        state[f"{name}/min"] = np.minimum(state[f"{name}/min"], matrix.min(axis=0))
        state[f"{name}/max"] = np.maximum(state[f"{name}/max"], matrix.max(axis=0))

    def _table(self, state: State, feature: Feature) -> dict[str, Any]:
        part = {key: state[f"{feature.name}/{key}"] for key in ("count", "min", "max", "nan", "zeros", "sum", "squares")}
        count = part["count"] - part["nan"]
        low, high = np.where(count > 0, part["min"], 0), np.where(count > 0, part["max"], 0)
        if self.schema.kind == "frame":
            mean, variance = _moments_of_codes(int(part["count"][0]), part["sum"], part["squares"])
            low, high = (np.where(count > 0, dequantize(ends.astype(np.uint8)), 0) for ends in (low, high))
        else:
            mean, variance = exact.moments(count, part["sum"], part["squares"])
        return {
            "size": feature.size,
            "count": int(part["count"][0]),
            "mean": _rounded(mean),
            "variance": _rounded(variance),
            "min": _rounded(low),
            "max": _rounded(high),
            "nan": part["nan"].tolist(),
            "zeros": _rounded(part["zeros"] / np.maximum(count, 1)),
        }


@register
class LabelMeans(Accumulator):
    """The mean vector of the records with each label; of a frame-level record, the mean of its frames counts.

    Values are rounded to whole numbers of 2^-24 first, 6e-8, so that their sums are exact.

    Result: per feature float32 [num_classes, size], NaN for labels without records, and `counts` int64 [num_classes].
    """

    name = "label_means"
    optional = True

    def create(self) -> State:
        """Return the state of nothing: 4 MB per thousand classes and 512 dimensions."""
        classes = self.schema.num_classes
        nothing = {feature.name: np.zeros((classes, feature.size), np.int64) for feature in self.schema.features}
        return nothing | {"counts": np.zeros(classes, np.int64)}

    def add_batch(self, state: State, records: Records) -> State:
        """Add each record's vector to the sums of its labels."""
        labels = records.labels
        order = np.argsort(labels.values, kind="stable")
        present, starts = np.unique(labels.values[order], return_index=True)
        if not len(present):
            return state
        rows = labels.rows[order]
        for feature in self.schema.features:
            column = records.batch.column(feature.name)
            vectors = values_of(column, feature)
            if self.schema.kind == "frame":
                vectors = _means_of_frames(vectors, records.num_frames)
            if not (np.abs(vectors).max(initial=0) < _FIXED):
                raise DataError(f"the feature {feature.name!r} has values beyond {_FIXED:.0e}: scale it down, or leave out --label-means")
            fixed = np.rint(vectors * _FIXED).astype(np.int64)
            added = state[feature.name]
            for label, at, end in zip(present.tolist(), starts.tolist(), [*starts[1:].tolist(), len(rows)], strict=True):
                added[label] += fixed[rows[at:end]].sum(axis=0)
        state["counts"] = state["counts"] + np.bincount(labels.values, minlength=len(state["counts"]))
        return state

    def merge(self, state: State, other: State) -> State:
        """Add the sums of both."""
        for key, value in state.items():
            value += other[key]  # in place: two of these are large enough
        return state

    def extract(self, state: State) -> dict[str, np.ndarray]:
        """Return the means."""
        counts = state["counts"][:, None]
        with np.errstate(invalid="ignore"):
            means = {name: np.where(counts > 0, state[name] / _FIXED / counts, np.nan) for name in state if name != "counts"}
        return {name: mean.astype(np.float32) for name, mean in means.items()} | {"counts": state["counts"]}


def values_of(column: pa.Array, feature: Feature) -> np.ndarray:
    """View a feature's column as a matrix: float32 [records, size], or the codes of all frames, uint8 [frames, size]."""
    values = column.flatten()
    if pa.types.is_floating(values.type):
        return values.to_numpy().reshape(-1, feature.size)
    codes = np.frombuffer(values.buffers()[1] or b"", np.uint8)[values.offset * feature.size :][: len(values) * feature.size]
    return codes.reshape(-1, feature.size)


def _settled(state: State) -> State:
    """Add the sums that are held back to the exact ones; `state` keeps its own."""
    settled = {key: value for key, value in state.items() if not key.startswith("_")}
    for key, pending in state.items():
        if key.startswith("_") and pending:
            totals, squares = (np.array(part) for part in zip(*pending, strict=True))
            settled[f"{key[1:]}/sum"] = exact.add(settled[f"{key[1:]}/sum"], totals)
            settled[f"{key[1:]}/squares"] = exact.add(settled[f"{key[1:]}/squares"], squares)
    return settled


def _moments_of_codes(count: int, total: np.ndarray, squares: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of dequantised codes, from whole sums of the codes and of their squares."""
    if not count:
        return np.zeros(len(total)), np.zeros(len(total))
    spread = [(count * q - s * s) / count**2 for s, q in zip(total.tolist(), squares.tolist(), strict=True)]  # of integers, without a limit
    return total / count * _SCALE + _SHIFT, np.array(spread) * _SCALE**2


def _means_of_frames(codes: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Mean of the dequantised frames of each record, float64 [N, size]; 0 for one without frames."""
    ends = np.cumsum(lengths)
    means = np.zeros((len(lengths), codes.shape[1]))
    for record, (start, end) in enumerate(zip((ends - lengths).tolist(), ends.tolist(), strict=True)):
        if end > start:
            means[record] = codes[start:end].sum(axis=0, dtype=np.int64) / (end - start) * _SCALE + _SHIFT
    return means


def _rounded(values: np.ndarray) -> list[float]:
    return [float(f"{value:.7g}") for value in values.tolist()]
