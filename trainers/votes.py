"""Scores mixed with the votes of the nearest training videos.

A class with a handful of videos is learned badly by weights that all classes share, but these videos can be looked up. The votes are those
of Wu et al. (2018), "Unsupervised Feature Learning via Non-Parametric Instance Discrimination", section 3.4. To mix a model's scores with
such votes is from Khandelwal et al. (2020), "Generalization through Memorization", eq. 3.
"""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from trainers.normalize import unit
from trainers.options import positive, whole, within

_TILE = 1 << 16  # stored videos that are compared at a time: of a batch of 512, 128 MB of similarities
_PROJECTED = 512  # dimensions to which the scores of more classes are projected


@keras.saving.register_keras_serializable(package="yt8m")
class Direction(keras.layers.Layer):
    """Unit vectors whose product is how alike two videos are: the mean of cosines, weighted by shares, of their features and their scores.

    Scores are compared by the cosine of their roots, in which the few high ones do not drown the others. Those of many classes are
    projected at random first, which keeps cosines (Johnson and Lindenstrauss, 1984) to about 0.04.

    Args:
      sizes: of the features that are joined in the last axis, D in all.
      shares: of each feature.
      scores: share of the scores; with those of the features it adds up to 1.
    """

    def __init__(self, sizes: Sequence[int], shares: Sequence[float], scores: float, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.sizes, self.shares, self.scores = tuple(sizes), tuple(shares), scores

    def build(self, x_shape: tuple[int | None, int], p_shape: tuple[int | None, int]) -> None:
        """Make the projection, where there are many classes."""
        shape, normal = (p_shape[-1], _PROJECTED), keras.initializers.RandomNormal(stddev=1.0, seed=0)
        self.projection = (
            self.add_weight(shape=shape, initializer=normal, trainable=False, name="projection") if p_shape[-1] > _PROJECTED else None
        )

    def call(self, x: Any, p: Any) -> Any:
        """Features [B, D] and scores [B, C] to [B, D + C], or to [B, D + 512]."""
        roots = ops.sqrt(p)
        ends = np.cumsum(self.sizes).tolist()
        parts = [x[:, end - size : end] for end, size in zip(ends, self.sizes, strict=True)]
        parts.append(roots if self.projection is None else ops.matmul(roots, self.projection))
        return ops.concatenate([unit(part) * share**0.5 for part, share in zip(parts, (*self.shares, self.scores), strict=True)], axis=-1)

    def get_config(self) -> dict[str, Any]:
        """Configuration for saving."""
        return {**super().get_config(), "sizes": self.sizes, "shares": self.shares, "scores": self.scores}


@keras.saving.register_keras_serializable(package="yt8m")
class Votes(keras.layers.Layer):
    """(1 - weight) p + weight v, where v_c is the sum of w_n y_nc over the nearest videos n.

    w is the softmax of their similarities / temperature, and y_nc is 1 where video n carries class c, or its soft label. The videos are
    weights, so that a saved model needs no file.

    Args:
      num_classes: C.
      num_videos: N, that are stored.
      num_labels: L, the most that one of them has.
      size: of their vectors, E.
      neighbors: videos that vote; all, where there are fewer.
      temperature: the smaller it is, the more the nearest one counts.
      weight: of the votes; 0 leaves the scores as they are.

    Raises:
      DataError: an option with a value that it cannot have.
    """

    def __init__(
        self,
        num_classes: int,
        num_videos: int,
        num_labels: int,
        size: int,
        neighbors: int = 50,
        temperature: float = 0.05,
        weight: float = 0.33,
        **kwargs: Any,
    ) -> None:
        super().__init__(**{**kwargs, "dtype": "float32"})
        whole("votes", neighbors=neighbors)
        positive("votes", temperature=temperature)
        within("votes", 0, 1, weight=weight)
        self.num_classes, self.num_videos, self.num_labels, self.size = num_classes, num_videos, num_labels, size
        self.neighbors, self.temperature, self.weight = neighbors, temperature, weight

    def build(self, p_shape: tuple[int | None, int], x_shape: tuple[int | None, int]) -> None:
        """Make the vectors, [E, N] float16, as products want them, and labels, [N, L] int32, with weights; zeros until `set_videos`."""
        shape, constant = (self.num_videos, self.num_labels), {"initializer": "zeros", "trainable": False}
        self.vectors = self.add_weight(shape=(self.size, self.num_videos), dtype="float16", autocast=False, name="vectors", **constant)
        self.labels = self.add_weight(shape=shape, dtype="int32", name="labels", **constant)
        self.label_weights = self.add_weight(shape=shape, name="label_weights", **constant)

    def set_videos(self, vectors: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> None:
        """Take vectors [N, E], and class numbers [N, L], padded with -1, with how much each counts, [N, L]."""
        self.vectors.assign(vectors.T)
        self.labels.assign(np.maximum(labels, 0))
        self.label_weights.assign(np.where(labels < 0, 0, weights))

    def call(self, p: Any, x: Any) -> Any:
        """Scores [B, C] and the directions of the same videos [B, E] to [B, C] float32."""
        similarities, places = self._nearest(x)
        shares = ops.exp((similarities - similarities[:, :1]) / self.temperature)  # the nearest one comes first
        shares /= ops.sum(shares, axis=1, keepdims=True)
        votes = shares[:, :, None] * ops.take(self.label_weights, places, axis=0)
        rows = ops.arange(ops.shape(p)[0], dtype="int32")[:, None, None] * self.num_classes
        cells = ops.reshape(rows + ops.take(self.labels, places, axis=0), [-1])
        v = ops.segment_sum(ops.reshape(votes, [-1]), cells, num_segments=ops.shape(p)[0] * self.num_classes)
        return (1 - self.weight) * p + self.weight * ops.reshape(v, [-1, self.num_classes])

    def _nearest(self, x: Any) -> tuple[Any, Any]:
        """The similarities of the nearest videos and their numbers, [B, K] each."""
        found = []
        for start in range(0, self.num_videos, _TILE):
            some = ops.cast(self.vectors[:, start : start + _TILE], "float32")
            values, places = ops.top_k(ops.matmul(x, some), min(self.neighbors, some.shape[1]))
            found.append((values, places + start))
        if len(found) == 1:
            return found[0]
        values, places = (ops.concatenate(parts, axis=1) for parts in zip(*found, strict=True))
        values, chosen = ops.top_k(values, min(self.neighbors, self.num_videos))
        return values, ops.take_along_axis(places, chosen, axis=1)

    def compute_output_shape(self, p_shape: tuple[int | None, int], x_shape: tuple[int | None, int]) -> tuple[int | None, int]:
        """That of the scores."""
        return p_shape

    def get_config(self) -> dict[str, Any]:
        """Configuration for saving."""
        names = ("num_classes", "num_videos", "num_labels", "size", "neighbors", "temperature", "weight")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


def has_votes(model: keras.Model) -> bool:
    """Whether the model holds videos that vote."""
    return any(isinstance(layer, Votes) for layer in model.layers)
