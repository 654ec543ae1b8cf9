"""A fully connected layer between pooling and head."""

from typing import Any

import keras
from keras import ops

from trainers.options import flag, one_of, whole, within
from trainers.penalty import penalty
from trainers.registry import ENCODERS
from yt8m_data.errors import DataError

_ACTIVATIONS = {"relu": ops.relu, "relu6": ops.relu6, "tanh": ops.tanh}


@ENCODERS.register("dense")
class Dense(keras.layers.Layer):
    """activation(x W + b), or activation(norm(x W)) with batch or layer norm, which have an offset of their own.

    Args:
      size: width of the output, H.
      activation: "relu", "relu6", "tanh", or None.
      batch_norm: before the activation, in place of the bias.
      layer_norm: likewise.
      l2: the penalty is l2 / 2 * sum of W squared, as TF-slim's.
      kernel_stddev: W begins as N(0, kernel_stddev), or, where None, as Glorot's uniform. Miech et al. take 1 / sqrt(clusters).
      bias_stddev: the bias begins as N(0, bias_stddev). Miech et al. take 0.01.
      momentum: of the batch norm's moving averages.

    Raises:
      DataError: an option with a value that it cannot have, or that has nothing to act on.
    """

    def __init__(
        self,
        size: int,
        activation: str | None = None,
        batch_norm: bool = False,
        layer_norm: bool = False,
        l2: float = 0.0,
        kernel_stddev: float | None = None,
        bias_stddev: float = 0.0,
        momentum: float = 0.999,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        whole("dense", size=size)
        one_of("dense", (None, *_ACTIVATIONS), activation=activation)
        flag("dense", batch_norm=batch_norm, layer_norm=layer_norm)
        within("dense", 0, float("inf"), l2=l2, bias_stddev=bias_stddev)
        within("dense", 0, float("inf"), or_null=True, kernel_stddev=kernel_stddev)
        within("dense", 0, 1, momentum=momentum)
        if batch_norm and layer_norm:
            raise DataError("dense has both batch_norm and layer_norm: leave one of them out")
        if bias_stddev and (batch_norm or layer_norm):
            raise DataError(f"bias_stddev of dense is {bias_stddev}, but a norm stands in place of the bias: leave one of them out")
        self.size, self.activation, self.batch_norm, self.layer_norm, self.l2 = size, activation, batch_norm, layer_norm, l2
        self.kernel_stddev, self.bias_stddev, self.momentum = kernel_stddev, bias_stddev, momentum

    def build(self, input_shape: tuple[int | None, int]) -> None:
        """Make the kernel [D, H], and the bias [H] or the norm."""
        gaussian = keras.initializers.RandomNormal
        self.linear = keras.layers.Dense(
            self.size,
            use_bias=not (self.batch_norm or self.layer_norm),
            kernel_initializer="glorot_uniform" if self.kernel_stddev is None else gaussian(stddev=self.kernel_stddev),
            bias_initializer=gaussian(stddev=self.bias_stddev),
            kernel_regularizer=penalty(self.l2),
            dtype=self.dtype_policy,
            name="linear",
        )
        self.linear.build(input_shape)
        self.norm = None
        if self.batch_norm:
            self.norm = keras.layers.BatchNormalization(momentum=self.momentum, dtype=self.dtype_policy, name="norm")
        elif self.layer_norm:
            self.norm = keras.layers.LayerNormalization(epsilon=1e-6, dtype=self.dtype_policy, name="norm")
        if self.norm is not None:
            self.norm.build((None, self.size))

    def call(self, x: Any, training: bool | None = None) -> Any:
        """[B, D] to [B, H]."""
        z = self.linear(x)
        if self.norm is not None:
            z = self.norm(z, training=training)
        return z if self.activation is None else _ACTIVATIONS[self.activation](z)

    def get_config(self) -> dict[str, Any]:
        """Configuration for saving."""
        own = ("size", "activation", "batch_norm", "layer_norm", "l2", "kernel_stddev", "bias_stddev", "momentum")
        return {**super().get_config(), **{key: getattr(self, key) for key in own}}
