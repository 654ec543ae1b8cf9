import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from trainers.regularizers.label_relations import LabelRelations
from yt8m_data.errors import DataError

WIDE, TALL = (5, 8), (8, 5)


def random_weights(shape=WIDE, seed=0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def made(shape=WIDE, **options) -> LabelRelations:
    term = LabelRelations(**{"weight": 1.0, **options})
    term.build((None, shape[1]), (None, shape[0]), shape)
    return term


def penalty(term: LabelRelations, W: np.ndarray, training: bool = False) -> float:
    labels, embedding = np.zeros((2, W.shape[1]), np.float32), np.zeros((2, W.shape[0]), np.float32)
    return float(term(labels, embedding, W, training=training))


def omega(term: LabelRelations) -> np.ndarray:
    """[C, C] from the state."""
    V = term.directions.numpy().astype(np.float64)
    return V @ np.diag(term.shares.numpy()) @ V.T + float(term.rest) * (np.eye(len(V)) - V @ V.T)


def optimum(W: np.ndarray) -> np.ndarray:
    """(W' W)^(1/2) over its trace, by the eigenvectors of W' W."""
    eigenvalues, vectors = np.linalg.eigh(W.astype(np.float64).T @ W)
    root = vectors @ np.diag(np.sqrt(np.maximum(eigenvalues, 0))) @ vectors.T
    return root / np.trace(root)


def nuclear_norm(W: np.ndarray) -> float:
    return np.linalg.svd(W.astype(np.float64), compute_uv=False).sum()


@pytest.mark.parametrize("shape", [WIDE, TALL, (4, 4)])
def test_omega_is_the_optimum(shape):
    term, W = made(shape), random_weights(shape)
    penalty(term, W, training=True)
    found = omega(term)
    np.testing.assert_allclose(found, optimum(W), atol=1e-5)
    np.testing.assert_allclose(found, found.T, atol=1e-7)
    assert np.linalg.eigvalsh(found).min() > -1e-7
    assert np.trace(found) == pytest.approx(1, rel=1e-5)
    assert np.abs(found - np.eye(shape[1]) / shape[1]).max() > 0.02


@pytest.mark.parametrize("shape", [WIDE, TALL])
def test_penalty_is_the_squared_nuclear_norm_as_epsilon_vanishes(shape):
    W = random_weights(shape)
    found = [penalty(made(shape, epsilon=epsilon), W, training=True) for epsilon in (1e-2, 1e-4, 1e-7)]
    assert found == sorted(found)
    assert found[-1] == pytest.approx(nuclear_norm(W) ** 2, rel=1e-4)
    assert nuclear_norm(W) ** 2 > 1.5 * (W**2).sum()


@pytest.mark.parametrize("shape", [WIDE, TALL])
@pytest.mark.parametrize("epsilon", [1e-3, 1e-1])
def test_penalty_away_from_the_optimum_is_the_trace(shape, epsilon):
    """By the inverse of a matrix [C, C], for a W that has moved since omega was taken."""
    term, W = made(shape, weight=0.2, epsilon=epsilon), random_weights(shape)
    penalty(term, W, training=True)
    moved = W + 0.1 * random_weights(shape, seed=1)
    inverse = np.linalg.inv(optimum(W) + epsilon * np.eye(shape[1]))
    assert penalty(term, moved) == pytest.approx(0.2 * np.trace(moved @ inverse @ moved.T), rel=1e-3)
    assert penalty(term, moved, training=True) == pytest.approx(penalty(term, moved), rel=1e-6)  # the second of ten steps


@pytest.mark.parametrize("shape", [WIDE, TALL])
def test_begins_at_the_identity_of_trace_1(shape):
    """There the penalty is C times the squared Frobenius norm."""
    W = random_weights(shape)
    term = made(shape, epsilon=1e-9)
    np.testing.assert_allclose(omega(term), np.eye(shape[1]) / shape[1], atol=1e-7)
    assert penalty(term, W) == pytest.approx(shape[1] * (W.astype(np.float64) ** 2).sum(), rel=1e-5)


@pytest.mark.parametrize("shape", [WIDE, TALL])
def test_gradient_is_by_finite_differences_and_by_formula(shape):
    term, W = made(shape, weight=0.2, epsilon=1e-2), random_weights(shape)
    penalty(term, W, training=True)
    moved = tf.Variable(W + 0.1 * random_weights(shape, seed=1))
    with tf.GradientTape() as tape:
        value = term(np.zeros((1, shape[1])), np.zeros((1, shape[0])), moved, training=True)
    gradient = tape.gradient(value, moved).numpy()
    inverse = np.linalg.inv(optimum(W) + 1e-2 * np.eye(shape[1]))
    np.testing.assert_allclose(gradient, 2 * 0.2 * moved.numpy() @ inverse, rtol=1e-3, atol=1e-3)
    for i, j in ((0, 0), (2, 3), (shape[0] - 1, shape[1] - 1)):
        step = np.zeros(shape, np.float32)
        step[i, j] = 0.05
        difference = penalty(term, moved.numpy() + step) - penalty(term, moved.numpy() - step)
        assert difference / 0.1 == pytest.approx(gradient[i, j], rel=2e-3, abs=2e-3)
    assert not term.trainable_variables


def test_gradient_at_the_optimum_is_that_of_the_squared_nuclear_norm():
    W = tf.Variable(random_weights())
    with tf.GradientTape() as tape:
        value = made(epsilon=1e-5)(np.zeros((1, 8)), np.zeros((1, 5)), W, training=True)
    U, S, V = np.linalg.svd(W.numpy(), full_matrices=False)
    np.testing.assert_allclose(tape.gradient(value, W), 2 * S.sum() * U @ V, rtol=2e-3, atol=0.03)


def test_taking_omega_anew_lowers_the_penalty():
    for seed in range(5):
        term, W = made(every=1), random_weights(seed=seed)
        penalty(term, W, training=True)
        moved = W + 0.5 * random_weights(seed=seed + 100)
        assert penalty(term, moved, training=True) < penalty_with(omega_of=W, at=moved) * 0.99


def penalty_with(omega_of: np.ndarray, at: np.ndarray) -> float:
    return float(np.trace(at @ np.linalg.inv(optimum(omega_of) + 1e-6 * np.eye(at.shape[1])) @ at.T))


@pytest.mark.parametrize("every", [1, 3])
def test_omega_is_taken_every_so_many_training_steps(every):
    term, states = made(every=every), []
    step = tf.function(lambda W: term(tf.zeros((1, 8)), tf.zeros((1, 5)), W, training=True))
    for seed in range(7):
        step(random_weights(seed=seed))
        penalty(term, random_weights(seed=50))  # not a training step
        states.append(omega(term))
    for i, state in enumerate(states):
        np.testing.assert_allclose(state, optimum(random_weights(seed=i // every * every)), atol=1e-5)


def test_weights_of_low_rank():
    """Directions that W has not are left to epsilon."""
    W = random_weights((5, 2)) @ random_weights((2, 8), seed=1)
    term = made(epsilon=1e-3)
    assert penalty(term, W, training=True) == pytest.approx(nuclear_norm(W) ** 2, rel=0.05)
    assert np.count_nonzero(term.shares.numpy()) == 2
    np.testing.assert_allclose(omega(term), optimum(W), atol=1e-4)


def test_weights_of_zeros_tell_nothing():
    term = made()
    assert penalty(term, np.zeros(WIDE, np.float32), training=True) == 0
    np.testing.assert_allclose(omega(term), np.eye(8) / 8, atol=1e-7)


def descend(x, target, W, term):
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean((x @ W - target) ** 2) + term(target, x, W, training=True)
    W.assign_sub(0.02 * tape.gradient(loss, W))


def test_descent_leads_to_a_low_rank():
    """Of the W that fit a few labels' directions, the penalty prefers those that share them."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 6)).astype(np.float32)
    target = (x @ np.outer(rng.normal(size=6), rng.normal(size=9)) + 0.3 * rng.normal(size=(300, 9))).astype(np.float32)
    singular = []
    for weight in (0.0, 0.02):
        term, W = made((6, 9), weight=weight, every=1, epsilon=1e-4), tf.Variable(random_weights((6, 9)) * 0.1)
        train = tf.function(functools.partial(descend, x, target, W, term))
        for _ in range(300):
            train()
        values = np.linalg.svd(W.numpy(), compute_uv=False)
        singular.append(values[1:].sum() / values[0])
    assert singular[1] < singular[0] / 3


def test_weight_0_is_the_loss_without():
    assert penalty(made(weight=0.0), random_weights(), training=True) == 0


def test_state_is_checkpointed(tmp_path):
    term = made(every=3)
    for seed in range(4):
        penalty(term, random_weights(seed=seed), training=True)
    path = tf.train.Checkpoint(term=term).save(tmp_path / "x")
    other = made(every=3)
    tf.train.Checkpoint(term=other).restore(path).assert_consumed()
    assert int(other.steps) == 4
    for seed in range(4, 8):  # omega is due at the third
        assert penalty(other, random_weights(seed=seed), training=True) == penalty(term, random_weights(seed=seed), training=True)
        np.testing.assert_array_equal(other.directions, term.directions)


def test_builds_from_shapes_of_a_graph_and_keeps_float32():
    term = LabelRelations(dtype="mixed_bfloat16", epsilon=1e-4)
    value = term(keras.KerasTensor((None, 8)), keras.KerasTensor((None, 5)), keras.KerasTensor(WIDE))
    assert value.shape == ()
    assert int(term.steps) == 0
    W = random_weights()
    assert penalty(term, W, training=True) == pytest.approx(0.2 * nuclear_norm(W) ** 2, rel=1e-2)
    assert term(np.zeros((1, 8)), np.zeros((1, 5)), W).dtype == "float32"


def test_config_round_trip():
    config = LabelRelations(0.1, 5, 1e-3).get_config()
    assert LabelRelations.from_config(config).get_config() == config


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weight": -1}, "weight of label_relations is -1"),
        ({"every": 0}, "every of label_relations is 0: set it to a whole number of at least 1"),
        ({"epsilon": 0}, "epsilon of label_relations is 0: set it to a number above 0"),
    ],
)
def test_wrong_use(options, message):
    with pytest.raises(DataError, match=message):
        LabelRelations(**options)


def test_a_head_without_label_weights():
    with pytest.raises(DataError, match="needs a head that has label weights: take logistic"):
        LabelRelations()(np.zeros((1, 8), np.float32), np.zeros((1, 5), np.float32), None)
