"""Average the weights of a run's last checkpoints into one model (Tang et al. 2018, section 3.3: the plain mean)."""

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from trainers import run
from trainers.checkpoints import checkpoint_of, paths, step_of
from trainers.inputs import training_batches
from trainers.model import Assembly, assemble
from trainers.optimizer import adam, averaged_weights
from trainers.recipe import Recipe
from yt8m_data.errors import DataError
from yt8m_data.shards import expand, write_json


def average(run_dir: str, out: str, last: int = 5, batch_norm: int | None = None) -> list[int]:
    """Write a run folder whose model has the mean weights of another run's last checkpoints.

    Of a run with `training.ema` it is the averaged weights of each checkpoint that are taken, as they would have been evaluated. The means
    and variances of batch norm are averaged too; integers are those of the last checkpoint.

    Args:
      run_dir: a finished run; `training.keep_checkpoints` says how many checkpoints it has kept.
      out: the new run folder. It gets average.json, recipe.yaml, train_set.json and model.keras; it cannot be trained further.
      last: how many checkpoints.
      batch_norm: take batch norm's statistics anew, as the mean of those of so many training batches under the mean weights.

    Returns:
      The steps of the checkpoints.

    Raises:
      DataError: no finished run, fewer checkpoints, one that cannot be read or is of another model, an `out` that holds something, or
        `batch_norm` for a model without any.
    """
    folder = Path(out)
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise DataError(f"{out} is not an empty folder: give another one for the averaged run")
    recipe, train_set = run.read_run(run_dir)
    taken = _checkpoints(run_dir, last)
    assembly = assemble(recipe, recipe.data)
    assembly.model.set_weights(mean_weights(_restored(taken, recipe, assembly)))
    if batch_norm:
        _renew_batch_norm(assembly.model, recipe, train_set, batch_norm)
    run.begin(folder, recipe, train_set)
    steps = [step_of(path) for path in taken]
    write_json(folder / run.AVERAGE, {"run": str(run_dir), "steps": steps, "batch_norm_batches": batch_norm})
    run.save_model(folder, assembly.model)
    return steps


def mean_weights(checkpoints: Iterable[list[np.ndarray]]) -> list[np.ndarray]:
    """The mean of several lists of arrays, summed in float64; integers are those of the last list.

    Raises:
      DataError: the lists differ in their number of arrays, or in a shape.
    """
    total: list[np.ndarray] = []
    count, last = 0, total
    for weights in checkpoints:
        found, wanted = [array.shape for array in weights], [array.shape for array in total]
        if count and found != wanted:
            raise DataError(f"checkpoints hold weights of different shapes ({found} and {wanted}): average those of one run")
        before, last, count = total or [0.0] * len(weights), weights, count + 1
        total = [old + array.astype(np.float64) if _is_float(array) else array for old, array in zip(before, weights, strict=True)]
    return [(together / count).astype(array.dtype) if _is_float(array) else array for together, array in zip(total, last, strict=True)]


def _is_float(array: np.ndarray) -> bool:
    return np.issubdtype(array.dtype, np.floating)


def _checkpoints(run_dir: str, last: int) -> list[str]:
    """Paths of the last checkpoints, oldest first."""
    found = paths(Path(run_dir))
    if len(found) < last:
        raise DataError(
            f"the run in {run_dir} has {len(found)} checkpoints, not {last}: give --last {max(1, len(found))}, or train with "
            f"training.keep_checkpoints={last}"
        )
    return found[-last:]


def _restored(taken: list[str], recipe: Recipe, assembly: Assembly) -> Iterator[list[np.ndarray]]:
    """The model's weights at each checkpoint."""
    optimizer = adam(recipe.training)
    checkpoint = checkpoint_of(assembly, optimizer)
    for path in taken:
        try:
            checkpoint.read(path).assert_existing_objects_matched().expect_partial()
        except (tf.errors.OpError, ValueError, IndexError, AssertionError) as error:  # what TensorFlow's reader raises
            reason = str(error).split("\n")[0]
            raise DataError(f"the checkpoint {path} cannot be read, or is of another model ({reason}): train the run again") from None
        with averaged_weights(optimizer, assembly.trainee):
            yield assembly.model.get_weights()


def _renew_batch_norm(model: keras.Model, recipe: Recipe, train_set: run.TrainSet, num_batches: int) -> None:
    """Set the statistics of every batch norm to the mean of those of some training batches."""
    norms = [layer for layer in model._flatten_layers() if isinstance(layer, keras.layers.BatchNormalization)]
    if not norms:
        raise DataError(f"recipe {recipe.name} has no batch norm: leave --batch-norm out")
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0  # so that after a batch its statistics stand there
    look = tf.function(lambda features: model(features, training=True), reduce_retracing=True)
    training = recipe.training
    batches = training_batches(
        expand(train_set.files),
        recipe.data,
        train_set.num_records,
        training.batch_size,
        training.seed,
        training.shuffle_buffer,
        frames=recipe.frames,
    )

    def statistics() -> Iterator[list[np.ndarray]]:
        for batch in islice(batches, num_batches):
            look(batch["features"])
            yield [variable.numpy() for norm in norms for variable in norm.non_trainable_variables]

    mean = iter(mean_weights(statistics()))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        for variable in norm.non_trainable_variables:
            variable.assign(next(mean))
