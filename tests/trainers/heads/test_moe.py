import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from trainers.heads.logistic import Logistic
from trainers.heads.moe import MixtureOfExperts
from yt8m_data.errors import DataError

pytestmark = pytest.mark.filterwarnings("ignore:You are using a softmax over axis 1")  # one expert without dummy: the gate is 1


def made(num_classes=4, width=6, seed=0, scale=1.0, **options) -> MixtureOfExperts:
    head = MixtureOfExperts(num_classes, **options)
    head.build((None, width))
    rng = np.random.default_rng(seed)
    head.set_weights([rng.normal(size=w.shape) * scale for w in head.get_weights()])
    return head


def reference(head: MixtureOfExperts, x: np.ndarray) -> np.ndarray:
    """One video, class and expert at a time."""
    gates, experts, bias = (w.astype(np.float64) for w in head.get_weights())
    C, M = head.num_classes, head.num_experts
    p = np.zeros((len(x), C))
    for b, row in enumerate(x.astype(np.float64)):
        for c in range(C):
            g = np.array([row @ gates[:, m * C + c] for m in range(M + head.dummy)])
            pi = np.exp(g - g.max()) / np.exp(g - g.max()).sum()
            for m in range(M):
                p[b, c] += pi[m] / (1 + np.exp(-(row @ experts[:, m * C + c] + bias[m * C + c])))
    return p


@pytest.mark.parametrize("dummy", [True, False])
@pytest.mark.parametrize("experts", [1, 2, 5])
def test_equals_the_definition(experts, dummy):
    head = made(num_experts=experts, dummy=dummy)
    x = np.random.default_rng(1).normal(size=(3, 6)).astype(np.float32)
    np.testing.assert_allclose(head(x), reference(head, x), rtol=1e-4, atol=1e-6)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), scale=st.sampled_from([0.1, 1.0, 30.0]), batch=st.sampled_from([1, 3]))
def test_gives_probabilities_each_on_its_own(seed, scale, batch):
    head = made(seed=seed, scale=scale)
    x = np.random.default_rng(seed).normal(size=(batch, 6)).astype(np.float32)
    p = np.array(head(x))
    assert p.shape == (batch, 4)
    assert ((p >= 0) & (p <= 1 + 1e-6)).all()
    for row, expected in zip(x, p, strict=True):
        np.testing.assert_allclose(head(row[None])[0], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("experts", [1, 2, 4, 16])
def test_zero_weights_give_half_of_the_real_share(experts):
    head = made(scale=0.0, num_experts=experts)
    np.testing.assert_allclose(head(np.ones((2, 6), np.float32)), 0.5 * experts / (experts + 1), rtol=1e-6)


def test_closed_gates_give_nothing():
    head = made(num_experts=2)
    head.gate_kernel.assign(np.concatenate([np.full((6, 8), -10.0), np.full((6, 4), 10.0)], axis=1))
    assert np.array(head(np.ones((1, 6), np.float32))).max() < 1e-6


def test_one_expert_without_dummy_is_logistic():
    head, logistic = made(num_experts=1, dummy=False), Logistic(4)
    logistic.build((None, 6))
    logistic.set_weights(head.get_weights()[1:])
    x = np.random.default_rng(2).normal(size=(5, 6)).astype(np.float32)
    np.testing.assert_allclose(head(x), logistic(x), rtol=1e-6)


@pytest.mark.parametrize("dummy", [True, False])
def test_prior(dummy):
    head = made(num_experts=2, dummy=dummy, scale=0.0)
    prior = np.array([0.9, 0.1, 0.01, 1e-4])
    head.set_prior(prior)
    np.testing.assert_allclose(head(np.zeros((1, 6), np.float32))[0], prior * (2 / 3 if dummy else 1), rtol=1e-3)


def test_penalty_covers_both_kernels_and_no_bias():
    head = made(l2=0.01)
    gates, experts, _ = head.get_weights()
    assert sum(map(float, head.losses)) == pytest.approx(0.01 / 2 * ((gates**2).sum() + (experts**2).sum()), rel=1e-4)


def test_gradients_reach_every_weight():
    head = made()
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(tf.math.log(head(np.random.default_rng(3).normal(size=(8, 6)).astype(np.float32))))
    gradients = tape.gradient(total, head.trainable_variables)
    assert len(gradients) == 3
    assert all(np.abs(g).max() > 0 for g in gradients)


@pytest.mark.parametrize(
    ("cell", "layers", "units", "total"),
    [("GRU", 2, 1200, 63_466_124), ("GRU", 2, 1024, 52_536_876), ("LSTM", 2, 1024, 96_411_180)],
)
def test_parameters_of_the_published_sizes(cell, layers, units, total):
    """The head on all final states of Keras' own recurrent layers has the totals of the specification's table."""
    count, width = 0, 1152
    for _ in range(layers):
        layer = keras.layers.GRU(units, reset_after=False) if cell == "GRU" else keras.layers.LSTM(units)
        layer.build((None, None, width))
        count, width = count + layer.count_params(), units
    states = layers * units * (2 if cell == "LSTM" else 1)
    gates, experts, bias = states * 3862 * 3, states * 3862 * 2, 3862 * 2
    small = MixtureOfExperts(11)
    small.build((None, 7))
    assert [w.shape for w in small.weights] == [(7, 11 * 3), (7, 11 * 2), (11 * 2,)]
    assert count + gates + experts + bias == total


def test_config_round_trip_and_wrong_use():
    config = MixtureOfExperts(3, num_experts=4, dummy=False, l2=0.1, init_scale=0.2).get_config()
    assert MixtureOfExperts.from_config(config).get_config() == config
    with pytest.raises(DataError, match="at least 1 expert, not 0"):
        MixtureOfExperts(3, num_experts=0)
