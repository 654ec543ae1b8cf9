"""A pooling for each feature, and one vector of them all (Garg 2018, section 4.1 and Fig. 5)."""

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

import keras
from keras import ops

from trainers.options import one_of, within
from trainers.pooling._base import Pooling, nested
from trainers.registry import POOLINGS
from yt8m_data.errors import DataError

JOINS = ("add", "concat")


@POOLINGS.register("multi_modal")
class MultiModalPooling(Pooling):
    """Visual and audio frames are pooled apart, by poolings of one kind, and their vectors added.

    In training each vector has a head of its own, beside that of the joint one, which alone predicts. The loss is the weighted sum of all.

    Args:
      feature_sizes: of the features that are joined in a frame, D in all.
      pooling: name and options of the pooling that each feature gets.
      join: "add", as in the author's code, needs vectors of one width; "concat" puts them side by side.
      part_weight: of each feature's loss.
      joint_weight: of the loss of the joint vector; 6 in the author's code.

    Raises:
      DataError: an option with a value that it cannot have, or vectors of several widths that should be added.
    """

    def __init__(
        self,
        feature_sizes: Sequence[int],
        pooling: Mapping[str, Any],
        join: str = "add",
        part_weight: float = 1.0,
        joint_weight: float = 6.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        one_of("multi_modal", JOINS, join=join)
        within("multi_modal", 0, float("inf"), part_weight=part_weight, joint_weight=joint_weight)
        self.poolings = [nested("multi_modal", pooling, [size], self.dtype_policy) for size in feature_sizes]
        self.feature_sizes, self.pooling, self.join = tuple(feature_sizes), dict(pooling), join
        self.part_weight, self.joint_weight = part_weight, joint_weight
        for i, layer in enumerate(self.poolings, start=1):
            layer.name = f"part_{i}"

    def build(self, frames_shape: tuple[int | None, ...]) -> None:
        """Build each feature's pooling.

        Raises:
          DataError: their vectors differ in width and should be added.
        """
        mask, widths = keras.KerasTensor(frames_shape[:2], dtype="bool"), []
        for layer, size in zip(self.poolings, self.feature_sizes, strict=True):
            shape = (*frames_shape[:2], size)
            layer.build(shape)
            widths.append(layer.compute_output_spec(keras.KerasTensor(shape, dtype=self.compute_dtype), mask).shape[-1])
        if self.join == "add" and len(set(widths)) > 1:
            raise DataError(f"join of multi_modal is add, but the vectors of {self.pooling['name']} are {widths} wide: set it to concat")

    def call(self, frames: Any, mask: Any, training: bool | None = None, parts: bool = False) -> Any:
        """[B, T, D] and mask [B, T] to the joint [B, E], or with parts to the list of it and of each feature's [B, E']."""
        features = zip(self.poolings, self.feature_sizes, accumulate(self.feature_sizes), strict=True)
        own = [layer(frames[:, :, end - size : end], mask) for layer, size, end in features]
        joint = sum(own[1:], start=own[0]) if self.join == "add" else ops.concatenate(own, axis=-1)
        return [joint, *own] if parts else joint

    def get_config(self) -> dict[str, Any]:
        """Configuration for saving."""
        own = ("feature_sizes", "pooling", "join", "part_weight", "joint_weight")
        return {**super().get_config(), **{key: getattr(self, key) for key in own}}
