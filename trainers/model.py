"""A recipe assembled into a Keras model: features -> pooling -> encoders -> head -> label layer, and what trains it."""

import inspect
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from trainers import components  # noqa: F401 (registers them)
from trainers.move import Move
from trainers.noise import AdaptiveNoise
from trainers.normalize import FrameFeatures, InputNormalization
from trainers.recipe import Component, DataSchema, Recipe
from trainers.recipe import Move as MoveSettings
from trainers.registry import ENCODERS, HEADS, LABEL_LAYERS, LOSSES, POOLINGS, REGULARIZERS, Registry
from trainers.run import TrainSet
from yt8m_data.errors import DataError

Features = dict[str, Any]  # video level: {name: float32 [B, size]}; frame level: {name: uint8 [B, T, size], "num_frames": int32 [B]}


@dataclass
class Assembly:
    """A model, and all that a train step needs.

    Attributes:
      model: features -> probabilities [B, C]. This is what is evaluated and saved.
      trainee: the same layers, and those that only train: {"features": ..., "labels": multi-hot [B, C]} -> {"predictions": [B, C]
        probabilities or the head's logits, "embedding": [B, D] what the head is given, "part_1": [B, C], ...}.
      loss: of predictions, and of each part.
      weights: of the loss of each output that has one.
      regularizers: terms added to the loss.
      head: of the model.
      teacher_weight: of the loss to a teacher's scores, where there is a teacher; that to the labels has the rest.
    """

    model: keras.Model
    trainee: keras.Model
    loss: keras.losses.Loss
    weights: dict[str, float]
    regularizers: list[keras.layers.Layer]
    head: keras.layers.Layer
    teacher_weight: float = 0.0

    @property
    def variables(self) -> list[keras.Variable]:
        """All that a training step changes, but for the optimiser's: weights, statistics, the regularizers' states, seeds of dropout."""
        return [*self.trainee.variables, *(variable for term in self.regularizers for variable in term.variables)]

    def losses(self, features: Features, labels: tf.Tensor, teacher: tf.Tensor | None = None) -> tuple[tf.Tensor, tf.Tensor]:
        """In training mode: the loss of the predictions, and the sum that is minimised, with parts and regularizers.

        The penalties on weights are not in the sum: the optimiser adds their gradients, in fewer passes over the weights.

        Args:
          features: of a batch.
          labels: multi-hot [B, C] float32.
          teacher: scores [B, C] that the predictions are to come near, as far as `teacher_weight` says.
        """
        outputs = self.trainee({"features": features, "labels": labels}, training=True)
        targets = [(1.0, labels)] if teacher is None else [(self.teacher_weight, teacher), (1 - self.teacher_weight, labels)]
        losses = {name: sum(share * self._mean(y, outputs[name]) for share, y in targets if share) for name in self.weights}
        terms = [self.weights[name] * losses[name] for name in losses]
        terms += [term(labels, outputs["embedding"], label_weights(self.head), training=True) for term in self.regularizers]
        return losses["predictions"], tf.add_n(terms)

    def _mean(self, labels: tf.Tensor, predictions: tf.Tensor) -> tf.Tensor:
        """The loss over this replica's videos. Keras would divide it by the number of replicas, whose mean the optimiser takes anyway."""
        return tf.reduce_mean(self.loss.call(labels, tf.cast(predictions, tf.float32)))


def label_weights(head: keras.layers.Layer) -> Any:
    """How the head's input moves each class, [D, C], or None for a head that has no such weights."""
    return head.label_weights() if hasattr(head, "label_weights") else None


