import keras
import numpy as np
import pytest
import tensorflow as tf

from trainers.heads.gated_moe import GatedMixtureOfExperts
from trainers.heads.moe import MixtureOfExperts
from yt8m_data.errors import DataError

C, D = 4, 6
OPTIONS = [
    {"gate_input": by, "batch_norm": norm, "remove_diagonal": diagonal}
    for by in ("probabilities", "hidden")
    for norm in (True, False)
    for diagonal in (True, False)
    if not (by == "hidden" and diagonal)
]


def made(seed=0, scale=1.0, **options) -> GatedMixtureOfExperts:
    """Random weights; moving variances are positive."""
    head = GatedMixtureOfExperts(C, **options)
    head.build((None, D))
    rng = np.random.default_rng(seed)
    head.set_weights([rng.uniform(0.5, 2, w.shape) if "variance" in w.path else rng.normal(size=w.shape) * scale for w in head.weights])
    return head


def mixture(head: GatedMixtureOfExperts, x: np.ndarray) -> np.ndarray:
    """The probabilities before the gate: the mixture's own tests hold it against NumPy."""
    plain = MixtureOfExperts(C, head.num_experts, head.dummy, gate_rank=head.gate_rank, expert_rank=head.expert_rank)
    plain.build((None, D))
    inside = {w.path.split("/", 1)[1]: w for w in head.weights}
    plain.set_weights([inside[w.path.split("/", 1)[1]] for w in plain.weights])
    return np.array(plain(x)).astype(np.float64)


def gate(head: GatedMixtureOfExperts, x: np.ndarray, p: np.ndarray, training: bool) -> np.ndarray:
    """One video and class at a time."""
    G = head.gating_kernel.numpy().astype(np.float64)
    source = x.astype(np.float64) if head.gate_input == "hidden" else p
    z = np.zeros((len(x), C))
    for b in range(len(x)):
        for c in range(C):
            z[b, c] = sum(source[b, i] * G[i, c] for i in range(len(G)) if not (head.remove_diagonal and i == c))
    if head.batch_norm:
        gamma, beta, mean, variance = (w.numpy().astype(np.float64) for w in head.gating_norm.weights)
        if training:
            mean, variance = z.mean(axis=0), z.var(axis=0)
        z = gamma * (z - mean) / np.sqrt(variance + 1e-3) + beta
    else:
        z = z + head.gating_bias.numpy()
    return 1 / (1 + np.exp(-z))


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("options", OPTIONS)
def test_equals_the_definition(options, training):
    head, x = made(**options), np.random.default_rng(1).normal(size=(5, D)).astype(np.float32)
    p = mixture(head, x)
    expected = p * gate(head, x, p, training)
    np.testing.assert_allclose(head(x, training=training), expected, rtol=2e-4, atol=1e-6)
    assert np.abs(expected / p - 0.5).max() > 0.1  # gates differ


def test_takes_the_mixtures_options():
    options = {"num_experts": 3, "dummy": False, "gate_rank": 2, "expert_rank": 3}
    head, x = made(seed=3, **options), np.random.default_rng(1).normal(size=(5, D)).astype(np.float32)
    p = mixture(head, x)
    np.testing.assert_allclose(head(x), p * gate(head, x, p, False), rtol=2e-4, atol=1e-6)
    assert head.label_weights().shape == (D, C)


