"""NetVLAD (Arandjelović et al. 2016, eq. 4), and the light form without centres (Miech et al. 2017, section 3.2)."""

from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf
from keras import ops

from trainers.options import flag, one_of, whole, within
from trainers.pooling._base import Pooling
from trainers.pooling._clusters import NORMS, Linear, cluster_sums, flatten, normal, normalize, normalize_and_flatten, soft_assign
from trainers.pooling._norm import column_sums
from trainers.pooling.non_local import non_local_block
from trainers.registry import POOLINGS


@POOLINGS.register("netvlad")
class NetVLAD(Pooling):
    """V_k = sum over t of a_tk (x_t - c_k), a_t = softmax(BN(x_t W)); each cluster normalised, then the whole. The centres are free of W.

    Args:
      clusters: K.
      batch_norm: False assigns by softmax(x_t W + b).
      momentum: of the batch norm's moving averages.
      norm: "intra" gives each V_k unit norm, "signed_sqrt" takes sign(v) sqrt(|v|) of each value.
      non_local: options of a non-local block over the K descriptors, {} for its defaults; None has no such block.

    Raises:
      DataError: an option with a value that it cannot have.
    """

    residual = True

    def __init__(
        self,
        clusters: int = 256,
        batch_norm: bool = True,
        momentum: float = 0.999,
        norm: str = "intra",
        non_local: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        component = "netvlad" if self.residual else "netrvlad"
        whole(component, clusters=clusters)
        flag(component, batch_norm=batch_norm)
        within(component, 0, 1, momentum=momentum)
        one_of(component, NORMS, norm=norm)
        self.clusters, self.batch_norm, self.momentum, self.norm = clusters, batch_norm, momentum, norm
        self.block = None if non_local is None else non_local_block(non_local)
        self.non_local = non_local

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make the assignment's kernel [D, K], the centres [K, D] and the non-local block."""
        width = input_shape[-1]
        self.assignment = Linear(self.clusters, self.batch_norm, self.momentum, dtype=self.dtype_policy, name="assignment")
        self.assignment.build(input_shape)
        if self.residual:
            self.centers = self.add_weight(shape=(self.clusters, width), initializer=normal(width), autocast=False, name="centers")
        if self.block is not None:
            self.block.dtype_policy = self.dtype_policy
            self.block.build((None, self.clusters, width))

    def call(self, frames: Any, mask: Any, training: bool | None = None) -> Any:
        """[B, T, D] and mask [B, T] to [B, K * D], of unit norm."""
        a = soft_assign(self.assignment(frames, mask=mask, training=training), mask)
        v = cluster_sums(a, frames)
        if self.residual:
            v = _residuals(v, ops.sum(a, axis=1), tf.convert_to_tensor(self.centers))
        if self.block is not None and self.block.placement == "before_norm":
            v = self.block(v)
        if self.norm == "intra" and (self.block is None or self.block.placement == "before_norm"):
            return ops.cast(normalize_and_flatten(v), self.compute_dtype)
        v = normalize(v, self.norm)
        if self.block is not None and self.block.placement == "after_norm":
            v = self.block(v)
        return ops.cast(flatten(v), self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        """Configuration for saving."""
        own = ("clusters", "batch_norm", "momentum", "norm", "non_local")
        return {**super().get_config(), **{key: getattr(self, key) for key in own}}


@POOLINGS.register("netrvlad")
class NetRVLAD(NetVLAD):
    """NetVLAD without centres: V_k = sum over t of a_tk x_t. Saves K * D weights."""

    residual = False


@tf.custom_gradient
def _residuals(
    sums: tf.Tensor, shares: tf.Tensor, centers: tf.Tensor
) -> tuple[tf.Tensor, Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor, tf.Tensor]]]:
    """Sums over t of a_tk x_t, [B, K, D], less those of a_tk, [B, K], times the centres [K, D]: [B, K, D].

    TensorFlow's own gradient takes passes more over arrays as large as the sums, and adds up those of the centres slowly.
    """

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        weighted = tf.reshape(shares[:, :, None] * upstream, [-1, tf.size(centers)])
        of_centers = tf.reshape(column_sums(weighted, tf.ones(tf.shape(shares)[:1])), tf.shape(centers))
        return upstream, -tf.reduce_sum(upstream * centers, axis=-1), -of_centers

    return sums - shares[:, :, None] * centers, gradient