def assemble(recipe: Recipe, data: DataSchema, train_set: TrainSet | None = None) -> Assembly:
    """Build the model of a recipe for records of a layout.

    Args:
      recipe: the system.
      data: feature names and sizes, and the number of classes C.
      train_set: what a new model starts from: the head's biases at the label frequencies, and what other components take from the label
        counts. None leaves all that at its initial values.

    Raises:
      DataError: an unknown component or option, or components that do not go together.
    """
    layers = _Layers(recipe, data)
    inputs = _inputs(data)
    joined, mask = _joined(data, inputs)
    normalize = InputNormalization(tuple(data.features.values()), recipe.input.l2_normalize, recipe.input.scale, name="normalize")
    x = normalize(joined)
    embedding, parts = layers.embedding(x, mask)
    model = keras.Model(inputs, layers.predictions(embedding, mask), name=recipe.name)

    labels = keras.Input((data.num_classes,), name="labels")
    if recipe.input.move:
        x = normalize(_move(recipe.input.move, data)(joined))
    if recipe.input.adaptive_noise:
        factor = recipe.input.adaptive_noise * normalize.scale
        x = AdaptiveNoise(data.num_classes, factor, recipe.input.noise_counts, name="noise")(x, labels, mask)
    if recipe.input.move or recipe.input.adaptive_noise:  # else it is that of the model: to go through the layers again takes its time
        embedding, parts = layers.embedding(x, mask)
    outputs = {"predictions": layers.predictions(embedding, mask, **layers.logits), "embedding": embedding}
    weights = {"predictions": getattr(layers.pooling, "joint_weight", 1.0)}
    for i, part in enumerate(parts, start=1):
        outputs[f"part_{i}"] = layers.head_of_part(i)(part, **layers.logits)
        weights[f"part_{i}"] = layers.pooling.part_weight
    trainee = keras.Model({"features": inputs, "labels": labels}, outputs, name="trainee")

    for term in layers.regularizers:
        term(labels, embedding, layers.label_weights_like(embedding))  # builds it
    if train_set is not None:
        _prepare([*trainee.layers, *layers.regularizers], recipe, train_set)
    distill = recipe.training.distill
    return Assembly(model, trainee, layers.loss, weights, layers.regularizers, layers.head, distill.weight if distill else 0.0)


class _Layers:
    """The layers of a recipe, each made once, and the ways through them."""

    def __init__(self, recipe: Recipe, data: DataSchema) -> None:
        self._recipe, self._data = recipe, data
        self.loss = LOSSES.create(recipe.loss.name, recipe.loss.options)
        self.pooling = self._create(POOLINGS, recipe.pooling, "pooling") if recipe.pooling else None
        self.encoders = [self._create(ENCODERS, encoder, f"encoder_{i}") for i, encoder in enumerate(recipe.encoders, start=1)]
        self.head = self._create(HEADS, recipe.head, "head")
        self.label_layer = self._create(LABEL_LAYERS, recipe.label_layer, "label_layer") if recipe.label_layer else None
        self.regularizers = [self._create(REGULARIZERS, term, f"regularizer_{i}") for i, term in enumerate(recipe.regularizers, start=1)]
        self.logits = {"logits": True} if getattr(self.loss, "from_logits", False) else {}
        self._check()

    def embedding(self, x: Any, mask: Any) -> tuple[Any, list[Any]]:
        """What the head is given, [B, D] or, where it takes frames, [B, T, D]; and the vectors of parts that have heads of their own."""
        parts: list[Any] = []
        if hasattr(self.pooling, "part_weight"):
            x, *parts = self.pooling(x, mask, parts=True)
        elif self.pooling is not None:
            x = self.pooling(x, mask)
        for encoder in self.encoders:
            x = encoder(x)
        return x, parts

    def predictions(self, embedding: Any, mask: Any, logits: bool = False) -> Any:
        """[B, C]."""
        p = self.head(embedding, mask) if self._takes_frames else self.head(embedding, **(self.logits if logits else {}))
        return self.label_layer(p) if self.label_layer is not None else p

    def head_of_part(self, i: int) -> keras.layers.Layer:
        """A head like the recipe's, for the i-th part of a pooling that has parts."""
        return self._create(HEADS, self._recipe.head, f"head_{i}")

    def label_weights_like(self, embedding: Any) -> Any:
        """What stands for the head's label weights while a regularizer is built."""
        return keras.KerasTensor((embedding.shape[-1], self._data.num_classes)) if hasattr(self.head, "label_weights") else None

    @property
    def _takes_frames(self) -> bool:
        return getattr(self.head, "takes_frames", False)

    def _create(self, registry: Registry, component: Component, name: str) -> Any:
        offered = {"num_classes": self._data.num_classes, "feature_sizes": tuple(self._data.features.values())}
        layer = registry.create(component.name, component.options, **offered)
        return type(layer).from_config({**layer.get_config(), "dtype": self._recipe.training.precision, "name": name})

    def _check(self) -> None:
        """Raise a DataError where components do not go together, or not with the records."""
        recipe, frames = self._recipe, self._data.kind == "frame"
        if not frames and (self.pooling is not None or self._takes_frames):
            part = f"pooling {recipe.pooling.name}" if recipe.pooling else f"head {recipe.head.name}"
            raise DataError(f"{part} of recipe {recipe.name} takes frames, but the records are video-level: give frame-level shards")
        if frames and self.pooling is None and not self._takes_frames:
            raise DataError(f"recipe {recipe.name} takes video-level records, but these are frame-level: set pooling='{{name: average}}'")
        if self._takes_frames and (self.pooling is not None or self.encoders or self.regularizers):
            raise DataError(f"head {recipe.head.name} takes frames itself: leave out pooling, encoders and regularizers")
        if self.logits and (self.label_layer is not None or "logits" not in inspect.signature(self.head.call).parameters):
            raise DataError(f"loss.from_logits needs a head that has logits, and no label layer: recipe {recipe.name} should leave it out")


