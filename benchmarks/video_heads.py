"""Video-level systems on real shards, beside a closed-form ridge and a plain logistic regression trained by this script.

    python benchmarks/video_heads.py                                      # moe on shards 0000-0069 against 0070-0089
    python benchmarks/video_heads.py --system all                         # every system of SYSTEMS
    python benchmarks/video_heads.py --system moe --system 'moe_huber' --set training.steps=100
    python benchmarks/video_heads.py --train 'plain=PATTERN' --train 'augmented=PATTERN'

Several training sets run with equal steps, those of the first; the frequency buckets are those of the first, too. Beside each system stands
the GAP@20 that its paper reports: (1) Garg (2018), YouTube-8M 2018, validate; (2) Na et al. (2017), YouTube-8M 2017, test, where the heads
stand on frame features that indirect clustering pools, and losses and label layer on a mixture of 16. So figures of (1) and of (2) have an
order each, and none across.
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

from beam_jobs import stats
from beam_jobs.inputs import open_input
from beam_jobs.runners import Engine
from trainers.evaluate import score
from trainers.fit import fit
from trainers.inputs import evaluation_batches, layout
from trainers.metrics import Metrics
from trainers.recipe import load
from trainers.run import load_run
from yt8m_data.shards import expand

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "yt8m-2018-video"
_HIDDEN = "encoders=[{name: dense, size: 1024, activation: relu, layer_norm: true}]"
_MLP = "{name: dense, size: 4096, activation: relu, layer_norm: true, l2: 1.0e-8}"


class System(NamedTuple):
    """A recipe with changes, and the GAP@20 that its paper reports."""

    recipe: str
    overrides: tuple[str, ...] = ()
    published: str = ""


SYSTEMS = {
    "logistic": System("logistic"),
    "moe": System("moe", (), ".817 (1) .801 (2)"),
    "moe16": System("moe16", (), ".798 (2)"),
    "gated_moe": System("moe", ("head.name=gated_moe",)),
    "mlp_ln": System("logistic", (f"encoders=[{_MLP}, {_MLP}, {_MLP}]", "training.learning_rate=3e-4"), ".809 (2)"),
    "residual_cnn_320_max": System("residual_cnn_320_max", (), ".822 (1)"),
    "residual_cnn_512_max": System("residual_cnn_512_max", (), ".827 (1)"),
    "residual_cnn_1024_max": System("residual_cnn_1024_max", (), ".831 (1)"),
    "moe_label_layer": System("moe", ("label_layer={name: co_occurrence, beta: 0.01}",), ".790, .798 without (2)"),
    "moe_huber": System("moe", ("loss={name: huber, delta: 0.5}",), ".803, .798 without (2)"),
    "moe_hidden": System("moe", (_HIDDEN,)),
    "moe_hidden_center": System("moe", (_HIDDEN, "regularizers=[{name: center}]"), ".799, .798 without (2)"),
}

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
    parser.add_argument("--eval", help="evaluation shards (default: validate0070..0089)")
    parser.add_argument(
        "--system", action="append", help=f"{', '.join(SYSTEMS)}, another recipe, or all; may be given again (default: moe)"
    )
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="over the systems")
    arguments = parser.parse_args()
    sets = dict(item.split("=", 1) for item in arguments.train or [f"plain={arguments.data}/validate00[0-6]?.tfrecord"])
    evaluation = arguments.eval or f"{arguments.data}/validate00[78]?.tfrecord"
    systems = list(SYSTEMS) if arguments.system == ["all"] else arguments.system or ["moe"]

    held_out, first = read(evaluation), None
    print(
        f"{'training set':<14}{'system':<23}"
        + "".join(f"{c:>12}" for c in (*COLUMNS, *("steps", "seconds")))
        + f"  {'published GAP':<24}MAP by training positives"
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
            show(name, system, metrics.result(first.counts), steps, seconds, "")
        for system in systems:
            train_system(name, system, pattern, evaluation, arguments.set, first)


def train_system(name: str, system: str, pattern: str, evaluation: str, overrides: list[str], first: Split) -> None:
    """Fit a system on one training set, for the steps that it has on the first, and print its line."""
    recipe, own, published = SYSTEMS.get(system, System(system))
    steps = load(recipe, [*own, *overrides]).training.total_steps(len(first.x))
    with tempfile.TemporaryDirectory() as folder:
        settings = [*own, *overrides, f"training.steps={steps}", "training.checkpoint_every=1000000"]
        if any(setting.startswith("label_layer=") for setting in own):
            stats.run(open_input([pattern]), f"{folder}/stats", None, Engine("local", 0, ()))
            settings.append(f"label_layer.counts={folder}/stats/cooccurrence.npz")
        started = time.perf_counter()
        metrics = fit(recipe, [pattern], [evaluation], f"{folder}/run", settings)
        seconds = time.perf_counter() - started
        run = load_run(f"{folder}/run")
        if run.train_set.label_counts != first.counts.tolist():  # the buckets are by the counts of the first set
            files = expand([evaluation])
            metrics = score(run.model, files, layout(files), first.counts, run.recipe.frames, run.recipe.training.seed)
    show(name, system, metrics, steps, seconds, published)


def show(name: str, system: str, metrics: dict[str, Any], steps: int, seconds: float, published: str) -> None:
    figures = "".join(f"{metrics[column]:>12.4f}" for column in COLUMNS)
    buckets = ", ".join(f"{bucket}: {value:.3f}" for bucket, value in metrics["map_by_frequency"].items() if value is not None)
    print(f"{name:<14}{system:<23}{figures}{steps or '-':>12}{seconds:>12.1f}  {published:<24}{buckets}", flush=True)


def read(pattern: str) -> Split:
    files = expand([pattern])
    data = layout(files)
    ids, x, labels = [], [], []
    for batch in evaluation_batches(files, data, 4096):
        ids += batch["id"].tolist()
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
