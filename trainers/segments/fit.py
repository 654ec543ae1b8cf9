"""Train a segment model out of a run of whole videos, into a run folder that a later call takes up where it stopped."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from trainers import run
from trainers.batch import Batch
from trainers.checkpoints import Checkpoints
from trainers.fit import steps
from trainers.optimizer import adam, averaged_weights
from trainers.recorder import Recorder
from trainers.segments.evaluate import score
from trainers.segments.model import Assembly, assemble, losses
from trainers.segments.reader import count_ratings, training_batches
from trainers.segments.run import layout_of, settings_for
from trainers.segments.settings import SegmentRecipe
from yt8m_data.shards import expand, write_json

_COLUMNS = ("step", "split", "loss", "map_at_k", "rated_gap", "rated_map", "map_unrated_negative")


def fit(
    video_run: str, train_on: Sequence[str], eval: Sequence[str], out: str, model: str = "mean", overrides: Sequence[str] = ()
) -> dict[str, Any]:
    """Train, evaluate, and leave a run folder.

    The folder gets segments.yaml (the settings, with the recipe of the video run), and beside it what `trainers.fit.fit` leaves. Where it
    holds an unfinished run of the same settings and files, that run goes on with the step and the batch that were next.

    Args:
      video_run: folder of a finished run of frame-level videos, which a new model's networks are copies of.
      train_on, eval: patterns of shards with rated segments.
      out: the run folder.
      model: "context_ignorant", "context_aware" or "mean".
      overrides: `key=value` over the settings, the key dotted.

    Returns:
      The metrics of the evaluation set, as in metrics.json.

    Raises:
      DataError: a wrong run, setting, folder or data set, a checkpoint that cannot be read, or a loss that is not finite.
    """
    settings, folder = settings_for(video_run, model, overrides), Path(out)
    files, eval_files = expand(train_on), expand(eval)
    data, eval_data = layout_of(settings, files), layout_of(settings, eval_files)
    training, max_frames = settings.training, settings.video.frames.max_frames

    begun = run.take_up(folder, settings, files)
    train_set = begun or run.TrainSet(files, *count_ratings(files, data))
    if not begun:
        count_ratings(eval_files, eval_data)  # an evaluation set that cannot be scored is told before the training
    keras.utils.set_random_seed(training.seed)
    assembly = assemble(settings, video_run)
    if not begun:
        run.begin(folder, settings, train_set)

    optimizer = adam(training, assembly.rates)
    checkpoints = Checkpoints(folder, assembly, optimizer, training.keep_checkpoints)
    first_step, total_steps = int(optimizer.iterations.numpy()), training.total_steps(train_set.num_records)

    def evaluate() -> dict[str, Any]:
        with averaged_weights(optimizer, assembly.trainee):
            return score(assembly.model, eval_files, eval_data, max_frames)

    def keep(metrics: dict[str, Any]) -> None:
        if training.keep == "best":
            with averaged_weights(optimizer, assembly.trainee):
                run.keep_best(folder, assembly.model, metrics)

    batches = training_batches(files, data, train_set.num_records, training, first_step, max_frames)
    step_on = train_step(assembly, settings, optimizer)
    with Recorder(folder, training, first_step, total_steps, checkpoints, evaluate, keep, columns=_COLUMNS) as recorder:
        if not recorder.begin():
            for step, loss in steps(batches, step_on, first_step, total_steps, training):
                if recorder.after(step, loss):
                    break
    metrics = recorder.metrics
    if training.keep == "best":
        metrics = run.take_best(folder)
    else:
        with averaged_weights(optimizer, assembly.trainee):
            run.save_model(folder, assembly.model)
    write_json(folder / run.METRICS, metrics)
    return metrics


def train_step(assembly: Assembly, settings: SegmentRecipe, optimizer: keras.optimizers.Optimizer) -> Callable[[Batch], tf.Tensor]:
    """One step on a batch: returns the loss of the predictions before it, without the penalties."""
    variables = assembly.trainee.trainable_variables

    @tf.function(reduce_retracing=True)
    def step(batch: Batch) -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss, total = losses(assembly, settings, batch)
        optimizer.apply(tape.gradient(total, variables), variables)
        return loss

    return step
