"""Segment models, built out of a finished run of whole videos (Huang 2019, section 4.2; the mean: section 4.2.3 and the authors' code)."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from trainers.encoders.dense import Dense
from trainers.losses.cross_entropy import class_terms
from trainers.registry import HEADS
from trainers.run import load_run
from trainers.segments.clips import Clips, FrozenEncoder, OfSegments
from trainers.segments.settings import SegmentRecipe
from yt8m_data.errors import DataError

PARTS = ("context_ignorant", "context_aware")


@dataclass
class Assembly:
    """A model, and what a train step needs.

    Attributes:
      model: features of a Batch -> probabilities [S, C]. This is what is evaluated and saved.
      trainee: the same layers -> {"predictions": [S, C], and for each model that has a loss of its own, by name: [S, C]}.
      rates: factor of the learning rate of each trainable weight, in their order.
    """

    model: keras.Model
    trainee: keras.Model
    rates: list[float]

    @property
    def variables(self) -> list[keras.Variable]:
        """All that a training step changes, but for the optimiser's."""
        return self.trainee.variables


def assemble(settings: SegmentRecipe, video_run: str) -> Assembly:
    """Build a model whose networks begin as copies of the video run's.

    The context-ignorant model is the whole network of the video run, on the segment's clip. The context-aware one has that network
    without its head twice: one copy is given the whole video and stays as it is, one the clip; a layer with batch norm and ReLU and a new
    head follow.

    Args:
      settings: what to build.
      video_run: folder of the run that `settings.video` is the recipe of.

    Raises:
      DataError: the run's head takes frames itself, so that it has no encoder, or a rate is given for a layer that there is not.
    """
    data = settings.video.data
    features = {name: keras.Input((None, size), name=name, dtype="uint8") for name, size in data.features.items()}
    features["num_frames"] = keras.Input((), name="num_frames", dtype="int32")
    video, start = (keras.Input((), name=name, dtype="int32") for name in ("segment_video", "segment_start"))
    cut, count = Clips(settings.neighbors, name="clips")([features[name] for name in data.features], features["num_frames"], video, start)
    clips = dict(zip(data.features, cut, strict=True)) | {"num_frames": count}

    parts = {}
    # The context-aware one is first, so that its new layers start with the weights that they have where it is the only one.
    if settings.model != "context_ignorant":
        context = FrozenEncoder(_encoder(video_run, "context_encoder"), name="context")(features)
        clip = _encoder(video_run, "segment_encoder")(clips)
        x = keras.layers.Concatenate(name="join")([OfSegments(name="context_of_segment")(context, video), clip])
        x = Dense(settings.hidden, activation="relu", batch_norm=True, momentum=settings.momentum, name="fusion")(x)
        head = HEADS.create(settings.head.name, settings.head.options, num_classes=data.num_classes)
        head.name = "head"
        parts["context_aware"] = head(x)
    if settings.model != "context_aware":
        network = load_run(video_run).model
        network.name = "context_ignorant"
        parts["context_ignorant"] = network(clips)
    mean = MeanOfLogits(name="mean") if settings.mean_of == "logits" else keras.layers.Average(name="mean")
    p = mean(list(parts.values())) if len(parts) > 1 else next(iter(parts.values()))

    inputs = {**features, "segment_video": video, "segment_start": start}
    model = keras.Model(inputs, p, name=settings.model)
    trainee = keras.Model(inputs, {"predictions": p} | (parts if len(parts) > 1 else {}), name="trainee")
    return Assembly(model, trainee, _rates(settings.rates, trainee))


@keras.saving.register_keras_serializable(package="yt8m")
class MeanOfLogits(keras.layers.Layer):
    """Probabilities [S, C] of several models -> those with the mean of their logits, so a sure model counts more than one that guesses.

    Probabilities nearer to 0 or 1 than 1e-6 count as 1e-6 from them.
    """

    def call(self, each: list[Any]) -> Any:
        """[S, C] each to [S, C]."""
        clipped = ops.clip(ops.stack(each), 1e-6, 1 - 1e-6)
        return ops.sigmoid(ops.mean(ops.log(clipped) - ops.log(1 - clipped), axis=0))

    def compute_output_shape(self, shapes: list[tuple[int | None, ...]]) -> tuple[int | None, ...]:
        """That of one of them."""
        return shapes[0]


def losses(assembly: Assembly, settings: SegmentRecipe, batch: dict[str, Any]) -> tuple[tf.Tensor, tf.Tensor]:
    """In training mode: the loss of the predictions, and the sum that is minimised, to which the optimiser adds the penalties.

    Of the mean that is the sum of each model's own, or with `joint` the loss of the mean.
    """
    outputs = assembly.trainee(batch["features"], training=True)
    labels, rated = expand(batch["rated"], batch["ratings"], settings.video.data.num_classes)
    weights = rated if settings.masked else tf.ones_like(rated)
    loss = {name: rated_loss(labels, p, weights) for name, p in outputs.items()}
    apart = [loss[name] for name in PARTS if name in loss and not settings.joint]
    learned = apart or [loss["predictions"]]
    return loss["predictions"], tf.add_n(learned)


def rated_loss(labels: tf.Tensor, p: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """Cross-entropy [S, C] times weights [S, C], summed over classes, mean over segments."""
    return tf.reduce_mean(tf.reduce_sum(class_terms(labels, p) * weights, axis=1))


def expand(rated: tf.Tensor, ratings: tf.Tensor, num_classes: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Classes [S, R] int32, padded with -1, and their ratings [S, R] as labels and as the mask of rated pairs, each float32 [S, C].

    Made on the device. An unrated pair has label 0; of a pair that was rated twice the higher rating counts.
    """
    real = rated >= 0
    rows = tf.broadcast_to(tf.range(tf.shape(rated)[0])[:, None], tf.shape(rated))
    places = tf.stack([tf.boolean_mask(rows, real), tf.boolean_mask(rated, real)], axis=1)
    empty = tf.zeros(tf.stack([tf.shape(rated)[0], num_classes]))
    labels = tf.tensor_scatter_nd_max(empty, places, tf.boolean_mask(ratings, real))
    return labels, tf.tensor_scatter_nd_max(empty, places, tf.ones(tf.shape(places)[:1]))


def _encoder(video_run: str, name: str) -> keras.Model:
    """A copy of the video run's network, without its head: features -> [B, E]."""
    network = load_run(video_run).model
    embedding = network.get_layer("head").input
    if isinstance(embedding, list | tuple):
        raise DataError(f"the head of the run in {video_run} takes frames itself: give a run with a pooling, or --model context_ignorant")
    return keras.Model(network.input, embedding, name=name)


def _rates(rates: dict[str, float], trainee: keras.Model) -> list[float]:
    known = dict(_layers(trainee))
    for name in rates:
        if name not in known:
            raise DataError(f"rates has {name!r}, which is no layer with weights to learn: known are {', '.join(sorted(known))}")
    factor = {}
    for name in sorted(rates, key=lambda each: each.count("/")):  # the inner layer's stands over the outer one's
        factor |= {id(weight): rates[name] for weight in known[name].trainable_variables}
    return [factor.get(id(weight), 1.0) for weight in trainee.trainable_variables]


def _layers(model: keras.Model, prefix: str = "") -> Iterator[tuple[str, keras.layers.Layer]]:
    """The layers that learn, by name; those of a model within it as "model/layer"."""
    for layer in model.layers:
        if layer.trainable_variables:
            yield prefix + layer.name, layer
            if isinstance(layer, keras.Model):
                yield from _layers(layer, f"{prefix}{layer.name}/")
