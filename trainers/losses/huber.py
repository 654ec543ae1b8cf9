"""Pseudo-Huber loss on the cross-entropy (Na et al. 2017, eq. 23)."""

from typing import Any

import keras
from keras import ops

from trainers.losses.cross_entropy import class_terms
from trainers.options import flag, positive
from trainers.registry import LOSSES


@LOSSES.register("huber")
class Huber(keras.losses.Loss):
    """delta^2 (sqrt(1 + (l / delta)^2) - 1), l the cross-entropy: l^2 / 2 where it is small, delta l - delta^2 where it is large.

    Args:
      delta: the largest slope; published are 0.5 (the best), 1, 2 and 3.
      per_class: take it of each class' cross-entropy, and sum, as the authors' code; False takes it of the sum, as the paper may be read.

    Raises:
      DataError: an option with a value that it cannot have.
    """

    def __init__(self, delta: float = 0.5, per_class: bool = True, name: str = "huber", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        positive("huber", delta=delta)
        flag("huber", per_class=per_class)
        self.delta, self.per_class = delta, per_class

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """[B, C] labels and probabilities to [B] losses."""
        terms = class_terms(y_true, y_pred)
        if self.per_class:
            return ops.sum(self._huber(terms), axis=-1)
        return self._huber(ops.sum(terms, axis=-1))

    def _huber(self, loss: Any) -> Any:
        """The same value as in the formula, written so that no digits are lost where the loss is small."""
        return loss**2 / (1 + ops.sqrt(1 + (loss / self.delta) ** 2))

    def get_config(self) -> dict[str, Any]:
        """Configuration for saving."""
        return {**super().get_config(), "delta": self.delta, "per_class": self.per_class}
