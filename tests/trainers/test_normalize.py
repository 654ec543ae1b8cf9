import numpy as np

from trainers.normalize import InputNormalization


def test_unit_norm_times_the_root_of_the_width():
    x = np.random.default_rng(0).normal(size=(5, 1152)).astype(np.float32) * 7
    out = np.array(InputNormalization()(x))
    np.testing.assert_allclose(np.linalg.norm(out, axis=1), np.sqrt(1152), rtol=1e-5)
    np.testing.assert_allclose(out / x, (np.sqrt(1152) / np.linalg.norm(x, axis=1))[:, None] * np.ones_like(x), rtol=1e-4)


def test_a_padded_row_stays_zero_and_options_hold():
    assert not np.any(InputNormalization()(np.zeros((2, 3, 4), np.float32)))
    np.testing.assert_allclose(InputNormalization(l2_normalize=False, scale=3.0)(np.full((1, 2), 2.0)), 6)
    np.testing.assert_allclose(InputNormalization(scale=1.0)(np.array([[3.0, 4.0]])), [[0.6, 0.8]], rtol=1e-6)


def test_config_round_trip():
    config = InputNormalization(False, 2.5).get_config()
    assert InputNormalization.from_config(config).get_config() == config
