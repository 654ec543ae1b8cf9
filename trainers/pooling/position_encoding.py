"""Position encoding (Sukhbaatar et al. 2015, section 4.1; for frames: Na et al. 2017, section 2.2.3)."""

from typing import Any

from keras import ops

from trainers.options import flag, one_of
from trainers.pooling._base import Pooling
from trainers.pooling._clusters import frame_sum, unit
from trainers.registry import POOLINGS


@POOLINGS.register("position_encoding")
class PositionEncoding(Pooling):
    """O_j = sum over t of L_tj x_tj, with L_tj = (1 - t/T) - (j/D)(1 - 2 t/T) and T the number of real frames.

    The first features weigh the beginning of a video, the last ones its end. (The authors' code divides whole numbers, which makes every
    L_tj 1.) L is linear in j, so O is the sum of (1 - t/T) x_t less j/D times that of (1 - 2 t/T) x_t, and no [T, D] matrix is made.

    Args:
      base: the number of the first frame and of the first feature, 0 or, as in Sukhbaatar et al., 1.
      l2_normalize: give O unit norm, as the authors' code does.

    Raises:
      DataError: an option with a value that it cannot have.
    """

    def __init__(self, base: int = 0, l2_normalize: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        one_of("position_encoding", (0, 1), base=base)
        flag("position_encoding", l2_normalize=l2_normalize)
        self.base, self.l2_normalize = base, l2_normalize

    def call(self, frames: Any, mask: Any) -> Any:
        """[B, T, D] and mask [B, T] to [B, D]."""
        x, real = ops.cast(frames, "float32"), ops.cast(mask, "float32")
        number = ops.cumsum(real, axis=1) - 1 + self.base
        t = number / ops.maximum(ops.sum(real, axis=1, keepdims=True), 1.0)
        j = (ops.arange(x.shape[-1], dtype="float32") + self.base) / x.shape[-1]
        pooled = frame_sum((1 - t) * real, x) - j * frame_sum((1 - 2 * t) * real, x)
        return ops.cast(unit(pooled) if self.l2_normalize else pooled, self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        """Configuration for saving."""
        return {**super().get_config(), "base": self.base, "l2_normalize": self.l2_normalize}
