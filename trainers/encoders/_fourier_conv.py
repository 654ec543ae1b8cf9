"""Convolution along one axis with a fraction of the products, for CPUs."""

import keras
import numpy as np
import tensorflow as tf
from keras import ops

BLOCK = 32  # outputs of a block at most: larger ones need fewer products, and longer transforms


class FourierConv1D(keras.layers.Conv1D):
    """keras.layers.Conv1D of stride 1 with padding "same" and an odd kernel: the same weights and the same result, but for rounding.

    The signal is cut into blocks, whose outputs come from the product of their Fourier transforms with the kernel's (Stockham 1966). That
    takes 3 real products per frequency and pair of channels, 1.8 per output, where a kernel of 9 takes 9. The transforms are products with
    constant matrices as in Lavin and Gray (2016), y = C ((A x) * (G w)), where * sums over the channels; they are short, so that rounding
    errors are no larger than those of the direct sum. With dilation d there are d signals, of every d-th value each.

    In float32 on a CPU only: half precision is too coarse for the transforms, and on a GPU the direct convolution is fast.
    """

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """[B, X, channels] to [B, X, filters]."""
        if self.compute_dtype != "float32" or tf.config.list_logical_devices("GPU"):
            return super().call(x)
        conv = tf.recompute_grad(lambda x, kernel: fourier_conv(x, kernel, self.dilation_rate[0]))  # A x is twice the size of x
        return self.activation(conv(x, tf.identity(self.kernel)) + self.bias)


def fourier_conv(x: tf.Tensor, kernel: tf.Tensor, dilation: int) -> tf.Tensor:
    """[B, X, channels] and [taps, channels, filters] to [B, X, filters], X static and zeros beyond its ends."""
    length, (taps, channels, filters) = x.shape[1], kernel.shape
    blocks, outputs = _division(-(-length // dilation), taps)
    into, of_kernel, back = transforms(taps, outputs)

    start = dilation * (taps - 1) // 2
    x = ops.pad(x, [[0, 0], [start, (blocks + 1) * outputs * dilation - start - length], [0, 0]])
    x = ops.reshape(x, (-1, blocks + 1, outputs, dilation, channels))
    next_blocks = ops.split(x, [1], axis=1)[1]  # splits, since the gradient of a slice is slow
    x = ops.concatenate([ops.split(x, [blocks], axis=1)[0], ops.split(next_blocks, [taps - 1], axis=2)[0]], axis=2)
    x = ops.tensordot(into, x, [[1], [2]])  # [frequencies, B, blocks, dilation, channels]
    y = ops.matmul(ops.reshape(x, (len(into), -1, channels)), ops.tensordot(of_kernel, kernel, [[1], [0]]))
    y = ops.reshape(ops.tensordot(back, y, [[1], [0]]), (outputs, -1, blocks, dilation, filters))
    y = ops.reshape(ops.transpose(y, (1, 2, 0, 3, 4)), (-1, blocks * outputs * dilation, filters))
    return ops.split(y, [length], axis=1)[0]


def transforms(taps: int, outputs: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A [R, L], G [R, taps] and C [outputs, R] float32, where L = outputs + taps - 1 is even and R = 3 L / 2 - 1.

    (C ((A x) * (G w)))_t = sum over k of x_(t + k) w_k. With a + ib the transform of x, and p + iq the conjugate of w's, the product at
    each frequency is (k1 - k3) + i (k1 + k2), k1 = p (a + b), k2 = a (q - p), k3 = b (p + q). At the frequencies 0 and L / 2, b and q are
    0.
    """
    size = outputs + taps - 1
    angle = 2 * np.pi / size * np.outer(np.arange(size // 2 + 1), np.arange(size))
    cos, sin, inner = np.cos(angle), np.sin(angle), slice(1, -1)
    into = np.concatenate([cos - sin, cos[inner], -sin[inner]])
    of_kernel = np.concatenate([cos, (sin - cos)[inner], (cos + sin)[inner]])[:, :taps]
    back = np.concatenate([cos - sin, -sin[inner], -cos[inner]]) * 2 / size
    back[[0, size // 2]] /= 2
    return into.astype(np.float32), of_kernel.astype(np.float32), back.T[:outputs].astype(np.float32)


def _division(length: int, taps: int) -> tuple[int, int]:
    """Number of blocks, and the even number of outputs of each, at least as many as the block before shares with it."""
    blocks = -(-length // BLOCK)
    outputs = max(-(-length // blocks), taps - 1)
    return blocks, outputs + outputs % 2
