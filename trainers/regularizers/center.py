"""Multi-label center loss (Na et al. 2017, eq. 21-22; centres move as in Wen et al. 2016, eq. 4)."""

from typing import Any

import keras
from keras import ops

from trainers.options import within
from trainers.registry import REGULARIZERS


@REGULARIZERS.register("center")
class CenterLoss(keras.layers.Layer):
    """weight * mean over the batch of the mean over a video's labels of |e - c_y|^2, e the embedding and c_y the centre of a label.

    The centres [C, E] begin at 0, get no gradient, and move with each training batch, c_y by rate * sum of (e - c_y) / (1 + count) over the
    videos with label y; so a label that fills the batch does not overshoot, and one that is absent stays. Soft labels count by their value,
    in means and counts alike. A video without labels gives 0. The authors' code averages over the E dimensions too: a weight w of theirs is
    w / E here.

    Args:
      weight: lambda of the paper.
      rate: share of the way that a centre goes where its label's count is large; 0 leaves the centres at 0, as the authors' code does.

    Raises:
      DataError: an option with a value that it cannot have.
    """

    def __init__(self, weight: float = 1e-3, rate: float = 0.05, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "dtype": "float32"})
        within("center", 0, float("inf"), weight=weight)
        within("center", 0, 1, rate=rate)
        self.weight, self.rate = weight, rate

    def build(self, labels_shape: tuple[int | None, int], embedding_shape: tuple[int | None, int]) -> None:
        """Make the centres [C, E]."""
        shape = (labels_shape[-1], embedding_shape[-1])
        self.centers = self.add_weight(shape=shape, initializer="zeros", trainable=False, name="centers")

    def call(self, labels: Any, embedding: Any, label_weights: Any = None, training: bool | None = None) -> Any:
        """Labels [B, C], soft or not, and embedding [B, E] to a scalar float32; in training the centres move after it is taken."""
        centers = ops.convert_to_tensor(self.centers)
        count = ops.sum(labels, axis=1)
        # The mean of |e - c_y|^2 is |e - m|^2 + mean of |c_y|^2 - |m|^2, m the mean of the c_y: no [B, C, E], and a gradient in one term.
        mean = ops.divide_no_nan(ops.matmul(labels, centers), count[:, None])
        squares = ops.divide_no_nan(ops.matmul(labels, ops.sum(centers**2, axis=1)), count)
        spread = ops.maximum(squares - ops.sum(mean**2, axis=1), 0)
        distance = ops.where(count > 0, ops.sum((embedding - mean) ** 2, axis=1) + spread, 0)
        if training:
            self._move(labels, ops.stop_gradient(embedding), centers)
        return self.weight * ops.mean(distance)

    def _move(self, labels: Any, embedding: Any, centers: Any) -> None:
        count = ops.sum(labels, axis=0)[:, None]
        pull = ops.matmul(ops.transpose(labels), embedding) - count * centers
        self.centers.assign(centers + self.rate * pull / (1 + count))

    def get_config(self) -> dict[str, Any]:
        """Configuration for saving."""
        return {**super().get_config(), "weight": self.weight, "rate": self.rate}
