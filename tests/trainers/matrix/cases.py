"""The components that the checks run on: each with the options that change what it computes, at sizes that take no time.

A component that is registered and not here, or an option that never varies here, fails `test_options.py`.
"""

from dataclasses import dataclass, field
from typing import Any

import keras
from matrix.subject import CLASSES, FEATURES, Kind, Subject

from trainers import components  # noqa: F401 (registers them)
from trainers.registry import ENCODERS, HEADS, LABEL_LAYERS, LOSSES, POOLINGS, REGULARIZERS, Registry

OFFERED = {"num_classes": CLASSES, "feature_sizes": FEATURES}
D = sum(FEATURES)


@dataclass(frozen=True, eq=False)
class Case:
    """A component with options.

    Attributes:
      width: of what it gives.
      takes: what it is given.
      ordered: the order of a video's frames counts.
      even: each of a video's frames counts alike; only where the order does not.
      affine: it is an affine map of its input.
      reached: the least share of a weight's values that gets a gradient; less where a kernel reaches beyond the ends of a short input.
      normed_away: paths of weights that a later batch norm takes out in training, as published.
    """

    registry: Registry
    name: str
    width: int
    options: dict[str, Any] = field(default_factory=dict)
    takes: Kind = "vectors"
    ordered: bool = False
    even: bool = False
    affine: bool = False
    reached: float = 0.3
    normed_away: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "-".join([self.name, *(f"{key}={value}" for key, value in self.options.items())]).replace(" ", "").replace("'", "")

    def create(self) -> keras.layers.Layer:
        """A new layer, not built."""
        return self.registry.create(self.name, self.options, **OFFERED)

    @property
    def subject(self) -> Subject:
        """The layer to check, which is made once."""
        if self not in _SUBJECTS:
            _SUBJECTS[self] = Subject(self.create, self.takes)
        return _SUBJECTS[self]


_SUBJECTS: dict[Case, Subject] = {}


def pooling(name: str, width: int, ordered: bool = False, even: bool = False, normed_away: tuple[str, ...] = (), **options: Any) -> Case:
    return Case(POOLINGS, name, width, options, "frames", ordered, even, normed_away=normed_away)


def encoder(name: str, width: int, affine: bool = False, reached: float = 0.3, **options: Any) -> Case:
    return Case(ENCODERS, name, width, options, affine=affine, reached=reached)


def head(name: str, **options: Any) -> Case:
    return Case(HEADS, name, CLASSES, options)


def label_layer(name: str, affine: bool = False, **options: Any) -> Case:
    return Case(LABEL_LAYERS, name, CLASSES, options, "probabilities", affine=affine)


NETVLAD = {"name": "netvlad", "clusters": 3}
IN_ORDER = {"name": "position_encoding"}

POOLING_CASES = [
    pooling("average", D, even=True),
    pooling("hard_vlad", 3 * D, clusters=3),
    pooling("hard_vlad", 2 * D, clusters=2, norm="signed_sqrt"),
    pooling("netvlad", 3 * D, clusters=3),
    pooling("netvlad", 3 * D, clusters=3, batch_norm=False),
    pooling("netvlad", 2 * D, clusters=2, norm="signed_sqrt", momentum=0.9),
    pooling("netvlad", 3 * D, clusters=3, non_local={}),
    pooling("netvlad", 3 * D, clusters=3, non_local={"placement": "after_norm", "scale": "none", "width": 2, "blocks": 2}),
    pooling("netvlad", 3 * D, clusters=3, non_local={"scale": "width", "blocks": 2, "shared": True}),
    pooling("netrvlad", 3 * D, clusters=3),
    pooling("netrvlad", 3 * D, clusters=3, batch_norm=False, norm="signed_sqrt"),
    pooling("netrvlad", 2 * D, clusters=2, momentum=0.9, non_local={}),
    pooling("netfv", 6 * D, clusters=3),
    pooling("netfv", 6 * D, clusters=3, batch_norm=False, intra_norm_second=True),
    pooling("netfv", 4 * D, clusters=2, momentum=0.9, coupling=0.5),
    pooling("soft_dbow", 6, clusters=6),
    pooling("soft_dbow", 5, clusters=5, batch_norm=False),
    pooling("soft_dbow", 6, clusters=6, gated=True),
    pooling("soft_dbow", 12, clusters=6, gated=True, bottleneck=4, add_max=True, momentum=0.9),
    pooling("soft_dbow", 6, clusters=6, gated=True, batch_norm=False),
    pooling("dbof", 6, clusters=6, normed_away=("norm/beta",)),
    pooling("dbof", 8, clusters=8, normed_away=("norm/beta",), pool="mean", momentum=0.9),
    pooling("dbof", 6, clusters=6, normed_away=("norm/beta",), pool="attention"),
    pooling("dbof", 4, clusters=6, normed_away=("norm/beta",), hidden=4),
    pooling("dbof", 4, clusters=6, batch_norm=False, activation="sigmoid", hidden=4),
    pooling("indirect_clustering", D),
    pooling("indirect_clustering", D, sharpness=0.05, output="l2"),
    pooling("indirect_clustering", D, weights="sum", even=True),
    pooling("indirect_clustering", D, weights="sum", output="layer_norm", even=True),
    pooling("indirect_clustering", D, sharpness=0.05, projection=True, projection_l2=0.1),
    pooling("position_encoding", D, ordered=True),
    pooling("position_encoding", D, ordered=True, base=1, l2_normalize=True),
    pooling("attention", D),
    pooling("attention", D, softmax=False, l2=0.5),
    pooling("late_fusion", 3 * D, pooling=NETVLAD),
    pooling("late_fusion", 3 * 8 + 2 * 4, pooling=NETVLAD, audio={"clusters": 2}, batch_norm=False),
    pooling("late_fusion", D, ordered=True, pooling=IN_ORDER, momentum=0.9),
    pooling("early_fusion", 3 * D, pooling=NETVLAD),
    pooling("early_fusion", D, ordered=True, pooling=IN_ORDER, momentum=0.9),
    pooling("multi_modal", 6, normed_away=("part_1/norm/beta", "part_2/norm/beta"), pooling={"name": "dbof", "clusters": 6}),
    pooling("multi_modal", 4, ordered=True, pooling={"name": "cnn", "filters": 4}, part_weight=2.0, joint_weight=1.0),
    pooling("multi_modal", 3 * D, pooling=NETVLAD, join="concat"),
    pooling("lstm", 3, ordered=True, cells=3, output="max"),
    pooling("lstm", 3, ordered=True, cells=3, output="attention", attention={"softmax": False}),
    pooling("lstm", 2 * (2 + 3), ordered=True, cells=[2, 3], output="all_states"),
    pooling("lstm", 2, ordered=True, cells=[3, 3, 2], residual=True),
    pooling("bilstm", 3 + 3, ordered=True, cells=[2, 3]),
    pooling("bilstm", 3 + 3, ordered=True, cells=[2, 3], link="sum"),
    pooling("bilstm", 2 + 2, ordered=True, cells=[3, 3, 2], link="residual"),
    pooling("lstm_memory", 2 * D + D + D, ordered=True),
    pooling("lstm_memory", 2 * (2 + 3) + D, ordered=True, cells=[2, 3], outputs=False, l2_normalize=False),
    pooling("lstm_memory", 2 * 3 + 3, ordered=True, cells=3, memory=False, layer_norm=True, dropout=0.5),
    pooling("gru", 3 + 2, ordered=True, cells=[3, 2]),
    pooling("cnn", 4, ordered=True, filters=4),
    pooling("cnn", 6, ordered=True, filters=6, kernel_size=2, l2_normalize=True),
    pooling("spatial_temporal_cnn", 4, ordered=True, temporal_filters=4),
    pooling("spatial_temporal_cnn", 6, ordered=True, spatial_filters=3, temporal_filters=6, kernel_size=2),
]

