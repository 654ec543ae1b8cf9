"""Mixture of experts whose probabilities pass a learned gate (Miech et al. 2017, gating of class probabilities)."""

from typing import Any

import keras
import numpy as np
from keras import ops

from trainers.heads.moe import MixtureOfExperts
from trainers.options import flag, one_of, within
from trainers.registry import HEADS
from yt8m_data.errors import DataError

MAX_START = 0.99  # the highest probability at which an expert begins: nearer to 1 its sigmoid hardly learns


@HEADS.register("gated_moe")
class GatedMixtureOfExperts(MixtureOfExperts):
    """p' = p * sigmoid(BN(p G)), p that of the mixture and G [C, C], begun at a standard deviation of 1 / sqrt(C).

    Args:
      num_classes: C.
      num_experts, dummy, l2, init_scale, gate_rank, expert_rank, rank_bias: of the mixture; the penalty does not cover G.
      gate_input: "probabilities", or "hidden" to gate by x G with G [D, C].
      batch_norm: False gives the papers' equation, a bias in place of the batch normalisation of their code.
      remove_diagonal: leave out what a class says of its own gate.
      momentum: of the batch normalisation's moving statistics.

    Raises:
      DataError: an option with a value that it cannot have, or remove_diagonal with a gate by x.
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
        gate_input: str = "probabilities",
        batch_norm: bool = True,
        remove_diagonal: bool = False,
        momentum: float = 0.999,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_classes, num_experts, dummy, l2, init_scale, gate_rank, expert_rank, rank_bias, **kwargs)
        one_of("gated_moe", ("probabilities", "hidden"), gate_input=gate_input)
        flag("gated_moe", batch_norm=batch_norm, remove_diagonal=remove_diagonal)
        within("gated_moe", 0, 1, momentum=momentum)
        if remove_diagonal and gate_input == "hidden":
            raise DataError("remove_diagonal of gated_moe is set, but gate_input is hidden, not the probabilities: leave one of them out")
        self.gate_input, self.batch_norm, self.remove_diagonal, self.momentum = gate_input, batch_norm, remove_diagonal, momentum

    def build(self, input_shape: tuple[int | None, int]) -> None:
        """Make the mixture, the kernel of the gate, [C, C] or [D, C], and its batch normalisation or its bias [C]."""
        super().build(input_shape)
        C = self.num_classes
        start = keras.initializers.RandomNormal(stddev=C**-0.5)
        rows = C if self.gate_input == "probabilities" else input_shape[-1]
        self.gating_kernel = self.add_weight(shape=(rows, C), initializer=start, name="gating_kernel")
        if self.batch_norm:
            self.gating_norm = keras.layers.BatchNormalization(momentum=self.momentum, epsilon=1e-3, dtype="float32", name="gating_norm")
            self.gating_norm.build((None, C))
        else:
            self.gating_bias = self.add_weight(shape=(C,), initializer="zeros", autocast=False, name="gating_bias")

    def call(self, x: Any, training: bool | None = None) -> Any:
        """[B, D] to probabilities [B, C] float32."""
        p = super().call(x)
        by = x if self.gate_input == "hidden" else ops.cast(p, self.compute_dtype)
        z = ops.cast(ops.matmul(by, self.gating_kernel), "float32")
        if self.remove_diagonal:
            z = z - ops.cast(ops.diagonal(self.gating_kernel), "float32") * p
        z = self.gating_norm(z, training=training) if self.batch_norm else z + self.gating_bias
        return p * ops.sigmoid(z)

    def set_prior(self, prior: np.ndarray) -> None:
        """Begin where the mixture without a gate does, by experts of twice the prior (at most 0.99): gates begin at about 1/2."""
        super().set_prior(np.minimum(2 * np.asarray(prior), MAX_START))

    def get_config(self) -> dict[str, Any]:
        """Configuration for saving."""
        own = ("gate_input", "batch_norm", "remove_diagonal", "momentum")
        return {**super().get_config(), **{key: getattr(self, key) for key in own}}
