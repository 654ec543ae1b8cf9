import keras
import numpy as np
import pytest
import scipy.sparse
import tensorflow as tf

from trainers.labels.co_occurrence import EPSILON, CoOccurrence, centered, conditional, read_counts, softmax
from trainers.run import TrainSet
from yt8m_data.errors import DataError

TRAIN_SET = TrainSet([], 0, [])
TOY = np.array([[10, 4, 1], [4, 6, 0], [1, 0, 3]])  # videos of each label on the diagonal, of both labels beside it


@pytest.fixture
def counts_file(tmp_path):
    """Write a matrix as `yt8m-data stats` does."""

    def write(counts: np.ndarray) -> str:
        path = tmp_path / "cooccurrence.npz"
        scipy.sparse.save_npz(path, scipy.sparse.csr_matrix(counts))
        return str(path)

    return write


def random_counts(classes=5, seed=0) -> np.ndarray:
    """Of 60 videos with some of the classes each; the last class has none."""
    labels = np.random.default_rng(seed).random((60, classes)) < np.linspace(0.6, 0, classes)
    return labels.T.astype(np.int64) @ labels


def made(counts_file, counts, **options) -> CoOccurrence:
    layer = CoOccurrence(len(counts), counts_file(counts), **options)
    layer.build((None, len(counts)))
    layer.prepare(TRAIN_SET)
    return layer


def probabilities(shape, seed=0) -> np.ndarray:
    return np.random.default_rng(seed).random(shape).astype(np.float32)


def reference_matrix(normalizer: str, N: np.ndarray) -> np.ndarray:
    """One pair of labels at a time."""
    C, N = len(N), N.astype(np.float64)
    M = np.zeros((C, C))
    for i in range(C):
        for j in range(C):
            if normalizer == "conditional" and i != j and N[i, i]:
                M[i, j] = N[i, j] / N[i, i]
            if normalizer == "softmax":
                M[i, j] = 1 / sum(np.exp(min(other - N[i, j], 700)) for other in N[i])
            if normalizer == "centered":
                row = [N[j, k] if k != j else sum(N[j]) / C for k in range(C)]
                value = N[i, j] if i != j else sum(N[i]) / C
                M[i, j] = (value - sum(row) / C) / sum(row) if sum(row) else 0
    return M


@pytest.mark.parametrize("normalizer", ["conditional", "centered", "softmax"])
@pytest.mark.parametrize("weights", [(1.0, 0.3, 0.0), (0.9, 0.0, 0.1), (1.0, 0.01, 0.2)])
def test_equals_the_definition(counts_file, normalizer, weights):
    N, (alpha, beta, gamma) = random_counts(), weights
    layer = made(counts_file, N, alpha=alpha, beta=beta, gamma=gamma, normalizer=normalizer)
    if gamma:
        layer.trained.assign(np.random.default_rng(1).normal(size=N.shape))
    p = probabilities((4, 5))
    M, expected = reference_matrix(normalizer, N), np.zeros((4, 5))
    for b in range(4):
        for j in range(5):
            expected[b, j] = alpha * p[b, j] + sum(beta * p[b, i] * M[i, j] for i in range(5))
            expected[b, j] += gamma and sum(gamma * p[b, i] * float(layer.trained[i, j]) for i in range(5))
    np.testing.assert_allclose(layer(p), np.clip(expected, 1e-6, 1 - 1e-6), rtol=1e-4, atol=1e-6)


def test_the_authors_arithmetic_on_a_toy():
    expected = [[0.1667, 0.2121, 0.0952], [0.0667, 0.1212, -0.3333], [-0.2333, -0.3333, 0.2381]]
    np.testing.assert_allclose(centered(TOY.astype(float)), expected, atol=5e-5)


def test_columns_of_the_authors_matrix_sum_to_0():
    np.testing.assert_allclose(centered(random_counts(30).astype(float)).sum(axis=0), 0, atol=1e-12)


def test_conditional_probabilities_by_counting_videos():
    labels = np.random.default_rng(3).random((200, 6)) < 0.3
    M = conditional(labels.T.astype(float) @ labels)
    for i in range(6):
        for j in range(6):
            assert M[i, j] == (pytest.approx(labels[labels[:, i], j].mean()) if i != j else 0)


def test_softmax_rows_sum_to_1_and_frequent_labels_speak_for_themselves():
    N = random_counts(6).astype(float)
    np.testing.assert_allclose(softmax(N).sum(axis=1), 1)
    np.testing.assert_allclose(softmax(1000 * N[:-1, :-1]), np.eye(5), atol=1e-6)


def test_a_label_raises_what_it_implies(counts_file):
    """Every video of label 0 has label 1, a tenth of label 1's has label 0."""
    layer = made(counts_file, np.array([[10, 10], [10, 100]]), beta=0.5)
    p = np.array([[0.8, 0.2], [0.0, 0.2]], np.float32)
    np.testing.assert_allclose(layer(p), [[0.8 + 0.5 * 0.2 * 0.1, 0.2 + 0.5 * 0.8], [0.5 * 0.2 * 0.1, 0.2]], rtol=1e-5)


