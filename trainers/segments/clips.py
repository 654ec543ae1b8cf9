"""Segments cut out of the frames of their videos, on the device."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from trainers.segments.settings import LENGTH


@keras.saving.register_keras_serializable(package="yt8m")
class Clips(keras.layers.Layer):
    """The frames of each segment with the neighbours before and behind it, as a short video of its own.

    A clip holds the frames start - neighbors .. start + 4 + neighbors of its video, as far as the video has them, in their order and from
    its first place on; what is behind them means nothing, as in other videos. Nothing is repeated, and no frame past the end is read.

    Args:
      neighbors: frames on each side.
    """

    def __init__(self, neighbors: int = 3, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.neighbors = neighbors

    def call(self, features: Sequence[Any], num_frames: Any, video: Any, start: Any) -> tuple[list[Any], Any]:
        """uint8 [V, T, size] of each feature, int32 [V], and the segments' rows and starts, int32 [S], to clips and their lengths.

        Returns: uint8 [S, 5 + 2 * neighbors, size] of each feature, and int32 [S].
        """
        frames = ops.take(num_frames, video)
        first = ops.clip(start - self.neighbors, 0, frames)
        count = ops.clip(start + (LENGTH + self.neighbors), first, frames) - first
        places = first[:, None] + ops.arange(LENGTH + 2 * self.neighbors, dtype="int32")
        places = ops.minimum(places, ops.maximum(first + count - 1, 0)[:, None])  # behind a clip stands what it holds already
        places = ops.minimum(places, ops.maximum(frames - 1, 0)[:, None])
        clips = []
        for feature in features:
            rows = video[:, None] * ops.shape(feature)[1] + places
            clips.append(ops.take(ops.reshape(feature, (-1, feature.shape[2])), rows, axis=0))
        return clips, count

    def get_config(self) -> dict[str, Any]:
        """Configuration for saving."""
        return {**super().get_config(), "neighbors": self.neighbors}


@keras.saving.register_keras_serializable(package="yt8m")
class FrozenEncoder(keras.layers.Wrapper):
    """A model that is fed on and never learns: no gradient reaches it, and no statistic of it moves, whatever the mode."""

    def __init__(self, layer: keras.layers.Layer, **kwargs: Any) -> None:
        super().__init__(layer, **kwargs)
        self.trainable = False

    def call(self, inputs: Any) -> Any:
        """What the model gives in inference mode."""
        return ops.stop_gradient(self.layer(inputs, training=False))


@keras.saving.register_keras_serializable(package="yt8m")
class OfSegments(keras.layers.Layer):
    """What each segment's video has: [V, E] and rows [S] to [S, E]."""

    def call(self, x: Any, video: Any) -> Any:
        """[V, E] and int32 [S] to [S, E]."""
        return ops.take(x, video, axis=0)
