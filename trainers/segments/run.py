"""The run folder of a segment model: all that `segments evaluate` and `segments predict` need."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from trainers import recipe, run
from trainers.batch import Batch
from trainers.inputs import layout_for
from trainers.recipe import DataSchema
from trainers.segments import clips, model  # noqa: F401 (Keras loads a saved model by the registered classes)
from trainers.segments.settings import SegmentRecipe, Settings, defaults
from yt8m_data.errors import DataError


class SegmentRun(NamedTuple):
    """A finished run, loaded."""

    settings: SegmentRecipe
    model: keras.Model


def settings_for(video_run: str, kind: str, overrides: Sequence[str]) -> SegmentRecipe:
    """The settings of a model of a kind, built from a run of whole videos.

    Args:
      video_run: its folder.
      kind: "context_ignorant", "context_aware" or "mean".
      overrides: `key=value`, the key dotted.

    Raises:
      DataError: no such kind, no finished run of frame-level videos, an unknown key, or a value of the wrong kind.
    """
    if any(override.startswith("model=") for override in overrides):
        raise DataError("--set model=... is the option --model: give that")
    settings = recipe.validated(Settings, defaults(kind), overrides, "settings of segments")
    video, _ = run.read_run(video_run)
    if video.data.kind != "frame":
        raise DataError(f"the run in {video_run} is of video-level records, in which no segment can be cut out: give a frame-level run")
    return SegmentRecipe(**settings.model_dump(), video=video)


def load_run(folder: str) -> SegmentRun:
    """Load a finished run.

    Raises:
      DataError: the folder is no run of segments, its training has not finished, or its model cannot be read.
    """
    path = Path(folder)
    if not (path / SegmentRecipe.FILE).is_file():
        mend = "give the folder that `yt8m-train segments fit --out` wrote"
        raise DataError(f"{folder} is no run folder of segments (it has no {SegmentRecipe.FILE}): {mend}")
    if not (path / run.MODEL).is_file():
        raise DataError(f"the run in {folder} has not finished (it has no {run.MODEL}): run the same `segments fit` again, it goes on")
    values = recipe.read_yaml(path / SegmentRecipe.FILE)
    settings = recipe.validated(SegmentRecipe, values, (), str(path / SegmentRecipe.FILE))
    return SegmentRun(settings, run.load_model(path / run.MODEL))


def layout_of(settings: SegmentRecipe, files: Sequence[str]) -> DataSchema:
    """The layout of shards for the model of some settings: their own keys, the video run's classes.

    Raises:
      DataError: the records are not frame-level, or feature names or sizes differ from the model's.
    """
    return layout_for(settings.video.data, files)


def predictions(network: keras.Model, batches: Iterable[Batch]) -> Iterator[tuple[list[bytes], np.ndarray, np.ndarray, Batch]]:
    """For each batch the videos' ids, each segment's video and start [S, 2], the probabilities [S, C], in inference mode, and the batch.

    Batches without a segment are left out.
    """
    shapes = {name: tf.TensorSpec(tensor.shape, tensor.dtype) for name, tensor in network.input.items()}
    score = tf.function(lambda features: network(features, training=False), input_signature=[shapes])
    for batch in batches:
        features: dict[str, Any] = batch["features"]
        places = np.stack([features["segment_video"].numpy(), features["segment_start"].numpy()], axis=1)
        if len(places):
            yield batch["id"].tolist(), places, score(features).numpy(), batch
