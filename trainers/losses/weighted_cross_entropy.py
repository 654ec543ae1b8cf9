"""Cross-entropy that weighs positives against negatives (Huang 2019, section 5; code of Miech et al. 2017, `CrossEntropyLoss`)."""

from typing import Any

import keras
from keras import ops

from trainers.losses.cross_entropy import class_terms
from trainers.options import one_of, positive, within
from trainers.registry import LOSSES


@LOSSES.register("weighted_cross_entropy")
class WeightedCrossEntropy(keras.losses.Loss):
    """Cross-entropy, summed over classes, with a weight alpha on the positive terms. Labels may be soft.

    Args:
      alpha: of the positive terms. Above 1 (form "positive") or 0.5 (form "balanced") a missed label costs more.
      form: "positive" is -[alpha y log p + (1 - y) log(1 - p)], Huang's, and at 1 the plain cross-entropy;
        "balanced" is -2 [alpha y log p + (1 - alpha) (1 - y) log(1 - p)], Miech's, and plain at 0.5.

    Raises:
      DataError: an option with a value that it cannot have.
    """

    def __init__(self, alpha: float, form: str = "positive", name: str = "weighted_cross_entropy", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        one_of("weighted_cross_entropy", ("positive", "balanced"), form=form)
        positive("weighted_cross_entropy", alpha=alpha)
        if form == "balanced":
            within("weighted_cross_entropy with form=balanced", 0, 1, alpha=alpha)
        self.alpha, self.form = alpha, form

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """[B, C] labels and probabilities to [B] losses."""
        weights = (self.alpha, 1.0) if self.form == "positive" else (2 * self.alpha, 2 * (1 - self.alpha))
        return ops.sum(class_terms(y_true, y_pred, *weights), axis=-1)

    def get_config(self) -> dict[str, Any]:
        """Configuration for saving."""
        return {**super().get_config(), "alpha": self.alpha, "form": self.form}
