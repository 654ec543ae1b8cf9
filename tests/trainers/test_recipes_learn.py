"""Each recipe learns: reduced to a few cells and clusters, it finds in unseen made videos what is planted there (planted.py)."""

import functools
import inspect
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import planted
import pytest
import tensorflow as tf
from scipy import sparse

from trainers.encoders import residual_cnn
from trainers.fit import adam, train_step
from trainers.metrics import Metrics
from trainers.model import assemble
from trainers.recipe import DataSchema, Recipe, load, names
from trainers.registry import ENCODERS, HEADS, LABEL_LAYERS, LOSSES, POOLINGS, REGULARIZERS, Registry
from trainers.run import TrainSet
from yt8m_data.quantize import dequantize

TRAINING = ["training.batch_size=64", "training.steps=100", "training.learning_rate=0.02", "training.decay=1", "training.clipnorm=1"]
TRAINING += ["training.distill=null"]  # no teacher is at hand
DEEP = {"residual_cnn"}  # 15 layers, of channels that no option reduces, but we do: it is slower, and diverges at such rates
DEEP_TRAINING = ["training.batch_size=32", "training.steps=60", "training.learning_rate=0.003"]
DEEP_CHANNELS = tuple(tuple(channels // 8 for channels in stage) for stage in residual_cnn.CHANNELS)

# What options become. Momentum: 100 steps are few for the averages that batch norm evaluates with.
REDUCED: dict[str, float] = {
    "clusters": 8,
    "cells": 16,
    "filters": 16,
    "spatial_filters": 2,
    "temporal_filters": 16,
    "size": 16,
    "hidden": 16,
}
REDUCED |= {
    "num_experts": 2,
    "gate_rank": 8,
    "expert_rank": 8,
    "kernel_stddev": 0.35,
    "momentum": 0.9,
    "beta": 0.1,
    "gamma": 0.1,
    "delta": 0.5,
}
DEEP_SIZE = 8  # positions along which it convolves
KINDS = {
    "pooling": POOLINGS,
    "encoders": ENCODERS,
    "head": HEADS,
    "label_layer": LABEL_LAYERS,
    "loss": LOSSES,
    "regularizers": REGULARIZERS,
}

SEES_ORDER = {"lstm", "bilstm", "lstm_memory", "gru", "cnn", "spatial_temporal_cnn", "position_encoding", "many_to_many"}
IN_ORDER = [c for pair in planted.ORDERS for c in pair]


def parts(recipe: Recipe) -> set[str]:
    """Names of its components, also of those inside others."""
    return set(re.findall(r"\w+", recipe.components))


def reductions(recipe: Recipe) -> list[str]:
    """Overrides that make a recipe small."""
    overrides = [f"num_classes={planted.NUM_CLASSES}", *TRAINING, *(DEEP_TRAINING if parts(recipe) & DEEP else [])]
    for kind, registry in KINDS.items():
        given = getattr(recipe, kind)
        components = {f"{kind}.{i}": each for i, each in enumerate(given)} if isinstance(given, tuple) else {kind: given}
        for key, component in components.items():
            if component is not None:
                overrides += _reduced(key, component.name, component.options, registry)
    return overrides


def _reduced(key: str, name: str, options: Mapping[str, Any], registry: Registry) -> Iterator[str]:
    taken = inspect.signature(registry.get(name)).parameters
    for option, value in {**REDUCED, **({"size": DEEP_SIZE} if name in DEEP else {})}.items():
        given = options.get(option)
        if isinstance(given, list):
            yield f"{key}.{option}={[value] * len(given)}"
        elif given or (option == "momentum" and option in taken):
            yield f"{key}.{option}={value}"
    if "pooling" in taken:
        inner = dict(options["pooling"])
        yield from _reduced(f"{key}.pooling", inner.pop("name"), inner, POOLINGS)
    if options.get("audio"):
        yield f"{key}.audio.clusters=4"


@functools.cache
def groups() -> dict[str, list[str]]:
    """The recipes, by the first of those that are one system when reduced: other widths of it, or other places of a grid."""
    by_system: dict[str, list[str]] = {}
    for name in names():
        reduced = load(name, reductions(load(name))).model_dump(mode="json")
        system = json.dumps([reduced[section] for section in (*KINDS, "input", "prior_scale", "training")])
        by_system.setdefault(system, []).append(name)
    return {members[0]: members for members in by_system.values()}


class Split(NamedTuple):
    frames: dict[str, tf.Tensor]  # features as of frame-level records
    means: dict[str, tf.Tensor]  # and as of video-level ones
    labels: tf.Tensor  # [N, L] int32, padded with -1
    truth: np.ndarray  # [N, C] bool


@functools.cache
def made(count: int, seed: int) -> Split:
    videos = planted.make(count, seed)
    lengths = np.array([len(frames) for frames in videos.frames["rgb"]])
    frames, means = {"num_frames": tf.constant(lengths, tf.int32)}, {}
    for name, size in planted.SIZES.items():
        padded = np.zeros((count, planted.MAX_FRAMES, size), np.uint8)
        for row, codes in enumerate(videos.frames[name]):
            padded[row, : len(codes)] = codes
        frames[name] = tf.constant(padded)
        means[f"mean_{name}"] = tf.constant(np.stack([dequantize(codes).mean(axis=0) for codes in videos.frames[name]]), tf.float32)
    truth = np.array([np.isin(np.arange(planted.NUM_CLASSES), labels) for labels in videos.labels])
    return Split(frames, means, tf.ragged.constant(videos.labels, dtype=tf.int32).to_tensor(-1), truth)


def train_split() -> Split:
    return made(1500, 0)


def eval_split() -> Split:
    return made(600, 1)


class Scores(NamedTuple):
    gap: float
    cross_entropy: float
    precisions: np.ndarray  # the average precision of each class


def scored(p: np.ndarray) -> Scores:
    """Of predictions [N, C] for the evaluation videos."""
    unseen, metrics = eval_split(), Metrics(planted.NUM_CLASSES)
    metrics.update([str(i).encode() for i in range(len(p))], p, unseen.labels.numpy())
    q = np.clip(p.astype(np.float64), 1e-6, 1 - 1e-6)
    cross_entropy = -np.where(unseen.truth, np.log(q), np.log(1 - q)).sum(axis=1).mean()
    return Scores(metrics.gap(), cross_entropy, metrics.average_precisions())


@functools.cache
def guessed() -> Scores:
    """The baseline: each class as likely as it is frequent in training, whatever the video."""
    return scored(np.tile(train_split().truth.mean(axis=0), (len(eval_split().truth), 1)).astype(np.float32))


def learned(recipe: Recipe) -> Scores:
    """Of a reduced recipe, trained."""
    train, unseen = train_split(), eval_split()
    of_frames = recipe.pooling is not None or recipe.head.name == "many_to_many"
    sizes = planted.SIZES if of_frames else {f"mean_{name}": size for name, size in planted.SIZES.items()}
    kind = "frame" if of_frames else "video"
    data = DataSchema(kind=kind, id_key="id", labels_key="labels", features=sizes, num_classes=planted.NUM_CLASSES)
    features, unseen_features = (train.frames, unseen.frames) if of_frames else (train.means, unseen.means)

    keras.utils.set_random_seed(0)
    assembly = assemble(recipe, data, TrainSet([], len(train.truth), train.truth.sum(axis=0).tolist()))
    optimizer = adam(recipe.training)
    optimizer.build(assembly.trainee.trainable_variables)
    step, rng = train_step(assembly, optimizer, planted.NUM_CLASSES), np.random.default_rng(0)
    for _ in range(recipe.training.steps):
        rows = rng.choice(len(train.truth), recipe.training.batch_size, replace=False)
        step({"features": {name: tf.gather(x, rows) for name, x in features.items()}, "labels": tf.gather(train.labels, rows)})
    return scored(assembly.model(unseen_features, training=False).numpy())  # once, so a graph of it would take longer


@pytest.fixture(scope="module")
def cooccurrence(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Path of the training videos' counts, as `yt8m-data stats` writes them."""
    truth = train_split().truth.astype(np.int64)
    counts = sparse.csr_array(truth.T @ truth)
    path = tmp_path_factory.mktemp("stats") / "cooccurrence.npz"
    np.savez(path, shape=counts.shape, indices=counts.indices, indptr=counts.indptr, data=counts.data)
    return str(path)


@pytest.mark.parametrize("name", groups())
def test_learns(name, cooccurrence, monkeypatch):
    monkeypatch.setattr(residual_cnn, "CHANNELS", DEEP_CHANNELS)
    recipe = load(name)
    counts = [f"label_layer.counts={cooccurrence}"] if recipe.label_layer else []
    recipe = load(name, [*reductions(recipe), *counts])
    guess, scores = guessed(), learned(recipe)

    def gain(classes: Sequence[int]) -> float:
        return (scores.precisions - guess.precisions)[list(classes)].mean()

    assert scores.gap > guess.gap + 0.2
    assert scores.cross_entropy < guess.cross_entropy - 0.8
    assert gain(planted.LOOKS) > 0.2
    assert gain(planted.SOUNDS) > 0.2
    assert gain([planted.IMPLIED]) > 0.4
    if parts(recipe) & SEES_ORDER:
        assert gain(IN_ORDER) > 0.3
    else:  # average pooling among them: the two classes of a pair have the same frames
        assert gain(IN_ORDER) < 0.15


def test_every_recipe_is_in_a_group_of_its_kind():
    assert sorted(name for members in groups().values() for name in members) == names()
    for members in groups().values():
        assert len({load(name).components for name in members}) == 1


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("lfnl_netvlad", "netvlad_64"),
        ("gated_soft_dbow", "soft_bof_4096"),
        ("bilstm_2", "stacked_bilstm_2"),
        ("lstm_1", "lstm_1_max"),
        ("indirect_clustering", "indirect_clustering_as_run"),
        ("residual_cnn_512_max", "residual_cnn_512_mean"),
    ],
)
def test_other_systems_are_in_other_groups(name, other):
    assert not any({name, other} <= set(members) for members in groups().values())
