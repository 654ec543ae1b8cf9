"""Put the votes of the nearest training videos behind the model of a finished run (`trainers.votes`)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from trainers import run
from trainers.inputs import evaluation_batches, layout_for, unlabelled
from trainers.metrics import check_labels
from trainers.normalize import FrameFeatures
from trainers.pooling.average import AveragePooling
from trainers.recipe import DataSchema
from trainers.videos import widened
from trainers.votes import Direction, Votes
from yt8m_data.errors import DataError
from yt8m_data.schema import LABEL_WEIGHTS
from yt8m_data.shards import expand, write_json

MOST = 1 << 20  # videos, which are 2.4 GB of YouTube-8M's features


class Stored(NamedTuple):
    """The videos that vote: vectors [N, D] float16, class numbers [N, L] int32, padded with -1, and how much each counts, [N, L]."""

    vectors: np.ndarray
    labels: np.ndarray
    label_weights: np.ndarray


def neighbors(
    run_dir: str,
    out: str,
    data: Sequence[str] = (),
    number: int = 50,
    temperature: float = 0.07,
    weight: float = 0.33,
    visual: float = 0.85,
) -> int:
    """Write a run folder whose model mixes another run's scores with the votes of the nearest videos, which it holds.

    Vectors are the features as they stand in the records, or the mean of all frames, so the votes are the same behind every run.

    Args:
      run_dir: a finished run, of `fit`, `average` or `correct`.
      out: the new run folder. It gets neighbors.json, recipe.yaml, train_set.json and model.keras; it cannot be trained further.
      data: patterns of the shards whose videos vote; none are those that the run was trained on.
      number: of videos that vote on one.
      temperature: see `Votes`.
      weight: of the votes, from 0 to below 1.
      visual: the first feature's share in the similarity, from 0 to 1; the others share the rest alike.

    Returns:
      The number of videos that the model holds.

    Raises:
      DataError: no finished run, shards of another kind or without labels, too many videos, an option that cannot be, or an `out` that
        holds something.
    """
    folder = Path(out)
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise DataError(f"{out} is not an empty folder: give another one for the run with neighbors")
    if not 0 <= visual <= 1:
        raise DataError(f"visual is {visual}: set the first feature's share to a number from 0 to 1")
    recipe, train_set, model = run.load_run(run_dir)
    if any(isinstance(layer, Votes) for layer in model.layers):
        raise DataError(f"the run in {run_dir} has neighbors that vote already: give the run that they were put behind")
    look = keras.Model(model.input, _direction(recipe.data, model.input, visual))
    files = expand(data) if data else train_set.files
    stored = _stored(look, files, layout_for(recipe.data, files))
    layer = Votes(model.output_shape[-1], *stored.labels.shape, look.output_shape[-1], number, temperature, weight, name="votes")
    voted = keras.Model(model.input, layer(model.output, look.output), name=recipe.name)
    layer.set_videos(*stored)
    run.begin(folder, recipe, train_set)
    options = {"neighbors": number, "temperature": temperature, "weight": weight, "visual": visual}
    write_json(folder / run.NEIGHBORS, {"run": str(run_dir), "files": list(files), "num_videos": len(stored.vectors), **options})
    run.save_model(folder, voted)
    return len(stored.vectors)


def _direction(data: DataSchema, inputs: dict[str, Any], visual: float) -> Any:
    """The direction of each video, [B, D]."""
    features, others = [inputs[name] for name in data.features], len(data.features) - 1
    shares = (visual, *[(1 - visual) / others] * others) if others else (1.0,)
    if data.kind == "frame":
        frames, mask = FrameFeatures(name="all_frames")(features, inputs["num_frames"])
        joined = AveragePooling(name="mean_frame")(frames, mask)
    else:
        joined = keras.layers.Concatenate(name="vector")(features) if others else features[0]
    return Direction(tuple(data.features.values()), shares, name="direction")(joined)


def _stored(look: keras.Model, files: Sequence[str], data: DataSchema) -> Stored:
    """The labelled videos of some shards, in their order."""
    direct = tf.function(look, reduce_retracing=True)
    parts: list[Stored] = []
    for batch in evaluation_batches(files, data):
        labels, weights = batch["labels"].numpy(), batch[LABEL_WEIGHTS].numpy()
        check_labels(labels, data.num_classes)
        some = (labels >= 0).any(axis=1)
        parts.append(Stored(direct(batch["features"]).numpy()[some].astype(np.float16), labels[some], weights[some]))
        if sum(len(part.labels) for part in parts) > MOST:
            raise DataError(f"{files[0]} and the other shards have over {MOST:,} videos, too many for a model: give fewer with --data")
    if not any(len(part.labels) for part in parts):
        raise unlabelled(files, data)
    most = max(part.labels.shape[1] for part in parts)
    lists = [[widened(name, getattr(part, name), most) for part in parts] for name in ("labels", LABEL_WEIGHTS)]
    return Stored(np.concatenate([part.vectors for part in parts]), *map(np.concatenate, lists))
