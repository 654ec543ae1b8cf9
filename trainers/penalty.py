"""The penalty on large weights."""

from typing import Any

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable(package="yt8m")
class HalfSquares(keras.regularizers.Regularizer):
    """l2 / 2 * sum of W squared, as TF-slim's.

    The gradient is one product; that of keras.regularizers.L2 is several, each as large as W.
    """

    def __init__(self, l2: float) -> None:
        self.l2 = l2

    def __call__(self, weights: Any) -> tf.Tensor:
        """[...] to a scalar."""
        return self.l2 * tf.nn.l2_loss(weights)

    def get_config(self) -> dict[str, Any]:
        """Configuration for saving."""
        return {"l2": self.l2}


def penalty(l2: float) -> HalfSquares | None:
    """The regularizer of a weight, or None where `l2` is 0."""
    return HalfSquares(l2) if l2 else None
