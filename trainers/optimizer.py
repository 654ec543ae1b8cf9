"""Adam as the published systems take it, in one pass over the weights."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import tensorflow as tf

from trainers.recipe import Training

_PRODUCTS = 16  # multiplications an element of the gradient, which take less time than two passes over it


class Adam(keras.optimizers.Adam):
    """keras.optimizers.Adam with fused steps, whose average and clipping hold for the gradients of all replicas together.

    Keras reads and writes the weights and moments in a dozen operations, which for large models take longer than the products; TensorFlow's
    own kernel needs one. And Keras clips the gradients of each replica before it adds them up.

    Args:
      factors: of the learning rate of each weight, in the order in which they are built; None is 1 for all. Scaling the gradients would do
        nothing: Adam takes their size out.
      in_place: whether penalties may be added in the gradients' memory, which XLA cannot.
    """

    def __init__(self, *args: Any, factors: Sequence[float] | None = None, in_place: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.factors, self.in_place = factors, in_place

    def apply(self, grads: Sequence[tf.Tensor | None], trainable_variables: Sequence[keras.Variable]) -> None:
        """Take a step along the mean of all replicas' gradients of the loss, and the gradients of the weights' penalties.

        Variables whose gradient is None stay as they are.
        """
        given = [(grad, variable) for grad, variable in zip(grads, trainable_variables, strict=True) if grad is not None]
        replica, means = tf.distribute.get_replica_context(), [tf.convert_to_tensor(grad) for grad, _ in given]
        if replica.num_replicas_in_sync > 1:
            means = replica.all_reduce(tf.distribute.ReduceOp.MEAN, means)
        step, rate = tf.cast(self.iterations + 1, tf.float32), tf.cast(self.learning_rate, tf.float32)
        powers = {f"{name}_power": tf.pow(beta, step) for name, beta in (("beta1", self.beta_1), ("beta2", self.beta_2))}
        scalars = {"lr": rate, **powers, "beta1": self.beta_1, "beta2": self.beta_2, "epsilon": self.epsilon}
        for mean, (_, variable) in zip(means, given, strict=True):
            place, dtype, grad = self._get_variable_index(variable), variable.value.dtype, tf.cast(mean, variable.value.dtype)
            if variable.regularizer is not None:
                grad = variable.regularizer.add_gradient(grad, variable.value, self.in_place)
            own = scalars if self.factors is None else {**scalars, "lr": rate * self.factors[place]}
            tf.raw_ops.ResourceApplyAdam(
                var=variable.value.handle,
                m=self._momentums[place].value.handle,
                v=self._velocities[place].value.handle,
                grad=clipped(grad, self.clipnorm) if self.clipnorm else grad,
                **{name: tf.cast(scalar, dtype) for name, scalar in own.items()},
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


def adam(training: Training, factors: Sequence[float] | None = None) -> Adam:
    """The optimiser of a recipe."""
    average = {"use_ema": True, "ema_momentum": training.ema} if training.ema else {}
    in_place = not training.jit and not tf.config.list_physical_devices("GPU")
    return Adam(Rate(training), epsilon=1e-8, clipnorm=training.clipnorm, factors=factors, in_place=in_place, **average)


def clipped(gradient: tf.Tensor, norm: float) -> tf.Tensor:
    """A gradient whose norm is at most `norm`.

    That of a kernel is often the product of what its layer was given and of what came back, X^T D. Where a batch is small beside the
    kernel, its norm is had without reading it, |X^T D|^2 = sum of X X^T * D D^T (as Goodfellow 2015, arXiv:1510.01799, takes each
    example's), and D is scaled before the product: two passes less over an array as large as the kernel.
    """
    if factors := _small_factors(gradient):
        x, d = factors
        squares = tf.maximum(tf.reduce_sum(tf.matmul(x, x, transpose_b=True) * tf.matmul(d, d, transpose_b=True)), 0.0)  # by rounding
        return tf.matmul(x, d * _scale(squares, norm), transpose_a=True)
    return gradient * _scale(2 * tf.nn.l2_loss(gradient), norm)


def _scale(squares: tf.Tensor, norm: float) -> tf.Tensor:
    return norm / tf.maximum(tf.sqrt(squares), norm)


def _small_factors(gradient: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor] | None:
    """X [B, N] and D [B, M] of a graph's gradient X^T D, float32, if their products with themselves cost little beside it; else None."""
    if tf.executing_eagerly() or gradient.op.type != "MatMul" or gradient.dtype != tf.float32:
        return None
    if not gradient.op.get_attr("transpose_a") or gradient.op.get_attr("transpose_b"):
        return None
    x, d = gradient.op.inputs
    (size, rows), columns = x.shape, d.shape[1]
    if None in (size, rows, columns) or size**2 * (rows + columns) > _PRODUCTS * rows * columns:
        return None
    return x, d


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
