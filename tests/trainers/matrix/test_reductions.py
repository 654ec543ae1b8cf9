"""Recipes that should train as simpler ones do: a part that is switched off by its number changes neither the loss nor any gradient."""

import random
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from matrix.checks import close
from matrix.subject import CLASSES, FEATURES

from trainers.model import Assembly, assemble
from trainers.recipe import DataSchema, load
from trainers.run import TrainSet

SIZES = dict(zip(("rgb", "audio"), FEATURES, strict=True))
DATA = DataSchema(kind="frame", id_key="id", labels_key="labels", features=SIZES, num_classes=CLASSES)
BASE = ["pooling={name: netvlad, clusters: 3}", "encoders=[{name: dense, size: 6}]", "head.init_scale=1"]


def assembled(*overrides: str) -> Assembly:
    """The recipe `moe` with these overrides, whose weights that go by the same name are the same in every call."""
    random.seed(0)
    assembly = assemble(load("moe", [*BASE, *overrides]), DATA, TrainSet([], 20, [9, 6, 4, 2, 1]))
    for weight in assembly.trainee.trainable_variables:
        seed = sum(weight.path.encode())
        weight.assign(np.random.default_rng(seed).normal(size=weight.shape))
    return assembly


def trained(assembly: Assembly) -> tuple[float, float, dict[str, np.ndarray]]:
    """The loss of the predictions, the sum that is minimised, and the gradient of each weight by its path."""
    rng = np.random.default_rng(0)
    features: dict[str, Any] = {name: rng.integers(0, 256, (4, 3, size), np.uint8) for name, size in SIZES.items()}
    labels = np.array([[1, 0, 0, 1, 0], [0, 1, 0, 0, 0], [1, 1, 1, 0, 0], [0, 0, 0, 0, 0]], np.float32)
    weights = assembly.trainee.trainable_variables
    with tf.GradientTape() as tape:
        loss, total = assembly.losses({**features, "num_frames": np.array([3, 1, 2, 3], np.int32)}, labels)
    gradients = tape.gradient(total, weights)
    return float(loss), float(total), {w.path: np.array(g) for w, g in zip(weights, gradients, strict=True) if g is not None}


@pytest.mark.parametrize(
    "switched_off",
    [
        "regularizers=[{name: center, weight: 0.0}]",
        "regularizers=[{name: label_relations, weight: 0.0}]",
        "input.adaptive_noise=1e-9",
        "label_layer={name: co_occurrence, alpha: 1.0, beta: 0.0, gamma: 0.0}",
        "loss={name: weighted_cross_entropy, alpha: 1.0}",
        "loss={name: weighted_cross_entropy, alpha: 0.5, form: balanced}",
    ],
)
def test_what_is_switched_off_changes_nothing(switched_off):
    (loss, total, gradients), (expected_loss, expected_total, expected) = trained(assembled(switched_off)), trained(assembled())
    close([loss, total], [expected_loss, expected_total])
    assert set(gradients) == set(expected)
    for path, gradient in gradients.items():
        close(gradient, expected[path])


@pytest.mark.parametrize(
    "switched_on",
    [
        "regularizers=[{name: center, weight: 0.1}]",
        "regularizers=[{name: label_relations, weight: 0.1}]",
        "input.adaptive_noise=1",
        "label_layer={name: co_occurrence, alpha: 0.9, beta: 0.0, gamma: 0.0}",
        "loss={name: weighted_cross_entropy, alpha: 2.0}",
    ],
)
def test_what_is_switched_on_changes_the_sum_and_its_gradients(switched_on):
    (_, total, gradients), (_, expected_total, expected) = trained(assembled(switched_on)), trained(assembled())
    assert abs(total - expected_total) > 1e-4 * abs(expected_total)
    assert max(np.abs(gradient - expected[path]).max() for path, gradient in gradients.items()) > 1e-3


def test_parts_without_weight_leave_the_loss_of_the_joint_vector():
    parts = "pooling={name: multi_modal, pooling: {name: attention}, join: concat, part_weight: 0.0, joint_weight: 2.0}"
    loss, total, gradients = trained(assembled(parts))
    penalties = float(tf.add_n(assembled(parts).trainee.losses))
    close(total, 2 * loss + penalties)
    of_parts = [gradient for path, gradient in gradients.items() if path.startswith("head_")]
    assert of_parts
    assert max(np.abs(gradient).max() for gradient in of_parts) < 1e-6  # the penalty's alone
