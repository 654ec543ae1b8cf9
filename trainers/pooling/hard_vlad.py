"""VLAD with hard assignment (Jégou et al. 2010, section 3; normalised as in Arandjelović and Zisserman 2013)."""

from typing import Any

from keras import ops

from trainers.options import one_of, whole
from trainers.pooling._base import Pooling
from trainers.pooling._clusters import NORMS, cluster_sums, flatten, normal, normalize
from trainers.registry import POOLINGS


@POOLINGS.register("hard_vlad")
class HardVLAD(Pooling):
    """V_k = sum of x_t - c_k over the frames whose nearest centre is c_k; each cluster normalised, then the whole.

    What NetVLAD softens. The gradient reaches the centres through the residuals alone: the assignment has none.

    Args:
      clusters: K.
      norm: "intra" gives each V_k unit norm, "signed_sqrt" takes sign(v) sqrt(|v|) of each value.

    Raises:
      DataError: an option with a value that it cannot have.
    """

    def __init__(self, clusters: int = 256, norm: str = "intra", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        whole("hard_vlad", clusters=clusters)
        one_of("hard_vlad", NORMS, norm=norm)
        self.clusters, self.norm = clusters, norm

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make the centres [K, D]."""
        width = input_shape[-1]
        self.centers = self.add_weight(shape=(self.clusters, width), initializer=normal(width), autocast=False, name="centers")

    def call(self, frames: Any, mask: Any) -> Any:
        """[B, T, D] and mask [B, T] to [B, K * D], of unit norm."""
        x = ops.cast(frames, "float32")
        nearness = 2 * ops.matmul(x, ops.transpose(self.centers)) - ops.sum(ops.square(self.centers), axis=-1)
        nearest = ops.one_hot(ops.argmax(nearness, axis=-1), self.clusters) * ops.cast(mask, "float32")[:, :, None]
        v = cluster_sums(nearest, x) - ops.sum(nearest, axis=1)[:, :, None] * self.centers
        return ops.cast(flatten(normalize(v, self.norm)), self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        """Configuration for saving."""
        return {**super().get_config(), "clusters": self.clusters, "norm": self.norm}
