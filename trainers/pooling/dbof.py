"""DBoF: a deep bag of frames (Abu-El-Haija et al. 2016, section 4.1.2; starter code, `DbofModel`)."""

from typing import Any

from keras import ops

from trainers.options import flag, one_of, whole, within
from trainers.pooling._base import Pooling
from trainers.pooling._clusters import Linear
from trainers.pooling._norm import FrameNorm
from trainers.pooling.attention import AttentionPooling
from trainers.pooling.average import AveragePooling
from trainers.registry import POOLINGS

_ACTIVATIONS = {"relu6": ops.relu6, "sigmoid": ops.sigmoid}  # neither is negative, so that a padded frame's 0 never is a maximum
_POOLS = {"mean": AveragePooling, "attention": AttentionPooling}


@POOLINGS.register("dbof")
class DBoF(Pooling):
    """Frames through batch norm, a map to K, batch norm and an activation; pooled over time; then, where `hidden` is set, to H likewise.

    Args:
      clusters: K.
      pool: "max", "mean", or "attention": tanh(sum over t of p_t f_t), p = softmax over t of tanh(f_t) w.
      activation: "relu6" or "sigmoid", after both maps.
      hidden: width H of the dense layer; None has none.
      batch_norm: False has no batch norm of the frames, and biases in the maps.
      momentum: of the batch norms' moving averages.

    Raises:
      DataError: an option with a value that it cannot have.
    """

    def __init__(
        self,
        clusters: int = 8192,
        pool: str = "max",
        activation: str = "relu6",
        hidden: int | None = None,
        batch_norm: bool = True,
        momentum: float = 0.999,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        whole("dbof", clusters=clusters)
        whole("dbof", or_null=True, hidden=hidden)
        one_of("dbof", ("max", *_POOLS), pool=pool)
        one_of("dbof", tuple(_ACTIVATIONS), activation=activation)
        flag("dbof", batch_norm=batch_norm)
        within("dbof", 0, 1, momentum=momentum)
        self.clusters, self.pool, self.activation, self.hidden = clusters, pool, activation, hidden
        self.batch_norm, self.momentum = batch_norm, momentum

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make the batch norm of the frames, the map [D, K], the attention's w [K, 1] and the map [K, H]."""
        if self.batch_norm:
            self.norm = FrameNorm(momentum=self.momentum, dtype=self.dtype_policy, name="norm")
            self.norm.build(input_shape)
        self.bag = Linear(self.clusters, self.batch_norm, self.momentum, dtype=self.dtype_policy, name="bag")
        self.bag.build(input_shape)
        if self.pool != "max":
            self.pooled = _POOLS[self.pool](dtype=self.dtype_policy, name=self.pool)
            self.pooled.build((*input_shape[:-1], self.clusters))
        if self.hidden:
            self.dense = Linear(self.hidden, self.batch_norm, self.momentum, dtype=self.dtype_policy, name="dense")
            self.dense.build((None, self.clusters))

    def call(self, frames: Any, mask: Any, training: bool | None = None) -> Any:
        """[B, T, D] and mask [B, T] to [B, K], or to [B, H]."""
        x = self.norm(frames, mask=mask, training=training) if self.batch_norm else frames
        activate = _ACTIVATIONS[self.activation]
        f = activate(self.bag(x, mask=mask, training=training))
        bags = ops.max(ops.where(mask[:, :, None], f, 0.0), axis=1) if self.pool == "max" else self.pooled(f, mask=mask)
        return activate(self.dense(bags, training=training)) if self.hidden else bags

    def get_config(self) -> dict[str, Any]:
        """Configuration for saving."""
        own = ("clusters", "pool", "activation", "hidden", "batch_norm", "momentum")
        return {**super().get_config(), **{key: getattr(self, key) for key in own}}
