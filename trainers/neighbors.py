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
from trainers.votes import Direction, Votes, has_votes
from yt8m_data.errors import DataError
from yt8m_data.schema import LABEL_WEIGHTS
from yt8m_data.shards import expand, stable_hash, write_json

MOST = 1 << 18  # videos, which are 0.9 GB in a model of the features of YouTube-8M


class Voters(NamedTuple):
    """The videos that vote.

    Attributes:
      vectors: float16 [N, E], their directions.
      labels: int32 [N, L], class numbers, padded with -1.
      label_weights: float32 [N, L], how much each counts.
      hashes: uint64 [N], of their ids.
    """

    vectors: np.ndarray
    labels: np.ndarray
    label_weights: np.ndarray
    hashes: np.ndarray

    @classmethod
    def joined(cls, parts: Sequence["Voters"], most: int) -> "Voters":
        """All of some parts; of more than `most` those with the smallest hashes, a random choice that does not depend on their order."""
        width = max(part.labels.shape[1] for part in parts)
        wide = [part._replace(**{name: widened(name, getattr(part, name), width) for name in ("labels", LABEL_WEIGHTS)}) for part in parts]
        everything = cls(*map(np.concatenate, zip(*wide, strict=True)))
        if len(everything.hashes) <= most:
            return everything
        chosen = everything.hashes <= np.partition(everything.hashes, most - 1)[most - 1]
        return cls(*(column[chosen] for column in everything))


def neighbors(
    run_dir: str,
    out: str,
    data: Sequence[str] = (),
    number: int = 50,
    temperature: float = 0.05,
    weight: float = 0.33,
    visual: float = 0.85,
    scores: float = 0.3,
    most: int = MOST,
) -> int:
    """Write a run folder whose model mixes another run's scores with the votes of the nearest videos, which it holds.

    Two videos are near each other if their features are, as they stand in the records, or the means of their frames, and if the model gives
    them like scores.

    Args:
      run_dir: a finished run, of `fit`, `average` or `correct`.
      out: the new run folder. It gets neighbors.json, recipe.yaml, train_set.json and model.keras; it cannot be trained further.
      data: patterns of the shards whose videos vote; none are those that the run was trained on.
      number: of videos that vote on one.
      temperature: see `Votes`.
      weight: of the votes, from 0 to below 1.
      visual: the first feature's share in the likeness of features, from 0 to 1; the others share the rest alike.
      scores: their share in the similarity, from 0 to 1; the features have the rest.
      most: videos that the model holds; of more, a random choice by id.

    Returns:
      The number of videos that the model holds.

    Raises:
      DataError: no finished run, shards of another kind or without labels, an option that cannot be, or an `out` that
        holds something.
    """
    folder = Path(out)
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise DataError(f"{out} is not an empty folder: give another one for the run with neighbors")
    for name, share in (("visual", visual), ("scores", scores)):
        if not 0 <= share <= 1:
            raise DataError(f"the share --{name} is {share}: set it to a number from 0 to 1")
    recipe, train_set, model = run.load_run(run_dir)
    if has_votes(model):
        raise DataError(f"the run in {run_dir} has neighbors that vote already: give the run that they were put behind")
    look = keras.Model(model.input, _direction(recipe.data, model, visual, scores))
    files = expand(data) if data else train_set.files
    voters = _voters(look, files, layout_for(recipe.data, files), most)
    layer = Votes(model.output_shape[-1], *voters.labels.shape, look.output_shape[-1], number, temperature, weight, name="votes")
    voted = keras.Model(model.input, layer(model.output, look.output), name=recipe.name)
    layer.set_videos(voters.vectors, voters.labels, voters.label_weights)
    run.begin(folder, recipe, train_set._replace(files=list(dict.fromkeys([*train_set.files, *files]))))  # it has seen all these
    options = {"neighbors": number, "temperature": temperature, "weight": weight, "visual": visual, "scores": scores}
    write_json(folder / run.NEIGHBORS, {"run": str(run_dir), "files": list(files), "num_videos": len(voters.vectors), **options})
    run.save_model(folder, voted)
    return len(voters.vectors)


def _direction(data: DataSchema, model: keras.Model, visual: float, scores: float) -> Any:
    """The direction of each video, [B, E]."""
    features, others = [model.input[name] for name in data.features], len(data.features) - 1
    shares = (visual, *[(1 - visual) / others] * others) if others else (1.0,)
    if data.kind == "frame":
        frames, mask = FrameFeatures(name="all_frames")(features, model.input["num_frames"])
        joined = AveragePooling(name="mean_frame")(frames, mask)
    else:
        joined = keras.layers.Concatenate(name="vector")(features) if others else features[0]
    layer = Direction(tuple(data.features.values()), [(1 - scores) * share for share in shares], scores, name="direction")
    return layer(joined, model.output)


def _voters(look: keras.Model, files: Sequence[str], data: DataSchema, most: int) -> Voters:
    """The labelled videos of some shards, in their order."""
    direct = tf.function(look, reduce_retracing=True)
    parts: list[Voters] = []
    for batch in evaluation_batches(files, data):
        labels, weights = batch["labels"].numpy(), batch[LABEL_WEIGHTS].numpy()
        check_labels(labels, data.num_classes)
        hashes = stable_hash(0, batch["id"].tolist(), "neighbors")
        some = (labels >= 0).any(axis=1)
        parts.append(Voters(direct(batch["features"]).numpy()[some].astype(np.float16), labels[some], weights[some], hashes[some]))
        if sum(len(part.labels) for part in parts) > most + most // 4:  # so that memory holds little more
            parts = [Voters.joined(parts, most)]
    if not any(len(part.labels) for part in parts):
        raise unlabelled(files, data)
    return Voters.joined(parts, most)
