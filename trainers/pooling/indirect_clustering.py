"""Indirect clustering: attention to the frames that are most like all the others (Na et al. 2017, section 2.2.4)."""

from typing import Any

import keras
from keras import ops

from trainers.options import flag, one_of, within
from trainers.penalty import penalty
from trainers.pooling._base import Pooling
from trainers.pooling._clusters import attend, frame_sum, unit
from trainers.registry import POOLINGS
from yt8m_data.errors import DataError


@POOLINGS.register("indirect_clustering")
class IndirectClustering(Pooling):
    """O = sum over t of p_t x_t, with p = softmax over t of sharpness * x_t . (sum of the frames) (eq. 10).

    The scores grow with the square of the frames' size and with their number, so the paper's system needs unit frames (`input.scale` 1). In
    the authors' code the softmax runs over an axis of length 1, which makes each p_t 1: what they measured is weights "sum" with output
    "layer_norm".

    Args:
      weights: "softmax", or "sum" for p_t = 1.
      sharpness: factor of the scores; above 1 the softmax is sharper.
      projection: score relu(x_t W + b), W [D, D], in place of x_t, as the authors' code does.
      projection_l2: the penalty is projection_l2 / 2 * sum of W squared.
      output: "plain"; "layer_norm" for relu(layer norm of O), as in the authors' code; or "l2" for unit norm.

    Raises:
      DataError: an option with a value that it cannot have, or that has nothing to act on.
    """

    def __init__(
        self,
        weights: str = "softmax",
        sharpness: float = 1.0,
        projection: bool = False,
        projection_l2: float = 1e-8,
        output: str = "plain",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        one_of("indirect_clustering", ("softmax", "sum"), weights=weights)
        one_of("indirect_clustering", ("plain", "layer_norm", "l2"), output=output)
        within("indirect_clustering", 0, float("inf"), sharpness=sharpness, projection_l2=projection_l2)
        flag("indirect_clustering", projection=projection)
        if weights == "sum" and (projection or sharpness != 1):
            raise DataError("weights of indirect_clustering is sum, which has no scores: leave out projection and sharpness")
        self.weighting, self.sharpness, self.projection = weights, sharpness, projection
        self.projection_l2, self.output_form = projection_l2, output

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make the projection and the layer norm."""
        width = input_shape[-1]
        if self.projection:
            self.project = keras.layers.Dense(
                width, "relu", kernel_regularizer=penalty(self.projection_l2), dtype=self.dtype_policy, name="project"
            )
            self.project.build(input_shape)
        if self.output_form == "layer_norm":
            self.norm = keras.layers.LayerNormalization(epsilon=1e-6, dtype=self.dtype_policy, name="norm")
            self.norm.build((None, width))

    def call(self, frames: Any, mask: Any) -> Any:
        """[B, T, D] and mask [B, T] to [B, D]."""
        pooled = frame_sum(self.shares(frames, mask), frames)
        if self.output_form == "layer_norm":
            pooled = ops.relu(self.norm(pooled))
        elif self.output_form == "l2":
            pooled = unit(pooled)
        return ops.cast(pooled, self.compute_dtype)

    def shares(self, frames: Any, mask: Any) -> Any:
        """The p_t, [B, T] float32, 0 for padded frames."""
        if self.weighting == "sum":
            return ops.cast(mask, "float32")
        x = ops.cast(self.project(frames) if self.projection else frames, "float32")
        total = frame_sum(mask, x)
        return attend(self.sharpness * ops.matmul(x, total[:, :, None])[:, :, 0], mask)

    def get_config(self) -> dict[str, Any]:
        """Configuration for saving."""
        own = {"weights": self.weighting, "output": self.output_form}
        return {**super().get_config(), **own, **{key: getattr(self, key) for key in ("sharpness", "projection", "projection_l2")}}