def _inputs(data: DataSchema) -> dict[str, Any]:
    if data.kind == "video":
        return {name: keras.Input((size,), name=name) for name, size in data.features.items()}
    frames = {name: keras.Input((None, size), name=name, dtype="uint8") for name, size in data.features.items()}
    return {**frames, "num_frames": keras.Input((), name="num_frames", dtype="int32")}


def _joined(data: DataSchema, inputs: dict[str, Any]) -> tuple[Any, Any]:
    """The joined features, [B, D] and None, or [B, T, D] and their mask [B, T]."""
    features = [inputs[name] for name in data.features]
    if data.kind == "frame":
        return FrameFeatures(name="frames")(features, inputs["num_frames"])
    return (keras.layers.Concatenate(name="join")(features) if len(features) > 1 else features[0]), None


def _move(settings: MoveSettings, data: DataSchema) -> Move:
    """The layer that moves videos while training.

    Raises:
      DataError: the records are frame-level, or the deltas are none of their features.
    """
    if data.kind == "frame":
        raise DataError("input.move is for video-level records, but these are frame-level: leave it out")
    return Move(settings.deltas, data.features, settings.scale, settings.probability, settings.steps, name="move")


def _prepare(layers: list[keras.layers.Layer], recipe: Recipe, train_set: TrainSet) -> None:
    for layer in layers:
        if hasattr(layer, "prepare"):
            layer.prepare(train_set)
        if recipe.prior_scale and hasattr(layer, "set_prior"):
            layer.set_prior(train_set.prior * recipe.prior_scale)


def multi_hot(labels: tf.Tensor, num_classes: int, weights: tf.Tensor | None = None) -> tf.Tensor:
    """Class numbers [B, L] int32, padded with -1, as [B, C] float32 of 0 and 1, or of their weights [B, L] float32 in place of 1.

    It is made on the device, where they are 24 bytes a video.
    """
    rows = tf.broadcast_to(tf.range(tf.shape(labels)[0])[:, None], tf.shape(labels))
    places = tf.stack([rows, tf.where(labels < 0, num_classes, labels)], axis=2)  # padding into a column that is cut off
    shape = tf.stack([tf.shape(labels)[0], num_classes + 1])
    values = tf.ones(tf.shape(labels)) if weights is None else weights
    return tf.minimum(tf.scatter_nd(places, values, shape), 1.0)[:, :num_classes]
