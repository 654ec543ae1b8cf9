"""A layer to check: with random weights, random inputs of its kind, and the ways to call it."""

import random
from collections.abc import Callable
from functools import cached_property
from typing import Any, Literal, NamedTuple

import keras
import numpy as np
import tensorflow as tf

FEATURES, CLASSES = (8, 4), 5
Kind = Literal["frames", "vectors", "probabilities"]
WIDTHS = {"frames": sum(FEATURES), "vectors": sum(FEATURES), "probabilities": CLASSES}

Videos = list[np.ndarray]  # of each video what the layer takes: its frames [T, D], or a vector [D]


class Step(NamedTuple):
    """What comes of a call.

    Attributes:
      gradients: of a random weighted sum of the output, with respect to the trainable weights; None where a weight has no part in it.
      of_input: likewise, with respect to the first input.
      weights: the values of all weights after the call.
    """

    gradients: list[np.ndarray | None]
    of_input: np.ndarray
    weights: list[np.ndarray]


class Subject:
    """A layer, built, whose weights are as they may be after training: none is 0 or 1 throughout.

    Attributes:
      layer: what is checked.
      takes: "frames" with a mask, "vectors", or "probabilities".
    """

    def __init__(self, make: Callable[[], keras.layers.Layer], takes: Kind) -> None:
        random.seed(0)  # where Keras takes its initialisers' seeds from
        layer = make()
        self.layer, self.takes, self.width = layer, takes, WIDTHS[takes]
        layer.build((None, None, self.width) if takes == "frames" else (None, self.width))
        rng = np.random.default_rng(1)
        for weight in layer.weights:
            change = rng.normal(size=weight.shape).astype(np.float32) * 0.1
            weight.assign(weight + (np.abs(change) if weight.name == "moving_variance" else change))
        self.graph = tf.function(self.call, input_signature=self._signature())

    def videos(self, *lengths: int, seed: int = 2) -> Videos:
        """A video of each length, which only counts where the layer takes frames."""
        rng = np.random.default_rng(seed)
        shapes = [(length, self.width) if self.takes == "frames" else (self.width,) for length in lengths]
        draw = (lambda shape: rng.uniform(0.05, 0.95, shape)) if self.takes == "probabilities" else (lambda shape: rng.normal(size=shape))
        return [draw(shape).astype(np.float32) for shape in shapes]

    def batch(self, videos: Videos, padded: int = 0) -> tuple[tf.Tensor, ...]:
        """The arguments of a call. Behind a video's frames stand random values up to the longest, and `padded` more."""
        if self.takes != "frames":
            return (tf.constant(np.stack(videos)),)
        lengths = np.array([len(video) for video in videos])
        frames = np.random.default_rng(3).normal(size=(len(videos), max(lengths) + padded, self.width)).astype(np.float32) * 5
        for row, video in zip(frames, videos, strict=True):
            row[: len(video)] = video
        return tf.constant(frames), tf.constant(np.arange(frames.shape[1]) < lengths[:, None])

    def call(self, x: Any, mask: Any = None, training: bool = False) -> Any:
        """The layer's output, as a recipe's assembly calls it."""
        return self.layer(x, training=training) if mask is None else self.layer(x, mask=mask, training=training)

    def infer(self, videos: Videos, padded: int = 0) -> np.ndarray:
        """The output [B, E] in inference, by a graph that is made once for batches of any size and length."""
        return self.graph(*self.batch(videos, padded)).numpy()

    def step(self, *inputs: tf.Tensor, training: bool = True) -> Step:
        """A call with its gradients, which is then taken back.

        The penalties on weights do not count in the gradients: they would give one even to a weight that nothing uses.
        """
        before = self.layer.get_weights()
        with tf.GradientTape() as tape:
            tape.watch(inputs[0])
            output = tf.cast(self.call(*inputs, training=training), tf.float32)
            total = tf.reduce_sum(output * np.random.default_rng(4).normal(size=output.shape).astype(np.float32))
        after = self.layer.get_weights()
        self.layer.set_weights(before)
        gradients, of_input = tape.gradient(total, (self.layer.trainable_weights, inputs[0]))
        dense = [None if gradient is None else tf.convert_to_tensor(gradient).numpy() for gradient in gradients]
        return Step(dense, of_input.numpy(), after)

    @cached_property
    def model(self) -> keras.Model:
        """The layer as a Keras model of its own."""
        inputs = [keras.Input(spec.shape[1:], dtype=spec.dtype.name) for spec in self._signature()]
        return keras.Model(inputs, self.call(*inputs))

    def _signature(self) -> list[tf.TensorSpec]:
        if self.takes == "frames":
            return [tf.TensorSpec((None, None, self.width)), tf.TensorSpec((None, None), tf.bool)]
        return [tf.TensorSpec((None, self.width))]
