"""Attention pooling (Garg 2018, section 4.1, eq. 8-10)."""

from typing import Any

from keras import ops

from trainers.options import flag, within
from trainers.penalty import penalty
from trainers.pooling._base import Pooling
from trainers.pooling._clusters import attend, frame_sum
from trainers.registry import POOLINGS


@POOLINGS.register("attention")
class AttentionPooling(Pooling):
    """F = tanh(sum over t of w_t H_t), w = softmax over t of tanh(H_t) W_a, with one column W_a and no bias.

    H is the frames themselves here, and the outputs of the top layer in the pooling `lstm` with `output: attention`.

    Args:
      softmax: False takes w_t = tanh(H_t) W_a as it is, as the author's code does.
      l2: the penalty is l2 / 2 * sum of W_a squared; 0.5 in the author's code.

    Raises:
      DataError: a softmax that is not true or false, or a negative l2.
    """

    def __init__(self, softmax: bool = True, l2: float = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        flag("attention", softmax=softmax)
        within("attention", 0, float("inf"), l2=l2)
        self.softmax, self.l2 = softmax, l2

    def build(self, frames_shape: tuple[int | None, ...]) -> None:
        """Make W_a [D, 1]."""
        regularizer = penalty(self.l2)
        self.kernel = self.add_weight(shape=(frames_shape[-1], 1), initializer="glorot_uniform", regularizer=regularizer, name="kernel")

    def call(self, frames: Any, mask: Any) -> Any:
        """[B, T, D] and mask [B, T] to [B, D]; 0 where no frame is real."""
        scores = ops.matmul(ops.tanh(frames), self.kernel)[:, :, 0]
        weights = attend(scores, mask) if self.softmax else ops.where(mask, scores, 0.0)
        return ops.cast(ops.tanh(frame_sum(weights, frames)), self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        """Configuration for saving."""
        return {**super().get_config(), "softmax": self.softmax, "l2": self.l2}
