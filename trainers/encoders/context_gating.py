"""Context gating (Miech et al. 2017, eq. 1)."""

from typing import Any

import keras
from keras import ops

from trainers.options import flag, within
from trainers.registry import ENCODERS


@ENCODERS.register("context_gating")
class ContextGating(keras.layers.Layer):
    """y = sigmoid(BN(x W)) * x, W [D, D]. The paper has a bias where the authors' code has batch norm.

    Args:
      bias: sigmoid(x W + b) in place of batch norm.
      remove_diagonal: leave out W's diagonal, so that no feature gates itself.
      momentum: of the batch norm's moving averages.

    Raises:
      DataError: an option with a value that it cannot have.
    """

    def __init__(self, bias: bool = False, remove_diagonal: bool = False, momentum: float = 0.999, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        flag("context_gating", bias=bias, remove_diagonal=remove_diagonal)
        within("context_gating", 0, 1, momentum=momentum)
        self.use_bias, self.remove_diagonal, self.momentum = bias, remove_diagonal, momentum

    def build(self, input_shape: tuple[int | None, int]) -> None:
        """Make the kernel [D, D], and the batch norm or the bias [D]."""
        width = input_shape[-1]
        start = keras.initializers.RandomNormal(stddev=width**-0.5)
        self.kernel = self.add_weight(shape=(width, width), initializer=start, name="kernel")
        if self.use_bias:
            self.bias = self.add_weight(shape=(width,), initializer="zeros", name="bias")
        else:
            self.norm = keras.layers.BatchNormalization(momentum=self.momentum, dtype=self.dtype_policy, name="norm")
            self.norm.build(input_shape)

    def call(self, x: Any, training: bool | None = None) -> Any:
        """[B, D] to [B, D], none of whose values is larger or has another sign."""
        kernel = self.kernel * (1 - ops.eye(x.shape[-1], dtype=x.dtype)) if self.remove_diagonal else self.kernel
        z = ops.matmul(x, kernel)
        z = z + self.bias if self.use_bias else self.norm(z, training=training)
        return ops.sigmoid(z) * x

    def get_config(self) -> dict[str, Any]:
        """Configuration for saving."""
        own = {"bias": self.use_bias, "remove_diagonal": self.remove_diagonal, "momentum": self.momentum}
        return {**super().get_config(), **own}
