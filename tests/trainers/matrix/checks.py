"""What every component must do, one function for each property. A check raises an AssertionError where a subject does not hold it."""

import inspect
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from matrix.subject import Subject

STATISTICS = {"moving_mean", "moving_variance"}  # weights that training may change by other means than gradients


def gives_vectors_for_any_batch_and_length(subject: Subject, width: int) -> None:
    """[B, width] float32, for 1 and 3 videos of 1, 7 and 300 frames, and of mixed lengths; the width is known before any call."""
    assert subject.model.output_shape == (None, width)
    for lengths in ([1], [7], [300], [1, 7, 300]):
        output = subject.infer(subject.videos(*lengths))
        assert output.shape == (len(lengths), width)
        assert output.dtype == np.float32
        assert np.isfinite(output).all()


def videos_do_not_mix(subject: Subject) -> None:
    """In inference a video gives the same alone, and whatever stands beside it."""
    videos = subject.videos(4, 1, 7)
    together = subject.infer(videos)
    close(together, np.concatenate([subject.infer([video]) for video in videos]))
    close(together[::-1], subject.infer(videos[::-1]))


def padding_does_not_count(subject: Subject) -> None:
    """Whatever stands in 100 padded frames, inference gives the same without them."""
    videos = subject.videos(7, 2)
    close(subject.infer(videos, padded=100), subject.infer(videos))


def padding_does_not_train(subject: Subject) -> None:
    """In training no gradient comes from padded frames, and none reaches them; statistics move as they do without."""
    videos = subject.videos(3, 1)
    frames, mask = subject.batch(videos, padded=2)
    padded, without = subject.step(frames, mask), subject.step(*subject.batch(videos))
    assert not padded.of_input[~mask.numpy()].any(), "a gradient reaches padded frames"
    for before, after in zip(without.weights, padded.weights, strict=True):
        close(after, before)
    if not draws(subject):
        close(joined(padded.gradients), joined(without.gradients))


def order_counts(subject: Subject, ordered: bool) -> None:
    """Frames in another order give something else, or the same: then it does not count either where among them the padded ones stand."""
    videos = subject.videos(6, 6)
    frames, mask = subject.batch(videos, padded=0 if ordered else 4)
    places = np.random.default_rng(5).permutation(frames.shape[1])
    before = subject.graph(frames, mask)
    after = subject.graph(tf.gather(frames, places, axis=1), tf.gather(mask, places, axis=1))
    if ordered:
        assert difference(after, before) > 1e-3, "the order of the frames does not count"
    else:
        close(after, before)


def frames_count_unlike(subject: Subject, even: bool) -> None:
    """In inference the output's gradients with respect to a video's frames differ, as under attention, or are the same, as in a mean."""
    gradient = subject.step(*subject.batch(subject.videos(3, 3)), training=False).of_input
    spread = np.ptp(gradient, axis=1).max(axis=1) / np.abs(gradient).max(axis=(1, 2))
    assert (spread < 1e-5).all() if even else (spread > 1e-3).all(), f"the weights of frames spread by {spread}"


def inputs_count(subject: Subject) -> None:
    """No two videos give the same, and most values of the output are not the same for all; a ReLU may be."""
    output = subject.infer(subject.videos(*[5] * 24))
    constant = (np.ptp(output, axis=0) < 1e-4 * np.abs(output).max()).mean()
    assert constant <= 0.5, f"{constant:.0%} of the output's values are the same for all inputs"
    assert len(np.unique(output, axis=0)) == len(output), "two inputs give the same"


def is_affine(subject: Subject, affine: bool) -> None:
    """The middle of two inputs gives the middle of what they give, or else not: a gate that does not change with the input is none."""
    (x,) = subject.batch(subject.videos(*[1] * 8))
    one, other, middle = (subject.call(point).numpy() for point in (x, x[::-1], (x + x[::-1]) / 2))
    error = difference((one + other) / 2, middle)
    assert error < 1e-5 if affine else error > 1e-3, f"differs from an affine map by {error}"


def gradients_reach_every_weight(subject: Subject, share: float = 0.3, except_for: Sequence[str] = ()) -> None:
    """In training they reach at least that share of the values of each weight, and none reach the excepted ones.

    A weight that a batch norm takes out again gets rounding errors, which do not count.
    """
    gradients = subject.step(*subject.batch(subject.videos(*[3] * 16))).gradients
    paths = [weight.path.partition("/")[2] for weight in subject.layer.trainable_weights]
    unreached = [path for path, gradient in zip(paths, gradients, strict=True) if gradient is None]
    assert not unreached, f"no gradient reaches {unreached}"
    sizes = [np.abs(gradient) for gradient in gradients]
    largest = max((size.max() for size in sizes), default=0)
    for path, size in zip(paths, sizes, strict=True):
        reached = (size > 1e-5 * largest).mean()
        assert reached == 0 if path in except_for else reached >= share, f"gradients reach {reached:.0%} of {path}"


