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
    weights = {w.path.removeprefix(head.name + "/"): w.numpy().astype(np.float64) for w in head.weights}
    bias, C, M = weights["expert_bias"], head.num_classes, head.num_experts

    def score(row, name, column):
        if f"{name}_map/kernel" in weights:
            row = row @ weights[f"{name}_map/kernel"] + weights.get(f"{name}_map/bias", 0)
        return row @ weights[f"{name}_kernel"][:, column]

    p = np.zeros((len(x), C))
    for b, row in enumerate(x.astype(np.float64)):
        for c in range(C):
            g = np.array([score(row, "gate", m * C + c) for m in range(M + head.dummy)])
            pi = np.exp(g - g.max()) / np.exp(g - g.max()).sum()
            for m in range(M):
                p[b, c] += pi[m] / (1 + np.exp(-(score(row, "expert", m * C + c) + bias[m * C + c])))
    return p


@pytest.mark.parametrize("dummy", [True, False])
@pytest.mark.parametrize("experts", [1, 2, 5])
def test_equals_the_definition(experts, dummy):
    head = made(num_experts=experts, dummy=dummy)
    x = np.random.default_rng(1).normal(size=(3, 6)).astype(np.float32)
    np.testing.assert_allclose(head(x), reference(head, x), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("dummy", [True, False])
@pytest.mark.parametrize("experts", [1, 2, 5])
def test_gradients_are_the_slopes_of_the_definition(experts, dummy):
    head, rng = made(num_experts=experts, dummy=dummy), np.random.default_rng(1)
    x, upstream = rng.normal(size=(3, 6)).astype(np.float32), rng.normal(size=(3, 4))
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(head(x) * upstream.astype(np.float32))
    gradients = tape.gradient(total, head.trainable_variables)
    for variable, gradient in zip(head.trainable_variables, gradients, strict=True):
        start, direction, sums = variable.numpy(), rng.normal(size=variable.shape), []
        for side in (1, -1):
            variable.assign(start + side * 2e-3 * direction)
            sums.append((reference(head, x) * upstream).sum())
        variable.assign(start)
        assert (sums[0] - sums[1]) / 4e-3 == pytest.approx((gradient.numpy() * direction).sum(), rel=5e-3, abs=1e-3), variable.path


RANKS = [
    {"gate_rank": 3},
    {"expert_rank": 2},
    {"gate_rank": 5, "expert_rank": 5},
    {"gate_rank": 3, "rank_bias": True},
    {"gate_rank": 4, "expert_rank": 3, "rank_bias": True},
]


@pytest.mark.parametrize("ranks", RANKS)
@pytest.mark.parametrize("dummy", [True, False])
def test_low_ranks_equal_the_definition(ranks, dummy):
    head = made(num_experts=2, dummy=dummy, **ranks)
    x = np.random.default_rng(1).normal(size=(3, 6)).astype(np.float32)
    np.testing.assert_allclose(head(x), reference(head, x), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("ranks", RANKS)
def test_low_ranks_equal_one_layer_of_the_products(ranks):
    """Na et al.'s second layer is linear; a bias between the layers is the weight of an input that is always 1."""
    head = made(num_experts=3, seed=4, **ranks)
    kernels = []
    for first, kernel in ((head.gate_map, head.gate_kernel), (head.expert_map, head.expert_kernel)):
        if first is None:
            kernels.append(np.concatenate([kernel, np.zeros((1, kernel.shape[1]))]))
            continue
        inner_bias = first.bias.numpy() if head.rank_bias else np.zeros(first.units)
        kernels.append(np.concatenate([first.kernel, inner_bias[None]]) @ kernel.numpy())
    one_layer = made(num_experts=3, width=7)
    one_layer.set_weights([*kernels, head.expert_bias])
    x = np.random.default_rng(5).normal(size=(8, 6)).astype(np.float32)
    with_one = np.concatenate([x, np.ones((8, 1), np.float32)], axis=1)
    np.testing.assert_allclose(head(x), one_layer(with_one), rtol=1e-4, atol=1e-6)
    if head.expert_rank:
        assert np.linalg.matrix_rank(kernels[1][:-1]) == head.expert_rank < 6


@settings(max_examples=20)
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


@pytest.mark.parametrize(("options", "count"), [({}, 3), ({"gate_rank": 3}, 4), (RANKS[-1], 7)])
def test_gradients_reach_every_weight(options, count):
    head = made(**options)
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(tf.math.log(head(np.random.default_rng(3).normal(size=(8, 6)).astype(np.float32))))
    gradients = tape.gradient(total, head.trainable_variables)
    assert len(gradients) == count
    assert all(np.abs(g).max() > 0 for g in gradients)


def test_low_rank_penalty_and_start():
    """The penalty is of all four matrices; from init_scale 0 the probabilities are the plain start's, and the kernels get gradients."""
    head = made(l2=0.01, gate_rank=2, expert_rank=3, rank_bias=True)
    matrices = [w.numpy() for w in head.weights if w.path.endswith("kernel")]
    assert len(matrices) == 4
    assert sum(map(float, head.losses)) == pytest.approx(0.01 / 2 * sum((w**2).sum() for w in matrices), rel=1e-4)

    head, x = MixtureOfExperts(4, init_scale=0, gate_rank=2, expert_rank=3), np.random.default_rng(3).normal(size=(8, 6)).astype(np.float32)
    head.build((None, 6))
    head.set_prior(np.full(4, 0.3))
    with tf.GradientTape() as tape:
        p = head(x)
        total = tf.reduce_sum(tf.math.log(p) * np.eye(8, 4, dtype=np.float32))
    np.testing.assert_allclose(p, 0.2, rtol=1e-5)
    assert all(np.abs(g).max() > 0 for g in tape.gradient(total, [head.gate_kernel, head.expert_kernel]))


@pytest.mark.parametrize("options", [{}, {"gate_rank": 3}, *RANKS[-1:]])
def test_label_weights_are_the_experts_sum(options):
    """By finite differences: how an input moves the sum over the experts of their logits."""
    head = made(num_experts=3, **options)
    weights = {w.path.removeprefix(head.name + "/"): w.numpy().astype(np.float64) for w in head.weights}

    def logits(row):
        if "expert_map/kernel" in weights:
            row = row @ weights["expert_map/kernel"] + weights["expert_map/bias"]
        z = row @ weights["expert_kernel"] + weights["expert_bias"]
        return np.array([sum(z[m * 4 + c] for m in range(3)) for c in range(4)])

    label_weights = np.array(head.label_weights())
    assert label_weights.shape == (6, 4)
    for i in range(6):
        np.testing.assert_allclose(logits(np.eye(6)[i]) - logits(np.zeros(6)), label_weights[i], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("options", [{}, RANKS[-1]])
def test_mixed_precision_gives_float32(options):
    head, x = made(scale=0.5, **options), np.random.default_rng(6).normal(size=(4, 6)).astype(np.float32)
    mixed = MixtureOfExperts(4, dtype="mixed_bfloat16", **options)
    mixed.build((None, 6))
    mixed.set_weights(head.get_weights())
    p = mixed(x)
    assert p.dtype == mixed.label_weights().dtype == "float32"
    np.testing.assert_allclose(p, head(x), atol=0.03)
    assert np.abs(np.array(p) - np.array(head(x))).max() > 0  # products are of bfloat16


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


def test_parameters_of_the_two_layer_mixtures():
    C, M, D, R = 11, 2, 7, 5
    both, gates_only = MixtureOfExperts(C, M, **both_ranks(R)), MixtureOfExperts(C, M, gate_rank=R, rank_bias=True)
    both.build((None, D))
    gates_only.build((None, D))
    assert both.count_params() == 2 * (D * R + R) + R * C * (M + 1) + R * C * M + C * M
    assert gates_only.count_params() == (D * R + R) + R * C * (M + 1) + D * C * M + C * M


def both_ranks(rank):
    return {"gate_rank": rank, "expert_rank": rank, "rank_bias": True}


def test_keras_file_round_trip(tmp_path):
    inputs = keras.Input((6,))
    model = keras.Model(inputs, made(**both_ranks(3))(inputs))
    model.save(tmp_path / "model.keras")
    x = np.random.default_rng(8).normal(size=(5, 6)).astype(np.float32)
    loaded = keras.models.load_model(tmp_path / "model.keras", compile=False)
    np.testing.assert_array_equal(loaded(x), model(x))


def test_config_round_trip():
    config = MixtureOfExperts(3, num_experts=4, dummy=False, l2=0.1, init_scale=0.2, **both_ranks(5)).get_config()
    assert MixtureOfExperts.from_config(config).get_config() == config


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_experts": 0}, "num_experts of the mixture is 0: set it to a whole number of at least 1"),
        ({"gate_rank": 0}, "gate_rank of the mixture is 0: .* or null"),
        ({"expert_rank": -2}, "expert_rank of the mixture is -2"),
        ({"l2": "1e-8"}, "l2 of the mixture is '1e-8': set it to a number"),
        ({"dummy": "no"}, "dummy of the mixture is 'no': choose true or false"),
        ({"rank_bias": True}, "rank_bias of the mixture is set, but neither"),
    ],
)
def test_wrong_use(options, message):
    with pytest.raises(DataError, match=message):
        MixtureOfExperts(3, **options)
