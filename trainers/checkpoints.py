"""The checkpoints of a run: all that training changes."""

from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from trainers import run
from yt8m_data.errors import DataError
from yt8m_data.shards import atomic_write


class Checkpoints:
    """The last checkpoints of a run. To make one takes up the newest, if there is one.

    Args:
      folder: of the run.
      assembly: has `trainee` and `variables`.
      optimizer: of the trainee.
      keep: how many to keep.

    Raises:
      DataError: the newest cannot be read.
    """

    def __init__(self, folder: Path, assembly: Any, optimizer: keras.optimizers.Optimizer, keep: int) -> None:
        paths(folder)  # which makes a lost list again, before the manager looks for it
        self._weights = assembly.trainee.trainable_variables
        self._manager = tf.train.CheckpointManager(checkpoint_of(assembly, optimizer), str(folder / run.CHECKPOINTS), max_to_keep=keep)
        try:
            self._manager.restore_or_initialize()
        except (tf.errors.OpError, ValueError, IndexError) as error:  # what TensorFlow's reader raises
            reason, mend = (
                str(error).split("\n")[0],
                f"put a copy in its place, or delete {self._manager.directory} to train from the beginning",
            )
            raise DataError(f"the checkpoint {self._manager.latest_checkpoint} cannot be read ({reason}): {mend}") from None

    def save(self, step: int) -> None:
        """Write a checkpoint, and delete the oldest of more than are kept.

        Raises:
          DataError: a weight is not finite, so that the checkpoint would be of no use; those before it stay.
        """
        for weight in self._weights:
            if not tf.reduce_all(tf.math.is_finite(weight.value)):
                raise not_finite(f"the weight {weight.path} after step {step}")
        self._manager.save(checkpoint_number=step)


def checkpoint_of(assembly: Any, optimizer: keras.optimizers.Optimizer) -> tf.train.Checkpoint:
    """All that training changes: `assembly` has `trainee` and `variables`.

    Variables go by their place: a checkpoint of the model would miss those of layers in lists, and seeds.
    """
    optimizer.build(assembly.trainee.trainable_variables)
    return tf.train.Checkpoint(weights={str(place): variable for place, variable in enumerate(assembly.variables)}, optimizer=optimizer)


def paths(folder: Path) -> list[str]:
    """The checkpoints of a run folder, oldest first, as TensorFlow names them.

    TensorFlow's list of them, if it is lost or damaged, is made again from the files: without it a run would begin anew over them.
    """
    directory = folder / run.CHECKPOINTS
    try:
        state = tf.train.get_checkpoint_state(str(directory))
    except ValueError:  # it is no text, or empty
        state = None
    if state:
        return list(state.all_model_checkpoint_paths)
    names = sorted((path.stem for path in directory.glob("ckpt-*.index")), key=step_of)  # the index is what is written last
    if names:
        lines = [f'model_checkpoint_path: "{names[-1]}"', *(f'all_model_checkpoint_paths: "{name}"' for name in names)]
        with atomic_write(directory / "checkpoint") as stream:
            stream.write("".join(f"{line}\n" for line in lines).encode())
    return [str(directory / name) for name in names]


def step_of(path: str) -> int:
    """The step of a checkpoint, by its name."""
    return int(path.rpartition("-")[2])


def not_finite(what: str) -> DataError:
    """The error of a training that has run away."""
    return DataError(f"{what} is not finite: set training.learning_rate lower, or training.clipnorm=1, and give another folder for the run")
