"""Train a recipe on shards into a run folder that a later call takes up where it stopped."""

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from trainers import run
from trainers.evaluate import score
from trainers.inputs import Batch, count_labels, each, layout, layout_for, training_batches
from trainers.log import Log
from trainers.model import Assembly, assemble, multi_hot
from trainers.recipe import Training, load
from yt8m_data.errors import DataError
from yt8m_data.shards import expand, write_json

LOG_EVERY = 10  # steps


def fit(recipe: str, train: Sequence[str], eval: Sequence[str], out: str, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Train, evaluate, and leave a run folder.

    The folder gets recipe.yaml (resolved), train_set.json, checkpoints, metrics.csv, TensorBoard events, model.keras and metrics.json.
    Where it holds an unfinished run of the same recipe and files, that run goes on with the step and the batch that were next.

    Args:
      recipe: name of a recipe that comes with the package, or the path of a YAML file.
      train, eval: patterns of labelled shards, video- or frame-level as the recipe takes them.
      out: the run folder.
      overrides: `key=value` over the recipe, the key dotted.

    Returns:
      The metrics of the evaluation set, as in metrics.json.

    Raises:
      DataError: a wrong recipe, folder or data set, or a loss that is not finite.
    """
    settings, folder = load(recipe, overrides), Path(out)
    files, eval_files = expand(train), expand(eval)
    data = layout(files, settings.num_classes, settings.classes)
    eval_data = layout_for(data, eval_files)
    settings = settings.model_copy(update={"data": data})
    training = settings.training

    begun = run.take_up(folder, settings, files)
    train_set = begun or run.TrainSet(files, *count_labels(files, data))
    if not begun:
        count_labels(eval_files, eval_data)  # an evaluation set that cannot be scored is told before the training
    total_steps = training.total_steps(train_set.num_records)
    keras.utils.set_random_seed(training.seed)
    assembly = assemble(settings, data, train_set)
    if training.initial_run:
        run.start_from(training.initial_run, assembly.model)
    if not begun:
        run.begin(folder, settings, train_set)

    optimizer = adam(training)
    optimizer.build(assembly.trainee.trainable_variables)
    checkpoint = tf.train.Checkpoint(weights=numbered(assembly.variables), optimizer=optimizer)
    manager = tf.train.CheckpointManager(checkpoint, str(folder / run.CHECKPOINTS), max_to_keep=2)
    manager.restore_or_initialize()
    first_step = int(optimizer.iterations.numpy())

    def evaluated(log: Log, step: int) -> dict[str, Any]:
        with averaged_weights(optimizer, assembly.trainee):
            metrics = score(assembly.model, eval_files, eval_data, np.array(train_set.label_counts), settings.frames, training.seed)
        log.evaluation(step, metrics)
        return metrics

    due = {total_steps, *range(training.eval_every or total_steps, total_steps, training.eval_every or total_steps)}
    batches = training_batches(
        files, data, train_set.num_records, training.batch_size, training.seed, training.shuffle_buffer, first_step, settings.frames
    )
    with Log(folder, first_step, total_steps, training.batch_size) as log:
        if first_step in due:  # killed between the checkpoint and the evaluation
            metrics = evaluated(log, first_step)
        for step, loss in steps(batches, train_step(assembly, optimizer, data.num_classes), first_step, total_steps, training):
            log.train(step, loss)
            if step % training.checkpoint_every == 0 or step == total_steps:
                manager.save(checkpoint_number=step)
            if step in due:
                metrics = evaluated(log, step)
    with averaged_weights(optimizer, assembly.trainee):
        run.save_model(folder, assembly.model)
    write_json(folder / run.METRICS, metrics)
    return metrics


def numbered(variables: Sequence[keras.Variable]) -> dict[str, keras.Variable]:
    """Variables by their place; a checkpoint of the model itself would miss those of layers in lists, and the states of seeds."""
    return {str(place): variable for place, variable in enumerate(variables)}


def adam(training: Training) -> keras.optimizers.Optimizer:
    """Adam as TF1's, with the rate's staircase counted in examples, per-variable clipping, and an average of the weights."""
    rate: Any = training.learning_rate
    if training.decay < 1:
        decay_steps = max(1, training.decay_examples // training.batch_size)
        rate = keras.optimizers.schedules.ExponentialDecay(rate, decay_steps, training.decay, staircase=True)
    average = {"use_ema": True, "ema_momentum": training.ema} if training.ema else {}
    return keras.optimizers.Adam(rate, epsilon=1e-8, clipnorm=training.clipnorm, **average)


def train_step(assembly: Assembly, optimizer: keras.optimizers.Optimizer, num_classes: int) -> Callable[[Batch], tf.Tensor]:
    """One step on a batch: returns the loss of the predictions before it, without the penalties."""
    variables = assembly.trainee.trainable_variables

    @tf.function(reduce_retracing=True)
    def step(batch: Batch) -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss, total = assembly.losses(batch["features"], multi_hot(batch["labels"], num_classes, batch.get("label_weights")))
        optimizer.apply(tape.gradient(total, variables), variables)
        return loss

    return step


def steps(
    batches: tf.data.Dataset, step_on: Callable[[Batch], tf.Tensor], first_step: int, total_steps: int, training: Training
) -> Iterator[tuple[int, float]]:
    """Train, and after every step that is to be logged, saved or evaluated give its number and the mean loss since the last one.

    Raises:
      DataError: the loss is not finite.
    """
    losses = []
    for step, batch in zip(range(first_step + 1, total_steps + 1), each(batches), strict=False):
        losses.append(step_on(batch))
        stops = (LOG_EVERY, training.checkpoint_every, training.eval_every or LOG_EVERY)
        if step == total_steps or any(step % every == 0 for every in stops):
            loss = float(tf.add_n(losses)) / len(losses)
            if not math.isfinite(loss):
                raise DataError(f"the loss at step {step} is {loss}: set training.learning_rate lower, or training.clipnorm=1")
            losses = []
            yield step, loss


@contextlib.contextmanager
def averaged_weights(optimizer: keras.optimizers.Optimizer, model: keras.Model) -> Iterator[None]:
    """Put the averaged weights, where the optimiser keeps them, into the model, and take them out again."""
    if not optimizer.use_ema:
        yield
        return
    kept = [variable.numpy() for variable in model.trainable_variables]
    optimizer.finalize_variable_values(model.trainable_variables)
    try:
        yield
    finally:
        for variable, value in zip(model.trainable_variables, kept, strict=True):
            variable.assign(value)
