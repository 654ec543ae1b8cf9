"""How a head's weights begin."""

from typing import Any

import keras
import numpy as np


def glorot(scale: float) -> keras.initializers.Initializer:
    """Uniform with `scale` times the standard deviation of Glorot and Bengio (2010), eq. 16.

    A scale well below 1 keeps the random start from drowning the few positives of a rare class; 0 is zeros.
    """
    if scale == 0:
        return keras.initializers.Zeros()
    return keras.initializers.VarianceScaling(scale**2, mode="fan_avg", distribution="uniform")


def logit(probabilities: Any) -> np.ndarray:
    """log(p / (1 - p)) as float32, p kept within [1e-7, 1 - 1e-7]."""
    p = np.clip(np.asarray(probabilities, np.float64), 1e-7, 1 - 1e-7)
    return np.log(p / (1 - p)).astype(np.float32)
