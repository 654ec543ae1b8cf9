import keras
import numpy as np
import pytest
import tensorflow as tf

from trainers.model import assemble, multi_hot
from trainers.recipe import DataSchema, load
from trainers.registry import LABEL_LAYERS, POOLINGS, REGULARIZERS
from trainers.run import TrainSet
from yt8m_data.errors import DataError
from yt8m_data.quantize import dequantize

FRAMES = DataSchema(kind="frame", id_key="id", labels_key="labels", features={"rgb": 6, "audio": 2}, num_classes=5)
DATA = DataSchema(kind="video", id_key="id", labels_key="labels", features={"mean_rgb": 6, "mean_audio": 2}, num_classes=5)


def features(count=3, seed=0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=(count, size)).astype(np.float32) for name, size in DATA.features.items()}


def frames(lengths=(4, 1, 3), seed=0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    shape = (len(lengths), max(lengths))
    codes = {name: rng.integers(0, 256, (*shape, size), np.uint8) for name, size in FRAMES.features.items()}
    return {**codes, "num_frames": np.array(lengths, np.int32)}


@pytest.fixture(scope="module")
def toys():
    """Components to assemble with, registered for this module."""

    @POOLINGS.register("toy_mean")
    class ToyMean(keras.layers.Layer):
        def call(self, frames, mask):
            weights = keras.ops.cast(mask, frames.dtype)[:, :, None]
            return keras.ops.sum(frames * weights, axis=1) / keras.ops.sum(weights, axis=1)

    @POOLINGS.register("toy_parts")
    class ToyParts(ToyMean):
        joint_weight, part_weight = 6.0, 0.5

        def call(self, frames, mask, parts=False):
            mean = super().call(frames, mask)
            return [mean, mean[:, :3], mean[:, 3:]] if parts else mean

    @REGULARIZERS.register("toy_mean_weight")
    class ToyMeanWeight(keras.layers.Layer):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.seen = None

        def prepare(self, train_set):
            self.seen = train_set.num_records

        def call(self, labels, embedding, label_weights, training=None):
            return keras.ops.mean(label_weights) * 100 + keras.ops.sum(labels) + keras.ops.mean(embedding)

    yield
    del POOLINGS._classes["toy_mean"], POOLINGS._classes["toy_parts"], REGULARIZERS._classes["toy_mean_weight"]


@pytest.fixture(scope="module")
def halving():
    """A label layer to assemble with, registered for this module."""

    @LABEL_LAYERS.register("halving")
    class Halving(keras.layers.Layer):
        def call(self, p):
            return p / 2

    yield "halving"
    del LABEL_LAYERS._classes["halving"]


@pytest.mark.parametrize("name", ["logistic", "moe", "moe16"])
def test_takes_raw_features_and_normalises_them_jointly(name):
    model = assemble(load(name), DATA).model
    x = features()
    p = np.array(model(x))
    assert p.shape == (3, 5)
    assert ((p > 0) & (p < 1)).all()
    np.testing.assert_allclose(model({key: value * 9 for key, value in x.items()}), p, rtol=1e-4)  # the norm is taken out
    changed = np.array(model({**x, "mean_audio": x["mean_audio"] * 9}))
    assert np.abs(changed - p).max() > 1e-4  # jointly, not each on its own


@pytest.mark.parametrize("name", ["logistic", "moe"])
def test_starts_at_the_prior(name):
    prior = np.array([0.5, 0.1, 0.01, 1e-3, 1e-4])
    train_set = TrainSet([], 1_000_000, (prior * 1_000_001 - 0.5).tolist())
    p = np.array(assemble(load(name, ["head.init_scale=0", "prior_scale=1"]), DATA, train_set).model(features()))
    np.testing.assert_allclose(p, np.tile(prior * (1 if name == "logistic" else 2 / 3), (3, 1)), rtol=1e-3)


@pytest.mark.parametrize("name", ["logistic", "moe"])
def test_keras_file_round_trip_is_exact(name, tmp_path):
    model = assemble(load(name, ["head.init_scale=1"]), DATA).model
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", compile=False)
    np.testing.assert_array_equal(loaded.predict(features(), verbose=0), model.predict(features(), verbose=0))


def test_the_logits_train_the_same_weights():
    assembly = assemble(load("logistic", ["head.init_scale=1"]), DATA)
    assert assembly.loss.from_logits
    assert [id(w) for w in assembly.trainee.weights] == [id(w) for w in assembly.model.weights]
    outputs = assembly.trainee({"features": features(), "labels": np.zeros((3, 5))})
    np.testing.assert_allclose(tf.sigmoid(outputs["predictions"]), assembly.model(features()), rtol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(outputs["embedding"], axis=1), 8**0.5, rtol=1e-5)


def test_frames_are_dequantised_normalised_masked_and_pooled(toys):
    assembly = assemble(load("logistic", ["pooling.name=toy_mean", "input.scale=1", "head.init_scale=1"]), FRAMES)
    x, y = frames(), np.zeros((3, 5), np.float32)
    embedding = assembly.trainee({"features": x, "labels": y})["embedding"].numpy()
    for row, length in enumerate(x["num_frames"]):
        values = dequantize(np.concatenate([x["rgb"][row, :length], x["audio"][row, :length]], axis=1))
        unit = values / np.linalg.norm(values, axis=1, keepdims=True)
        np.testing.assert_allclose(embedding[row], unit.mean(axis=0), rtol=1e-4, atol=1e-6)
    kernel, bias = assembly.head.kernel.numpy(), assembly.head.bias.numpy()
    np.testing.assert_allclose(assembly.model(x), 1 / (1 + np.exp(-(embedding @ kernel + bias))), rtol=1e-4)


def test_parts_have_heads_and_weights_of_their_own_that_only_train(toys):
    assembly = assemble(load("moe", ["pooling.name=toy_parts"]), FRAMES)
    assert assembly.weights == {"predictions": 6.0, "part_1": 0.5, "part_2": 0.5}
    x, y = frames(), np.eye(3, 5, dtype=np.float32)
    loss, total = assembly.losses(x, y)
    outputs = assembly.trainee({"features": x, "labels": y}, training=True)
    each = {name: float(assembly.loss(y, outputs[name])) for name in assembly.weights}
    np.testing.assert_allclose(loss, each["predictions"], rtol=1e-6)
    np.testing.assert_allclose(total, 6 * each["predictions"] + 0.5 * each["part_1"] + 0.5 * each["part_2"], rtol=1e-5)
    assert len({round(value, 4) for value in each.values()}) == 3
    assert len(assembly.trainee.weights) == 3 * len(assembly.model.weights)


def test_regularizers_see_labels_embedding_and_label_weights(toys):
    assembly = assemble(load("logistic", ["regularizers=[{name: toy_mean_weight}]"]), DATA, TrainSet([], 7, [1] * 5))
    assert assembly.regularizers[0].seen == 7
    x, y = features(), np.ones((3, 5), np.float32)
    loss, total = assembly.losses(x, y)
    embedding = assembly.trainee({"features": x, "labels": y})["embedding"].numpy()
    expected = float(loss) + 100 * assembly.head.kernel.numpy().mean() + 15 + embedding.mean()
    np.testing.assert_allclose(total, expected, rtol=1e-5)


EVERY_PART = [
    "pooling={name: late_fusion, pooling: {name: netvlad, clusters: 4}}",
    "encoders=[{name: dense, size: 6}, {name: context_gating}]",
    "head={name: gated_moe, gate_input: hidden}",
    "regularizers=[{name: center}]",
    "input.adaptive_noise=1",
]


def test_mixed_precision_keeps_weights_probabilities_and_loss_in_float32(tmp_path):
    """Only products are of bfloat16, in every layer and the layers within; the saved model says so, and nothing global is left behind."""
    assembly = assemble(load("moe", ["training.precision=mixed_bfloat16", *EVERY_PART]), FRAMES, TrainSet([], 9, [1, 2, 3, 4, 5]))
    assert {weight.dtype for weight in assembly.trainee.trainable_weights} == {"float32"}
    named = ("pooling", "encoder_1", "encoder_2", "head")
    assert [assembly.model.get_layer(name).compute_dtype for name in named] == ["bfloat16"] * 4
    assert {layer.compute_dtype for name in ("frames", "normalize") for layer in [assembly.model.get_layer(name)]} == {"float32"}
    inner = [layer.compute_dtype for layer in assembly.model.get_layer("pooling")._flatten_layers(include_self=False)]
    assert set(inner) == {"bfloat16"}
    assert assembly.model(frames()).dtype == "float32"
    assert [value.dtype for value in assembly.losses(frames(), np.eye(3, 5, dtype=np.float32))] == ["float32", "float32"]
    assert keras.config.dtype_policy().name == "float32"

    assembly.model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", compile=False)
    np.testing.assert_array_equal(loaded(frames()), assembly.model(frames()))
    assert loaded.get_layer("head").compute_dtype == "bfloat16"


def test_mixed_precision_differs_by_rounding_alone():
    plain, mixed = (assemble(load("moe", [f"training.precision={p}", *EVERY_PART]), FRAMES) for p in ("float32", "mixed_bfloat16"))
    mixed.model.set_weights(plain.model.get_weights())
    p, of_products = np.array(plain.model(frames())), np.array(mixed.model(frames()))
    assert 0 < np.abs(p - of_products).max() < 0.02


def test_moves_only_train(made_deltas):
    """Also where videos are moved, the saved model has no file to read; and what is moved is not yet of unit length."""
    data = DATA.model_copy(update={"features": {"mean_rgb": 12, "mean_audio": 4}})
    settings = [f"input.move={{deltas: {made_deltas}, scale: 3.0, probability: 1.0}}", "input.scale=1", "head.init_scale=1"]
    assembly = assemble(load("logistic", settings), data)
    rng = np.random.default_rng(0)
    videos = {name: rng.normal(size=(40, size)).astype(np.float32) for name, size in data.features.items()}
    given = {"features": videos, "labels": np.ones((40, 5), np.float32)}
    still, moved = (np.array(assembly.trainee(given, training=training)["embedding"]) for training in (False, True))
    joined = np.concatenate(list(videos.values()), axis=1)
    np.testing.assert_allclose(still, joined / np.linalg.norm(joined, axis=1, keepdims=True), rtol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(moved, axis=1), 1, rtol=1e-5)
    assert (np.abs(moved - still).max(axis=1) > 0.05).all()
    assert not [layer for layer in assembly.model.layers if layer.name == "move"]


def test_frames_are_not_moved(made_deltas):
    with pytest.raises(DataError, match=r"input\.move is for video-level records, but these are frame-level: leave it out"):
        assemble(load("gated_netvlad", [f"input.move.deltas={made_deltas}"]), FRAMES)


def test_noise_only_trains():
    settings = ["input.adaptive_noise=50", "head.init_scale=1"]
    assembly = assemble(load("moe", settings), DATA, TrainSet([], 100, [100, 50, 10, 5, 1]))
    x, y = features(), np.eye(5, dtype=np.float32)[[4, 4, 0]]
    given = {"features": x, "labels": y}
    noisy, again = (assembly.trainee(given, training=True)["embedding"].numpy() for _ in range(2))
    assert np.abs(noisy - again).max() > 0.1  # drawn anew
    np.testing.assert_array_equal(assembly.model(x, training=True), assembly.model(x))
    assert not [layer for layer in assembly.model.layers if "noise" in layer.name]
    assert [layer for layer in assembly.trainee.layers if "noise" in layer.name]


def test_label_layer(halving):
    keras.utils.set_random_seed(0)
    plain = np.array(assemble(load("moe"), DATA).model(features()))
    keras.utils.set_random_seed(0)
    halved = np.array(assemble(load("moe", [f"label_layer.name={halving}"]), DATA).model(features()))
    np.testing.assert_allclose(halved, plain / 2, rtol=1e-6)


def test_label_layer_behind_a_head_that_takes_frames(halving):
    keras.utils.set_random_seed(0)
    plain = np.array(assemble(load("many_to_many"), FRAMES).model(frames()))
    keras.utils.set_random_seed(0)
    halved = np.array(assemble(load("many_to_many", [f"label_layer.name={halving}"]), FRAMES).model(frames()))
    np.testing.assert_allclose(halved, plain / 2, rtol=1e-6)


def test_single_feature():
    data = DATA.model_copy(update={"features": {"mean_rgb": 6}})
    assert assemble(load("moe"), data).model({"mean_rgb": np.ones((2, 6))}).shape == (2, 5)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["head.name=moo"], "unknown head 'moo': known are gated_moe, logistic, "),
        (["head.experts=3"], "head 'moe' has no option 'experts': known are num_experts, dummy, "),
        (["loss.name=hinge"], "unknown loss 'hinge': known are cross_entropy, "),
        (["label_layer.name=x"], "unknown label layer 'x'"),
        (["pooling.name=netvladd"], "unknown pooling 'netvladd': known are "),
        (["encoders=[{name: dens}]"], "unknown encoder 'dens': known are "),
        (["regularizers=[{name: l3}]"], "unknown regularizer 'l3': known are "),
        (["pooling.name=average"], "pooling average of recipe moe takes frames, but the records are video-level: give frame-level shards"),
        (["head={name: many_to_many}"], "head many_to_many of recipe moe takes frames, but the records are video-level"),
        (["loss.from_logits=true"], "loss.from_logits needs a head that has logits"),
    ],
)
def test_wrong_components(overrides, message):
    with pytest.raises(DataError, match=message):
        assemble(load("moe", overrides), DATA)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ([], "recipe moe takes video-level records, but these are frame-level: set pooling='{name: average}'"),
        (["head={name: many_to_many}", "pooling.name=average"], "head many_to_many takes frames itself: leave out pooling"),
    ],
)
def test_what_does_not_go_with_frames(overrides, message):
    with pytest.raises(DataError, match=message):
        assemble(load("moe", overrides), FRAMES)


def test_multi_hot():
    labels = tf.constant([[0, 2, -1], [-1, -1, -1], [1, 1, 3]], tf.int32)
    np.testing.assert_array_equal(multi_hot(labels, 4), [[1, 0, 1, 0], [0, 0, 0, 0], [0, 1, 0, 1]])
    assert multi_hot(tf.zeros((2, 0), tf.int32), 3).numpy().tolist() == [[0, 0, 0], [0, 0, 0]]
