"""Parameters of the published systems, counted on the layers at their true sizes: in a TensorFlow graph a variable takes no memory."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from trainers import components  # noqa: F401
from trainers.registry import ENCODERS, HEADS, POOLINGS

SIZES = (1024, 128)


def counts(pooling: dict[str, Any], hidden: int, gating: bool, classes: int, head: dict[str, Any]) -> tuple[int, int]:
    """Trainable numbers, and batch norm's statistics, of pooling -> dense -> context gating -> head."""
    with tf.Graph().as_default():
        options = {key: value for key, value in pooling.items() if key != "name"}
        pool = POOLINGS.create(pooling["name"], options, feature_sizes=SIZES)
        pool.build((None, None, sum(SIZES)))
        pooled = pool.compute_output_spec(keras.KerasTensor((None, None, sum(SIZES))), mask=keras.KerasTensor((None, None), "bool"))
        layers = [ENCODERS.create("dense", {"size": hidden})]
        layers += [ENCODERS.create("context_gating", {})] * gating
        layers += [HEADS.create(head["name"], {"num_experts": head["num_experts"]}, num_classes=classes)]
        for layer, width in zip(layers, [pooled.shape[-1], hidden, hidden], strict=False):
            layer.build((None, width))
        kinds = [[w for layer in (pool, *layers) for w in getattr(layer, kind)] for kind in ("trainable_weights", "non_trainable_weights")]
    return tuple(sum(int(np.prod(w.shape)) for w in kind) for kind in kinds)


def head(num_experts: int, gated: bool = True) -> dict[str, Any]:
    return {"name": "gated_moe" if gated else "moe", "num_experts": num_experts}


def late(name: str, clusters: int, audio: int, more: Mapping[str, Any] | None = None, **options: Any) -> dict[str, Any]:
    return {"name": "late_fusion", "pooling": {"name": name, "clusters": clusters, **options}, "audio": {"clusters": audio, **(more or {})}}


EFNL = {"name": "early_fusion", "pooling": {"name": "netvlad", "clusters": 64, "non_local": {}}}
GATED_BOW = late("soft_dbow", 4096, 512, {"gated": False}, gated=True)


@pytest.mark.parametrize(
    ("pooling", "hidden", "gating", "classes", "head", "total"),
    [
        pytest.param(late("netvlad", 256, 128), 1024, True, 3862, head(2), (321_528_380, 12_844), id="gated NetVLAD"),
        pytest.param(late("netvlad", 256, 128), 800, True, 3862, head(2), (254_403_420, 12_396), id="student"),
        pytest.param(late("netrvlad", 256, 128), 1024, True, 3862, head(2), (321_249_852, 12_844), id="gated NetRVLAD"),
        pytest.param(late("netfv", 128, 64), 1024, True, 3862, head(2), (321_388_732, 12_460), id="gated NetFV"),
        pytest.param(GATED_BOW, 1024, False, 3862, head(2, gated=False), (37_168_940, 19_712), id="gated Soft-DBoW"),
        pytest.param(GATED_BOW, 1024, False, 3862, head(2), (52_091_708, 27_436), id="gated Soft-DBoW, gated head"),
        pytest.param(late("soft_dbow", 4096, 512), 1024, False, 3862, head(2, gated=False), (28_772_140, 11_520), id="Soft-DBoW 4096"),
        pytest.param(late("soft_dbow", 8000, 1000), 1024, False, 3862, head(2, gated=False), (37_338_492, 20_304), id="Soft-DBoW 8000"),
        pytest.param(late("soft_dbow", 8192, 1024), 1024, False, 3862, head(2, gated=False), (37_759_788, 20_736), id="Soft-DBoW 8192"),
        pytest.param(late("netvlad", 64, 32, non_local={}), 1024, True, 3862, head(8), (154_958_464, 12_268), id="LFNL-NetVLAD"),
        pytest.param(EFNL, 1024, True, 3862, head(2), (111_697_852, 12_204), id="EFNL-NetVLAD"),
        pytest.param(late("netrvlad", 64, 32, non_local={}), 1024, True, 3862, head(4), (123_235_880, 12_268), id="LFNL-NetRVLAD"),
        pytest.param(late("netvlad", 256, 256), 1024, True, 1000, head(2), (309_758_688, 7_376), id="CS230"),
    ],
)
def test_parameters(pooling, hidden, gating, classes, head, total):
    assert counts(pooling, hidden, gating, classes, head) == total
