"""Mixture of logistic experts per class, with a dummy expert (starter code, `MoeModel`; Jordan and Jacobs 1994)."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from trainers.heads.start import glorot, logit
from trainers.options import flag, whole, within
from trainers.penalty import penalty
from trainers.registry import HEADS
from yt8m_data.errors import DataError


@HEADS.register("moe")
class MixtureOfExperts(keras.layers.Layer):
    """p_c = sum over m of softmax(x G)_cm * sigmoid(x E + b)_cm, gates without bias, experts with one.

    With the dummy, the softmax has one slot more than there are experts, which stands for probability 0. Kernels keep the classes last,
    [D, slots * C], so that the softmax runs over a short middle axis and every other operation over long rows.

    A rank makes G or E the product of two matrices, [D, rank] and [rank, slots * C]. Both with `rank_bias` are the two-layer mixture of
    Na et al. (2017, eq. 16-17), the gates' alone the one that their code has, and the gates' without `rank_bias` the low-rank gates in the
    code of Miech et al. (2017). Nothing but the bias stands between the factors, so each equals a mixture of one layer, of low rank.

    Args:
      num_classes: C.
      num_experts: M, without the dummy.
      dummy: False gives the papers' equations, and with one expert a logistic regression.
      l2: the penalty is l2 / 2 * sum of W squared over all kernels, as TF-slim's.
      init_scale: size of the random start of G and E, in units of Glorot's.
      gate_rank, expert_rank: None is a full matrix.
      rank_bias: the first map of each product has a bias.

    Raises:
      DataError: an option with a value that it cannot have, or a rank_bias without a rank.
    """

    def __init__(
        self,
        num_classes: int,
        num_experts: int = 2,
        dummy: bool = True,
        l2: float = 1e-8,
        init_scale: float = 1.0,
        gate_rank: int | None = None,
        expert_rank: int | None = None,
        rank_bias: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        whole("the mixture", num_experts=num_experts)
        whole("the mixture", or_null=True, gate_rank=gate_rank, expert_rank=expert_rank)
        within("the mixture", 0, float("inf"), l2=l2, init_scale=init_scale)
        flag("the mixture", dummy=dummy, rank_bias=rank_bias)
        if rank_bias and gate_rank is None and expert_rank is None:
            raise DataError("rank_bias of the mixture is set, but neither gate_rank nor expert_rank is: set one of them, or leave it out")
        self.num_classes, self.num_experts, self.dummy, self.l2, self.init_scale = num_classes, num_experts, dummy, l2, init_scale
        self.gate_rank, self.expert_rank, self.rank_bias = gate_rank, expert_rank, rank_bias

    def build(self, input_shape: tuple[int | None, int]) -> None:
        """Make the kernels [D, (M + dummy) * C] and [D, M * C], each in two factors where it has a rank, and the bias [M * C]."""
        width, gates = input_shape[-1], self.num_experts + self.dummy
        self.gate_map, self.gate_kernel = self._factors("gate", width, self.gate_rank, gates * self.num_classes)
        self.expert_map, self.expert_kernel = self._factors("expert", width, self.expert_rank, self.num_experts * self.num_classes)
        shape = (self.num_experts * self.num_classes,)
        self.expert_bias = self.add_weight(shape=shape, initializer="zeros", autocast=False, name="expert_bias")

    def call(self, x: Any) -> Any:
        """[B, D] to probabilities [B, C] float32."""
        gates = ops.matmul(self.gate_map(x) if self.gate_rank else x, self.gate_kernel)
        experts = ops.matmul(self.expert_map(x) if self.expert_rank else x, self.expert_kernel)
        gates = ops.reshape(ops.cast(gates, "float32"), (-1, self.num_experts + self.dummy, self.num_classes))
        experts = ops.reshape(ops.cast(experts, "float32") + self.expert_bias, (-1, self.num_experts, self.num_classes))
        return _mixed(gates, ops.sigmoid(experts))

    def compute_output_spec(self, x: Any, **_: Any) -> keras.KerasTensor:
        """[B, C] float32; without it Keras traces the head to find that."""
        return keras.KerasTensor((x.shape[0], self.num_classes), "float32")

    def set_prior(self, prior: np.ndarray) -> None:
        """Set every expert's bias to the logit of prior [C]; where x is 0, p is the prior less the dummy's share, 1 / (M + 1)."""
        self.expert_bias.assign(np.tile(logit(prior), self.num_experts))

    def label_weights(self) -> Any:
        """The experts' kernel, summed over the experts, [D, C]; the gates' kernel does not count."""
        summed = ops.sum(ops.reshape(self.expert_kernel, (-1, self.num_experts, self.num_classes)), axis=1)
        return ops.matmul(self.expert_map.kernel, summed) if self.expert_rank else summed

    def _factors(self, name: str, width: int, rank: int | None, outputs: int) -> tuple[keras.layers.Dense | None, Any]:
        """The map to `rank`, or None, and the kernel to `outputs`; `init_scale` is the kernel's alone, so that at 0 it gets gradients."""
        regularizer = penalty(self.l2)
        first = None
        if rank:
            first = keras.layers.Dense(
                rank, None, self.rank_bias, kernel_regularizer=regularizer, dtype=self.dtype_policy, name=f"{name}_map"
            )
            first.build((None, width))
        shape = (rank or width, outputs)
        return first, self.add_weight(shape=shape, initializer=glorot(self.init_scale), regularizer=regularizer, name=f"{name}_kernel")

    def get_config(self) -> dict[str, Any]:
        """Configuration for saving."""
        own = ("num_classes", "num_experts", "dummy", "l2", "init_scale", "gate_rank", "expert_rank", "rank_bias")
        return {**super().get_config(), **{key: getattr(self, key) for key in own}}


@tf.custom_gradient
def _mixed(gates: tf.Tensor, experts: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]]:
    """[B, slots, C] and [B, M, C] to p [B, C]: the experts' mean by the softmax of their gates; a slot beyond them stands for 0.

    With TensorFlow's softmax over a middle axis, which transposes there and back, and its own gradients all of this takes twice the time.
    """
    number = experts.shape[1]
    powers = tf.exp(gates - tf.reduce_max(gates, axis=1, keepdims=True))
    unit = tf.math.reciprocal(tf.reduce_sum(powers, axis=1, keepdims=True))
    own, dummy = powers[:, :number], powers[:, number:]
    p = tf.reduce_sum(own * experts, axis=1, keepdims=True) * unit

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        each = upstream[:, None] * unit
        weighted = own * each
        return tf.concat([weighted * (experts - p), -dummy * (p * each)], axis=1), weighted

    return p[:, 0], gradient
