import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from planted_segments import NUM_CLASSES

from trainers.losses.cross_entropy import EPSILON, CrossEntropy
from trainers.optimizer import Adam
from trainers.recipe import Training
from trainers.run import load_run
from trainers.segments.model import PARTS, MeanOfLogits, assemble, expand, losses, rated_loss
from trainers.segments.reader import evaluation_batches
from trainers.segments.run import layout_of, settings_for
from yt8m_data.errors import DataError
from yt8m_data.shards import expand as files_of

SMALL = ["hidden=8", "momentum=0.9"]


@pytest.fixture(scope="module")
def batch(in_context):
    files = files_of([in_context.eval])
    batches = evaluation_batches(files, layout_of(settings_for(in_context.video_run, "mean", []), files), 300)
    return next(iter(batches))


@pytest.fixture(scope="module")
def mean(in_context):
    settings = settings_for(in_context.video_run, "mean", SMALL)
    return settings, assemble(settings, in_context.video_run)


@pytest.fixture
def fresh(in_context):
    """For tests in training mode, which moves statistics."""
    settings = settings_for(in_context.video_run, "mean", SMALL)
    return settings, assemble(settings, in_context.video_run)


def step(assembly, settings, batch):
    with tf.GradientTape() as tape:
        _, total = losses(assembly, settings, batch)
    return tape.gradient(total, assembly.trainee.trainable_variables)


def test_gradients_reach_every_trainable_weight_and_nothing_of_the_context_encoder(fresh, batch):
    """A training step moves no weight and no batch norm statistic of the frozen copy, and it stays that of the video run."""
    settings, assembly = fresh
    context = assembly.model.get_layer("context")
    before = [weight.numpy() for weight in context.weights]
    frozen = {id(weight) for weight in context.weights}
    assert not any(id(weight) in frozen for weight in assembly.trainee.trainable_variables)
    statistics = assembly.model.get_layer("segment_encoder").non_trainable_variables
    clip = [weight.numpy() for weight in statistics]
    gradients = step(assembly, settings, batch)
    assert all(gradient is not None and np.abs(gradient).max() > 0 for gradient in gradients)
    assert all((one == other.numpy()).all() for one, other in zip(before, context.weights, strict=True))
    moved = [(one != other.numpy()).any() for one, other in zip(clip, statistics, strict=True)]
    assert any(moved)  # while the statistics of the copy that learns do move


def test_each_network_is_the_video_run_s(in_context, mean, batch):
    """Before a step: the context-ignorant model says of a clip what the video run says of a video with the clip's frames.

    And the encoder of clips has the video run's weights, without those of the head, which come last.
    """
    _, assembly = mean
    network, features = load_run(in_context.video_run).model, batch["features"]
    ignorant = assembly.trainee(features, training=False)["context_ignorant"].numpy()
    for row in range(0, len(ignorant), 37):
        video, start = int(features["segment_video"][row]), int(features["segment_start"][row])
        inside = slice(max(start - 3, 0), start + 8)
        clip = {name: features[name][video : video + 1, inside] for name in ("rgb", "audio")}
        clip["num_frames"] = tf.constant([clip["rgb"].shape[1]], tf.int32)
        np.testing.assert_allclose(ignorant[row], network(clip, training=False).numpy()[0], atol=1e-5)
    encoder = [weight.numpy() for weight in assembly.model.get_layer("segment_encoder").weights]
    for own, of_the_video in zip(encoder, network.weights[: len(encoder)], strict=True):
        np.testing.assert_array_equal(own, of_the_video.numpy())


def test_the_mean_is_the_mean_and_segments_do_not_see_each_other(in_context, mean, batch):
    """Of logits: the square root of the product of the odds. Of probabilities as an option."""
    _, assembly = mean
    whole = {name: p.numpy() for name, p in assembly.trainee(batch["features"], training=False).items()}
    odds = np.sqrt(np.prod([whole[name] / (1 - whole[name].astype(np.float64)) for name in PARTS], axis=0))
    np.testing.assert_allclose(whole["predictions"], odds / (1 + odds), atol=1e-5)
    settings = settings_for(in_context.video_run, "mean", [*SMALL, "mean_of=probabilities"])
    plain = assemble(settings, in_context.video_run).trainee(batch["features"], training=False)
    np.testing.assert_allclose(plain["predictions"], (plain["context_ignorant"] + plain["context_aware"]) / 2, atol=1e-6)
    np.testing.assert_allclose(assembly.model(batch["features"], training=False), whole["predictions"], atol=1e-6)
    assert whole["predictions"].shape[1] == NUM_CLASSES
    some = {name: batch["features"][name][5:9] if name.startswith("segment_") else batch["features"][name] for name in batch["features"]}
    np.testing.assert_allclose(assembly.model(some, training=False), whole["predictions"][5:9], atol=1e-5)


