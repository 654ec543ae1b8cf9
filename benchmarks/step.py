"""The train step of two recipes against the bare matrix products within it: which share of TensorFlow's own rate is left.

The products are those of the step's graph, forward and backward, each run alone at the same shapes and transposed alike. The rate of the
step is their floating-point operations over its whole time, with softmax, loss, penalties, clipping and Adam. Batches are random, and lie
in memory. Where TensorFlow sees a GPU, all of it runs there.

    python benchmarks/step.py [--recipe moe16 ...] [--precision float32] [--jit] [--set KEY=VALUE]
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable
from functools import partial

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf

from trainers.describe import published_layout
from trainers.fit import adam, train_step
from trainers.inputs import Batch
from trainers.model import assemble
from trainers.recipe import DataSchema, Recipe, load
from trainers.run import TrainSet

LABELS = 3  # of a video
CALLS = 10 if tf.config.list_physical_devices("GPU") else 1  # between two waits, which take as long as a product on a GPU
PRODUCTS = {"MatMul": ("transpose_a", "transpose_b"), "BatchMatMulV2": ("adj_x", "adj_y")}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--recipe", nargs="*", default=["moe16", "gated_netvlad"])
    parser.add_argument("--precision", nargs="*", default=["float32"])
    parser.add_argument("--jit", action="store_true")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    arguments = parser.parse_args()
    print("recipe           precision       examples/s   step s   products s   GFLOP/s   bare GFLOP/s   share")
    for name in arguments.recipe:
        for precision in arguments.precision:
            settings = [f"training.precision={precision}", f"training.jit={str(arguments.jit).lower()}", *arguments.overrides]
            measure(load(name, settings), arguments.rounds)


def measure(recipe: Recipe, rounds: int) -> None:
    data = published_layout(recipe)
    assembly = assemble(recipe, data, TrainSet([], 1_000_000, [3000] * data.num_classes))
    optimizer = adam(recipe.training)
    optimizer.build(assembly.trainee.trainable_variables)
    batch, make_step = random_batch(recipe, data), partial(train_step, assembly, optimizer, data.num_classes, recipe.training.jit)
    optimizer.clipnorm = None  # the products of clipping are no work of the model's
    products = products_of(make_step(), batch)
    optimizer.clipnorm = recipe.training.clipnorm
    whole = median_seconds(partial(make_step(), batch), rounds)
    del assembly, optimizer, make_step  # gated NetVLAD has 5 GB of weights and moments
    bare = median_seconds(bare_products(products), rounds)
    work = sum(count * operations(product) for product, count in products.items()) / 1e9
    size = recipe.training.batch_size
    print(
        f"{recipe.name:16} {recipe.training.precision:14} {size / whole:11.1f} {whole:8.3f} {bare:12.3f} {work / whole:9.0f} "
        f"{work / bare:14.0f} {bare / whole:7.2f}",
        flush=True,
    )


def random_batch(recipe: Recipe, data: DataSchema) -> Batch:
    rng, size = np.random.default_rng(0), recipe.training.batch_size
    if data.kind == "video":
        features = {name: tf.constant(rng.normal(size=(size, width)), tf.float32) for name, width in data.features.items()}
    else:
        frames = recipe.frames.count or recipe.frames.max_frames
        features = {name: tf.constant(rng.integers(0, 256, (size, frames, width)), tf.uint8) for name, width in data.features.items()}
        features["num_frames"] = tf.fill([size], frames)
    return {"features": features, "labels": tf.constant(rng.integers(0, data.num_classes, (size, LABELS)), tf.int32)}


def products_of(step: Callable, batch: Batch) -> dict[tuple, int]:
    """Shapes, transpositions and type of every matrix product of the step, with how often it comes."""
    found: dict[tuple, int] = {}
    for operation in step.get_concrete_function(batch).graph.get_operations():
        if operation.type in PRODUCTS:
            flags = tuple(operation.get_attr(name) for name in PRODUCTS[operation.type])
            product = (*(tuple(tensor.shape) for tensor in operation.inputs), *flags, operation.inputs[0].dtype)
            found[product] = found.get(product, 0) + 1
    return found


def bare_products(products: dict[tuple, int]) -> Callable[[], tf.Tensor]:
    """All products in one call, one after the other: a call for each would take longer than a small product on a GPU."""
    pairs = {p: [tf.cast(tf.random.stateless_normal(shape, [1, 2]), p[-1]) for shape in p[:2]] for p in products}

    @tf.function
    def run() -> tf.Tensor:
        used: list[tf.Tensor] = []  # an element of each, as what nobody uses is not computed
        for product, count in products.items():
            for _ in range(count):
                with tf.control_dependencies(used[-1:]):
                    used.append(tf.cast(tf.reshape(tf.matmul(*pairs[product], *product[2:4]), [-1])[0], tf.float32))
        return tf.add_n(used)

    return run


def operations(product: tuple) -> int:
    left, right, _, transpose_right, _ = product
    columns = right[-2 if transpose_right else -1]
    return 2 * int(np.prod(left)) * columns


def median_seconds(call: Callable[[], tf.Tensor], rounds: int) -> float:
    for _ in range(2):
        call()
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        for _ in range(CALLS):
            result = call()
        tf.reshape(result, [-1])[0].numpy()  # waits for all
        times.append((time.perf_counter() - start) / CALLS)
    return statistics.median(times)


if __name__ == "__main__":
    main()
