"""Adam as the published systems take it, in one pass over the weights."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import tensorflow as tf

from trainers.recipe import Training


class Adam(keras.optimizers.Adam):
    """keras.optimizers.Adam with fused steps, whose average and clipping hold for the gradients of all replicas together.

    Keras reads and writes the weights and moments in a dozen operations, which for large models take longer than the products; TensorFlow's
    own kernel needs one. And Keras clips the gradients of each replica before it adds them up.
    """

    def apply(self, grads: Sequence[tf.Tensor | None], trainable_variables: Sequence[keras.Variable]) -> None:
        """Take a step along the mean of all replicas' gradients; variables whose gradient is None stay as they are."""
        given = [(grad, variable) for grad, variable in zip(grads, trainable_variables, strict=True) if grad is not None]
        replica = tf.distribute.get_replica_context()
        means = replica.all_reduce(tf.distribute.ReduceOp.MEAN, [tf.convert_to_tensor(grad) for grad, _ in given])
        step, rate = tf.cast(self.iterations + 1, tf.float32), tf.cast(self.learning_rate, tf.float32)
        powers = {f"{name}_power": tf.pow(beta, step) for name, beta in (("beta1", self.beta_1), ("beta2", self.beta_2))}
        scalars = {"lr": rate, **powers, "beta1": self.beta_1, "beta2": self.beta_2, "epsilon": self.epsilon}
        for mean, (_, variable) in zip(means, given, strict=True):
            place, dtype = self._get_variable_index(variable), variable.value.dtype
            tf.raw_ops.ResourceApplyAdam(
                var=variable.value.handle,
                m=self._momentums[place].value.handle,
                v=self._velocities[place].value.handle,
                grad=tf.cast(clipped(mean, self.clipnorm) if self.clipnorm else mean, dtype),
                **{name: tf.cast(scalar, dtype) for name, scalar in scalars.items()},
            )
        if self.use_ema:
            momentum = self.ema_momentum * tf.cast(self.iterations > 0, tf.float32)  # the average begins as the first weights
            for average, variable in zip(self._model_variables_moving_average, self._trainable_variables, strict=True):
                change = tf.cast(1 - momentum, average.dtype) * (average - variable)
                tf.raw_ops.AssignSubVariableOp(resource=average.value.handle, value=change)
        self.iterations.assign_add(1)


class Rate(keras.optimizers.schedules.LearningRateSchedule):
    """The learning rate of a step: multiplied by `decay` every `decay_examples`, as a staircase, and risen to in a line at the start."""

    def __init__(self, training: Training) -> None:
        self.training = training

    def __call__(self, step: Any) -> tf.Tensor:
        """The rate of the step after `step` others, float32."""
        training, done = self.training, tf.cast(step, tf.float32)
        stairs = tf.floor(done / max(1, training.decay_examples // training.batch_size))
        return training.learning_rate * training.decay**stairs * tf.minimum(1.0, (done + 1) / max(1, training.warmup_steps))


def adam(training: Training) -> Adam:
    """The optimiser of a recipe."""
    average = {"use_ema": True, "ema_momentum": training.ema} if training.ema else {}
    return Adam(Rate(training), epsilon=1e-8, clipnorm=training.clipnorm, **average)


def clipped(gradient: tf.Tensor, norm: float) -> tf.Tensor:
    """A gradient whose norm is at most `norm`."""
    return gradient * (norm / tf.maximum(tf.sqrt(2 * tf.nn.l2_loss(gradient)), norm))


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
