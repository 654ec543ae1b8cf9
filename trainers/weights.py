"""Weights of an ensemble's members, learned by Adam on the mean squared error to the 0/1 labels of a held-out set (Cho et al. 2018, 3.3).

The error of p = sum over m of w_m p_m is a quadratic function of w, so the sums of p_m p_n and of p_m q over the videos hold all that it
needs: one pass over the held-out set, then Adam on the whole of it. No bias, and no constraint. The published start is N(1/M, 0.05); ours
is 1/M, equal weights, which needs no draw.
"""

from typing import NamedTuple

import numpy as np

from trainers.metrics import check_labels

STEPS = 3_000
_RATE = 0.02  # at first; it falls to 0 as half a cosine


class Moments:
    """Sums over videos, of each class apart.

    Attributes:
      products: of the members' scores with each other, [C, M, M] float64.
      hits: of the members' scores where the label is 1, [C, M] float64.
      positives: videos with the label, [C].
      num_videos: all.
    """

    def __init__(self, num_members: int, num_classes: int) -> None:
        self.products = np.zeros((num_classes, num_members, num_members))
        self.hits = np.zeros((num_classes, num_members))
        self.positives = np.zeros(num_classes)
        self.num_videos = 0

    def update(self, scores: np.ndarray, labels: np.ndarray) -> None:
        """Add B videos: scores [M, B, C], and labels [B, L] padded with -1.

        Raises:
          DataError: a label is not below C.
        """
        num_classes = len(self.positives)
        check_labels(labels, num_classes)
        q = np.zeros((len(labels), num_classes + 1))
        np.put_along_axis(q, labels, 1.0, axis=1)  # the padding, -1, falls into the last column
        q = q[:, :-1].T
        p = np.ascontiguousarray(scores.transpose(2, 0, 1), np.float64)
        self.products += p @ p.transpose(0, 2, 1)
        self.hits += (p @ q[:, :, None])[:, :, 0]
        self.positives += q.sum(axis=1)
        self.num_videos += len(labels)

    def mean_squared_error(self, weights: np.ndarray) -> float:
        """Over all videos and classes, for weights [M] or [M, C]."""
        w = np.broadcast_to(weights.T, self.hits.shape).astype(np.float64)
        error = np.einsum("cm,cmn,cn->", w, self.products, w) - 2 * np.sum(w * self.hits) + self.positives.sum()
        return float(error / (self.num_videos * len(self.positives)))


class Learned(NamedTuple):
    """Weights, [M] or [M, C] float32, and the mean squared error that they leave, beside that of equal weights."""

    weights: np.ndarray
    error: float
    error_of_equal: float


def learn(moments: Moments, per_class: bool) -> Learned:
    """Weights per model, or per model and class."""
    num_members = moments.hits.shape[1]
    products, hits = moments.products, moments.hits
    if not per_class:
        products, hits = products.sum(axis=0, keepdims=True), hits.sum(axis=0, keepdims=True)
    size = (
        np.maximum(np.trace(products, axis1=1, axis2=2), 1e-12)[:, None] / num_members
    )  # so that Adam's epsilon is small beside a gradient
    w = _adam(products / size[:, :, None], hits / size)
    weights = (w.T if per_class else w[0]).astype(np.float32)
    equal = np.full(num_members, 1 / num_members)
    return Learned(weights, moments.mean_squared_error(weights), moments.mean_squared_error(equal))


def _adam(products: np.ndarray, hits: np.ndarray) -> np.ndarray:
    """Minimise w' A w / 2 - b' w for each of the K problems A [K, M, M], b [K, M]: [K, M], by Adam (Kingma and Ba, 2015) from 1/M."""
    w = np.full(hits.shape, 1 / hits.shape[1])
    m, v = np.zeros_like(w), np.zeros_like(w)
    for step in range(1, STEPS + 1):
        gradient = (products @ w[:, :, None])[:, :, 0] - hits
        m = 0.9 * m + 0.1 * gradient
        v = 0.999 * v + 0.001 * gradient**2
        rate = _RATE * (1 + np.cos(np.pi * step / STEPS)) / 2
        w -= rate * (m / (1 - 0.9**step)) / (np.sqrt(v / (1 - 0.999**step)) + 1e-8)
    return w
