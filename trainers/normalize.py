"""Input normalisation inside the model, so that a saved model takes the features as they stand in the records."""

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="yt8m")
class InputNormalization(keras.layers.Layer):
    """x / max(norm of x, 1e-6), over the last axis, then times a scale.

    All five papers' systems take the unit vector of the joined features. Of width 1152 its values are about 0.03, where Adam, whose steps
    do not depend on the gradient's size, needs 34 times as many steps as on values of about 1: hence the scale.

    Args:
      l2_normalize: False leaves the norm as it is.
      scale: None is sqrt(D).
    """

    def __init__(self, l2_normalize: bool = True, scale: float | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.l2_normalize, self.scale = l2_normalize, scale

    def call(self, x: Any) -> Any:
        """[..., D] to [..., D]."""
        if self.l2_normalize:
            x = x / ops.maximum(ops.norm(x, axis=-1, keepdims=True), 1e-6)
        return x * (self.scale or x.shape[-1] ** 0.5)

    def get_config(self) -> dict[str, Any]:
        """Configuration for saving."""
        return {**super().get_config(), "l2_normalize": self.l2_normalize, "scale": self.scale}
