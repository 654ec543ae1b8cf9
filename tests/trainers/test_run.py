import keras
import numpy as np
import pytest
import tensorflow as tf

from trainers import run
from trainers.recipe import DataSchema, load
from yt8m_data.errors import DataError


def test_take_up_finds_what_begin_left(tmp_path):
    recipe, folder = load("moe"), tmp_path / "new" / "run"
    train_set = run.TrainSet(["a", "b"], 10, [3, 0, 7])
    assert run.take_up(folder, recipe, ["a", "b"]) is None
    run.begin(folder, recipe, train_set)
    assert run.take_up(folder, recipe, ["a", "b"]) == train_set
    with pytest.raises(DataError, match=r"begun on other training files \(a, ...\)"):
        run.take_up(folder, recipe, ["a"])
    with pytest.raises(DataError, match="another recipe"):
        run.take_up(folder, load("logistic"), ["a", "b"])


def test_prior_is_never_zero():
    np.testing.assert_allclose(run.TrainSet([], 9, [0, 9]).prior, [0.05, 0.95])


def test_load_run_refuses(tmp_path):
    with pytest.raises(DataError, match=r"is no run folder \(it has no recipe.yaml\)"):
        run.load_run(str(tmp_path))
    run.begin(tmp_path, load("moe"), run.TrainSet([], 1, [1]))
    with pytest.raises(DataError, match=r"has not finished \(it has no model.keras\)"):
        run.load_run(str(tmp_path))


def test_a_run_keeps_the_list_of_classes(tmp_path):
    data = DataSchema(kind="frame", id_key="id", labels_key="labels", features={"rgb": 3}, num_classes=2, classes=(7, 3))
    recipe = load("moe", ["frames={sample: random, count: 4}"]).model_copy(update={"data": data})
    train_set = run.TrainSet(["a"], 10, [3, 7])
    run.begin(tmp_path, recipe, train_set)
    inputs = keras.Input((2,))
    run.save_model(tmp_path, keras.Model(inputs, keras.layers.Dense(2)(inputs)))
    assert run.load_run(str(tmp_path)).recipe == recipe
    assert run.take_up(tmp_path, recipe, ["a"]) == train_set
    other = recipe.model_copy(update={"data": data.model_copy(update={"classes": (3, 7)})})
    with pytest.raises(DataError, match="another recipe"):
        run.take_up(tmp_path, other, ["a"])


def dense(*widths):
    inputs = keras.Input((2,))
    x = inputs
    for i, width in enumerate(widths):
        x = keras.layers.Dense(width, bias_initializer="normal", name=f"layer{i}")(x)
    return keras.Model(inputs, keras.layers.BatchNormalization()(x))


def test_a_new_model_starts_from_a_finished_run(tmp_path):
    run.begin(tmp_path, load("moe"), run.TrainSet(["a"], 10, [3, 7]))
    with pytest.raises(DataError, match="has not finished"):
        run.start_from(str(tmp_path), dense(5, 3))
    given, own = dense(5, 3), dense(5, 3)
    given.weights[-1].assign([2.0, 3.0, 4.0])  # a moving variance, which is not trained
    run.save_model(tmp_path, given)
    run.start_from(str(tmp_path), own)
    for one, other in zip(own.get_weights(), given.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)

    other = dense(5, 4)
    before = other.get_weights()
    with pytest.raises(
        DataError, match=r"is of another model \(layer1/kernel is \(5, 3\), not \(5, 4\)\): set training.initial_run to a run"
    ):
        run.start_from(str(tmp_path), other)
    np.testing.assert_array_equal(other.get_weights()[0], before[0])
    with pytest.raises(DataError, match=r"is of another model \(8 weights, not 0\)"):
        run.start_from(str(tmp_path), keras.Model(inputs := keras.Input((2,)), inputs * 2))


class Traced(keras.layers.Layer):
    """The sum over frames, counting how often it is called from Python, which is once for each graph."""

    calls = 0

    def call(self, frames):
        self.calls += 1
        return keras.ops.cast(keras.ops.sum(frames, axis=1), "float32")


def test_predictions_of_batches_of_all_shapes():
    """In inference mode, and with one graph for all lengths."""
    inputs = {"rgb": keras.Input((None, 2), name="rgb", dtype="uint8"), "num_frames": keras.Input((), name="num_frames", dtype="int32")}
    traced = Traced()
    model = keras.Model(inputs, keras.layers.Dropout(0.9)(traced(inputs["rgb"])) + keras.ops.cast(inputs["num_frames"], "float32")[:, None])
    traced.calls = 0
    shapes = [(3, 4), (3, 9), (2, 1), (1, 7), (3, 5)]
    batches = [
        {
            "id": np.array([b"v%d" % i for i in range(size)], object),
            "labels": tf.fill([size, 2], length),
            "features": {"rgb": tf.ones((size, length, 2), tf.uint8), "num_frames": tf.fill([size], length)},
        }
        for size, length in shapes
    ]
    for (size, length), (ids, probabilities, labels) in zip(shapes, run.predictions(model, batches), strict=True):
        assert ids == [b"v%d" % i for i in range(size)]
        assert probabilities.dtype == np.float32
        np.testing.assert_array_equal(probabilities, np.full((size, 2), 2 * length))
        np.testing.assert_array_equal(labels, np.full((size, 2), length))
    assert traced.calls == 1


def test_tensorflow_warns_of_no_member_of_a_large_ensemble(caplog):
    """It counts how often functions from one place of the code are traced, and 5 of 5 calls are too often."""
    x = keras.Input((4,), name="x")
    tf.get_logger().addHandler(caplog.handler)
    try:
        for size in range(1, 9):
            scores = run.scorer(keras.Model({"x": x}, keras.layers.Dense(size)(x)))({"x": tf.zeros((2, 4))})
            assert scores.shape == (2, size)
    finally:
        tf.get_logger().removeHandler(caplog.handler)
    assert not caplog.records
