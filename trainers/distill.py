"""A teacher's scores beside the labels of every training batch (Cho et al. 2018, section 3.4).

The loss is weight L(p, teacher) + (1 - weight) L(p, labels); see `trainers.model.Assembly.losses`.
"""

from collections.abc import Iterable, Iterator

import numpy as np
import tensorflow as tf

from trainers.ahead import ahead
from trainers.batch import Batch
from trainers.prediction_file import Classes, Predictions
from trainers.recipe import DataSchema, Distill
from trainers.run import TrainSet
from yt8m_data.errors import DataError


def teacher(distill: Distill, data: DataSchema, train_set: TrainSet) -> Predictions:
    """Open the file of a teacher's predictions.

    Raises:
      DataError: no file is given, it is none of predictions, it is of other classes, or it has fewer videos than the training set.
    """
    if distill.teacher is None:
        raise DataError("the recipe learns from a teacher: set training.distill.teacher to a Parquet file of its predictions")
    found = Predictions(distill.teacher)
    if found.classes != Classes.of(data):
        raise DataError(
            f"the teacher {distill.teacher} has {found.classes.num_classes} classes, but the training set "
            f"{'others' if found.classes.num_classes == data.num_classes else data.num_classes}: predict with a model of the same classes"
        )
    if len(found) < train_set.num_records:
        raise DataError(
            f"the teacher {distill.teacher} has {len(found)} videos, but the training set {train_set.num_records}: predict all its shards"
        )
    return found


def join(batches: Iterable[Batch], teacher: Predictions) -> Iterator[Batch]:
    """Batches with `teacher`, [B, C] float32 within 0 and 1: the scores of their videos, looked up by id for a batch at once.

    A video without scores ends the iteration with a DataError.
    """

    def add(batch: Batch) -> Batch:
        scores = np.clip(teacher.scores(batch["id"]), 0, 1)  # an ensemble's may lie a little outside
        return {**batch, "teacher": tf.constant(scores, tf.float32)}

    return ahead(map(add, batches))
