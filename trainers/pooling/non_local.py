"""A non-local block over the descriptors of a video (Wang et al. 2018, section 3.3; after NetVLAD: Tang et al. 2018, eq. 3 to 5)."""

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from trainers.options import flag, one_of, whole
from trainers.pooling._clusters import normal
from trainers.registry import Registry
from yt8m_data.errors import DataError

_BLOCKS = Registry("descriptor block")  # its `create` tells of unknown options


def non_local_block(options: Mapping[str, Any]) -> "NonLocal":
    """The block of a pooling's option `non_local`.

    Raises:
      DataError: no such option, or a value that it cannot have.
    """
    if not isinstance(options, Mapping):
        raise DataError(f"non_local is {options!r}: give its options, {{}} for their defaults, or null for no such block")
    return _BLOCKS.create("non_local", options)


@_BLOCKS.register("non_local")
class NonLocal(keras.layers.Layer):
    """v_i + (sum over j of softmax_j(s theta(v_i) . phi(v_j)) g(v_j)) W_o; theta, phi and g are linear maps D -> E, W_o one E -> D.

    The authors' code computes phi in place of g, so that their g never trains; here g is a map of its own, as in the paper. All kernels
    begin as N(0, 1 / sqrt(fan_in)), W_o as well.

    Args:
      width: E; None takes the number of descriptors, K.
      scale: s: "depth" is D^(-1/2) (the authors' code), "width" E^(-1/2), "none" 1 (the paper).
      placement: "before_norm" or "after_norm": where the pooling has the block, seen from its normalisation of each descriptor.
      blocks: how many, one after another.
      shared: True gives them all the same weights.

    Raises:
      DataError: an option with a value that it cannot have.
    """

    def __init__(
        self,
        width: int | None = None,
        scale: str = "depth",
        placement: str = "before_norm",
        blocks: int = 1,
        shared: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        whole("non_local", blocks=blocks)
        whole("non_local", or_null=True, width=width)
        one_of("non_local", ("depth", "width", "none"), scale=scale)
        one_of("non_local", ("before_norm", "after_norm"), placement=placement)
        flag("non_local", shared=shared)
        if shared and blocks == 1:
            raise DataError("shared of non_local is true, but there is 1 block: set blocks to 2 or more, or leave shared out")
        self.width, self.scale, self.placement, self.blocks, self.shared = width, scale, placement, blocks, shared

    def build(self, input_shape: tuple[int | None, int, int]) -> None:
        """Make theta, phi and g [D, E] and W_o [E, D] of each block, or once where they are shared."""
        _, count, depth = input_shape
        width = self.width or count
        self._factor = {"depth": depth**-0.5, "width": width**-0.5, "none": 1.0}[self.scale]
        self.kernels = []
        for i in range(1 if self.shared else self.blocks):
            maps = [self.add_weight(shape=(depth, width), initializer=normal(depth), name=f"{name}_{i}") for name in ("theta", "phi", "g")]
            self.kernels.append([*maps, self.add_weight(shape=(width, depth), initializer=normal(width), name=f"output_{i}")])

    def call(self, v: Any) -> Any:
        """[B, K, D] to [B, K, D]."""
        for i in range(self.blocks):
            theta, phi, g, output = self.kernels[0 if self.shared else i]
            scores = self._factor * ops.matmul(ops.matmul(v, theta), ops.transpose(ops.matmul(v, phi), (0, 2, 1)))
            weights = ops.cast(ops.softmax(ops.cast(scores, "float32"), axis=-1), v.dtype)
            v = v + ops.matmul(ops.matmul(weights, ops.matmul(v, g)), output)
        return v

    def get_config(self) -> dict[str, Any]:
        """Configuration for saving."""
        own = ("width", "scale", "placement", "blocks", "shared")
        return {**super().get_config(), **{key: getattr(self, key) for key in own}}
