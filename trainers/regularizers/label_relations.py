"""Regularizer by learned label relations (Cho et al. 2018, eq. 5-6, after Jiang et al. 2018)."""

from typing import Any

import keras
from keras import ops

from trainers.options import positive, whole, within
from trainers.registry import REGULARIZERS
from yt8m_data.errors import DataError

NO_RELATION = 1e-6  # singular values below this times the largest are taken as 0


@REGULARIZERS.register("label_relations")
class LabelRelations(keras.layers.Layer):
    """weight * trace(W (omega + epsilon I)^-1 W'), W [D, C] the head's label weights and omega [C, C] how labels relate.

    omega = (W' W)^(1/2) / trace((W' W)^(1/2)) is taken from W at the first training step and every so many after it, and held between.
    Where it was just taken, the penalty is the squared sum of W's singular values, but for epsilon, and its gradient is that sum's: W tends
    to a low rank, to directions that labels share.

    omega is kept as V diag(shares) V' + rest (I - V V'), with V [C, min(D, C)], and no matrix [C, C] is ever made or inverted where D is
    smaller. Before the first training step it is I / C, by `rest`.

    Args:
      weight: lambda_2; 1.0 and then 0.2 in the authors' code, whose omega is another. Find one that suits the model: of a mixture of 2 that
        was trained on real videos the unweighted penalty is 10^6 times the cross-entropy.
      every: training steps from one omega to the next.
      epsilon: makes omega, of rank D at most, invertible. It limits how far W moves, between two omegas, out of the directions that it has.

    Raises:
      DataError: an option with a value that it cannot have.
    """

    def __init__(self, weight: float = 0.2, every: int = 10, epsilon: float = 1e-6, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "dtype": "float32"})  # the penalty is a sum of millions of squares
        within("label_relations", 0, float("inf"), weight=weight)
        whole("label_relations", every=every)
        positive("label_relations", epsilon=epsilon)
        self.weight, self.every, self.epsilon = weight, every, epsilon

    def build(
        self,
        labels_shape: tuple[int | None, int],
        embedding_shape: tuple[int | None, int] | None = None,
        label_weights_shape: tuple[int, int] | None = None,
    ) -> None:
        """Make V [C, R], shares [R] and rest, R = min(D, C), and the count of training steps."""
        if label_weights_shape is None:
            raise DataError("regularizer 'label_relations' needs a head that has label weights: take logistic, moe or gated_moe")
        width, classes = label_weights_shape
        rank = min(width, classes)
        self.directions = self.add_weight(shape=(classes, rank), initializer="zeros", trainable=False, name="directions")
        self.shares = self.add_weight(shape=(rank,), initializer="zeros", trainable=False, name="shares")
        self.rest = self.add_weight(shape=(), initializer=keras.initializers.Constant(1 / classes), trainable=False, name="rest")
        self.steps = self.add_weight(shape=(), initializer="zeros", dtype="int64", trainable=False, name="steps")

    def call(self, labels: Any, embedding: Any = None, label_weights: Any = None, training: bool | None = None) -> Any:
        """Label weights [D, C] to a scalar float32; labels and embedding are not looked at. In training omega is taken when it is due."""
        W = label_weights
        if training:
            due = ops.equal(self.steps % self.every, 0)
            ops.cond(due, lambda: self._relate(ops.stop_gradient(W)), lambda: None)
            self.steps.assign_add(1)
        V = ops.convert_to_tensor(self.directions)
        inside = ops.matmul(W, V)
        outside = W - ops.matmul(inside, ops.transpose(V))  # as a matrix, not as |W|^2 - |W V|^2, of which float32 would leave noise
        return self.weight * (ops.sum(inside**2 / (self.shares + self.epsilon)) + ops.sum(outside**2) / (self.rest + self.epsilon))

    def _relate(self, W: Any) -> None:
        """Set omega from W by the eigenvectors of its smaller Gram matrix: with W = U S V', those of W W' are U, those of W' W are V."""
        W = ops.cast(W, "float64")
        wide = W.shape[0] < W.shape[1]
        eigenvalues, vectors = ops.eigh(ops.matmul(W, ops.transpose(W)) if wide else ops.matmul(ops.transpose(W), W))
        singular = ops.sqrt(ops.maximum(eigenvalues, 0))
        singular = ops.where(singular > NO_RELATION * singular[-1], singular, 0)
        V = ops.divide_no_nan(ops.matmul(ops.transpose(W), vectors), singular) if wide else ops.where(singular > 0, vectors, 0)
        total = ops.sum(singular)
        self.directions.assign(ops.cast(V, "float32"))
        self.shares.assign(ops.cast(ops.divide_no_nan(singular, total), "float32"))
        self.rest.assign(ops.where(total > 0, 0.0, 1 / W.shape[1]))  # a W of zeros tells nothing

    def get_config(self) -> dict[str, Any]:
        """Configuration for saving."""
        return {**super().get_config(), "weight": self.weight, "every": self.every, "epsilon": self.epsilon}
