import keras
import numpy as np
import pytest
from recurrences import sigmoid

from trainers.pooling._layer_norm_lstm import LayerNormLSTMCell


@pytest.fixture
def cell(randomized):
    return lambda units=5, dropout=0.0: randomized(Step(LayerNormLSTMCell(units, dropout))).cell


class Step(keras.layers.Layer):
    """Builds a cell as a pooling is built."""

    def __init__(self, cell):
        super().__init__()
        self.cell = cell

    def build(self, frames_shape):
        self.cell.build((None, frames_shape[-1]))


def norm(x: np.ndarray, gain: np.ndarray, shift: np.ndarray) -> np.ndarray:
    return (x - x.mean()) / np.sqrt(((x - x.mean()) ** 2).mean() + 1e-6) * gain + shift


def reference(cell: LayerNormLSTMCell, x: np.ndarray, h: np.ndarray, c: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One step of one clip, x [D], h and c [H]."""
    kernel, recurrent = np.array(cell.kernel, np.float64), np.array(cell.recurrent_kernel, np.float64)
    gains = {layer.name: (np.array(layer.gamma, np.float64), np.array(layer.beta, np.float64)) for layer in cell.norms}
    z = np.concatenate([x, h]) @ np.concatenate([kernel, recurrent])
    names = ("input", "forget", "candidate", "output")
    i, f, g, o = (norm(part, *gains[f"{name}_norm"]) for name, part in zip(names, np.split(z, 4), strict=True))
    c = norm(sigmoid(f) * c + sigmoid(i) * np.tanh(g), *gains["cell_norm"])
    return sigmoid(o) * np.tanh(c), c


def test_equals_the_definition(cell):
    made, rng = cell(), np.random.default_rng(2)
    x, h, c = rng.normal(size=(3, 6)), rng.normal(size=(3, 5)), rng.normal(size=(3, 5))
    output, (new_h, new_c) = made(x.astype(np.float32), [h.astype(np.float32), c.astype(np.float32)])
    np.testing.assert_array_equal(output, new_h)
    for b in range(3):
        expected_h, expected_c = reference(made, x[b], h[b], c[b])
        np.testing.assert_allclose(new_h[b], expected_h, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(new_c[b], expected_c, rtol=1e-4, atol=1e-5)


def test_the_size_of_a_step_does_not_count(cell):
    """Each gate is normalised: weights ten times as large give the same."""
    made, x = cell(), np.random.default_rng(3).normal(size=(2, 6)).astype(np.float32)
    start = [np.zeros((2, 5), np.float32)] * 2
    before, _ = made(x, start)
    made.kernel.assign(made.kernel * 10)
    np.testing.assert_allclose(made(x, start)[0], before, rtol=1e-3, atol=1e-4)


def test_begins_with_an_open_forget_gate():
    made = LayerNormLSTMCell(3)
    made.build((None, 6))
    for layer in made.norms:
        np.testing.assert_array_equal(layer.gamma, np.ones(3))
        np.testing.assert_array_equal(layer.beta, np.full(3, layer.name == "forget_norm"))


def test_dropout_takes_candidates_in_training_alone(cell):
    """A dropped candidate leaves 0 in a state that was 0, and 0 is the same for all of them after the norm."""
    made, x = cell(250, dropout=0.2), np.random.default_rng(4).normal(size=(8, 6)).astype(np.float32)
    made.norms[-1].gamma.assign(np.ones(250))
    made.norms[-1].beta.assign(np.zeros(250))
    start = [np.zeros((8, 250), np.float32)] * 2

    def dropped(training: bool) -> int:
        states = np.array(made(x, start, training=training)[1][1]).round(6)
        return sum(int(np.unique(row, return_counts=True)[1].max()) for row in states)

    assert dropped(training=False) < 20
    assert 320 < dropped(training=True) < 480  # 8 * 250 * 0.2, 4 standard deviations to each side


def test_dropout_is_drawn_anew_at_each_step(cell):
    """A cell that remembers nothing, on frames that are all alike, still gives something else at each step."""
    made = cell(8, dropout=0.5)
    made.recurrent_kernel.assign(np.zeros((8, 32)))
    made.norms[1].gamma.assign(np.zeros(8))
    made.norms[1].beta.assign(np.full(8, -30.0))  # the forget gate is shut
    rnn, frames = keras.layers.RNN(made, return_sequences=True), np.ones((1, 6, 6), np.float32)
    assert np.ptp(rnn(frames, training=False), axis=1).max() < 1e-6
    assert np.ptp(rnn(frames, training=True), axis=1).max() > 0.01
    assert np.abs(np.array(rnn(frames, training=True)) - np.array(rnn(frames, training=True))).max() > 0.01
