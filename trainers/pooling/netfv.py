"""NetFV: Fisher vectors with learned parameters (Miech et al. 2017, section 3.2; Sydorov et al. 2014)."""

from typing import Any

import keras
from keras import ops

from trainers.options import flag, whole, within
from trainers.pooling._base import Pooling
from trainers.pooling._clusters import Linear, cluster_sums, flatten, normal, soft_assign, unit
from trainers.registry import POOLINGS


@POOLINGS.register("netfv")
class NetFV(Pooling):
    """First and second moments of the frames about each cluster's centre c_k, in units of its deviation s_k = theta_k squared + 1e-6.

    FV1_k = sum of a_tk (x_t - c_k) / s_k and FV2_k = sum of a_tk ((x_t - c_k)^2 / s_k^2 - 1), all by component, with NetVLAD's a_tk. FV1 is
    normalised by cluster and as a whole, FV2 as a whole only, as the authors' code does.

    Args:
      clusters: K.
      batch_norm: False assigns by softmax(x_t W + b).
      momentum: of the batch norm's moving averages.
      coupling: None learns the centres; a number makes them that times W, which the authors offer with 0.01.
      intra_norm_second: normalise FV2 by cluster too, as their code means to.

    Raises:
      DataError: an option with a value that it cannot have.
    """

    def __init__(
        self,
        clusters: int = 128,
        batch_norm: bool = True,
        momentum: float = 0.999,
        coupling: float | None = None,
        intra_norm_second: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        whole("netfv", clusters=clusters)
        flag("netfv", batch_norm=batch_norm, intra_norm_second=intra_norm_second)
        within("netfv", 0, 1, momentum=momentum)
        within("netfv", 0, float("inf"), or_null=True, coupling=coupling)
        self.clusters, self.batch_norm, self.momentum = clusters, batch_norm, momentum
        self.coupling, self.intra_norm_second = coupling, intra_norm_second

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make the assignment's kernel [D, K], theta [K, D], and the centres [K, D] where they are not coupled."""
        shape = (self.clusters, input_shape[-1])
        self.assignment = Linear(self.clusters, self.batch_norm, self.momentum, dtype=self.dtype_policy, name="assignment")
        self.assignment.build(input_shape)
        spread = keras.initializers.RandomNormal(mean=1.0, stddev=shape[1] ** -0.5)
        self.theta = self.add_weight(shape=shape, initializer=spread, autocast=False, name="theta")
        if self.coupling is None:
            self.centers = self.add_weight(shape=shape, initializer=normal(shape[1]), autocast=False, name="centers")

    def call(self, frames: Any, mask: Any, training: bool | None = None) -> Any:
        """[B, T, D] and mask [B, T] to [B, 2 * K * D], both halves of unit norm."""
        a = soft_assign(self.assignment(frames, mask=mask, training=training), mask)
        mass, sums, squares = ops.sum(a, axis=1)[:, :, None], cluster_sums(a, frames), cluster_sums(a, ops.square(frames))
        c, s = self._centers(), self.deviations()
        first = (sums - mass * c) / s
        second = (squares - 2 * c * sums + mass * ops.square(c)) / ops.square(s) - mass
        second = unit(second) if self.intra_norm_second else second
        return ops.cast(ops.concatenate([flatten(unit(first)), flatten(second)], axis=-1), self.compute_dtype)

    def deviations(self) -> Any:
        """The s_k, [K, D] float32, all positive."""
        return ops.square(self.theta) + 1e-6

    def _centers(self) -> Any:
        if self.coupling is None:
            return self.centers
        return self.coupling * ops.cast(ops.transpose(self.assignment.kernel), "float32")

    def get_config(self) -> dict[str, Any]:
        """Configuration for saving."""
        own = ("clusters", "batch_norm", "momentum", "coupling", "intra_norm_second")
        return {**super().get_config(), **{key: getattr(self, key) for key in own}}
