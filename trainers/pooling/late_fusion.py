"""Late fusion: a pooling for each feature (Miech et al. 2017, section 3.1 and figure 1)."""

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

from keras import ops

from trainers.options import flag, within
from trainers.pooling._base import Pooling, nested
from trainers.pooling._norm import FrameNorm
from trainers.pooling.early_fusion import normed
from trainers.registry import POOLINGS
from yt8m_data.errors import DataError


@POOLINGS.register("late_fusion")
class LateFusion(Pooling):
    """Batch norm over the joined features; then a pooling for each, visual and audio, side by side.

    Args:
      pooling: name and options of the first feature's pooling.
      audio: options of the other features' pooling where they differ, such as fewer clusters.
      batch_norm: False leaves the features as they are.
      momentum: of the batch norm's moving averages.
      feature_sizes: widths of the features, in their order.

    Raises:
      DataError: no such pooling, or not such options of it.
    """

    def __init__(
        self,
        pooling: Mapping[str, Any],
        feature_sizes: Sequence[int],
        audio: Mapping[str, Any] | None = None,
        batch_norm: bool = True,
        momentum: float = 0.999,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        flag("late_fusion", batch_norm=batch_norm)
        within("late_fusion", 0, 1, momentum=momentum)
        if audio is not None and not isinstance(audio, Mapping):
            raise DataError(f"audio of late_fusion is {audio!r}: give the options that differ, for example {{clusters: 128}}, or null")
        self.pooling, self.audio, self.feature_sizes = pooling, audio, tuple(feature_sizes)
        self.batch_norm, self.momentum = batch_norm, momentum
        first, *others = self.feature_sizes
        self.pools = [nested("late_fusion", pooling, [first], self.dtype_policy)]
        self.pools += [nested("late_fusion", {**pooling, **(audio or {})}, [size], self.dtype_policy) for size in others]

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make the batch norm and the weights of each pooling."""
        if self.batch_norm:
            self.norm = FrameNorm(momentum=self.momentum, dtype=self.dtype_policy, name="norm")
            self.norm.build(input_shape)
        for pool, size in zip(self.pools, self.feature_sizes, strict=True):
            pool.build((*input_shape[:-1], size))

    def call(self, frames: Any, mask: Any, training: bool | None = None) -> Any:
        """[B, T, D] and mask [B, T] to [B, E], the vectors of all features in their order."""
        x = normed(self.norm, frames, mask, training) if self.batch_norm else frames
        ends = list(accumulate(self.feature_sizes[:-1]))
        parts = ops.split(x, ends, axis=-1) if ends else [x]  # of slices, each gradient would be as wide as x
        pooled = [pool(part, mask=mask, training=training) for pool, part in zip(self.pools, parts, strict=True)]
        return ops.concatenate(pooled, axis=-1)

    def get_config(self) -> dict[str, Any]:
        """Configuration for saving."""
        own = ("pooling", "feature_sizes", "audio", "batch_norm", "momentum")
        return {**super().get_config(), **{key: getattr(self, key) for key in own}}
