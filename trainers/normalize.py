"""What a model does to its inputs before anything else, so that a saved model takes the features as they stand in the records."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from yt8m_data.quantize import dequantize


@keras.saving.register_keras_serializable(package="yt8m")
class FrameFeatures(keras.layers.Layer):
    """Dequantised frames of all features side by side, with padded frames 0, and the mask of the real ones."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"dtype": "float32", **kwargs})

    def call(self, features: Sequence[Any], num_frames: Any) -> tuple[Any, Any]:
        """uint8 [B, T, size] of each feature and int32 [B] to float32 [B, T, D] and bool [B, T]."""
        low, high = dequantize(np.array([0, 255])).tolist()
        codes = ops.cast(ops.concatenate(features, axis=-1), "float32")
        mask = ops.arange(ops.shape(codes)[1], dtype="int32")[None, :] < num_frames[:, None]
        return ops.where(mask[:, :, None], codes * ((high - low) / 255) + low, 0.0), mask

    def compute_output_spec(self, features: Sequence[Any], num_frames: Any) -> tuple[keras.KerasTensor, keras.KerasTensor]:
        """[B, T, D] float32 and [B, T] bool; without it Keras traces the layer to find that."""
        batch, frames, _ = features[0].shape
        width = sum(feature.shape[-1] for feature in features)
        return keras.KerasTensor((batch, frames, width), "float32"), keras.KerasTensor((batch, frames), "bool")


@keras.saving.register_keras_serializable(package="yt8m")
class InputNormalization(keras.layers.Layer):
    """x / max(norm of x, 1e-6), over the last axis, then times a scale.

    All five papers' systems take the unit vector of the joined features. Of width 1152 its values are about 0.03, where Adam, whose steps
    do not depend on the gradient's size, needs 34 times as many steps as on values of about 1: hence the scale.

    Args:
      sizes: of the features that are joined in the last axis, D in all.
      l2_normalize: "joint" takes the norm of the joined vector, "each" that of each feature, "none" leaves the norms as they are.
      scale: None is sqrt(D).
    """

    def __init__(self, sizes: Sequence[int], l2_normalize: str = "joint", scale: float | None = None, **kwargs: Any) -> None:
        super().__init__(**{"dtype": "float32", **kwargs})
        self.sizes, self.l2_normalize = tuple(sizes), l2_normalize
        self.scale = scale or sum(sizes) ** 0.5

    def call(self, x: Any) -> Any:
        """[..., D] to [..., D]."""
        if self.l2_normalize == "each":
            ends = [sum(self.sizes[: i + 1]) for i in range(len(self.sizes) - 1)]
            x = ops.concatenate([unit(part) for part in ops.split(x, ends, axis=-1)], axis=-1)
        elif self.l2_normalize == "joint":
            x = unit(x)
        return x * self.scale

    def compute_output_spec(self, x: Any) -> keras.KerasTensor:
        """That of x, in float32; without it Keras traces the layer to find that."""
        return keras.KerasTensor(x.shape, "float32")

    def get_config(self) -> dict[str, Any]:
        """Configuration for saving."""
        return {**super().get_config(), "sizes": self.sizes, "l2_normalize": self.l2_normalize, "scale": self.scale}


def unit(x: Any) -> Any:
    """x / max(norm of x, 1e-6), over the last axis."""
    return x / ops.maximum(ops.norm(x, axis=-1, keepdims=True), 1e-6)
