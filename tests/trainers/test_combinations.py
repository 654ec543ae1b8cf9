"""Every component goes with every other: a covering set of pairs, each combination assembled, trained for two steps, saved and loaded."""

import itertools
import random
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import pytest
import scipy.sparse
import tensorflow as tf

from trainers.fit import adam, train_step
from trainers.model import assemble
from trainers.recipe import DataSchema, Recipe
from trainers.registry import ENCODERS, HEADS, LABEL_LAYERS, LOSSES, POOLINGS, REGULARIZERS
from trainers.run import TrainSet

CLASSES = 5
DATA = DataSchema(kind="frame", id_key="id", labels_key="labels", features={"rgb": 8, "audio": 4}, num_classes=CLASSES)
TRAIN_SET = TrainSet([], 20, [9, 6, 4, 2, 1])

POOLING = {
    "average": {},
    "hard_vlad": {"clusters": 3},
    "netvlad": {"clusters": 3},
    "netrvlad": {"clusters": 3},
    "netfv": {"clusters": 2},
    "soft_dbow": {"clusters": 6, "gated": True},
    "dbof": {"clusters": 6, "hidden": 4},
    "indirect_clustering": {"output": "layer_norm"},
    "position_encoding": {},
    "attention": {},
    "late_fusion": {"pooling": {"name": "netrvlad", "clusters": 3}, "audio": {"clusters": 2}},
    "early_fusion": {"pooling": {"name": "netrvlad", "clusters": 3}},
    "multi_modal": {"pooling": {"name": "attention"}, "join": "concat"},
    "lstm": {"cells": 3},
    "bilstm": {"cells": 3},
    "lstm_memory": {"cells": 3},
    "gru": {"cells": 3},
    "cnn": {"filters": 6},
    "spatial_temporal_cnn": {"temporal_filters": 6},
}
ENCODER = {None: {}, "dense": {"size": 6, "activation": "relu"}, "context_gating": {}}  # and residual_cnn, of 8 million weights at any size
HEAD = {"logistic": {}, "moe": {}, "gated_moe": {}}
LABEL_LAYER = {None: {}, "co_occurrence": {"gamma": 0.1}}
LOSS = {"cross_entropy": {}, "weighted_cross_entropy": {"alpha": 2.0}, "huber": {}}
REGULARIZER = {None: {}, "center": {}, "label_relations": {}}

FACTORS: dict[str, Mapping[str | None, dict[str, Any]]] = {
    "pooling": POOLING,
    "head": HEAD,
    "label_layer": LABEL_LAYER,
    "loss": LOSS,
    "regularizer": REGULARIZER,
    "encoder": ENCODER,
}
OF_FRAMES = "many_to_many"  # a head that takes frames itself, and so goes with no pooling, encoder or regularizer
Combination = dict[str, Any]  # the name of each factor's component, or None


