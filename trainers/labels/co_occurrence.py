"""Scores updated by how often labels occur together (Na et al. 2017, section 2.4)."""

import zipfile
from typing import Any

import keras
import numpy as np
from keras import ops

from trainers.options import one_of, within
from trainers.registry import LABEL_LAYERS
from yt8m_data.errors import DataError

EPSILON = 1e-6


@LABEL_LAYERS.register("co_occurrence")
class CoOccurrence(keras.layers.Layer):
    """alpha p + beta p M + gamma p M', then clipped to [1e-6, 1 - 1e-6].

    M [C, C] is fixed, and M[i, j] says how far label i speaks for label j; M' begins as M and is trained. Both come from the counts that
    `yt8m-data stats` writes, and are weights, so that a saved model needs no file. A matrix whose factor is 0 is not made.

    Args:
      num_classes: C.
      counts: path of `cooccurrence.npz`.
      alpha, beta, gamma: the published grid is (1, 0.3, 0), (1, 0.1, 0), (1, 0.01, 0), (1, 0, 0.1), (1, 0, 0.01) and (1, 0.01, 0.01).
      normalizer: of the counts to M. "conditional" is P(j | i), with 0 on the diagonal; "centered" is the authors' arithmetic; "softmax" is
        a softmax over each row, as in earlier versions of their code, which on counts is close to the identity.

    Raises:
      DataError: an option with a value that it cannot have.
    """

    def __init__(
        self,
        num_classes: int,
        counts: str | None = None,
        alpha: float = 1.0,
        beta: float = 0.01,
        gamma: float = 0.0,
        normalizer: str = "conditional",
        **kwargs: Any,
    ) -> None:
        super().__init__(**{**kwargs, "dtype": "float32"})  # bfloat16 has no 1 - 1e-6
        within("co_occurrence", 0, float("inf"), alpha=alpha, beta=beta, gamma=gamma)
        one_of("co_occurrence", tuple(NORMALIZERS), normalizer=normalizer)
        self.num_classes, self.counts, self.normalizer = num_classes, counts, normalizer
        self.alpha, self.beta, self.gamma = alpha, beta, gamma

    def build(self, input_shape: tuple[int | None, int]) -> None:
        """Make M and M' [C, C], of zeros until `prepare`."""
        shape = (self.num_classes, self.num_classes)
        if self.beta:
            self.fixed = self.add_weight(shape=shape, initializer="zeros", trainable=False, name="fixed")
        if self.gamma:
            self.trained = self.add_weight(shape=shape, initializer="zeros", name="trained")

    def prepare(self, train_set: Any) -> None:
        """Read the counts, and set M and M'.

        Raises:
          DataError: no counts are given, the file is missing or is something else, or it is of another number of classes.
        """
        if not (self.beta or self.gamma):
            return
        if self.counts is None:
            raise DataError("label layer 'co_occurrence' needs counts: set label_layer.counts to the cooccurrence.npz of `yt8m-data stats`")
        matrix = NORMALIZERS[self.normalizer](read_counts(self.counts, self.num_classes))
        if self.beta:
            self.fixed.assign(matrix)
        if self.gamma:
            self.trained.assign(matrix)

    def call(self, p: Any) -> Any:
        """[B, C] to [B, C] float32."""
        scores = self.alpha * p
        if self.beta:
            scores = scores + self.beta * ops.matmul(p, self.fixed)
        if self.gamma:
            scores = scores + self.gamma * ops.matmul(p, self.trained)
        return ops.clip(scores, EPSILON, 1 - EPSILON)

    def get_config(self) -> dict[str, Any]:
        """Configuration for saving."""
        own = ("num_classes", "counts", "alpha", "beta", "gamma", "normalizer")
        return {**super().get_config(), **{key: getattr(self, key) for key in own}}


def read_counts(path: str, num_classes: int, option: str = "label_layer.counts") -> np.ndarray:
    """Read `cooccurrence.npz` as float64 [C, C]: the videos that carry both labels, and on the diagonal those that carry the label.

    `option` is where the path was given.

    Raises:
      DataError: the file is missing, is no such file, or is of another number of classes.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            shape, indices, indptr, data = (stored[key] for key in ("shape", "indices", "indptr", "data"))
    except FileNotFoundError:
        raise DataError(f"there is no file {path}: set {option} to the cooccurrence.npz of `yt8m-data stats`") from None
    except (KeyError, OSError, TypeError, ValueError, zipfile.BadZipFile):
        raise DataError(f"{path} holds no co-occurrence counts: set {option} to the cooccurrence.npz of `yt8m-data stats`") from None
    if shape.tolist() != [num_classes, num_classes]:
        raise DataError(f"{path} counts {shape[0]} classes, but the model has {num_classes}: set {option} to counts of the same data")
    counts = np.zeros((num_classes, num_classes))
    counts[np.repeat(np.arange(num_classes), np.diff(indptr)), indices] = data
    return counts


def conditional(counts: np.ndarray) -> np.ndarray:
    """M[i, j] = P(j | i): the share of the videos with label i that carry j too; 0 on the diagonal, and for a label of no video."""
    M = counts / np.maximum(counts.diagonal(), 1)[:, None]
    np.fill_diagonal(M, 0)
    return M


def centered(counts: np.ndarray) -> np.ndarray:
    """M[i, j] = (N[i, j] - mean of N[j]) / sum of N[j], N the counts with each diagonal entry replaced by its row's mean.

    The columns of M sum to 0. A label of no video has a column of zeros.
    """
    N = counts.copy()
    np.fill_diagonal(N, counts.mean(axis=1))
    sums = N.sum(axis=1)
    return (N - N.mean(axis=1)) / np.where(sums > 0, sums, 1)


def softmax(counts: np.ndarray) -> np.ndarray:
    """M[i] = the softmax of row i; labels of many videos speak for themselves alone."""
    M = np.exp(counts - counts.max(axis=1, keepdims=True))
    return M / M.sum(axis=1, keepdims=True)


NORMALIZERS = {"conditional": conditional, "centered": centered, "softmax": softmax}
