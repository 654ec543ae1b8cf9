"""The penalty on large weights."""

from typing import Any

import keras
import tensorflow as tf

_ANONYMOUS = (
    "cd2c89b7-88b7-44c8-ad83-06c2a9158347"  # what TensorFlow calls a variable that nobody else can find, and that goes with its handle
)


@keras.saving.register_keras_serializable(package="yt8m")
class HalfSquares(keras.regularizers.Regularizer):
    """l2 / 2 * sum of W squared, as TF-slim's; nothing that is minimised holds it, as its gradient is for the optimiser to add."""

    def __init__(self, l2: float) -> None:
        self.l2 = l2

    def __call__(self, weights: Any) -> tf.Tensor:
        """[...] to a scalar."""
        return self.l2 * tf.nn.l2_loss(weights)

    def add_gradient(self, gradient: tf.Tensor, weights: tf.Variable, in_place: bool) -> tf.Tensor:
        """The gradient of the loss [...] to that of the loss and this, plus l2 W.

        In place, in a graph, it is had in one pass: a variable takes the gradient's memory, and steps along -W. TensorFlow has no other
        operation that adds a multiple, and l2 W by itself would be one more array as large as W, to be written and to be read.
        """
        if not in_place or tf.executing_eagerly():
            return gradient + self.l2 * weights
        handle = tf.raw_ops.VarHandleOp(dtype=gradient.dtype, shape=gradient.shape, shared_name=_ANONYMOUS)
        with tf.control_dependencies([tf.raw_ops.AssignVariableOp(resource=handle, value=gradient)]):
            step = tf.raw_ops.ResourceApplyGradientDescent(var=handle, alpha=tf.cast(-self.l2, gradient.dtype), delta=weights)
        with tf.control_dependencies([step]):
            return tf.raw_ops.ReadVariableOp(resource=handle, dtype=gradient.dtype)

    def get_config(self) -> dict[str, Any]:
        """Configuration for saving."""
        return {"l2": self.l2}


def penalty(l2: float) -> HalfSquares | None:
    """The regularizer of a weight, or None where `l2` is 0."""
    return HalfSquares(l2) if l2 else None
