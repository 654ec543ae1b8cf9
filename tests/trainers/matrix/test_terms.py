"""What every loss and every regularizer must do."""

import inspect
import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from matrix.cases import LOSS_TERMS, REGULARIZER_TERMS, Term
from matrix.checks import close
from matrix.subject import CLASSES

E = 4  # width of an embedding

every_loss = pytest.mark.parametrize("term", LOSS_TERMS, ids=str)
every_regularizer = pytest.mark.parametrize("term", REGULARIZER_TERMS, ids=str)


def labels(batch: int = 6, soft: bool = False) -> np.ndarray:
    """[B, C] of 0 and 1, or between them; the first video has none."""
    y = np.random.default_rng(0).random((batch, CLASSES)).astype(np.float32)
    y = y if soft else (y > 0.5).astype(np.float32)
    y[0] = 0
    return y


def predictions(batch: int = 6) -> np.ndarray:
    """[B, C] in (0, 1), which may be logits too."""
    return np.random.default_rng(1).uniform(0.05, 0.95, (batch, CLASSES)).astype(np.float32)


@every_loss
@pytest.mark.parametrize("soft", [False, True])
def test_losses_give_one_finite_number_for_each_video(term: Term, soft):
    loss, y = term.create(), labels(soft=soft)
    for p in (predictions(), np.zeros_like(y), np.ones_like(y)):
        values = loss.call(tf.constant(y), tf.constant(p))
        assert values.shape == (len(y),)
        assert values.dtype == "float32"
        assert np.isfinite(values).all()
    each = [float(loss(y[i : i + 1], p[i : i + 1])) for i, p in enumerate([predictions()] * len(y))]
    close(loss.call(tf.constant(y), tf.constant(predictions())), each)
    close(float(loss(y, predictions())), np.mean(each))


@every_loss
def test_gradients_of_losses_reach_every_prediction_and_lead_to_the_labels(term: Term):
    loss, y = term.create(), labels()
    for p in (predictions(), np.zeros_like(y), np.ones_like(y)):
        x = tf.constant(p)
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = loss(y, x)
        gradient = tape.gradient(value, x).numpy()
        assert np.isfinite(gradient).all()
        wrong = np.abs(p - y) > 1e-6
        assert (np.sign(gradient[wrong]) == np.sign((p - y)[wrong])).all()


@every_loss
def test_losses_fall_towards_the_labels(term: Term):
    loss, y = term.create(), labels()
    ways = [(1 - s) * predictions() + s * np.clip(y, 1e-3, 1 - 1e-3) for s in np.linspace(0, 1, 6)]
    values = [float(loss(y, way.astype(np.float32))) for way in ways]
    assert (np.diff(values) < 0).all()


def regularized(term: Term, y: np.ndarray, layer: keras.layers.Layer | None = None, training: bool = True, seed: int = 2) -> tuple:
    """A regularizer, its value, and the gradients with respect to the embedding and the label weights, any of which may be None."""
    rng = np.random.default_rng(seed)
    e, W = (tf.constant(rng.normal(size=shape).astype(np.float32)) for shape in ((len(y), E), (E, CLASSES)))
    layer = layer or term.create()
    with tf.GradientTape() as tape:
        tape.watch([e, W])
        value = layer(y, e, W, training=training)
    return layer, value, tape.gradient(value, [e, W])


@every_regularizer
def test_regularizers_give_a_cost_and_gradients(term: Term):
    layer, _, _ = regularized(term, labels())
    layer, value, gradients = regularized(term, labels(), layer, seed=3)
    assert value.shape == ()
    assert value.dtype == "float32"
    assert value > 0
    given = [gradient.numpy() for gradient in gradients if gradient is not None]
    assert given
    for gradient in given:
        assert np.isfinite(gradient).all()
        assert np.abs(gradient).max() > 0


@every_regularizer
def test_regularizers_have_a_state_that_moves_in_training_alone_and_gets_no_gradient(term: Term):
    layer, _, _ = regularized(term, labels())
    assert layer.weights
    assert not layer.trainable_weights
    before = layer.get_weights()
    regularized(term, labels(), layer, training=False, seed=3)
    for old, new in zip(before, layer.get_weights(), strict=True):
        np.testing.assert_array_equal(new, old)
    regularized(term, labels(), layer, seed=3)
    assert any(not np.array_equal(old, new) for old, new in zip(before, layer.get_weights(), strict=True))


@every_regularizer
def test_regularizers_of_videos_without_labels_are_finite(term: Term):
    _, value, gradients = regularized(term, np.zeros((3, CLASSES), np.float32))
    assert all(np.isfinite(part).all() for part in [value, *gradients] if part is not None)


@every_regularizer
def test_the_order_of_videos_does_not_count(term: Term):
    y, e = labels(), np.random.default_rng(3).normal(size=(6, E)).astype(np.float32)
    W = np.random.default_rng(4).normal(size=(E, CLASSES)).astype(np.float32)
    one, other = term.create(), term.create()
    for step in range(2):
        close(other(y[::-1], e[::-1], W * (step + 1), training=True), one(y, e, W * (step + 1), training=True))
    for a, b in zip(one.get_weights(), other.get_weights(), strict=True):
        close(b, a)


@every_regularizer
def test_regularizers_scale_with_their_weight(term: Term):
    weight = term.create().weight
    values = {}
    for factor in (0, 1, 3):
        scaled = Term(term.registry, term.name, {**term.options, "weight": factor * weight})
        layer, _, _ = regularized(scaled, labels())
        values[factor] = float(regularized(scaled, labels(), layer, seed=3)[1])
    assert values[0] == 0
    close(values[3], 3 * values[1])


@every_regularizer
def test_regularizers_in_a_graph_equal_those_outside(term: Term):
    y, e = labels(), np.random.default_rng(3).normal(size=(6, E)).astype(np.float32)
    W = np.random.default_rng(4).normal(size=(E, CLASSES)).astype(np.float32)
    plain, traced = term.create(), term.create()
    traced(y, e, W)
    graph = tf.function(
        lambda *inputs: traced(*inputs, training=True),
        input_signature=[tf.TensorSpec((None, CLASSES)), tf.TensorSpec((None, E)), tf.TensorSpec((E, CLASSES))],
    )
    for batch in (6, 4):
        close(graph(y[:batch], e[:batch], W), plain(y[:batch], e[:batch], W, training=True))
    for a, b in zip(plain.get_weights(), traced.get_weights(), strict=True):
        close(b, a)


@pytest.mark.parametrize("term", [*LOSS_TERMS, *REGULARIZER_TERMS], ids=str)
def test_config_round_trip(term: Term):
    first = term.create()
    config = json.loads(json.dumps(first.get_config()))
    names = {p.name for p in inspect.signature(type(first)).parameters.values() if p.kind is not p.VAR_KEYWORD}
    assert names <= set(config)
    assert {key: config[key] for key in term.options} == term.options
    twin = type(first).from_config(config)
    assert json.loads(json.dumps(twin.get_config())) == config
    if term in LOSS_TERMS:
        assert float(twin(labels(), predictions())) == float(first(labels(), predictions()))
    else:
        assert float(regularized(term, labels(), twin)[1]) == float(regularized(term, labels(), first)[1])
