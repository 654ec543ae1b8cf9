"""Recurrent layers by their definitions: one clip, one step and one gate at a time, in float64."""

import keras
import numpy as np


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def weights_of(layer: keras.layers.Layer) -> list[np.ndarray]:
    return [np.array(weight, np.float64) for weight in layer.weights]


def lstm(layer: keras.layers.Layer, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The outputs h_t and the states c_t, [T, H] each, of a Keras LSTM on x [T, D]."""
    kernel, recurrent, bias = weights_of(layer)
    units = recurrent.shape[0]
    gate = {name: slice(k * units, (k + 1) * units) for k, name in enumerate(("input", "forget", "candidate", "output"))}
    h, c, outputs, states = np.zeros(units), np.zeros(units), [], []
    for frame in x.astype(np.float64):
        z = {name: frame @ kernel[:, part] + h @ recurrent[:, part] + bias[part] for name, part in gate.items()}
        c = sigmoid(z["forget"]) * c + sigmoid(z["input"]) * np.tanh(z["candidate"])
        h = sigmoid(z["output"]) * np.tanh(c)
        outputs.append(h)
        states.append(c)
    return np.array(outputs), np.array(states)


def gru(layer: keras.layers.Layer, x: np.ndarray) -> np.ndarray:
    """The outputs h_t, [T, H], of a Keras GRU with the reset gate before the product, on x [T, D]."""
    kernel, recurrent, bias = weights_of(layer)
    units = recurrent.shape[0]
    update, reset, candidate = (slice(k * units, (k + 1) * units) for k in range(3))
    h, outputs = np.zeros(units), []
    for frame in x.astype(np.float64):
        z = sigmoid(frame @ kernel[:, update] + h @ recurrent[:, update] + bias[update])
        r = sigmoid(frame @ kernel[:, reset] + h @ recurrent[:, reset] + bias[reset])
        g = np.tanh(frame @ kernel[:, candidate] + (r * h) @ recurrent[:, candidate] + bias[candidate])
        h = z * h + (1 - z) * g
        outputs.append(h)
    return np.array(outputs)