def test_the_new_head_is_a_classifier_of_both_embeddings(in_context, mean, batch):
    """Dense, batch norm, ReLU and a mixture of two experts, computed here from the weights."""
    _, assembly = mean
    inputs, model = batch["features"], assembly.model
    at = {name: keras.Model(model.input, model.get_layer(name).output) for name in ("join", "fusion", "head")}
    x = at["join"](inputs, training=False).numpy()
    network = load_run(in_context.video_run).model
    context = keras.Model(network.input, network.get_layer("head").input)({name: inputs[name] for name in network.input}, training=False)
    np.testing.assert_allclose(x[:, :24], context.numpy()[inputs["segment_video"]], atol=1e-5)
    kernel, gamma, beta, average, variance = (weight.numpy() for weight in model.get_layer("fusion").weights)
    hidden = np.maximum((x @ kernel - average) / np.sqrt(variance + 1e-3) * gamma + beta, 0)
    np.testing.assert_allclose(at["fusion"](inputs, training=False), hidden, atol=1e-4)
    head = model.get_layer("head")
    gates = np.exp(hidden @ head.gate_kernel.numpy()).reshape(-1, 3, NUM_CLASSES)
    experts = 1 / (1 + np.exp(-(hidden @ head.expert_kernel.numpy() + head.expert_bias.numpy()))).reshape(-1, 2, NUM_CLASSES)
    expected = (gates[:, :2] / gates.sum(axis=1, keepdims=True) * experts).sum(axis=1)
    np.testing.assert_allclose(at["head"](inputs, training=False), expected, atol=1e-4)


# --- The loss ---------------------------------------------------------------------------------------------------------------


def test_all_rated_and_no_mask_are_the_same_loss():
    random = np.random.default_rng(0)
    labels, p = random.integers(0, 2, (5, 4)).astype(np.float32), random.random((5, 4)).astype(np.float32)
    rated = np.tile(np.arange(4, dtype=np.int32), (5, 1))
    found, weights = expand(tf.constant(rated), tf.constant(labels), 4)
    np.testing.assert_array_equal(found, labels)
    assert float(rated_loss(found, p, weights)) == float(rated_loss(found, p, tf.ones_like(weights)))
    assert float(rated_loss(found, p, weights)) == pytest.approx(float(CrossEntropy()(labels, p)), rel=1e-6)


def test_unrated_pairs_do_not_change_the_masked_loss():
    p = np.float32([[0.9, 0.2, 0.3], [0.4, 0.5, 0.6]])
    labels, weights = expand(tf.constant([[0, 2], [1, -1]]), tf.constant([[1.0, 0.0], [1.0, 0.0]]), 3)
    np.testing.assert_array_equal(weights, [[1, 0, 1], [0, 1, 0]])
    expected = -(np.log(0.9 + EPSILON) + np.log(1 - 0.3 + EPSILON) + np.log(0.5 + EPSILON)) / 2
    assert float(rated_loss(labels, p, weights)) == pytest.approx(expected, rel=1e-5)
    flipped = tf.where(weights > 0, labels, 1 - labels)
    assert float(rated_loss(flipped, p, weights)) == pytest.approx(expected, rel=1e-5)
    assert float(rated_loss(flipped, p, tf.ones_like(weights))) != pytest.approx(
        float(rated_loss(labels, p, tf.ones_like(weights))), rel=0.1
    )


@given(st.lists(st.lists(st.floats(0, 1, width=32), min_size=3, max_size=3), min_size=1, max_size=4))
@settings(max_examples=50)
def test_laws_of_the_mean_of_logits(each):
    """It is a probability between those given, the same in any order, that of one model itself, and 1/2 adds nothing to the ranks."""
    p = np.float32(each)
    found, edge = MeanOfLogits()(list(p)).numpy(), 1e-5
    assert ((p.min(axis=0) - edge <= found) & (found <= p.max(axis=0) + edge)).all()
    np.testing.assert_allclose(MeanOfLogits()(list(p[::-1])), found, atol=1e-6)
    np.testing.assert_allclose(MeanOfLogits()([p[0]]), p[0], atol=1e-5)
    beside = MeanOfLogits()([p[0], np.full(3, 0.5, np.float32)]).numpy()
    inside = np.clip(p[0], 1e-6, 1 - 1e-6)
    np.testing.assert_allclose(beside / (1 - beside), np.sqrt(inside / (1 - inside)), rtol=1e-2)


