"""Video-level systems on real shards, beside a closed-form ridge and a plain logistic regression trained by this script.

    python benchmarks/video_heads.py                                      # shards 0000-0069 against 0070-0089
    python benchmarks/video_heads.py --recipe logistic --recipe moe
    python benchmarks/video_heads.py --train 'plain=PATTERN' --train 'augmented=PATTERN'

Several training sets run with equal steps, those of the first; the frequency buckets are those of the first, too.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf

from trainers.evaluate import score
from trainers.fit import fit
from trainers.inputs import evaluation_batches, layout
from trainers.metrics import Metrics
from trainers.recipe import load
from trainers.run import load_run
from yt8m_data.shards import expand

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "yt8m-2018-video"
COLUMNS = ("gap", "map", "map_starter", "perr", "hit_at_1")


class Split(NamedTuple):
    """Videos in memory."""

    ids: list[bytes]
    x: np.ndarray  # [N, D] float32, of unit length
    labels: np.ndarray  # [N, L] int32, padded with -1
    num_classes: int

    @property
    def counts(self) -> np.ndarray:
        """Videos of each class: [C]."""
        return np.bincount(self.labels[self.labels >= 0], minlength=self.num_classes)

    def multi_hot(self, rows: Any) -> np.ndarray:
        """Labels of some rows as [B, C] float32 of 0 and 1."""
        y = np.zeros((len(self.labels[rows]), self.num_classes + 1), np.float32)
        np.put_along_axis(y, self.labels[rows], 1, axis=1)  # the padding, -1, falls into the last column
        return y[:, :-1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", default=str(DATA), help="folder of the shards validate0000..0089.tfrecord")
    parser.add_argument("--train", action="append", metavar="NAME=PATTERN", help="training shards; may be given again")
    parser.add_argument("--recipe", action="append", help="recipe to train; may be given again (default: moe)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="over the recipes")
    arguments = parser.parse_args()
    sets = dict(item.split("=", 1) for item in arguments.train or [f"plain={arguments.data}/validate00[0-6]?.tfrecord"])
    evaluation = f"{arguments.data}/validate00[78]?.tfrecord"

    held_out, first = read(evaluation), None
    print(
        f"{'training set':<14}{'system':<12}"
        + "".join(f"{c:>13}" for c in (*COLUMNS, *("steps", "seconds")))
        + "  MAP by training positives"
    )
    for name, pattern in sets.items():
        train = read(pattern)
        first = first or train
        for system, make in (("ridge", ridge), ("logistic GD", logistic)):
            started = time.perf_counter()
            predict, steps = make(train)
            seconds = time.perf_counter() - started
            metrics = Metrics(train.num_classes)
            for rows in np.array_split(np.arange(len(held_out.x)), max(1, len(held_out.x) // 512)):
                metrics.update([held_out.ids[r] for r in rows], predict(held_out.x[rows]), held_out.labels[rows])
            show(name, system, metrics.result(first.counts), steps, seconds)
        for recipe in arguments.recipe or ["moe"]:
            steps = load(recipe, arguments.set).training.total_steps(len(first.x))
            with tempfile.TemporaryDirectory() as folder:
                started = time.perf_counter()
                overrides = [*arguments.set, f"training.steps={steps}", "training.checkpoint_every=1000000"]
                fit(recipe, [pattern], [evaluation], folder, overrides)
                seconds = time.perf_counter() - started
                files = expand([evaluation])
                show(name, recipe, score(load_run(folder).model, files, layout(files), first.counts), steps, seconds)


def show(name: str, system: str, metrics: dict[str, Any], steps: int, seconds: float) -> None:
    figures = "".join(f"{metrics[column]:>13.4f}" for column in COLUMNS)
    buckets = ", ".join(f"{bucket}: {value:.3f}" for bucket, value in metrics["map_by_frequency"].items() if value is not None)
    print(f"{name:<14}{system:<12}{figures}{steps or '-':>13}{seconds:>13.1f}  {buckets}", flush=True)


def read(pattern: str) -> Split:
    files = expand([pattern])
    data = layout(files)
    ids, x, labels = [], [], []
    for batch in evaluation_batches(files, data, 4096):
        ids += batch["id"].numpy().tolist()
        x.append(np.concatenate([batch["features"][name].numpy() for name in data.features], axis=1))
        labels.append(batch["labels"].numpy())
    width = max(part.shape[1] for part in labels)
    padded = [np.pad(part, ((0, 0), (0, width - part.shape[1])), constant_values=-1) for part in labels]
    vectors = np.concatenate(x)
    return Split(ids, vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.concatenate(padded), data.num_classes)


def ridge(train: Split, penalty: float = 1.0) -> tuple[Callable[[np.ndarray], np.ndarray], int]:
    """Least squares on the labels with a bias column, solved: (X'X + penalty I)^-1 X'Y."""
    width = train.x.shape[1] + 1
    gram, cross = np.eye(width) * penalty, np.zeros((width, train.num_classes))
    for rows in np.array_split(np.arange(len(train.x)), 1 + len(train.x) // 2048):
        x = np.c_[train.x[rows], np.ones(len(rows), np.float32)]
        gram += x.T @ x
        cross += x.T @ train.multi_hot(rows)
    weights = np.linalg.solve(gram, cross).astype(np.float32)
    return lambda x: x @ weights[:-1] + weights[-1], 0


def logistic(train: Split, steps: int = 1500, batch_size: int = 256) -> tuple[Callable[[np.ndarray], np.ndarray], int]:
    """Logistic regression in plain TensorFlow: Adam 1e-3, inputs times 34, kernel from 0, bias from -6."""
    kernel = tf.Variable(tf.zeros((train.x.shape[1], train.num_classes)))
    bias = tf.Variable(tf.fill((train.num_classes,), -6.0))
    optimizer = keras.optimizers.Adam(1e-3)
    optimizer.build([kernel, bias])

    @tf.function
    def step(x: tf.Tensor, y: tf.Tensor) -> None:
        with tf.GradientTape() as tape:
            terms = tf.nn.sigmoid_cross_entropy_with_logits(y, tf.matmul(x, kernel) + bias)
            loss = tf.reduce_mean(tf.reduce_sum(terms, axis=1))
        optimizer.apply(tape.gradient(loss, [kernel, bias]), [kernel, bias])

    rng = np.random.default_rng(0)
    order = np.concatenate([rng.permutation(len(train.x)) for _ in range(1 + steps * batch_size // len(train.x))])
    for rows in order[: steps * batch_size].reshape(steps, batch_size):
        step(tf.constant(train.x[rows] * 34), tf.constant(train.multi_hot(rows)))
    return lambda x: 1 / (1 + np.exp(-(x * 34 @ kernel.numpy() + bias.numpy()))), steps


if __name__ == "__main__":
    main()
