"""One model trained by several replicas, each on its part of every batch: the GPUs of a machine, or the processes of several."""

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from typing import Any

import tensorflow as tf

from trainers.batch import Batch
from yt8m_data.errors import DataError

STRATEGIES = ("one", "mirrored", "multi_worker")


class Replicas:
    """The replicas of a run; to be made before TensorFlow does anything else.

    Each has the same weights and the same share of each batch; their gradients are averaged, so a step is that of one replica on the whole
    batch. What a layer takes from a batch as a whole, as batch norm its means and variances, it takes from its replica's share, and the
    moving averages of those are averaged.

    Args:
      strategy: "one"; "mirrored", all GPUs of this machine; or "multi_worker", the processes that TF_CONFIG lists, which all run the same
        command and share the run folder.

    Raises:
      DataError: another strategy, or workers that cannot begin.
    """

    def __init__(self, strategy: str = "one") -> None:
        if strategy not in STRATEGIES:
            raise DataError(f"unknown strategy {strategy!r}: choose one of {', '.join(STRATEGIES)}")
        try:
            self._strategy = {
                "one": tf.distribute.get_strategy,
                "mirrored": tf.distribute.MirroredStrategy,
                "multi_worker": tf.distribute.MultiWorkerMirroredStrategy,
            }[strategy]()
        except (ValueError, RuntimeError, KeyError, tf.errors.OpError) as error:
            raise DataError(f"the workers cannot begin ({str(error).splitlines()[0]}): look at TF_CONFIG") from None
        self.count = self._strategy.num_replicas_in_sync
        cluster = self._strategy.cluster_resolver if strategy == "multi_worker" else None
        self.chief = not cluster or not cluster.cluster_spec() or (cluster.task_type, cluster.task_id) in (("chief", 0), ("worker", 0))

    def scope(self) -> ExitStack:
        """Within it variables are made on all replicas; those that a step changes otherwise than by gradients get their mean."""
        stack = ExitStack()
        stack.enter_context(self._strategy.scope())
        if self.count > 1:
            stack.enter_context(tf.variable_creator_scope(_averaged))
        return stack

    def batches(self, of: Callable[[range, int], Iterator[Batch]], specs: dict[str, Any]) -> Iterable[Any]:
        """Each batch, divided among the replicas.

        Args:
          of: given which of how many parts of each batch this process's replicas take, those parts, one after the other.
          specs: the shapes and types of such a part.
        """
        if self.count == 1:
            return of(range(1), 1)

        def own(context: tf.distribute.InputContext) -> tf.data.Dataset:
            here = context.num_replicas_in_sync // context.num_input_pipelines
            first = context.input_pipeline_id * here
            parts = range(first, first + here)
            return tf.data.Dataset.from_generator(lambda: of(parts, context.num_replicas_in_sync), output_signature=specs)

        return _told(self._strategy.distribute_datasets_from_function(own))

    def step(self, step: Callable[[Batch], tf.Tensor]) -> Callable[[Any], tf.Tensor]:
        """The same step on all replicas, which gives the mean of what they give."""
        if self.count == 1:
            return step

        @tf.function(reduce_retracing=True)
        def together(batch: Any) -> tf.Tensor:
            return self._strategy.reduce(tf.distribute.ReduceOp.MEAN, self._strategy.run(step, (batch,)), axis=None)

        return together

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any process; none goes on before all have come here."""
        if self.count == 1:
            return flag
        each = self._strategy.run(lambda: tf.constant(float(flag)))
        return bool(self._strategy.reduce(tf.distribute.ReduceOp.SUM, each, axis=None) > 0)


def _told(batches: Iterable[Any]) -> Iterator[Any]:
    """Iterate, with a DataError that Python code raised on the way as it was; TensorFlow wraps it up."""
    try:
        yield from batches
    except tf.errors.InvalidArgumentError as error:
        if raised := re.search(r"DataError: (.*)", error.message):
            raise DataError(raised[1]) from None
        raise


def _averaged(make: Callable[..., tf.Variable], **options: Any) -> tf.Variable:
    if not options.get("trainable", True) and options.get("aggregation") in (None, tf.VariableAggregation.NONE):
        dtype = tf.as_dtype(options.get("dtype") or tf.float32)
        options["aggregation"] = tf.VariableAggregation.MEAN if dtype.is_floating else tf.VariableAggregation.ONLY_FIRST_REPLICA
    return make(**options)
