"""Convolutions within each frame, then over time: the baseline that Huang (2019) compares with, of which the paper gives no sizes."""

from typing import Any

import keras
from keras import ops

from trainers.options import whole
from trainers.pooling._base import Pooling
from trainers.registry import POOLINGS

LAYERS = 3  # of each kind, as the paper says


@POOLINGS.register("spatial_temporal_cnn")
class SpatialTemporalCNN(Pooling):
    """3 convolutions along the D values of a frame, which give D values again, then 3 over time with filters as deep, and their maximum.

    Every convolution keeps the length, with zeros beyond the ends, and is followed by a ReLU; a video ends at its last real frame.

    Args:
      spatial_filters: channels of the first two convolutions along a frame.
      temporal_filters: channels of each convolution over time; width of the output.
      kernel_size: values, or frames, that a filter sees.

    Raises:
      DataError: an option with a value that it cannot have.
    """

    def __init__(self, spatial_filters: int = 4, temporal_filters: int = 256, kernel_size: int = 5, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        whole("spatial_temporal_cnn", spatial_filters=spatial_filters, temporal_filters=temporal_filters, kernel_size=kernel_size)
        self.spatial_filters, self.temporal_filters, self.kernel_size = spatial_filters, temporal_filters, kernel_size
        self.spatial = [self._conv("spatial", i, channels) for i, channels in enumerate((spatial_filters, spatial_filters, 1), start=1)]
        self.temporal = [self._conv("temporal", i, temporal_filters) for i in range(1, LAYERS + 1)]

    def build(self, frames_shape: tuple[int | None, ...]) -> None:
        """Build the convolutions."""
        for convs, channels in ((self.spatial, 1), (self.temporal, frames_shape[-1])):
            for conv in convs:
                conv.build((None, None, channels))
                channels = conv.filters

    def call(self, frames: Any, mask: Any) -> Any:
        """[B, T, D] and mask [B, T] to [B, temporal_filters]; 0 where no frame is real."""
        width = frames.shape[-1]
        x = ops.reshape(frames, (-1, width, 1))
        for conv in self.spatial:
            x = conv(x)
        x = ops.reshape(x, (-1, ops.shape(frames)[1], width))
        for conv in self.temporal:
            x = conv(ops.where(mask[:, :, None], x, 0.0))
        return ops.max(ops.where(mask[:, :, None], x, 0.0), axis=1)

    def _conv(self, kind: str, i: int, channels: int) -> keras.layers.Layer:
        return keras.layers.Conv1D(
            channels, self.kernel_size, padding="same", activation="relu", dtype=self.dtype_policy, name=f"{kind}_{i}"
        )

    def get_config(self) -> dict[str, Any]:
        """Configuration for saving."""
        own = ("spatial_filters", "temporal_filters", "kernel_size")
        return {**super().get_config(), **{key: getattr(self, key) for key in own}}
