import keras
import numpy as np
import pytest
import tensorflow as tf

from trainers.model import assemble, multi_hot
from trainers.recipe import DataSchema, load
from trainers.registry import LABEL_LAYERS
from yt8m_data.errors import DataError

DATA = DataSchema(kind="video", id_key="id", labels_key="labels", features={"mean_rgb": 6, "mean_audio": 2}, num_classes=5)


def features(count=3, seed=0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=(count, size)).astype(np.float32) for name, size in DATA.features.items()}


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
    p = np.array(assemble(load(name, ["head.init_scale=0"]), DATA, prior).model(features()))
    np.testing.assert_allclose(p, np.tile(prior * (1 if name == "logistic" else 2 / 3), (3, 1)), rtol=1e-3)


@pytest.mark.parametrize("name", ["logistic", "moe"])
def test_keras_file_round_trip_is_exact(name, tmp_path):
    model = assemble(load(name, ["head.init_scale=1"]), DATA).model
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", compile=False)
    np.testing.assert_array_equal(loaded.predict(features(), verbose=0), model.predict(features(), verbose=0))


def test_the_logits_train_the_same_weights():
    model, trainee, loss = assemble(load("logistic", ["head.init_scale=1"]), DATA)
    assert loss.from_logits
    assert [id(w) for w in trainee.weights] == [id(w) for w in model.weights]
    np.testing.assert_allclose(tf.sigmoid(trainee(features())), model(features()), rtol=1e-5)


def test_label_layer(halving):
    keras.utils.set_random_seed(0)
    plain = np.array(assemble(load("moe"), DATA).model(features()))
    keras.utils.set_random_seed(0)
    halved = np.array(assemble(load("moe", [f"label_layer.name={halving}"]), DATA).model(features()))
    np.testing.assert_allclose(halved, plain / 2, rtol=1e-6)


def test_single_feature():
    data = DATA.model_copy(update={"features": {"mean_rgb": 6}})
    assert assemble(load("moe"), data).model({"mean_rgb": np.ones((2, 6))}).shape == (2, 5)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["head.name=moo"], "unknown head 'moo': known are logistic, moe"),
        (["head.experts=3"], "head 'moe' has no option 'experts': known are num_experts, dummy, l2, init_scale"),
        (["loss.name=hinge"], "unknown loss 'hinge': known are cross_entropy"),
        (["label_layer.name=x"], "unknown label layer 'x'"),
        (["pooling.name=netvlad"], "unknown pooling 'netvlad': known are none"),
        (["loss.from_logits=true"], "loss.from_logits needs a head that has logits"),
    ],
)
def test_wrong_components(overrides, message):
    with pytest.raises(DataError, match=message):
        assemble(load("moe", overrides), DATA)


def test_multi_hot():
    labels = tf.constant([[0, 2, -1], [-1, -1, -1], [1, 1, 3]], tf.int32)
    np.testing.assert_array_equal(multi_hot(labels, 4), [[1, 0, 1, 0], [0, 0, 0, 0], [0, 1, 0, 1]])
    assert multi_hot(tf.zeros((2, 0), tf.int32), 3).numpy().tolist() == [[0, 0, 0], [0, 0, 0]]
