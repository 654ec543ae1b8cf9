"""What the poolings share: a linear map with batch norm, soft assignment, sums over frames, and the norms of VLAD."""

from typing import Any

import keras
from keras import ops

from trainers.pooling._norm import FrameNorm

NORMS = ("intra", "signed_sqrt")  # of VLAD descriptors


class Linear(keras.layers.Layer):
    """x W, then batch norm over the real frames, or else plus a bias. W and the bias begin as N(0, 1 / sqrt(D)).

    Args:
      units: width of the output, K.
      batch_norm: False has a bias [K].
      momentum: of the batch norm's moving averages.
    """

    def __init__(self, units: int, batch_norm: bool, momentum: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units, self.batch_norm, self.momentum = units, batch_norm, momentum

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make the kernel [D, K], and the batch norm or the bias [K]."""
        width = input_shape[-1]
        self.kernel = self.add_weight(shape=(width, self.units), initializer=normal(width), name="kernel")
        if self.batch_norm:
            self.norm = FrameNorm(momentum=self.momentum, dtype=self.dtype_policy, name="norm")
            self.norm.build((*input_shape[:-1], self.units))
        else:
            self.bias = self.add_weight(shape=(self.units,), initializer=normal(width), name="bias")

    def call(self, x: Any, mask: Any = None, training: bool | None = None) -> Any:
        """[..., D] and its mask [...], or None where all is real, to [..., K]."""
        z = ops.matmul(x, self.kernel)
        return self.norm(z, mask=mask, training=training) if self.batch_norm else z + self.bias

    def compute_mask(self, inputs: Any, previous_mask: Any = None) -> None:
        """None: the pooling keeps the mask."""
        return


def normal(fan_in: int) -> keras.initializers.Initializer:
    """N(0, 1 / sqrt(fan_in))."""
    return keras.initializers.RandomNormal(stddev=fan_in**-0.5)


def soft_assign(scores: Any, mask: Any) -> Any:
    """Scores [B, T, K] to a float32 [B, T, K]: their softmax over the clusters, and 0 for padded frames of mask [B, T]."""
    return ops.softmax(ops.cast(scores, "float32"), axis=-1) * ops.cast(mask, "float32")[:, :, None]


def attend(scores: Any, mask: Any) -> Any:
    """Scores [B, T] to float32 weights [B, T]: their softmax over the real frames of mask [B, T], and 0 for padded ones."""
    real = ops.cast(mask, "float32")
    return ops.softmax(ops.where(mask, ops.cast(scores, "float32"), -1e30), axis=-1) * real


def cluster_sums(weights: Any, frames: Any) -> Any:
    """Sum over t of weights [B, T, K] times frames [B, T, D], as float32 [B, K, D]."""
    return ops.cast(ops.matmul(ops.transpose(ops.cast(weights, frames.dtype), (0, 2, 1)), frames), "float32")


def frame_sum(weights: Any, frames: Any) -> Any:
    """Sum over t of weights [B, T] times frames [B, T, D], as float32 [B, D]."""
    return cluster_sums(weights[:, :, None], frames)[:, 0]


def unit(x: Any, axis: int = -1) -> Any:
    """Unit vectors along an axis, as float32: x / max(norm of x, 1e-6). The gradient is finite at 0, where XLA makes that of Keras' NaN."""
    x = ops.cast(x, "float32")
    return x * ops.rsqrt(ops.maximum(ops.sum(ops.square(x), axis=axis, keepdims=True), 1e-12))


def normalize(v: Any, norm: str) -> Any:
    """Descriptors [B, K, D], "intra": each of norm 1, or "signed_sqrt": each value sign(v) sqrt(|v|), which is v / sqrt(|v|)."""
    return unit(v) if norm == "intra" else v * ops.rsqrt(ops.maximum(ops.abs(v), 1e-12))


def normalize_and_flatten(v: Any) -> Any:
    """Descriptors [B, K, D], each of norm 1, as one float32 vector [B, K * D] of norm 1: both norms in one pass over V, of one sum."""
    squares = ops.sum(ops.square(v), axis=-1, keepdims=True)
    each = ops.rsqrt(ops.maximum(squares, 1e-12))
    whole = ops.rsqrt(ops.maximum(ops.sum(squares * ops.square(each), axis=1, keepdims=True), 1e-12))
    return ops.reshape(v * (each * whole), (-1, v.shape[1] * v.shape[2]))


def flatten(v: Any) -> Any:
    """Descriptors [B, K, D], one after another, as one float32 vector [B, K * D] of norm 1."""
    return unit(ops.reshape(v, (-1, v.shape[1] * v.shape[2])))
