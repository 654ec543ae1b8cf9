"""Early fusion: one pooling for the joined features (Tang et al. 2018, section 2.2)."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import ops

from trainers.options import within
from trainers.pooling._base import Pooling, nested
from trainers.pooling._norm import FrameNorm
from trainers.registry import POOLINGS


@POOLINGS.register("early_fusion")
class EarlyFusion(Pooling):
    """Batch norm over the joined features, then a pooling of them all.

    Args:
      pooling: name and options of the pooling.
      momentum: of the batch norm's moving averages.
      feature_sizes: widths of the features that are joined.

    Raises:
      DataError: no such pooling, or not such options of it.
    """

    def __init__(self, pooling: Mapping[str, Any], feature_sizes: Sequence[int], momentum: float = 0.999, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        within("early_fusion", 0, 1, momentum=momentum)
        self.pool = nested("early_fusion", pooling, feature_sizes, self.dtype_policy)
        self.pooling, self.feature_sizes, self.momentum = pooling, tuple(feature_sizes), momentum

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make the batch norm and the pooling's weights."""
        self.norm = FrameNorm(momentum=self.momentum, dtype=self.dtype_policy, name="norm")
        self.norm.build(input_shape)
        self.pool.build(input_shape)

    def call(self, frames: Any, mask: Any, training: bool | None = None) -> Any:
        """[B, T, D] and mask [B, T] to the pooling's [B, E]."""
        return self.pool(normed(self.norm, frames, mask, training), mask=mask, training=training)

    def get_config(self) -> dict[str, Any]:
        """Configuration for saving."""
        return {**super().get_config(), **{key: getattr(self, key) for key in ("pooling", "feature_sizes", "momentum")}}


def normed(norm: keras.layers.Layer, frames: Any, mask: Any, training: bool | None) -> Any:
    """Batch norm over the real frames; padded ones stay 0."""
    return ops.where(mask[:, :, None], norm(frames, mask=mask, training=training), 0.0)
