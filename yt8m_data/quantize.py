"""The 8-bit code of frame features: uint8 <-> float32 over [-2, 2] (YouTube-8M starter code, `utils.Dequantize`)."""

import numpy as np

MINIMUM, MAXIMUM = -2.0, 2.0
_RANGE = MAXIMUM - MINIMUM

# All 256 values, computed once in float64 so that every path rounds the same way.
_VALUES = (np.arange(256) * (_RANGE / 255) + (_RANGE / 512 + MINIMUM)).astype(np.float32)


def quantize(values: np.ndarray) -> np.ndarray:
    """Code floats of any shape as uint8: round half to even of (clip(x, -2, 2) + 2) * 255 / 4."""
    clipped = np.clip(np.asarray(values, np.float64), MINIMUM, MAXIMUM)
    return np.rint((clipped - MINIMUM) * (255 / _RANGE)).astype(np.uint8)


def dequantize(codes: np.ndarray) -> np.ndarray:
    """Decode uint8 of any shape as float32: q * 4 / 255 + 4 / 512 - 2.

    The half-bin shift 4 / 512 suits a quantiser that floors, while `quantize` rounds, as the data's own did. So a round trip is off by
    -0.00003 to +0.01566, on average by +0.0078, and `quantize(dequantize(q)) == q` for every byte.
    """
    return _VALUES[codes]


def dequantized_mean(codes: np.ndarray) -> np.ndarray:
    """Average the decoded values over the first axis, float32: uint8 [N, D] -> [D]. The codes are added as integers, so in no order."""
    mean = codes.sum(axis=0, dtype=np.int64) / len(codes)
    return (mean * (_RANGE / 255) + (_RANGE / 512 + MINIMUM)).astype(np.float32)
