"""Average pooling (starter code, `FrameLevelLogisticModel`)."""

from typing import Any

from keras import ops

from trainers.pooling._base import Pooling
from trainers.pooling._clusters import frame_sum
from trainers.registry import POOLINGS


@POOLINGS.register("average")
class AveragePooling(Pooling):
    """The mean of the real frames, 0 where there are none."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)

    def call(self, frames: Any, mask: Any) -> Any:
        """[B, T, D] and mask [B, T] to [B, D]."""
        count = ops.sum(ops.cast(mask, "float32"), axis=1, keepdims=True)
        return ops.cast(frame_sum(mask, frames) / ops.maximum(count, 1.0), self.compute_dtype)
