"""Scores of rare classes held against those of the labels that come with them.

The few videos of a rare class say little about how it looks, but nearly all carry labels that are common, and what is known of those comes
from many videos. A video that scores low for them is hardly one of the class.
"""

from typing import Any

import keras
import numpy as np
from keras import ops

from trainers.options import positive, whole, within

_SMALLEST = 1e-9  # score whose logarithm is taken


@keras.saving.register_keras_serializable(package="yt8m")
class Companions(keras.layers.Layer):
    """p_c times the geometric mean of the scores of the companions of c, to a power; a class without companions keeps its score.

    The pairs of class and companion are weights, so that a saved model needs no file.

    Args:
      num_classes: C.
      num_pairs: P.
      power: of the geometric mean; 0 leaves all scores as they are.

    Raises:
      DataError: an option with a value that it cannot have.
    """

    def __init__(self, num_classes: int, num_pairs: int, power: float = 0.8, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "dtype": "float32"})
        within("companions", 0, float("inf"), power=power)
        self.num_classes, self.num_pairs, self.power = num_classes, num_pairs, power

    def build(self, input_shape: tuple[int | None, int]) -> None:
        """Make the pairs, [2, P] int32, and the share of each in the mean of its class, [P]; zeros until `set_pairs`."""
        self.pairs = self.add_weight(shape=(2, self.num_pairs), dtype="int32", initializer="zeros", trainable=False, name="pairs")
        self.shares = self.add_weight(shape=(self.num_pairs,), initializer="zeros", trainable=False, name="shares")

    def set_pairs(self, pairs: np.ndarray) -> None:
        """Take pairs, int [2, P]: class and companion, as `companions` gives them."""
        self.pairs.assign(pairs)
        self.shares.assign(1 / np.bincount(pairs[0], minlength=self.num_classes)[pairs[0]])

    def call(self, p: Any) -> Any:
        """[B, C] to [B, C] float32."""
        logarithms = ops.log(ops.maximum(p, _SMALLEST))
        theirs = ops.take(ops.transpose(logarithms), self.pairs[1], axis=0) * self.shares[:, None]
        means = ops.segment_sum(theirs, self.pairs[0], num_segments=self.num_classes)
        return p * ops.exp(self.power * ops.transpose(means))

    def get_config(self) -> dict[str, Any]:
        """Configuration for saving."""
        return {**super().get_config(), **{key: getattr(self, key) for key in ("num_classes", "num_pairs", "power")}}


def companions(counts: np.ndarray, share: float, most: int) -> np.ndarray:
    """The labels that at least a share of a rare class's videos carry as well: int64 [2, P] of class and companion, by class.

    Args:
      counts: [C, C], the videos that carry both labels, and on the diagonal those that carry the label.
      share: above 0.
      most: videos of a class that counts as rare.

    Raises:
      DataError: the share is not above 0, or `most` is below 1.
    """
    positive("companions", share=share)
    whole("companions", most=most)
    own = counts.diagonal()[:, None]
    together = (counts >= share * own) & (own > 0) & (own <= most)
    np.fill_diagonal(together, False)
    return np.stack(np.nonzero(together))
