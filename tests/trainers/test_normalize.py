import numpy as np

from trainers.normalize import FrameFeatures, InputNormalization
from yt8m_data.quantize import dequantize


def test_unit_norm_times_the_root_of_the_width():
    x = np.random.default_rng(0).normal(size=(5, 1152)).astype(np.float32) * 7
    out = np.array(InputNormalization((1024, 128))(x))
    np.testing.assert_allclose(np.linalg.norm(out, axis=1), np.sqrt(1152), rtol=1e-5)
    np.testing.assert_allclose(out / x, (np.sqrt(1152) / np.linalg.norm(x, axis=1))[:, None] * np.ones_like(x), rtol=1e-4)


def test_each_feature_on_its_own():
    x = np.random.default_rng(0).normal(size=(5, 3, 6)).astype(np.float32)
    out = np.array(InputNormalization((4, 2), "each", 1.0)(x))
    np.testing.assert_allclose(out[..., :4], x[..., :4] / np.linalg.norm(x[..., :4], axis=-1, keepdims=True), rtol=1e-5)
    np.testing.assert_allclose(out[..., 4:], x[..., 4:] / np.linalg.norm(x[..., 4:], axis=-1, keepdims=True), rtol=1e-5)


def test_a_padded_row_stays_zero_and_options_hold():
    assert not np.any(InputNormalization((4,))(np.zeros((2, 3, 4), np.float32)))
    np.testing.assert_allclose(InputNormalization((2,), "none", 3.0)(np.full((1, 2), 2.0)), 6)
    np.testing.assert_allclose(InputNormalization((2,), scale=1.0)(np.array([[3.0, 4.0]])), [[0.6, 0.8]], rtol=1e-6)


def test_config_round_trip():
    config = InputNormalization((3, 2), "each", 2.5).get_config()
    assert InputNormalization.from_config(config).get_config() == config


def test_frames_are_dequantised_joined_and_masked():
    rng = np.random.default_rng(1)
    rgb, audio = rng.integers(0, 256, (3, 4, 5), np.uint8), rng.integers(0, 256, (3, 4, 2), np.uint8)
    x, mask = (np.array(value) for value in FrameFeatures()([rgb, audio], np.array([4, 1, 0], np.int32)))
    np.testing.assert_array_equal(mask, [[1, 1, 1, 1], [1, 0, 0, 0], [0, 0, 0, 0]])
    np.testing.assert_allclose(x[mask], dequantize(np.concatenate([rgb, audio], axis=2)[mask]), atol=1e-6)
    assert not x[~mask].any()
