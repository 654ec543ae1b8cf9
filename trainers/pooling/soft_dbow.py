"""Soft-DBoW: a soft bag of frames (Philbin et al. 2008; Miech et al. 2017, section 3.2), and its gated form in the authors' code."""

from typing import Any

from keras import ops

from trainers.options import flag, whole, within
from trainers.pooling._base import Pooling
from trainers.pooling._clusters import Linear, normal, soft_assign, unit
from trainers.registry import POOLINGS
from yt8m_data.errors import DataError


@POOLINGS.register("soft_dbow")
class SoftDBoW(Pooling):
    """h = L2(sum over t of a_t), a_t = softmax over the K clusters of BN(x_t W).

    Gated: h = L2(g * sum of a_t), with g = sigmoid(BN(m U V)) from the maxima m = L2(max over t of a_t), through a bottleneck.

    Args:
      clusters: K.
      batch_norm: False has biases instead.
      momentum: of the batch norms' moving averages.
      gated: whether the clusters are gated.
      bottleneck: width between U [K, width] and V [width, K]; None takes that of a frame.
      add_max: append m, for a vector of width 2 K.

    Raises:
      DataError: an option with a value that it cannot have.
    """

    def __init__(
        self,
        clusters: int = 4096,
        batch_norm: bool = True,
        momentum: float = 0.999,
        gated: bool = False,
        bottleneck: int | None = None,
        add_max: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        whole("soft_dbow", clusters=clusters)
        whole("soft_dbow", or_null=True, bottleneck=bottleneck)
        flag("soft_dbow", batch_norm=batch_norm, gated=gated, add_max=add_max)
        within("soft_dbow", 0, 1, momentum=momentum)
        if bottleneck is not None and not gated:
            raise DataError(f"bottleneck of soft_dbow is {bottleneck}, but nothing is gated: set gated to true, or leave bottleneck out")
        self.clusters, self.batch_norm, self.momentum = clusters, batch_norm, momentum
        self.gated, self.bottleneck, self.add_max = gated, bottleneck, add_max

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make the assignment's kernel [D, K], and U and V where gated."""
        self.assignment = Linear(self.clusters, self.batch_norm, self.momentum, dtype=self.dtype_policy, name="assignment")
        self.assignment.build(input_shape)
        if self.gated:
            width = self.bottleneck or input_shape[-1]
            self.squeeze = self.add_weight(shape=(self.clusters, width), initializer=normal(width), name="squeeze")
            self.gate = Linear(self.clusters, self.batch_norm, self.momentum, dtype=self.dtype_policy, name="gate")
            self.gate.build((None, width))

    def call(self, frames: Any, mask: Any, training: bool | None = None) -> Any:
        """[B, T, D] and mask [B, T] to [B, K], or [B, 2 * K] with the maxima: each K of unit norm and not negative."""
        a = soft_assign(self.assignment(frames, mask=mask, training=training), mask)
        h, m = ops.sum(a, axis=1), unit(ops.max(a, axis=1))
        if self.gated:
            gate = self.gate(ops.matmul(ops.cast(m, self.compute_dtype), self.squeeze), training=training)
            h = h * ops.sigmoid(ops.cast(gate, "float32"))
        h = unit(h)
        return ops.cast(ops.concatenate([h, m], axis=-1) if self.add_max else h, self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        """Configuration for saving."""
        own = ("clusters", "batch_norm", "momentum", "gated", "bottleneck", "add_max")
        return {**super().get_config(), **{key: getattr(self, key) for key in own}}
