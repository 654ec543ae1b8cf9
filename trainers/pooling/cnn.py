"""Convolution over time and the maximum of each filter (Na et al. 2017, section 2.2.2, after Kim 2014)."""

from typing import Any

import keras
from keras import ops

from trainers.options import flag, whole
from trainers.pooling._base import Pooling
from trainers.pooling._clusters import unit
from trainers.registry import POOLINGS


@POOLINGS.register("cnn")
class CNNPooling(Pooling):
    """max over the windows of ReLU(x W + b), a window being `kernel_size` frames in a row, of which the first is real.

    The frames after the last real one count as zeros, as in the padded videos of the authors' code, also where there is no padding: so a
    video has one window a frame, however short it is, and gives the same vector in any batch.

    Args:
      filters: width of the output.
      kernel_size: frames that a filter sees.
      l2_normalize: the vector has unit norm, as in the authors' code.

    Raises:
      DataError: an option with a value that it cannot have.
    """

    def __init__(self, filters: int = 256, kernel_size: int = 5, l2_normalize: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        whole("cnn", filters=filters, kernel_size=kernel_size)
        flag("cnn", l2_normalize=l2_normalize)
        self.filters, self.kernel_size, self.l2_normalize = filters, kernel_size, l2_normalize
        self.conv = keras.layers.Conv1D(filters, kernel_size, activation="relu", dtype=self.dtype_policy, name="conv")

    def build(self, frames_shape: tuple[int | None, ...]) -> None:
        """Build the convolution's kernel [kernel_size, D, filters] and its bias."""
        self.conv.build(frames_shape)

    def call(self, frames: Any, mask: Any) -> Any:
        """[B, T, D] and mask [B, T] to [B, filters]; 0 where no frame is real."""
        x = ops.where(mask[:, :, None], frames, 0.0)
        windows = self.conv(ops.pad(x, [[0, 0], [0, self.kernel_size - 1], [0, 0]]))
        vector = ops.max(ops.where(mask[:, :, None], windows, 0.0), axis=1)
        return ops.cast(unit(vector), self.compute_dtype) if self.l2_normalize else vector

    def get_config(self) -> dict[str, Any]:
        """Configuration for saving."""
        own = ("filters", "kernel_size", "l2_normalize")
        return {**super().get_config(), **{key: getattr(self, key) for key in own}}