def test_identity_needs_no_counts():
    layer = CoOccurrence(7, alpha=1.0, beta=0.0, gamma=0.0)
    layer.build((None, 7))
    layer.prepare(TRAIN_SET)
    assert not layer.weights
    p = np.concatenate([probabilities((3, 7)), np.zeros((1, 7)), np.ones((1, 7))]).astype(np.float32)
    np.testing.assert_array_equal(layer(p), np.clip(p, np.float32(EPSILON), np.float32(1 - EPSILON)))


def test_both_matrices_begin_alike(counts_file):
    p = probabilities((4, 5))
    fixed, trained = (made(counts_file, random_counts(), beta=b, gamma=g) for b, g in ((0.3, 0.0), (0.0, 0.3)))
    np.testing.assert_array_equal(fixed(p), trained(p))
    assert [w.name for w in fixed.weights] == ["fixed"]
    assert [w.name for w in trained.weights] == ["trained"]


def test_gradients_reach_the_trained_matrix_alone(counts_file):
    layer = made(counts_file, random_counts(), beta=0.1, gamma=0.1)
    p, y = tf.Variable(probabilities((3, 5)) * 0.5 + 0.1), probabilities((3, 5), seed=1)
    with tf.GradientTape() as tape:
        tape.watch(layer.fixed.value)
        loss = tf.reduce_sum((layer(p) - y) ** 2)
    of_p, of_trained = tape.gradient(loss, [p, layer.trained.value])
    assert np.abs(of_p).min() > 0
    assert np.abs(of_trained).min() > 0
    assert [w.name for w in layer.trainable_weights] == ["trained"]
    assert [w.name for w in layer.non_trainable_weights] == ["fixed"]


def test_reads_the_counts_of_videos(counts_file):
    """In the symmetric CSR format of `yt8m-data stats`, of videos with 0 to 4 labels; the last label comes with no other."""
    rng = np.random.default_rng(5)
    labels = [set(rng.choice(7, size=rng.integers(0, 5), replace=False).tolist()) for _ in range(100)] + [{7}]
    counts = [[sum({i, j} <= of_video for of_video in labels) for j in range(8)] for i in range(8)]
    path = counts_file(np.array(counts))
    assert set(np.load(path).files) == {"indices", "indptr", "format", "shape", "data"}
    np.testing.assert_array_equal(read_counts(path, 8), counts)


def test_a_saved_model_needs_no_file(counts_file, tmp_path):
    inputs = keras.Input((5,))
    layer = made(counts_file, random_counts(), beta=0.2, gamma=0.1)
    model = keras.Model(inputs, layer(inputs))
    model.save(tmp_path / "model.keras")
    (tmp_path / "cooccurrence.npz").unlink()
    loaded = keras.models.load_model(tmp_path / "model.keras", compile=False)
    np.testing.assert_array_equal(loaded(probabilities((3, 5))), model(probabilities((3, 5))))
    assert np.abs(loaded.layers[-1].fixed.numpy()).max() > 0


def test_mixed_precision_keeps_probabilities(counts_file):
    plain = made(counts_file, random_counts(), beta=0.2, gamma=0.1)
    mixed = made(counts_file, random_counts(), beta=0.2, gamma=0.1, dtype="mixed_bfloat16")
    p = probabilities((3, 5))
    assert mixed(p).dtype == "float32"
    np.testing.assert_array_equal(mixed(p), plain(p))


def test_config_round_trip():
    config = CoOccurrence(3, "x.npz", 0.9, 0.2, 0.3, "softmax").get_config()
    assert CoOccurrence.from_config(config).get_config() == config


def test_wrong_use(counts_file, tmp_path):
    with pytest.raises(DataError, match="normalizer of co_occurrence is 'rows': choose one of conditional, centered, softmax"):
        CoOccurrence(3, normalizer="rows")
    with pytest.raises(DataError, match=r"beta of co_occurrence is -0.1: set it to a number of at least 0"):
        CoOccurrence(3, beta=-0.1)
    (tmp_path / "text.npz").write_text("no counts")
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    np.save(tmp_path / "dense.npy", np.zeros((3, 3)))
    for counts, message in [
        (None, "needs counts: set label_layer.counts to the cooccurrence.npz"),
        (str(tmp_path / "none.npz"), "there is no file .*none.npz: set label_layer.counts"),
        (str(tmp_path), "holds no co-occurrence counts: set label_layer.counts"),
        (str(tmp_path / "text.npz"), "text.npz holds no co-occurrence counts"),
        (str(tmp_path / "other.npz"), "other.npz holds no co-occurrence counts"),
        (str(tmp_path / "dense.npy"), "dense.npy holds no co-occurrence counts"),
        (counts_file(np.eye(4)), "counts 4 classes, but the model has 3"),
    ]:
        layer = CoOccurrence(3, counts)
        layer.build((None, 3))
        with pytest.raises(DataError, match=message):
            layer.prepare(TRAIN_SET)
