import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainers import votes
from trainers.votes import Direction, Votes
from yt8m_data.errors import DataError


def made(seed: int, videos: int, most: int, classes: int, size: int, queries: int):
    """Stored vectors [N, D], labels [N, L] padded with -1 and their weights; scores [B, C] and vectors [B, D]."""
    random = np.random.default_rng(seed)
    vectors = random.normal(size=(videos, size)).astype(np.float16)
    labels = np.full((videos, most), -1, np.int32)
    for row in labels:
        number = random.integers(1, min(most, classes) + 1)
        row[:number] = random.choice(classes, number, replace=False)
    weights = random.choice([0.25, 1.0], size=(videos, most)).astype(np.float32)
    return vectors, labels, weights, random.random((queries, classes)).astype(np.float32), random.normal(size=(queries, size))


def by_hand(vectors, labels, weights, p, x, neighbors, temperature, weight):
    """Video by video, of float64."""
    result = (1 - weight) * p.astype(np.float64)
    for row, query in enumerate(x.astype(np.float32).astype(np.float64)):
        similarity = vectors.astype(np.float64) @ query
        nearest = np.argsort(-similarity)[:neighbors]
        shares = np.exp((similarity[nearest] - similarity[nearest[0]]) / temperature)
        for n, share in zip(nearest, shares / shares.sum(), strict=True):
            for label, own in zip(labels[n], weights[n], strict=True):
                if label >= 0:
                    result[row, label] += weight * share * own
    return result


def layer_of(vectors, labels, weights, classes: int, **options) -> Votes:
    layer = Votes(classes, *labels.shape, vectors.shape[1], **options)
    layer.build((None, classes), (None, vectors.shape[1]))
    layer.set_videos(vectors, labels, weights)
    return layer


@given(
    seed=st.integers(0, 2**32),
    videos=st.integers(1, 40),
    most=st.integers(1, 4),
    classes=st.integers(1, 7),
    neighbors=st.integers(1, 50),
    tile=st.sampled_from([1, 7, 1 << 16]),
    temperature=st.sampled_from([0.5, 3.0]),
    weight=st.sampled_from([0.0, 0.33, 0.9]),
)
@settings(max_examples=60)
def test_they_are_their_formula_however_many_are_compared_at_a_time(seed, videos, most, classes, neighbors, tile, temperature, weight):
    *stored, p, x = made(seed, videos, most, classes, 5, 3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(votes, "_TILE", tile)
        layer = layer_of(*stored, classes, neighbors=neighbors, temperature=temperature, weight=weight)
        mixed = layer(p, x.astype(np.float32)).numpy()
    np.testing.assert_allclose(mixed, by_hand(*stored, p, x, neighbors, temperature, weight), rtol=1e-3, atol=1e-5)
    assert (mixed >= 0).all()  # so probabilities stay probabilities
    assert (mixed <= 1 + 1e-6).all()
    if not weight:
        np.testing.assert_array_equal(mixed, p)


def test_the_nearest_one_decides_where_it_is_cold():
    vectors, labels = np.eye(3, dtype=np.float16), np.array([[0, -1], [1, 2], [2, -1]], np.int32)
    layer = layer_of(vectors, labels, np.ones((3, 2), np.float32), 4, neighbors=3, temperature=0.01, weight=0.5)
    mixed = layer(np.full((2, 4), 0.5, np.float32), np.array([[0.1, 0.9, 0.2], [0.1, 0.2, 0.9]], np.float32)).numpy()
    np.testing.assert_allclose(mixed, [[0.25, 0.75, 0.75, 0.25], [0.25, 0.25, 0.75, 0.25]], atol=1e-6)


def test_a_saved_layer_is_the_same(tmp_path):
    *stored, p, x = made(1, 20, 3, 5, 6, 4)
    layer = layer_of(*stored, 5, neighbors=4)
    inputs = [keras.Input((5,)), keras.Input((6,))]
    model = keras.Model(inputs, layer(*inputs))
    assert model.output_shape == (None, 5)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded([p, x.astype(np.float32)]).numpy(), layer(p, x.astype(np.float32)).numpy())
    assert loaded.layers[-1].vectors.dtype == "float16"


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return a @ b / np.linalg.norm(a) / np.linalg.norm(b)


@given(seed=st.integers(0, 2**32), share=st.floats(0, 1), scores=st.floats(0, 1))
@settings(max_examples=30)
def test_directions_multiply_to_the_mean_cosine(seed, share, scores):
    random = np.random.default_rng(seed)
    x, p = random.normal(size=(2, 9)).astype(np.float32), random.random((2, 4)).astype(np.float32)
    shares = (share * (1 - scores), (1 - share) * (1 - scores))
    a, b = Direction((6, 3), shares, scores)(x, p).numpy()
    expected = shares[0] * cosine(*x[:, :6]) + shares[1] * cosine(*x[:, 6:]) + scores * cosine(*np.sqrt(p))
    assert a @ b == pytest.approx(expected, abs=1e-5)
    assert a @ a == pytest.approx(1, abs=1e-5)


def test_the_scores_of_many_classes_keep_their_cosines_nearly():
    random = np.random.default_rng(3)
    p = random.random((50, 2000)).astype(np.float32) ** 4
    directions = Direction((1,), (0.0,), 1.0)(np.ones((50, 1), np.float32), p).numpy()
    assert directions.shape == (50, 1 + 512)
    exact = np.sqrt(p) / np.linalg.norm(np.sqrt(p), axis=1, keepdims=True)
    error = directions @ directions.T - exact @ exact.T
    assert np.abs(error).max() < 5 / 512**0.5
    np.testing.assert_array_equal(Direction((1,), (0.0,), 1.0)(np.ones((50, 1), np.float32), p), directions)  # every time


def test_a_video_of_zeros_has_no_direction():
    assert not Direction((2, 1), (0.4, 0.4), 0.2)(np.zeros((1, 3), np.float32), np.zeros((1, 5), np.float32)).numpy().any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"neighbors": 0}, "neighbors of votes is 0: set it to a whole number of at least 1"),
        ({"temperature": 0.0}, "temperature of votes is 0.0: set it to a number above 0"),
        ({"weight": 1.0}, "weight of votes is 1.0: set it to a number of at least 0 and below 1"),
        ({"weight": -0.1}, "weight of votes is -0.1: set it to a number of at least 0 and below 1"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(DataError, match=message):
        Votes(3, 4, 2, 5, **options)
