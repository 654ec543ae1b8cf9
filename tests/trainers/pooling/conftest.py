"""Clips of several lengths, and layers with random weights."""

from collections.abc import Callable
from typing import NamedTuple

import keras
import numpy as np
import pytest


class Clips(NamedTuple):
    frames: np.ndarray  # [B, T, D] float32, padded frames 0
    mask: np.ndarray  # [B, T] bool


@pytest.fixture
def clips() -> Clips:
    """Three clips of 7, 4 and 1 frames of width 6."""
    mask = np.arange(7) < np.array([7, 4, 1])[:, None]
    return Clips((np.random.default_rng(0).normal(size=(3, 7, 6)) * mask[:, :, None]).astype(np.float32), mask)


@pytest.fixture
def randomized() -> Callable[..., keras.layers.Layer]:
    """Builds a pooling for frames of width 6 and draws all its weights, batch norm's statistics among them."""

    def make(layer: keras.layers.Layer, seed: int = 1) -> keras.layers.Layer:
        layer.build((None, None, 6))
        rng = np.random.default_rng(seed)
        for weight in layer.weights:
            values = rng.normal(size=weight.shape)
            weight.assign(np.abs(values) + 0.3 if weight.name == "moving_variance" else values)
        return layer

    return make


@pytest.fixture
def assignment() -> Callable[..., np.ndarray]:
    """Soft assignment by the definition, one frame and cluster at a time: frames [T, D], kernel [D, K], batch norm or bias -> [T, K]."""

    def assign(x: np.ndarray, linear: keras.layers.Layer) -> np.ndarray:
        x, kernel = x.astype(np.float64), np.array(linear.kernel, np.float64)
        a = np.zeros((len(x), kernel.shape[1]))
        for t, frame in enumerate(x):
            for k in range(kernel.shape[1]):
                score = sum(frame[d] * kernel[d, k] for d in range(len(frame)))
                if linear.batch_norm:
                    gamma, beta, mean, variance = (np.array(w, np.float64)[k] for w in linear.norm.weights)
                    score = gamma * (score - mean) / np.sqrt(variance + 1e-3) + beta
                else:
                    score += float(np.array(linear.bias)[k])
                a[t, k] = np.exp(score)
            a[t] /= a[t].sum()
        return a

    return assign