@pytest.mark.parametrize("seed", range(5))
def test_only_lowers_probabilities_each_video_on_its_own(seed):
    head, x = made(seed=seed, scale=3.0), np.random.default_rng(seed).normal(size=(4, D)).astype(np.float32)
    p = np.array(head(x, training=False))
    assert (p >= 0).all()
    assert (p <= mixture(head, x) + 1e-7).all()
    for row, expected in zip(x, p, strict=True):
        np.testing.assert_allclose(head(row[None], training=False)[0], expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("batch_norm", [True, False])
def test_a_gate_of_zeros_halves(batch_norm, training):
    head = GatedMixtureOfExperts(C, batch_norm=batch_norm)
    head.build((None, D))
    head.gating_kernel.assign(np.zeros((C, C)))
    x = np.random.default_rng(2).normal(size=(5, D)).astype(np.float32)
    np.testing.assert_allclose(head(x, training=training), mixture(head, x) / 2, rtol=1e-5)


def test_the_diagonal_does_not_count_when_removed():
    x = np.random.default_rng(2).normal(size=(5, D)).astype(np.float32)
    for removed in (True, False):
        head = made(remove_diagonal=removed)
        before = np.array(head(x))
        head.gating_kernel.assign(head.gating_kernel.numpy() + 3 * np.eye(C))
        assert np.allclose(head(x), before, atol=1e-6) == removed


def test_numbers_that_the_gate_adds():
    plain = MixtureOfExperts(C)
    plain.build((None, D))

    def added(**options):
        head = GatedMixtureOfExperts(C, **options)
        head.build((None, D))
        trainable = sum(w.shape.num_elements() for w in head.trainable_weights)
        return trainable - plain.count_params(), head.count_params() - plain.count_params()

    assert added() == (C**2 + 2 * C, C**2 + 4 * C)
    assert added(batch_norm=False) == (C**2 + C, C**2 + C)
    assert added(gate_input="hidden") == (C * D + 2 * C, C * D + 4 * C)


def test_adds_what_the_published_sizes_differ_by():
    """Gated Soft-DBoW has 52,091,708 trainable weights and 27,436 statistics with the gate, 37,168,940 and 19,712 without."""
    heads = GatedMixtureOfExperts(3862), MixtureOfExperts(3862)
    for head in heads:
        head.build((None, 1))
    with_gate, without = ([sum(w.shape.num_elements() for w in ws) for ws in (h.trainable_weights, h.non_trainable_weights)] for h in heads)
    assert with_gate[0] - without[0] == 52_091_708 - 37_168_940
    assert with_gate[1] - without[1] == 27_436 - 19_712


def test_start_of_the_gate():
    keras.utils.set_random_seed(0)
    head = GatedMixtureOfExperts(400)
    head.build((None, 2))
    assert head.gating_kernel.numpy().std() == pytest.approx(1 / 20, rel=0.02)


def test_begins_where_the_mixture_does():
    prior = np.array([0.3, 0.1, 1e-3, 1e-5])
    x = np.zeros((1, D), np.float32)
    head, plain = GatedMixtureOfExperts(C), MixtureOfExperts(C)
    for each in (head, plain):
        each.build((None, D))
        each.set_prior(prior)
    np.testing.assert_allclose(plain(x)[0], prior * 2 / 3, rtol=1e-3)
    np.testing.assert_allclose(head(x)[0], plain(x)[0], rtol=0.3)  # G is random, the probabilities are small
    head.gating_kernel.assign(np.zeros((C, C)))
    np.testing.assert_allclose(head(x)[0], plain(x)[0], rtol=1e-3)
    head.set_prior(np.array([0.99, 0.5, 0.4, 0.1]))
    np.testing.assert_allclose(head(x)[0], np.array([0.495, 0.495, 0.4, 0.1]) * 2 / 3, rtol=1e-3)


def test_penalty_is_the_mixtures():
    head = made(l2=0.01)
    kernels = [head.gate_kernel.numpy(), head.expert_kernel.numpy()]
    assert sum(map(float, head.losses)) == pytest.approx(0.01 / 2 * sum((w**2).sum() for w in kernels), rel=1e-4)


def test_statistics_move_in_training_alone_and_not_where_frozen():
    x = np.random.default_rng(2).normal(size=(50, D)).astype(np.float32)
    head = made(momentum=0.9)
    p = mixture(head, x)
    before, z = head.gating_norm.moving_mean.numpy(), p @ head.gating_kernel.numpy()
    head(x, training=False)
    np.testing.assert_array_equal(head.gating_norm.moving_mean, before)
    head(x, training=True)
    np.testing.assert_allclose(head.gating_norm.moving_mean, 0.9 * before + 0.1 * z.mean(axis=0), rtol=1e-3, atol=1e-5)
    head.trainable = False
    frozen = head.gating_norm.moving_mean.numpy()
    np.testing.assert_allclose(head(x, training=True), head(x, training=False), rtol=1e-5)
    np.testing.assert_array_equal(head.gating_norm.moving_mean, frozen)


@pytest.mark.parametrize("options", OPTIONS)
def test_gradients_reach_every_weight(options):
    head = made(**options)
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(tf.math.log(head(np.random.default_rng(3).normal(size=(8, D)).astype(np.float32), training=False)))
    gradients = tape.gradient(total, head.trainable_variables)
    assert len(gradients) == 3 + 1 + (2 if options["batch_norm"] else 1)
    assert all(np.abs(g).max() > 0 for g in gradients)


@pytest.mark.parametrize("options", OPTIONS)
def test_mixed_precision_gives_float32(options):
    head, x = made(scale=0.5, **options), np.random.default_rng(6).normal(size=(4, D)).astype(np.float32)
    mixed = GatedMixtureOfExperts(C, dtype="mixed_bfloat16", **options)
    mixed.build((None, D))
    mixed.set_weights(head.get_weights())
    p = mixed(x)
    assert p.dtype == "float32"
    np.testing.assert_allclose(p, head(x), atol=0.03)


def test_keras_file_round_trip(tmp_path):
    inputs = keras.Input((D,))
    model = keras.Model(inputs, made(gate_rank=3)(inputs))
    model.save(tmp_path / "model.keras")
    x = np.random.default_rng(8).normal(size=(5, D)).astype(np.float32)
    loaded = keras.models.load_model(tmp_path / "model.keras", compile=False)
    np.testing.assert_array_equal(loaded(x), model(x))


def test_config_round_trip():
    head = GatedMixtureOfExperts(
        3, 4, False, 0.1, 0.2, 5, 6, True, gate_input="hidden", batch_norm=False, remove_diagonal=False, momentum=0.5
    )
    config = head.get_config()
    assert {"gate_rank": 5, "rank_bias": True, "gate_input": "hidden", "momentum": 0.5}.items() <= config.items()
    assert GatedMixtureOfExperts.from_config(config).get_config() == config


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gate_input": "logits"}, "gate_input of gated_moe is 'logits': choose one of probabilities, hidden"),
        ({"gate_input": "hidden", "remove_diagonal": True}, "remove_diagonal of gated_moe is set, but gate_input is hidden"),
        ({"momentum": 1.0}, "momentum of gated_moe is 1.0"),
        ({"batch_norm": None}, "batch_norm of gated_moe is None"),
        ({"num_experts": 0}, "num_experts of the mixture is 0"),
    ],
)
def test_wrong_use(options, message):
    with pytest.raises(DataError, match=message):
        GatedMixtureOfExperts(3, **options)