def training_moves_statistics_alone(subject: Subject) -> None:
    """A call in training changes the statistics of every batch norm, one in inference nothing, and of a frozen layer neither does."""
    inputs = subject.batch(subject.videos(3, 2))
    weights, before = subject.layer.weights, subject.layer.get_weights()

    def changed(values: list[np.ndarray]) -> set[str]:
        return {w.path for w, old, new in zip(weights, before, values, strict=True) if not np.array_equal(old, new)}

    subject.graph(*inputs)
    assert not changed(subject.layer.get_weights())
    assert changed(after_training(subject, *inputs)) == {weight.path for weight in weights if weight.name in STATISTICS}
    subject.layer.trainable = False
    try:
        assert not changed(after_training(subject, *inputs))
    finally:
        subject.layer.trainable = True


def gives_probabilities(subject: Subject) -> None:
    """float32 in [0, 1] for usual inputs, zeros, and ones that are far too large; probabilities may also be 0 and 1."""
    videos = subject.videos(3, 1, 5)
    scales = (0, 1) if subject.takes == "probabilities" else (0, 1, 1000)
    rounded = [[video.round() for video in videos]] if subject.takes == "probabilities" else []
    for given in [[video * np.float32(scale) for video in videos] for scale in scales] + rounded:
        p = subject.infer(given)
        assert p.dtype == np.float32
        assert ((p >= 0) & (p <= 1)).all(), (p.min(), p.max())


def a_video_without_frames_is_finite(subject: Subject) -> None:
    """Alone and beside another; in training the gradients and the statistics are finite too."""
    for videos, padded in ((subject.videos(0), 1), (subject.videos(0, 1), 0)):
        assert np.isfinite(subject.infer(videos, padded)).all()
        step = subject.step(*subject.batch(videos, padded))
        for values in [*step.gradients, step.of_input, *step.weights]:
            assert np.isfinite(values).all()


def config_round_trip(subject: Subject, options: dict[str, Any]) -> None:
    """The config is JSON, says every option, and makes a layer of the same weights that gives the same."""
    layer = subject.layer
    config = json.loads(json.dumps(layer.get_config()))
    parameters = {p.name for p in inspect.signature(type(layer)).parameters.values() if p.kind is not p.VAR_KEYWORD}
    assert parameters <= set(config), f"the config lacks {parameters - set(config)}"
    for key, value in json.loads(json.dumps(options)).items():
        assert config[key] in (value, [value]), key  # [value]: one layer, where there may be several

    twin = Subject(lambda: type(layer).from_config(config), subject.takes)
    assert json.loads(json.dumps(twin.layer.get_config())) == config
    assert [described(w) for w in twin.layer.weights] == [described(w) for w in layer.weights]
    twin.layer.set_weights(layer.get_weights())
    inputs = subject.batch(subject.videos(3, 1))
    np.testing.assert_array_equal(twin.call(*inputs), subject.call(*inputs))


def keras_file_round_trip(subject: Subject, folder: Path) -> None:
    """A `.keras` file gives exactly the same, and needs no more than the registered classes."""
    model, inputs = subject.model, list(subject.batch(subject.videos(3, 1)))
    model.save(folder / "model.keras")
    loaded = keras.models.load_model(folder / "model.keras", compile=False)
    np.testing.assert_array_equal(loaded(inputs), model(inputs))
    assert [described(w) for w in loaded.weights] == [described(w) for w in model.weights]


def runs_in_mixed_bfloat16(subject: Subject, dtype: str = "bfloat16") -> None:
    """With the same weights it gives nearly the same, of `dtype`, and finite gradients in training."""
    config = {**subject.layer.get_config(), "dtype": "mixed_bfloat16"}
    mixed = Subject(lambda: type(subject.layer).from_config(config), subject.takes)
    mixed.layer.set_weights(subject.layer.get_weights())
    inputs = subject.batch(subject.videos(3, 2, 3, 1))
    output = mixed.call(*inputs)
    assert output.dtype == dtype, output.dtype
    assert difference(tf.cast(output, tf.float32), subject.graph(*inputs)) < 0.05
    for weight, gradient in zip(mixed.layer.trainable_weights, mixed.step(*inputs).gradients, strict=True):
        assert np.isfinite(gradient).all(), weight.path


def after_training(subject: Subject, *inputs: tf.Tensor) -> list[np.ndarray]:
    """The values of all weights after a call in training, which is then taken back."""
    before = subject.layer.get_weights()
    subject.call(*inputs, training=True)
    after = subject.layer.get_weights()
    subject.layer.set_weights(before)
    return after


def draws(subject: Subject) -> bool:
    """Whether training draws random numbers, so that no two calls are alike."""
    return len(subject.layer.variables) > len(subject.layer.weights)  # the others are states of random generators


def joined(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """All values of all arrays, [N]."""
    return np.concatenate([np.zeros(0), *(array.ravel() for array in arrays)])


def described(weight: keras.Variable) -> tuple[Any, ...]:
    return weight.name, tuple(weight.shape), weight.dtype, weight.trainable


def difference(actual: Any, expected: Any) -> float:
    """The largest difference of two arrays, in units of the largest value."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    return float(np.abs(actual - expected).max() / max(np.abs(expected).max(), 1e-30)) if expected.size else 0.0


def close(actual: Any, expected: Any) -> None:
    """Equal but for rounding."""
    assert difference(actual, expected) < 1e-5, f"differ by {difference(actual, expected)} of their size"
