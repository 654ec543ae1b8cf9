import keras
import numpy as np
import pytest

from trainers.heads.logistic import Logistic
from trainers.heads.start import glorot, logit


def test_equals_numpy_and_its_logits_agree():
    rng = np.random.default_rng(0)
    head, x = Logistic(5), rng.normal(size=(3, 7)).astype(np.float32)
    head.build((None, 7))
    kernel, bias = rng.normal(size=(7, 5)), rng.normal(size=5)
    head.set_weights([kernel, bias])
    z = x.astype(np.float64) @ kernel + bias
    np.testing.assert_allclose(head(x, logits=True), z, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(head(x), 1 / (1 + np.exp(-z)), rtol=1e-4, atol=1e-6)


def test_without_bias():
    head, x = Logistic(5, bias=False), np.random.default_rng(0).normal(size=(3, 7)).astype(np.float32)
    head.build((None, 7))
    assert [w.name for w in head.weights] == ["kernel"]
    before = np.array(head(x))
    head.set_prior(np.full(5, 0.01))
    np.testing.assert_array_equal(head(x), before)
    np.testing.assert_allclose(head(-x), 1 - before, rtol=1e-4)  # z is odd in x
    np.testing.assert_allclose(head(np.zeros((1, 7), np.float32)), 0.5)


def test_prior_and_penalty():
    head = Logistic(3, l2=0.5, init_scale=0)
    head.build((None, 4))
    prior = np.array([0.5, 0.01, 1e-5])
    head.set_prior(prior)
    np.testing.assert_allclose(head(np.zeros((1, 4), np.float32))[0], prior, rtol=1e-4)
    assert not head.losses[0].numpy()
    head.kernel.assign(np.full((4, 3), 2.0))
    assert float(head.losses[0]) == pytest.approx(0.5 / 2 * 12 * 4)
    assert not Logistic(3, l2=0).losses


def test_label_weights_say_how_the_input_moves_each_class():
    head, x = Logistic(4), np.random.default_rng(1).normal(size=(1, 6)).astype(np.float32)
    z = np.array(head(x, logits=True))
    weights = np.array(head.label_weights())
    assert weights.shape == (6, 4)
    for i in range(6):
        moved = x + np.eye(6, dtype=np.float32)[i]
        np.testing.assert_allclose(np.array(head(moved, logits=True)) - z, weights[i : i + 1], atol=1e-5)


def test_mixed_precision_keeps_the_bias_and_gives_float32():
    head = Logistic(3, init_scale=0, dtype="mixed_bfloat16")
    head.build((None, 4))
    prior = np.array([0.3, 1e-3, 1.1e-5])
    head.set_prior(prior)
    p = head(np.ones((2, 4), np.float32))
    assert p.dtype == head(np.ones((2, 4), np.float32), logits=True).dtype == head.label_weights().dtype == "float32"
    np.testing.assert_allclose(p[0], prior, rtol=1e-4)  # a bfloat16 bias would be 3 % off


def test_parameters_of_the_2018_model():
    head = Logistic(3862)
    head.build((None, 1152))
    assert head.count_params() == 1152 * 3862 + 3862


def test_weights_of_the_perceptron_of_na():
    """Three dense layers of 4096 without bias and this head are its 57.6 million weights."""
    count, width = 0, 1152
    for layer in [*(keras.layers.Dense(4096, use_bias=False) for _ in range(3)), Logistic(4716, bias=False)]:
        layer.build((None, width))
        count, width = count + layer.count_params(), 4096
    assert count == 57_589_760


def test_config_round_trip():
    config = Logistic(3, l2=0.1, init_scale=0.2, bias=False).get_config()
    assert Logistic.from_config(config).get_config() == config


def test_start_sizes():
    keras.utils.set_random_seed(0)
    for scale in (1.0, 0.1):
        kernel = np.array(glorot(scale)((300, 500)))
        assert kernel.std() == pytest.approx(scale * np.sqrt(2 / 800), rel=0.02)
        assert abs(kernel).max() <= scale * np.sqrt(6 / 800)
    assert not np.any(glorot(0)((3, 4)))
    np.testing.assert_allclose(logit([0.5, 0.0, 1.0]), [0, np.log(1e-7), -np.log(1e-7)], rtol=1e-4)
