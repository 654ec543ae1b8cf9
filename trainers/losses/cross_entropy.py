"""Multi-label cross-entropy (starter code, `losses.CrossEntropyLoss`)."""

from typing import Any

import keras
from keras import ops

from trainers.options import flag
from trainers.registry import LOSSES

EPSILON = 1e-5


@LOSSES.register("cross_entropy")
class CrossEntropy(keras.losses.Loss):
    """-sum over classes of y log(p + 1e-5) + (1 - y) log(1 - p + 1e-5), mean over the batch. Labels may be soft.

    Args:
      from_logits: take logits and no epsilon, which is exact also where p rounds to 0 or 1; for heads that have logits.

    Raises:
      DataError: an option with a value that it cannot have.
    """

    def __init__(self, from_logits: bool = False, name: str = "cross_entropy", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        flag("cross_entropy", from_logits=from_logits)
        self.from_logits = from_logits

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """[B, C] labels and predictions to [B] losses."""
        terms = ops.softplus(y_pred) - y_true * y_pred if self.from_logits else class_terms(y_true, y_pred)
        return ops.sum(terms, axis=-1)

    def get_config(self) -> dict[str, Any]:
        """Configuration for saving."""
        return {**super().get_config(), "from_logits": self.from_logits}


def class_terms(y: Any, p: Any, positive: float = 1.0, negative: float = 1.0) -> Any:
    """Each class' cross-entropy [B, C], with weights of its two terms; where p = y it is a little below 0, by the epsilon."""
    return -(positive * y * ops.log(p + EPSILON) + negative * (1 - y) * ops.log(1 - p + EPSILON))
