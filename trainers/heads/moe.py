"""Mixture of logistic experts per class, with a dummy expert (starter code, `MoeModel`; Jordan and Jacobs 1994)."""

from typing import Any

import keras
import numpy as np
from keras import ops

from trainers.heads.start import glorot, logit
from trainers.registry import HEADS
from yt8m_data.errors import DataError


@HEADS.register("moe")
class MixtureOfExperts(keras.layers.Layer):
    """p_c = sum over m of softmax(x G)_cm * sigmoid(x E + b)_cm, gates without bias, experts with one.

    With the dummy, the softmax has one slot more than there are experts, which stands for probability 0. Kernels keep the classes last,
    [D, slots * C], so that the softmax runs over a short middle axis and every other operation over long rows.

    Args:
      num_classes: C.
      num_experts: M, without the dummy.
      dummy: False gives the papers' equations, and with one expert a logistic regression.
      l2: the penalty is l2 / 2 * sum of W squared over both kernels, as TF-slim's.
      init_scale: size of the random start, in units of Glorot's.

    Raises:
      DataError: fewer than one expert.
    """

    def __init__(
        self, num_classes: int, num_experts: int = 2, dummy: bool = True, l2: float = 1e-8, init_scale: float = 1.0, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if num_experts < 1:
            raise DataError(f"a mixture needs at least 1 expert, not {num_experts}: set head.num_experts")
        self.num_classes, self.num_experts, self.dummy, self.l2, self.init_scale = num_classes, num_experts, dummy, l2, init_scale

    def build(self, input_shape: tuple[int | None, int]) -> None:
        """Make the kernels [D, (M + dummy) * C] and [D, M * C] and the bias [M * C]."""
        width, gates = input_shape[-1], self.num_experts + self.dummy
        self.gate_kernel = self._kernel("gate_kernel", (width, gates * self.num_classes))
        self.expert_kernel = self._kernel("expert_kernel", (width, self.num_experts * self.num_classes))
        self.expert_bias = self.add_weight(shape=(self.num_experts * self.num_classes,), initializer="zeros", name="expert_bias")

    def call(self, x: Any) -> Any:
        """[B, D] to probabilities [B, C]."""
        gates = ops.reshape(ops.matmul(x, self.gate_kernel), (-1, self.num_experts + self.dummy, self.num_classes))
        experts = ops.reshape(ops.matmul(x, self.expert_kernel) + self.expert_bias, (-1, self.num_experts, self.num_classes))
        shares = ops.softmax(gates, axis=1)[:, : self.num_experts]
        return ops.sum(shares * ops.sigmoid(experts), axis=1)

    def set_prior(self, prior: np.ndarray) -> None:
        """Set every expert's bias to the logit of prior [C]; where x is 0, p is the prior less the dummy's share, 1 / (M + 1)."""
        self.expert_bias.assign(np.tile(logit(prior), self.num_experts))

    def _kernel(self, name: str, shape: tuple[int, int]) -> Any:
        regularizer = keras.regularizers.L2(self.l2 / 2) if self.l2 else None
        return self.add_weight(shape=shape, initializer=glorot(self.init_scale), regularizer=regularizer, name=name)

    def get_config(self) -> dict[str, Any]:
        """Configuration for saving."""
        own = ("num_classes", "num_experts", "dummy", "l2", "init_scale")
        return {**super().get_config(), **{key: getattr(self, key) for key in own}}
