"""Train a recipe on shards into a run folder that a later call takes up where it stopped."""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from trainers import distill, run
from trainers.batch import Batch
from trainers.checkpoints import Checkpoints, not_finite
from trainers.evaluate import score
from trainers.inputs import count_labels, layout, layout_for, specs, training_batches
from trainers.model import Assembly, assemble, multi_hot
from trainers.optimizer import adam, averaged_weights
from trainers.recipe import Training, load
from trainers.recorder import Recorder
from trainers.replicas import Replicas
from yt8m_data.errors import DataError
from yt8m_data.shards import expand, write_json

LOG_EVERY = 10  # steps


def fit(
    recipe: str,
    train: Sequence[str],
    eval: Sequence[str],
    out: str,
    overrides: Sequence[str] = (),
    time_limit: float | None = None,
    strategy: str = "one",
) -> dict[str, Any] | None:
    """Train, evaluate, and leave a run folder.

    The folder gets recipe.yaml (resolved), train_set.json, checkpoints, metrics.csv, TensorBoard events, model.keras and metrics.json, and
    `best` where the best model is kept. Where it holds an unfinished run of the same recipe and files, that run goes on with the step and
    the batch that were next.

    Args:
      recipe: name of a recipe that comes with the package, or the path of a YAML file.
      train, eval: patterns of labelled shards, video- or frame-level as the recipe takes them.
      out: the run folder.
      overrides: `key=value` over the recipe, the key dotted.
      time_limit: seconds after which to leave a checkpoint and stop.
      strategy: see `trainers.replicas.Replicas`.

    Returns:
      The metrics of the evaluation set, as in metrics.json; None where the time was up before the end, and from a worker that is not the
      chief.

    Raises:
      DataError: a wrong recipe, folder or data set, a checkpoint that cannot be read, or a loss that is not finite.
    """
    deadline = None if time_limit is None else time.monotonic() + time_limit
    replicas = Replicas(strategy)
    settings, folder = load(recipe, overrides), Path(out)
    files, eval_files = expand(train), expand(eval)
    data = layout(files, settings.num_classes, settings.classes)
    eval_data = layout_for(data, eval_files)
    settings = settings.model_copy(update={"data": data})
    training = settings.training
    if training.batch_size % replicas.count:
        raise DataError(f"training.batch_size is {training.batch_size}, but there are {replicas.count} replicas: set it to a multiple")
    if training.jit and replicas.count > 1:
        raise DataError(f"training.jit is set, but XLA compiles no step of {replicas.count} replicas: leave it out, or --strategy")

    begun = run.take_up(folder, settings, files)
    train_set = begun or run.TrainSet(files, *count_labels(files, data))
    if not begun:
        count_labels(eval_files, eval_data)  # an evaluation set that cannot be scored is told before the training
    teacher = distill.teacher(training.distill, data, train_set) if training.distill else None
    total_steps = training.total_steps(train_set.num_records)
    keras.utils.set_random_seed(training.seed)
    with replicas.scope():
        assembly = assemble(settings, data, train_set)
        if training.initial_run:
            run.start_from(training.initial_run, assembly.model)
        optimizer = adam(training)
        optimizer.build(assembly.trainee.trainable_variables)
    replicas.any(False)  # all have seen whether the folder was empty
    if replicas.chief and not begun:
        run.begin(folder, settings, train_set)
    checkpoints = Checkpoints(folder, assembly, optimizer, training.keep_checkpoints)
    first_step = int(optimizer.iterations.numpy())

    def evaluate() -> dict[str, Any]:
        with averaged_weights(optimizer, assembly.trainee):
            return score(assembly.model, eval_files, eval_data, np.array(train_set.label_counts), settings.frames, training.seed)

    def keep(metrics: dict[str, Any]) -> None:
        if training.keep == "best":
            with averaged_weights(optimizer, assembly.trainee):
                run.keep_best(folder, assembly.model, metrics)

    def batches(parts: range, of: int) -> Iterator[Batch]:
        order = training.batch_size, training.seed, training.shuffle_buffer, first_step
        found = training_batches(files, data, train_set.num_records, *order, settings.frames, parts=parts, num_parts=of)
        found = distill.join(found, teacher) if teacher else found
        return ({key: value for key, value in batch.items() if key != "id"} for batch in found)  # strings, which XLA has not

    shapes = specs(data, settings.frames, training.batch_size // replicas.count)
    del shapes["id"]
    if teacher:
        shapes["teacher"] = tf.TensorSpec([training.batch_size // replicas.count, data.num_classes], tf.float32)

    step_on = replicas.step(train_step(assembly, optimizer, data.num_classes, training.jit))
    recorder = Recorder(folder, training, first_step, total_steps, checkpoints, evaluate, keep, deadline) if replicas.chief else None
    with recorder or nullcontext():
        if not replicas.any(recorder is not None and recorder.begin()):
            for step, loss in steps(replicas.batches(batches, shapes), step_on, first_step, total_steps, training):
                if replicas.any(recorder is not None and recorder.after(step, loss)):
                    break
        if recorder is None:
            return None
        if recorder.unfinished:
            recorder.log.tell(f"the time is up after step {step} of {total_steps}: the same command goes on")
            return None
    metrics = recorder.metrics
    if training.keep == "best":
        metrics = run.take_best(folder)
    else:
        with averaged_weights(optimizer, assembly.trainee):
            run.save_model(folder, assembly.model)
    write_json(folder / run.METRICS, metrics)
    return metrics


def train_step(
    assembly: Assembly, optimizer: keras.optimizers.Optimizer, num_classes: int, jit: bool = False
) -> Callable[[Batch], tf.Tensor]:
    """One step on a batch: returns the loss of the predictions before it, without the penalties. With `jit` XLA compiles it."""
    variables = assembly.trainee.trainable_variables

    @tf.function(reduce_retracing=True, jit_compile=jit or None)
    def step(batch: Batch) -> tf.Tensor:
        with tf.GradientTape() as tape:
            labels = multi_hot(batch["labels"], num_classes, batch.get("label_weights"))
            loss, total = assembly.losses(batch["features"], labels, batch.get("teacher"))
        optimizer.apply(tape.gradient(total, variables), variables)
        return loss

    return step


def steps(
    batches: Iterable[Any], step_on: Callable[[Any], tf.Tensor], first_step: int, total_steps: int, training: Training
) -> Iterator[tuple[int, float]]:
    """Train, and after every step that is to be logged, saved or evaluated give its number and the mean loss since the last one.

    Raises:
      DataError: the loss is not finite.
    """
    losses = []
    for step, batch in zip(range(first_step + 1, total_steps + 1), batches, strict=False):
        losses.append(step_on(batch))
        stops = (LOG_EVERY, training.checkpoint_every, training.eval_every or LOG_EVERY)
        if step == total_steps or any(step % every == 0 for every in stops):
            loss = float(tf.add_n(losses)) / len(losses)
            if not math.isfinite(loss):
                raise not_finite(f"the loss at step {step}")
            losses = []
            yield step, loss
