"""Videos moved by deltas while a model trains: variation that frequent labels have, lent to every draw of a video.

A delta is p - q of two near videos that share a frequent label (`yt8m_data.deltas`). Added to another video it gives what that might have
been, of the same labels. So a model sees other features of a video in each epoch, and no record is written twice.
"""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from trainers.options import within
from yt8m_data.errors import DataError


@keras.saving.register_keras_serializable(package="yt8m")
class Move(keras.layers.Layer):
    """x + scale * d, with a probability, d a delta drawn anew for each video; for training only, and no part of the model that is saved.

    It acts on features as they stand in the records, before any norm is taken. The draws depend on the state of a seed, which checkpoints
    hold. The deltas are kept in float16, 2.3 KB each at 1,152 values.

    Args:
      file: of deltas, as `yt8m-data deltas` writes it.
      sizes: the features that are joined in the last axis, by name.
      scale: of the delta.
      probability: that a draw is moved.
      steps: training steps after which draws are left as they are; None moves them to the end.

    Raises:
      DataError: an option with a value that it cannot have; there is no such file, or it holds other features.
    """

    def __init__(
        self, file: str, sizes: Mapping[str, int], scale: float = 1.0, probability: float = 1.0, steps: int | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**{**kwargs, "dtype": "float32"})
        within("move", 0, float("inf"), scale=scale)
        self.file, self.sizes, self.scale, self.probability, self.steps = file, tuple(sizes.items()), scale, probability, steps
        self.generator = keras.random.SeedGenerator()
        self.generator_state = self.generator.state  # as an attribute of the layer it is in checkpoints, so a resumed run draws on

    def build(self, x_shape: tuple[int | None, int]) -> None:
        """Read the deltas, [N, D]; they are no weights, so that checkpoints do not hold them."""
        self.deltas = tf.constant(joined(self.file, dict(self.sizes)))
        self.taken = self.add_weight(shape=(), dtype="int64", initializer="zeros", trainable=False, name="steps")

    def call(self, x: Any, training: bool | None = None) -> Any:
        """[B, D] to [B, D] float32; as it is where not training."""
        if not training:
            return x
        self.taken.assign_add(1)
        draws = keras.random.uniform((2, ops.shape(x)[0]), seed=self.generator)
        number = ops.cast(self.deltas.shape[0], "float32")
        delta = ops.cast(ops.take(self.deltas, ops.cast(draws[0] * number, "int32"), axis=0), "float32")
        moved = draws[1] < self.probability
        if self.steps is not None:
            moved = moved & (self.taken <= self.steps)
        return ops.where(moved[:, None], x + self.scale * delta, x)

    def get_config(self) -> dict[str, Any]:
        """Configuration for saving."""
        own = {key: getattr(self, key) for key in ("file", "scale", "probability", "steps")}
        return {**super().get_config(), "sizes": dict(self.sizes), **own}


def joined(file: str, sizes: Mapping[str, int]) -> np.ndarray:
    """The deltas of a file with its features side by side, in the order of `sizes`: float16 [N, D].

    Raises:
      DataError: there is no such file, or it holds other features.
    """
    from yt8m_data import deltas  # here, since it brings FAISS, which training does without

    found = deltas.read(file).vectors
    if {name: values.shape[1] for name, values in found.items()} != dict(sizes):
        held = {name: values.shape[1] for name, values in found.items()}
        raise DataError(f"{file} has deltas of {held}, but the records hold {dict(sizes)}: make deltas of the training shards")
    return np.concatenate([found[name].astype(np.float16) for name in sizes], axis=1)
