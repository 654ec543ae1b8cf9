"""An LSTM cell with layer normalisation, which Keras has not."""

from typing import Any

import keras
from keras import ops

EPSILON = 1e-6  # of the normalisation; a gate's variance over the cells is about 1


class LayerNormLSTMCell(keras.layers.Layer):
    """i, f, o = sigmoid(LN([x h] W)), g = tanh(LN([x h] W)), c' = LN(f * c + i * g), h' = o * tanh(c'), a norm for each.

    The cell of TF1's `LayerNormBasicLSTMCell`, which Na et al. (2017) used. Ba et al. (2016, eq. 20-22) normalise x W and h W apart, and
    pass on c' as it was before its norm. The norms' shifts stand for the biases; that of the forget gate begins at 1. Dropout is on g,
    drawn anew at each step, so that the cell forgets nothing (Semeniuta et al. 2016).

    Args:
      units: cells.
      dropout: rate, in training only.
    """

    def __init__(self, units: int, dropout: float = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units, self.state_size = units, [units, units]
        starts = {"input": "zeros", "forget": "ones", "candidate": "zeros", "output": "zeros", "cell": "zeros"}
        self.norms = [
            keras.layers.LayerNormalization(epsilon=EPSILON, beta_initializer=start, dtype=self.dtype_policy, name=f"{name}_norm")
            for name, start in starts.items()
        ]
        self.dropout = keras.layers.Dropout(dropout, dtype=self.dtype_policy, name="dropout")

    def build(self, step_shape: tuple[int | None, int]) -> None:
        """Make the kernels [D, 4 * units] and [units, 4 * units], and the norms."""
        self.kernel = self.add_weight(shape=(step_shape[-1], 4 * self.units), initializer="glorot_uniform", name="kernel")
        self.recurrent_kernel = self.add_weight(shape=(self.units, 4 * self.units), initializer="orthogonal", name="recurrent_kernel")
        for norm in self.norms:
            norm.build((None, self.units))

    def call(self, x: Any, states: list[Any], training: bool | None = None) -> tuple[Any, list[Any]]:
        """One step: [B, D] and the states h and c [B, units] to the output h' and the states h' and c'."""
        h, c = states
        *gates, norm_cell = self.norms
        z = ops.split(ops.matmul(x, self.kernel) + ops.matmul(h, self.recurrent_kernel), 4, axis=-1)
        i, f, g, o = (norm(part) for norm, part in zip(gates, z, strict=True))
        g = self.dropout(ops.tanh(g), training=training)
        c = norm_cell(ops.sigmoid(f) * c + ops.sigmoid(i) * g)
        h = ops.sigmoid(o) * ops.tanh(c)
        return h, [h, c]
