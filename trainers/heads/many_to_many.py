"""An LSTM that classifies at every frame, and the mean of what it says (Na et al. 2017, section 2.3, many-to-many)."""

from typing import Any

import keras
import numpy as np
from keras import ops

from trainers.heads.start import glorot, logit
from trainers.options import whole, within
from trainers.penalty import penalty
from trainers.pooling._recurrent import at_least_one
from trainers.registry import HEADS


@HEADS.register("many_to_many")
class ManyToMany(keras.layers.Layer):
    """p = mean over the real frames of sigmoid(h_t W + b), W and b the same for all. It takes frames, and so stands without a pooling.

    Args:
      num_classes: C.
      cells: of the LSTM; None is the width of a frame, as in the paper.
      l2: the penalty is l2 / 2 * sum of W squared, as TF-slim's.
      init_scale: size of the random start of W, in units of Glorot's.

    Raises:
      DataError: an option with a value that it cannot have.
    """

    takes_frames = True

    def __init__(self, num_classes: int, cells: int | None = None, l2: float = 1e-8, init_scale: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        whole("many_to_many", or_null=True, cells=cells)
        within("many_to_many", 0, float("inf"), l2=l2, init_scale=init_scale)
        self.num_classes, self.cells, self.l2, self.init_scale = num_classes, cells, l2, init_scale

    def build(self, frames_shape: tuple[int | None, ...]) -> None:
        """Make the LSTM, the kernel [cells, C] and the bias [C]."""
        width = self.cells or frames_shape[-1]
        self.rnn = keras.layers.LSTM(width, return_sequences=True, dtype=self.dtype_policy, name="rnn")
        self.rnn.build(frames_shape)
        self.kernel = self.add_weight(
            shape=(width, self.num_classes),
            initializer=glorot(self.init_scale),
            regularizer=penalty(self.l2),
            name="kernel",
        )
        self.bias = self.add_weight(shape=(self.num_classes,), initializer="zeros", autocast=False, name="bias")

    def call(self, frames: Any, mask: Any, training: bool | None = None) -> Any:
        """[B, T, D] and mask [B, T] to probabilities [B, C] float32; a video without frames counts as one of a frame of zeros."""
        mask = at_least_one(mask)
        outputs = self.rnn(frames, mask=mask, training=training)
        p = ops.sigmoid(ops.cast(ops.matmul(outputs, self.kernel), "float32") + self.bias)
        shares = ops.cast(mask, "float32") / ops.sum(ops.cast(mask, "float32"), axis=1, keepdims=True)
        return ops.matmul(shares[:, None, :], p)[:, 0]

    def compute_mask(self, inputs: Any, previous_mask: Any = None) -> None:
        """None: probabilities have no frames."""
        return

    def set_prior(self, prior: np.ndarray) -> None:
        """Set the bias such that p = prior [C] where W is 0."""
        self.bias.assign(logit(prior))

    def label_weights(self) -> Any:
        """How the LSTM's outputs move each class, [cells, C]."""
        return self.kernel

    def get_config(self) -> dict[str, Any]:
        """Configuration for saving."""
        own = ("num_classes", "cells", "l2", "init_scale")
        return {**super().get_config(), **{key: getattr(self, key) for key in own}}