def covering(factors: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Rows in which each two values of two factors meet. Each begins with a pair that has not met, and takes what meets most anew."""
    missing = dict.fromkeys(pair for row in itertools.product(*factors.values()) for pair in pairs(dict(zip(factors, row, strict=True))))
    rows: list[dict[str, Any]] = []
    while missing:
        row = dict(next(iter(missing)))
        for factor, values in factors.items():
            if factor not in row:
                turn = len(rows) % len(values)  # so that not always the same meet where it makes no difference
                choices = [{**row, factor: value} for value in [*values[turn:], *values[:turn]]]
                row = max(choices, key=lambda choice: sum(pair in missing for pair in pairs(choice)))
        for pair in pairs(row):
            missing.pop(pair, None)
        rows.append({factor: row[factor] for factor in factors})
    return rows


def pairs(row: Mapping[str, Any]) -> list[tuple[tuple[str, Any], tuple[str, Any]]]:
    """Each two of a row's values, with their factors."""
    return list(itertools.combinations(sorted(row.items(), key=lambda item: item[0]), 2))


COMBINATIONS = covering({factor: list(values) for factor, values in FACTORS.items()})
COMBINATIONS += [{"head": OF_FRAMES, "label_layer": label, "loss": loss} for label, loss in zip(itertools.cycle(LABEL_LAYER), LOSS)]


def label(combination: Combination) -> str:
    return "-".join(name for name in combination.values() if name)


def recipe(combination: Combination, counts: str) -> Recipe:
    """The recipe of a combination; `counts` is where the co-occurrence counts are."""

    def component(factor: str) -> dict[str, Any] | None:
        name = combination.get(factor)
        if name is None:
            return None
        options = {"counts": counts} if name == "co_occurrence" else {}
        return {"name": name, **options, **({"cells": 3} if name == OF_FRAMES else FACTORS[factor][name])}

    parts = {factor: component(factor) for factor in ("pooling", "head", "label_layer", "loss")}
    lists = {f"{factor}s": [part] if (part := component(factor)) else [] for factor in ("encoder", "regularizer")}
    training = {"steps": 2, "learning_rate": 0.01}
    return Recipe.model_validate({"name": "combination", "description": "", "training": training, **parts, **lists})


def batch(seed: int) -> dict[str, Any]:
    """Four videos of 1 to 4 frames, with up to two labels."""
    rng = np.random.default_rng(seed)
    features = {name: rng.integers(0, 256, (4, 4, size), np.uint8) for name, size in DATA.features.items()}
    lengths = np.array([4, 1, 3, 2], np.int32)
    labels = np.array([[0, 1], [0, -1], [2, 4], [-1, -1]], np.int32)
    return tf.nest.map_structure(tf.constant, {"features": {**features, "num_frames": lengths}, "labels": labels})


def test_each_two_values_meet():
    met = {pair for row in COMBINATIONS for pair in itertools.combinations(row.items(), 2)}
    for one, other in itertools.combinations(FACTORS, 2):
        for x, y in itertools.product(FACTORS[one], FACTORS[other]):
            assert ((one, x), (other, y)) in met
    for factor in ("label_layer", "loss"):
        for value in FACTORS[factor]:
            assert (("head", OF_FRAMES), (factor, value)) in met


def test_every_component_is_among_them():
    assert set(POOLING) == set(POOLINGS.names())
    assert {*HEAD, OF_FRAMES} == set(HEADS.names())
    assert {*ENCODER, "residual_cnn"} - {None} == set(ENCODERS.names())
    assert set(LABEL_LAYER) - {None} == set(LABEL_LAYERS.names())
    assert set(LOSS) == set(LOSSES.names())
    assert set(REGULARIZER) - {None} == set(REGULARIZERS.names())


def test_the_covering_set_is_small_and_always_the_same():
    factors = {"a": [1, 2, 3], "b": [1, 2, 3], "c": [1, 2, 3], "d": [1, 2, 3]}  # 9 rows are the least, 81 all
    rows = covering(factors)
    assert len(rows) <= 12
    assert len({pair for row in rows for pair in pairs(row)}) == 6 * 9
    assert covering(factors) == rows


@pytest.fixture(scope="module")
def counts(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("counts") / "cooccurrence.npz"
    scipy.sparse.save_npz(
        path, scipy.sparse.csr_matrix([[9, 3, 2, 0, 1], [3, 6, 0, 0, 0], [2, 0, 4, 1, 0], [0, 0, 1, 2, 0], [1, 0, 0, 0, 1]])
    )
    return str(path)


@pytest.fixture
def in_a_graph(combination):
    """For one combination of each pooling the step is a graph, as in `fit`; for the others its operations run singly, which is faster."""
    first = next(other for other in COMBINATIONS if other.get("pooling") == combination.get("pooling"))
    tf.config.run_functions_eagerly(combination is not first)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.mark.usefixtures("in_a_graph")
@pytest.mark.parametrize("combination", COMBINATIONS, ids=label)
def test_fits_two_steps_and_saves(combination, counts, tmp_path):
    random.seed(0)  # where Keras takes its initialisers' seeds from
    settings = recipe(combination, counts)
    assembly = assemble(settings, DATA, TRAIN_SET)
    optimizer = adam(settings.training)
    optimizer.build(assembly.trainee.trainable_variables)
    before = [weight.numpy() for weight in assembly.trainee.trainable_variables]
    step = train_step(assembly, optimizer, CLASSES)
    for seed in range(2):
        assert np.isfinite(step(batch(seed)))
    for weight, old in zip(assembly.trainee.trainable_variables, before, strict=True):
        assert np.isfinite(weight).all()
        assert not np.array_equal(weight, old), f"{weight.path} did not move"

    features = batch(2)["features"]
    p = assembly.model(features).numpy()
    assert ((p >= 0) & (p <= 1)).all()
    assembly.model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", compile=False)
    np.testing.assert_array_equal(loaded(features), p)
