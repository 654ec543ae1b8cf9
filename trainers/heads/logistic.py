"""Logistic regression: one linear map and a sigmoid per class (starter code, `LogisticModel`)."""

from typing import Any

import keras
import numpy as np
from keras import ops

from trainers.heads.start import glorot, logit
from trainers.options import flag, within
from trainers.penalty import penalty
from trainers.registry import HEADS


@HEADS.register("logistic")
class Logistic(keras.layers.Layer):
    """p = sigmoid(x W + b).

    Args:
      num_classes: C.
      l2: the penalty is l2 / 2 * sum of W squared, as TF-slim's.
      init_scale: size of the random start, in units of Glorot's.
      bias: False leaves b out, as the multilayer perceptrons of Na et al. (2017) do.

    Raises:
      DataError: an option with a value that it cannot have.
    """

    def __init__(self, num_classes: int, l2: float = 1e-8, init_scale: float = 1.0, bias: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        within("logistic", 0, float("inf"), l2=l2, init_scale=init_scale)
        flag("logistic", bias=bias)
        self.num_classes, self.l2, self.init_scale, self.use_bias = num_classes, l2, init_scale, bias

    def build(self, input_shape: tuple[int | None, int]) -> None:
        """Make the kernel [D, C] and the bias [C]."""
        self.kernel = self.add_weight(
            shape=(input_shape[-1], self.num_classes),
            initializer=glorot(self.init_scale),
            regularizer=penalty(self.l2),
            name="kernel",
        )
        if self.use_bias:
            self.bias = self.add_weight(shape=(self.num_classes,), initializer="zeros", autocast=False, name="bias")

    def call(self, x: Any, logits: bool = False) -> Any:
        """[B, D] to probabilities [B, C] float32, or to their logits."""
        z = ops.cast(ops.matmul(x, self.kernel), "float32")
        if self.use_bias:
            z = z + self.bias
        return z if logits else ops.sigmoid(z)

    def compute_output_spec(self, x: Any, **_: Any) -> keras.KerasTensor:
        """[B, C] float32; without it Keras traces the head to find that."""
        return keras.KerasTensor((x.shape[0], self.num_classes), "float32")

    def set_prior(self, prior: np.ndarray) -> None:
        """Set the bias such that p = prior [C] where x W is 0; without a bias there is nothing to set, and p is 1/2 there."""
        if self.use_bias:
            self.bias.assign(logit(prior))

    def label_weights(self) -> Any:
        """The kernel, [D, C]."""
        return ops.convert_to_tensor(self.kernel)

    def get_config(self) -> dict[str, Any]:
        """Configuration for saving."""
        own = {"num_classes": self.num_classes, "l2": self.l2, "init_scale": self.init_scale, "bias": self.use_bias}
        return {**super().get_config(), **own}
