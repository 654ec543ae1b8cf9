"""A recipe assembled into a Keras model: pooling -> head -> label layer, and the loss that trains it."""

import inspect
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from trainers import heads, losses  # noqa: F401 (registers the components)
from trainers.normalize import InputNormalization
from trainers.recipe import DataSchema, Recipe
from trainers.registry import HEADS, LABEL_LAYERS, LOSSES, POOLINGS
from yt8m_data.errors import DataError


class Assembly(NamedTuple):
    """What a train step needs."""

    model: keras.Model  # {feature name: [B, size] float32} -> probabilities [B, C]; this is what is saved
    trainee: keras.Model  # the same weights, giving what the loss takes: the probabilities, or the head's logits
    loss: keras.losses.Loss


def assemble(recipe: Recipe, data: DataSchema, prior: np.ndarray | None = None) -> Assembly:
    """Build the model of a recipe for records of a layout.

    Args:
      recipe: the system.
      data: feature names and sizes, and the number of classes C.
      prior: [C] label frequencies, where the head's biases begin; None leaves them at 0.

    Raises:
      DataError: an unknown component or option, or components that do not go together.
    """
    if recipe.pooling is not None:
        POOLINGS.create(recipe.pooling.name, recipe.pooling.options)  # an unknown name is told first
        raise DataError(f"recipe {recipe.name} pools frames, but the records are video-level: set pooling=null or give frame-level shards")
    inputs = {name: keras.Input((size,), name=name) for name, size in data.features.items()}
    x = keras.layers.Concatenate(name="join")(list(inputs.values())) if len(inputs) > 1 else next(iter(inputs.values()))
    x = InputNormalization(recipe.input.l2_normalize, recipe.input.scale, name="normalize")(x)

    head = HEADS.create(recipe.head.name, recipe.head.options, num_classes=data.num_classes)
    probabilities = head(x)
    if prior is not None:
        head.set_prior(prior)
    loss = LOSSES.create(recipe.loss.name, recipe.loss.options)
    if getattr(loss, "from_logits", False):
        if recipe.label_layer is not None or "logits" not in inspect.signature(head.call).parameters:
            raise DataError(f"loss.from_logits needs a head that has logits, and no label layer: recipe {recipe.name} should leave it out")
        return Assembly(keras.Model(inputs, probabilities), keras.Model(inputs, head(x, logits=True)), loss)
    if recipe.label_layer is not None:
        probabilities = LABEL_LAYERS.create(recipe.label_layer.name, recipe.label_layer.options)(probabilities)
    model = keras.Model(inputs, probabilities)
    return Assembly(model, model, loss)


def multi_hot(labels: tf.Tensor, num_classes: int) -> tf.Tensor:
    """Class numbers [B, L] int32, padded with -1, as [B, C] float32 of 0 and 1; made on the device, where they are 24 bytes a video."""
    rows = tf.broadcast_to(tf.range(tf.shape(labels)[0])[:, None], tf.shape(labels))
    real = labels >= 0
    places = tf.stack([tf.boolean_mask(rows, real), tf.boolean_mask(labels, real)], axis=1)
    shape = tf.stack([tf.shape(labels)[0], num_classes])
    return tf.minimum(tf.scatter_nd(places, tf.ones(tf.shape(places)[:1]), shape), 1.0)
