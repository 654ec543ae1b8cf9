"""The run folder: what `fit` leaves, and all that `evaluate` and `predict` need."""

import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol

import keras
import numpy as np
import tensorflow as tf

from trainers import companions, components, noise, normalize, votes  # noqa: F401 (Keras loads a saved model by the registered classes)
from trainers.batch import Batch
from trainers.recipe import Recipe, load
from yt8m_data.errors import DataError
from yt8m_data.shards import atomic_write, read_json, write_json

RECIPE, TRAIN_SET, MODEL, METRICS, LOG, CHECKPOINTS, EVENTS, AVERAGE, CORRECTION, NEIGHBORS, BEST = (
    Recipe.FILE,
    "train_set.json",
    "model.keras",
    "metrics.json",
    "metrics.csv",
    "checkpoints",
    "events",
    "average.json",
    "correction.json",
    "neighbors.json",
    "best",
)


class Settled(Protocol):
    """What a run trains: a recipe, under its own name in the run folder."""

    FILE: ClassVar[str]

    def dump(self) -> str:
        """As YAML."""


class TrainSet(NamedTuple):
    """What a run was trained on; with neighbors also the files whose videos vote."""

    files: list[str]
    num_records: int
    label_counts: list[int]

    @property
    def prior(self) -> np.ndarray:
        """Label frequencies [C], with half a positive more, so that none is 0."""
        return (np.array(self.label_counts) + 0.5) / (self.num_records + 1)

    def among(self, files: Sequence[str]) -> list[str]:
        """Those of some files that are its own."""
        own = {os.path.realpath(file) for file in self.files}
        return [file for file in files if os.path.realpath(file) in own]


class Run(NamedTuple):
    """A finished run, loaded."""

    recipe: Recipe
    train_set: TrainSet
    model: keras.Model


def load_run(folder: str) -> Run:
    """Load a finished run.

    Raises:
      DataError: the folder is no run, its training has not finished, or its model cannot be read.
    """
    recipe, train_set = read_run(folder)
    return Run(recipe, train_set, load_model(Path(folder) / MODEL))


def load_model(path: Path) -> keras.Model:
    """Load the model of a finished run.

    Raises:
      DataError: it cannot be read.
    """
    try:
        return keras.models.load_model(path, compile=False)
    except Exception as error:  # whatever Keras's readers of zip, JSON and HDF5 raise
        mend = "put a copy in its place, or delete it and run the same `fit` again, which makes it anew of the last checkpoint"
        raise DataError(
            f"the model {path} cannot be read ({str(error).splitlines()[0] if str(error) else type(error).__name__}): {mend}"
        ) from None


def read_run(folder: str) -> tuple[Recipe, TrainSet]:
    """What a finished run was trained from, without its model.

    Raises:
      DataError: the folder is no run, or its training has not finished.
    """
    path = Path(folder)
    if not (path / RECIPE).is_file():
        raise DataError(f"{folder} is no run folder (it has no {RECIPE}): give the folder that `yt8m-train fit --out` wrote")
    if not (path / MODEL).is_file():
        raise DataError(f"the run in {folder} has not finished (it has no {MODEL}): run the same `fit` again, it goes on where it stopped")
    return load(str(path / RECIPE)), TrainSet(**read_json(path / TRAIN_SET))


def start_from(folder: str, model: keras.Model) -> None:
    """Give a new model the weights of a finished run.

    Raises:
      DataError: the folder is no finished run, or one of a model whose weights have other shapes.
    """
    weights = load_run(folder).model.weights
    shapes, wanted = ([tuple(weight.shape) for weight in some] for some in (weights, model.weights))
    if shapes != wanted:
        here = next((f"{w.path} is {a}, not {b}" for w, a, b in zip(weights, shapes, wanted, strict=False) if a != b), None)
        what = here or f"{len(shapes)} weights, not {len(wanted)}"
        raise DataError(
            f"the run in {folder} is of another model ({what}): set training.initial_run to a run of the same layers and classes"
        )
    for own, given in zip(model.weights, weights, strict=True):
        own.assign(given)


def take_up(folder: Path, recipe: Settled, files: Sequence[str]) -> TrainSet | None:
    """The training set of the run that the folder holds, or None where it is new or empty.

    Raises:
      DataError: it holds a run of another recipe or of other files, or something else.
    """
    if folder.exists() and not folder.is_dir():
        raise DataError(f"{folder} is a file: give another folder for the run")
    if not folder.is_dir() or not any(folder.iterdir()):
        return None
    made = any((folder / name).exists() for name in (AVERAGE, CORRECTION, NEIGHBORS))  # out of another run
    if not (folder / recipe.FILE).is_file() or made:
        raise DataError(f"{folder} is not empty and is no run folder of `fit`: give another folder for the run")
    if (folder / recipe.FILE).read_bytes() != recipe.dump().encode():
        raise DataError(f"{folder} holds a run of another recipe or other settings: give another folder, or those of its {recipe.FILE}")
    train_set = TrainSet(**read_json(folder / TRAIN_SET))
    if train_set.files != list(files):
        raise DataError(f"the run in {folder} was begun on other training files ({train_set.files[0]}, ...): give those, or another folder")
    return train_set


def begin(folder: Path, recipe: Settled, train_set: TrainSet) -> None:
    """Make the folder of a new run."""
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_write(folder / recipe.FILE) as stream:
        stream.write(recipe.dump().encode())
    write_json(folder / TRAIN_SET, train_set._asdict())


def keep_best(folder: Path, model: keras.Model, metrics: Mapping[str, Any]) -> None:
    """Put a model and its metrics aside, in place of those that were there."""
    (folder / BEST).mkdir(exist_ok=True)
    save_model(folder / BEST, model)
    write_json(folder / BEST / METRICS, metrics)


def take_best(folder: Path) -> dict[str, Any]:
    """Make the model that was put aside the run's model; gives its metrics."""
    with (folder / BEST / MODEL).open("rb") as kept, atomic_write(folder / MODEL) as stream:
        shutil.copyfileobj(kept, stream)
    return read_json(folder / BEST / METRICS)


def save_model(folder: Path, model: keras.Model) -> None:
    """Write model.keras, whole or not at all."""
    temporary = folder / f".{MODEL}.tmp.keras"
    model.save(temporary)
    os.replace(temporary, folder / MODEL)


def predictions(model: keras.Model, batches: Iterable[Batch]) -> Iterator[tuple[list[bytes], np.ndarray, np.ndarray]]:
    """For each batch the ids, the probabilities [B, C] float32 and the labels [B, L] int32, in inference mode."""
    score = scorer(model)
    for batch in batches:
        yield batch["id"].tolist(), score(batch["features"]), batch["labels"].numpy()


def scorer(model: keras.Model) -> Callable[[dict[str, tf.Tensor]], np.ndarray]:
    """A function from the features of a batch to probabilities [B, C] float32, in inference mode; one graph for videos of all lengths."""
    shapes = {name: tf.TensorSpec(tensor.shape, tensor.dtype) for name, tensor in model.input.items()}
    function = tf.function(lambda features: model(features, training=False), input_signature=[shapes])
    score = function.get_concrete_function()  # TensorFlow would take the functions of an ensemble for one that is traced again and again
    return lambda features: score(features).numpy()
