"""ResidualCNN-X (Garg 2018, section 4.2, Table 1): a dilated convolutional network along a learned vector of X values."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from trainers.encoders._fourier_conv import FourierConv1D
from trainers.options import flag, one_of, whole, within
from trainers.penalty import penalty
from trainers.registry import ENCODERS

TAPS = 9  # of a module's convolutions
CHANNELS = ((128, 192, 64), (256, 512, 128), (512, 256), (512,))  # of the convolutions of each stage; the last one has X behind these
POOLS = {"max": ops.max, "mean": ops.mean}


@ENCODERS.register("residual_cnn")
class ResidualCNN(keras.layers.Layer):
    """A fully connected layer to X values, 4 stages of convolutions along them, and the maximum or the mean of each of the last X channels.

    Args:
      size: X.
      pool: "max" or "mean", over the X positions.
      global_skip: adds the fully connected layer's output to the pooled one, as in the author's code.
      last_batch_norm: after module 4, as in the paper's table; the author's code has none there.
      fc_activation: of the fully connected layer, "relu" in the author's code; null is none.
      l2: the penalty is l2 / 2 * sum of the fully connected layer's weights squared; 0.01 in the author's code.
      momentum: of the batch norms' moving averages.

    Raises:
      DataError: an option with a value that it cannot have.
    """

    def __init__(
        self,
        size: int = 1024,
        pool: str = "max",
        global_skip: bool = True,
        last_batch_norm: bool = True,
        fc_activation: str | None = "relu",
        l2: float = 0.0,
        momentum: float = 0.999,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        whole("residual_cnn", size=size)
        one_of("residual_cnn", list(POOLS), pool=pool)
        one_of("residual_cnn", ["relu", None], fc_activation=fc_activation)
        flag("residual_cnn", global_skip=global_skip, last_batch_norm=last_batch_norm)
        within("residual_cnn", 0, float("inf"), l2=l2)
        within("residual_cnn", 0, 1, momentum=momentum)
        self.size, self.pool, self.global_skip, self.last_batch_norm = size, pool, global_skip, last_batch_norm
        self.fc_activation, self.l2, self.momentum = fc_activation, l2, momentum
        regularizer = penalty(l2)
        self.fc = keras.layers.Dense(size, fc_activation, kernel_regularizer=regularizer, dtype=self.dtype_policy, name="fc")
        *first, last = CHANNELS
        table = zip((49, 1, 1, 1), (*first, (*last, size)), (True, True, True, last_batch_norm), strict=True)
        self.stages = [
            ResidualStage(taps, channels, momentum, norm, dtype=self.dtype_policy, name=f"stage_{i}")
            for i, (taps, channels, norm) in enumerate(table, start=1)
        ]

    def build(self, input_shape: tuple[int | None, int]) -> None:
        """Build the fully connected layer and the stages."""
        self.fc.build(input_shape)
        channels = 1
        for stage in self.stages:
            stage.build((None, self.size, channels))
            channels = stage.channels[-1]

    def call(self, x: Any, training: bool | None = None) -> Any:
        """[B, D] to [B, X]."""
        vector = self.fc(x)
        signal = vector[:, :, None]
        for stage in self.stages:
            signal = stage(signal, training=training)
        pooled = POOLS[self.pool](signal, axis=1)
        return pooled + vector if self.global_skip else pooled

    def compute_output_shape(self, input_shape: tuple[int | None, int]) -> tuple[int | None, int]:
        """That of the vector; without it Keras traces all convolutions to find it."""
        return (input_shape[0], self.size)

    def get_config(self) -> dict[str, Any]:
        """Configuration for saving."""
        own = ("size", "pool", "global_skip", "last_batch_norm", "fc_activation", "l2", "momentum")
        return {**super().get_config(), **{key: getattr(self, key) for key in own}}


class ResidualStage(keras.layers.Layer):
    """A convolution, BN, and a module: x plus convolutions of 9 taps on x, the i-th from 0 with dilation 2 i + 1; then BN.

    A ReLU follows each convolution, none the sum. The batch norms shift, but do not scale.

    Args:
      taps: of the convolution before the module.
      channels: of the module's convolutions; those of the last one are also those of the convolution before it.
      momentum: of the batch norms' moving averages.
      last_batch_norm: after the module.
    """

    def __init__(self, taps: int, channels: Sequence[int], momentum: float, last_batch_norm: bool, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.channels = tuple(channels)
        options = {"padding": "same", "activation": "relu", "dtype": self.dtype_policy}
        norm = {"momentum": momentum, "epsilon": 1e-3, "scale": False, "dtype": self.dtype_policy}
        self.entry = keras.layers.Conv1D(self.channels[-1], taps, **options, name="entry")
        self.entry_norm = keras.layers.BatchNormalization(**norm, name="entry_norm")
        self.convs = [
            FourierConv1D(filters, TAPS, dilation_rate=2 * i + 1, **options, name=f"conv_{i}") for i, filters in enumerate(self.channels)
        ]
        self.norm = keras.layers.BatchNormalization(**norm, name="norm") if last_batch_norm else None

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Build the convolutions and the norms."""
        self.entry.build(input_shape)
        shape = (*input_shape[:-1], self.channels[-1])
        for norm in (self.entry_norm, self.norm):
            if norm is not None:
                norm.build(shape)
        for conv in self.convs:
            conv.build(shape)
            shape = (*shape[:-1], conv.filters)

    def call(self, x: Any, training: bool | None = None) -> Any:
        """[B, X, channels in] to [B, X, channels out]."""
        x = self.entry_norm(self.entry(x), training=training)
        y = x
        for conv in self.convs:
            y = conv(y)
        return self.norm(x + y, training=training) if self.norm is not None else x + y