ENCODER_CASES = [
    encoder("dense", 6, size=6, affine=True),
    encoder("dense", 6, size=6, activation="relu", l2=0.1),
    encoder("dense", 6, size=6, activation="relu6", batch_norm=True, momentum=0.9),
    encoder("dense", 8, size=8, activation="tanh", layer_norm=True),
    encoder("dense", 6, size=6, activation="tanh", kernel_stddev=0.3, bias_stddev=0.01),
    encoder("context_gating", D),
    encoder("context_gating", D, bias=True),
    encoder("context_gating", D, remove_diagonal=True, momentum=0.9),
    encoder("residual_cnn", 8, reached=0.1, size=8),
    encoder(
        "residual_cnn",
        9,
        reached=0.1,
        size=9,
        pool="mean",
        global_skip=False,
        last_batch_norm=False,
        fc_activation=None,
        l2=0.1,
        momentum=0.9,
    ),
]

HEAD_CASES = [
    head("logistic"),
    head("logistic", bias=False, l2=0.1, init_scale=2.0),
    head("moe"),
    head("moe", num_experts=3, dummy=False, init_scale=2.0),
    head("moe", gate_rank=2, l2=0.1),
    head("moe", gate_rank=2, expert_rank=3, rank_bias=True),
    head("gated_moe"),
    head("gated_moe", num_experts=3, dummy=False, batch_norm=False, l2=0.1, init_scale=2.0),
    head("gated_moe", gate_input="hidden", momentum=0.9),
    head("gated_moe", remove_diagonal=True, gate_rank=2, expert_rank=3, rank_bias=True),
    Case(HEADS, "many_to_many", CLASSES, {}, "frames", ordered=True),
    Case(HEADS, "many_to_many", CLASSES, {"cells": 3, "l2": 0.1, "init_scale": 2.0}, "frames", ordered=True),
]

LABEL_LAYER_CASES = [
    label_layer("co_occurrence", affine=True),
    label_layer("co_occurrence", affine=True, alpha=0.5, beta=0.0, gamma=0.3),
    label_layer("co_occurrence", affine=True, gamma=0.2, normalizer="centered"),
]

CASES = [*POOLING_CASES, *ENCODER_CASES, *HEAD_CASES, *LABEL_LAYER_CASES]
FRAME_CASES = [case for case in CASES if case.takes == "frames"]


@dataclass(frozen=True, eq=False)
class Term:
    """A loss or a regularizer with options."""

    registry: Registry
    name: str
    options: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return "-".join([self.name, *(f"{key}={value}" for key, value in self.options.items())])

    def create(self) -> Any:
        """A new one."""
        return self.registry.create(self.name, self.options, **OFFERED)


LOSS_TERMS = [
    Term(LOSSES, "cross_entropy"),
    Term(LOSSES, "cross_entropy", {"from_logits": True}),
    Term(LOSSES, "weighted_cross_entropy", {"alpha": 3.0}),
    Term(LOSSES, "weighted_cross_entropy", {"alpha": 0.3, "form": "balanced"}),
    Term(LOSSES, "huber"),
    Term(LOSSES, "huber", {"delta": 2.0, "per_class": False}),
]

REGULARIZER_TERMS = [
    Term(REGULARIZERS, "center"),
    Term(REGULARIZERS, "center", {"weight": 0.1, "rate": 0.5}),
    Term(REGULARIZERS, "label_relations"),
    Term(REGULARIZERS, "label_relations", {"weight": 1.0, "every": 1, "epsilon": 1e-3}),
]