def test_joint_and_separate_losses(fresh, batch):
    """Jointly what is minimised is the loss of the mean; separately the sum of both models' own."""
    settings, assembly = fresh
    outputs = assembly.trainee(batch["features"], training=True)
    labels, rated = expand(batch["rated"], batch["ratings"], NUM_CLASSES)
    own = {name: float(rated_loss(labels, p, rated)) for name, p in outputs.items()}
    for joint, expected in ((True, own["predictions"]), (False, own["context_ignorant"] + own["context_aware"])):
        loss, total = losses(assembly, settings.model_copy(update={"joint": joint}), batch)
        assert float(loss) == pytest.approx(own["predictions"], rel=1e-3)
        assert float(total) == pytest.approx(expected, rel=1e-3)
    unmasked, _ = losses(assembly, settings.model_copy(update={"masked": False}), batch)
    assert float(unmasked) > 1.2 * own["predictions"]


# --- Rates ------------------------------------------------------------------------------------------------------------------


def test_each_weight_has_the_rate_of_its_layer(in_context, mean):
    _, assembly = mean
    rates = dict(zip((id(weight) for weight in assembly.trainee.trainable_variables), assembly.rates, strict=True))
    of = {name: {rates[id(weight)] for weight in assembly.model.get_layer(name).trainable_variables} for name in ("fusion", "head")}
    assert of == {"fusion": {1.0}, "head": {1.0}}
    assert all(
        {rates[id(weight)] for weight in assembly.model.get_layer(name).trainable_variables} == {0.5}
        for name in ("context_ignorant", "segment_encoder")
    )
    settings = settings_for(in_context.video_run, "context_aware", ["rates={segment_encoder: 0.5, segment_encoder/pooling: 0.1, head: 2}"])
    assembly = assemble(settings, in_context.video_run)
    assert sorted(set(assembly.rates)) == [0.1, 0.5, 1.0, 2.0]


def test_adam_by_layers_is_several_adams():
    """Weights with a factor move as those of an Adam of their own whose rate is the factor times the rate."""
    random = np.random.default_rng(0)
    start, gradients = random.normal(size=(3, 4)).astype(np.float32), random.normal(size=(6, 3, 4)).astype(np.float32)
    together = [keras.Variable(row) for row in start]
    optimizer = Adam(0.1, factors=[1.0, 0.5, 0.0], clipnorm=1.0)
    optimizer.build(together)
    alone = [keras.Variable(row) for row in start[:2]]
    others = [keras.optimizers.Adam(rate, clipnorm=1.0) for rate in (0.1, 0.05)]
    for step_gradients in gradients:
        optimizer.apply([tf.constant(row) for row in step_gradients], together)
        for each, variable, row in zip(others, alone, step_gradients, strict=False):
            each.apply([tf.constant(row)], [variable])
    for one, other in zip(together, alone, strict=False):
        np.testing.assert_allclose(one.numpy(), other.numpy(), atol=1e-5)  # 1 - 0.999^t in float32, of steps of 0.1
    np.testing.assert_array_equal(together[2].numpy(), start[2])


def test_the_published_settings_are_the_defaults(in_context):
    """But for the mask, which the authors do not have, and the mean, which is theirs with `joint` and of probabilities."""
    settings = settings_for(in_context.video_run, "mean", [])
    assert (settings.neighbors, settings.hidden, settings.masked) == (3, 1024, True)
    assert (settings.joint, settings.mean_of) == (False, "logits")
    assert settings.head.model_dump() == {"name": "moe", "num_experts": 2, "l2": 1e-6}
    assert settings.training == Training(batch_size=32, epochs=1, learning_rate=2e-4)


def test_a_head_that_takes_frames_has_no_encoder(in_context, monkeypatch):
    """A network whose head is given frames and mask can be the context-ignorant model, but has nothing for the context-aware one."""
    frames, count = keras.Input((None, 12), name="rgb"), keras.Input((), name="num_frames")

    @keras.saving.register_keras_serializable(package="test")
    class Head(keras.layers.Layer):
        def call(self, x, n):
            return keras.ops.sum(x, axis=1) + n[:, None]

    network = keras.Model({"rgb": frames, "num_frames": count}, Head(name="head")(frames, count))
    run = load_run(in_context.video_run)._replace(model=network)
    monkeypatch.setattr("trainers.segments.model.load_run", lambda folder: run)
    with pytest.raises(
        DataError, match=r"the head of the run in .* takes frames itself: give a run with a pooling, or --model context_ignorant"
    ):
        assemble(settings_for(in_context.video_run, "context_aware", []), in_context.video_run)
