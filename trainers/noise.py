"""Noise on the inputs of rare labels (Na et al. 2017, section 2.2.5, eq. 11-12)."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from trainers.options import within
from yt8m_data.errors import DataError
from yt8m_data.shards import read_json


@keras.saving.register_keras_serializable(package="yt8m")
class AdaptiveNoise(keras.layers.Layer):
    """x + factor * gamma Z, Z ~ N(0, I) and gamma the mean over the video's labels of 1 / (number of videos with that label).

    It needs labels, so it is for training only, and no part of the model that is saved. Each value of each frame has a draw of its own; a
    video without labels has no noise. Soft labels count by their value. A label of no video counts as one of a single video.

    Args:
      num_classes: C.
      factor: of gamma, which is for values as they stand in the records: where they are scaled, times that scale.
      counts: path of a `stats.json` with the counts; None takes those of the training set.

    Raises:
      DataError: an option with a value that it cannot have.
    """

    def __init__(self, num_classes: int, factor: float = 1.0, counts: str | None = None, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "dtype": "float32"})
        within("noise", 0, float("inf"), factor=factor)
        self.num_classes, self.factor, self.counts = num_classes, factor, counts
        self.generator = keras.random.SeedGenerator()
        self.generator_state = self.generator.state  # as an attribute of the layer it is in tf.train checkpoints, so a resumed run draws on

    def build(self, x_shape: tuple[int | None, ...], labels_shape: tuple[int | None, int]) -> None:
        """Make the rarity [C] of the labels, 0 until `prepare`."""
        self.rarity = self.add_weight(shape=(self.num_classes,), initializer="zeros", trainable=False, name="rarity")

    def prepare(self, train_set: Any) -> None:
        """Set the rarity of each label to 1 / its number of videos.

        Raises:
          DataError: the counts are missing, or of another number of classes.
        """
        label_counts = train_set.label_counts if self.counts is None else read_label_counts(self.counts, self.num_classes)
        self.rarity.assign(1 / np.maximum(label_counts, 1))

    def call(self, x: Any, labels: Any, mask: Any = None) -> Any:
        """x [B, D] or [B, T, D] and labels [B, C] to x with noise, float32; where mask [B, T] is False x stays as it is."""
        gamma = ops.divide_no_nan(ops.matmul(labels, self.rarity), ops.sum(labels, axis=1))
        size = ops.reshape(self.factor * gamma, (-1,) + (1,) * (len(x.shape) - 1))
        if mask is not None:
            size = ops.where(mask[:, :, None], size, 0.0)
        return x + size * keras.random.normal(ops.shape(x), seed=self.generator)

    def get_config(self) -> dict[str, Any]:
        """Configuration for saving."""
        return {**super().get_config(), "num_classes": self.num_classes, "factor": self.factor, "counts": self.counts}


def read_label_counts(path: str, num_classes: int, classes: Sequence[int] | None = None) -> list[int]:
    """The number of videos with each label, [C], from a `stats.json`.

    Args:
      path: of the file.
      num_classes: C.
      classes: the C classes that are wanted of more, by their ids; None wants them all.

    Raises:
      DataError: the file is missing, holds no counts, or is of another number of classes.
    """
    statistics = read_json(path)
    counts = statistics.get("label_counts") if isinstance(statistics, dict) else None
    if counts is None:
        raise DataError(f"{path} holds no label counts: give the stats.json of `yt8m-data stats`")
    if classes is not None and max(classes) < len(counts):
        return [counts[label] for label in classes]
    if len(counts) != num_classes:
        raise DataError(f"{path} counts {len(counts)} classes, but the model has {num_classes}: give counts of the same data")
    return counts
