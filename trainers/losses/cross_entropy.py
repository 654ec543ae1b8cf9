"""Multi-label cross-entropy (starter code, `losses.CrossEntropyLoss`)."""

from typing import Any

import keras
from keras import ops

from trainers.registry import LOSSES

EPSILON = 1e-5


@LOSSES.register("cross_entropy")
class CrossEntropy(keras.losses.Loss):
    """-sum over classes of y log(p + 1e-5) + (1 - y) log(1 - p + 1e-5), mean over the batch. Labels may be soft.

    Args:
      from_logits: take logits and no epsilon, which is exact also where p rounds to 0 or 1; for heads that have logits.
    """

    def __init__(self, from_logits: bool = False, name: str = "cross_entropy", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        self.from_logits = from_logits

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """[B, C] labels and predictions to [B] losses."""
        if self.from_logits:
            terms = ops.softplus(y_pred) - y_true * y_pred
        else:
            terms = -(y_true * ops.log(y_pred + EPSILON) + (1 - y_true) * ops.log(1 - y_pred + EPSILON))
        return ops.sum(terms, axis=-1)

    def get_config(self) -> dict[str, Any]:
        """Configuration for saving."""
        return {**super().get_config(), "from_logits": self.from_logits}
