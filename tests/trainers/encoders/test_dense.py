import numpy as np
import pytest
import tensorflow as tf

from trainers.encoders.dense import Dense
from trainers.registry import ENCODERS
from yt8m_data.errors import DataError

X = np.random.default_rng(0).normal(size=(8, 5)).astype(np.float32) * 3
ACTIVATIONS = {None: lambda z: z, "relu": lambda z: np.maximum(z, 0), "relu6": lambda z: np.clip(z, 0, 6), "tanh": np.tanh}


def made(seed=1, **options) -> Dense:
    dense = Dense(4, **options)
    dense.build((None, 5))
    rng = np.random.default_rng(seed)
    for weight in dense.weights:
        values = rng.normal(size=weight.shape)
        weight.assign(np.abs(values) + 0.3 if weight.name == "moving_variance" else values)
    return dense


@pytest.mark.parametrize("activation", list(ACTIVATIONS))
@pytest.mark.parametrize("norm", [None, "batch_norm", "layer_norm"])
def test_equals_the_definition(norm, activation):
    dense = made(activation=activation, **({norm: True} if norm else {}))
    z = X.astype(np.float64) @ np.array(dense.linear.kernel)
    if norm == "batch_norm":
        gamma, beta, mean, variance = (np.array(w) for w in dense.norm.weights)
        z = gamma * (z - mean) / np.sqrt(variance + 1e-3) + beta
    elif norm == "layer_norm":
        gamma, beta = (np.array(w) for w in dense.norm.weights)
        z = gamma * (z - z.mean(axis=1, keepdims=True)) / np.sqrt(z.var(axis=1, keepdims=True) + 1e-6) + beta
    else:
        z = z + np.array(dense.linear.bias)
    np.testing.assert_allclose(dense(X), ACTIVATIONS[activation](z), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("norm", "trainable", "statistics"), [(None, 24, 0), ("batch_norm", 28, 8), ("layer_norm", 28, 0)])
def test_a_norm_stands_in_place_of_the_bias(norm, trainable, statistics):
    dense = made(**({norm: True} if norm else {}))
    assert sum(np.prod(w.shape) for w in dense.trainable_weights) == trainable
    assert sum(np.prod(w.shape) for w in dense.non_trainable_weights) == statistics
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(dense(X, training=True) ** 3)
    assert all(np.abs(g).max() > 0 for g in tape.gradient(total, [w.value for w in dense.trainable_weights]))


def test_start():
    """Glorot's and zeros, or the published normal ones."""
    plain, published = Dense(500), Dense(500, kernel_stddev=256**-0.5, bias_stddev=0.01)
    for dense in (plain, published):
        dense.build((None, 300))
    kernel = np.array(plain.linear.kernel)
    assert np.abs(kernel).max() <= np.sqrt(6 / 800)
    assert kernel.std() == pytest.approx(np.sqrt(2 / 800), rel=0.02)
    assert not np.any(plain.linear.bias)
    kernel, bias = np.array(published.linear.kernel), np.array(published.linear.bias)
    assert kernel.std() == pytest.approx(1 / 16, rel=0.02)
    assert np.abs(kernel).max() > 3 / 16
    assert bias.std() == pytest.approx(0.01, rel=0.1)


def test_penalty():
    dense = made(l2=0.1)
    assert float(dense.losses[0]) == pytest.approx(0.1 / 2 * (np.array(dense.linear.kernel) ** 2).sum(), rel=1e-5)
    assert not made().losses


def test_config_round_trip():
    config = Dense(3, "relu6", l2=0.1, kernel_stddev=0.5, bias_stddev=0.2, momentum=0.9, layer_norm=False).get_config()
    assert Dense.from_config(config).get_config() == config


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 0}, "size of dense is 0: set it to a whole number of at least 1$"),
        ({}, "encoder 'dense' needs the option 'size'"),
        ({"size": 3, "activation": "gelu"}, "activation of dense is 'gelu': choose one of null, relu, relu6, tanh"),
        ({"size": 3, "batch_norm": True, "layer_norm": True}, "both batch_norm and layer_norm"),
        ({"size": 3, "batch_norm": True, "bias_stddev": 0.01}, "bias_stddev of dense is 0.01, but a norm stands in place of the bias"),
        ({"size": 3, "l2": -1}, "l2 of dense is -1: set it to a number of at least 0$"),
        ({"size": 3, "kernel_stddev": "wide"}, "kernel_stddev of dense is 'wide': set it to a number of at least 0 or null"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(DataError, match=message):
        ENCODERS.create("dense", options)
