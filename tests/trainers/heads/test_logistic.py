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


def test_parameters_of_the_2018_model():
    head = Logistic(3862)
    head.build((None, 1152))
    assert head.count_params() == 1152 * 3862 + 3862


def test_config_round_trip():
    config = Logistic(3, l2=0.1, init_scale=0.2).get_config()
    assert Logistic.from_config(config).get_config() == config


def test_start_sizes():
    keras.utils.set_random_seed(0)
    for scale in (1.0, 0.1):
        kernel = np.array(glorot(scale)((300, 500)))
        assert kernel.std() == pytest.approx(scale * np.sqrt(2 / 800), rel=0.02)
        assert abs(kernel).max() <= scale * np.sqrt(6 / 800)
    assert not np.any(glorot(0)((3, 4)))
    np.testing.assert_allclose(logit([0.5, 0.0, 1.0]), [0, np.log(1e-7), -np.log(1e-7)], rtol=1e-4)
