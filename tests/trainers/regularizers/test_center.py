import keras
import numpy as np
import pytest
import tensorflow as tf

from trainers.regularizers.center import CenterLoss
from yt8m_data.errors import DataError

B, C, E = 6, 5, 3


def made(seed=0, centers=None, **options) -> CenterLoss:
    term = CenterLoss(**{"weight": 1.0, **options})
    term.build((None, C), (None, E))
    term.centers.assign(np.random.default_rng(seed).normal(size=(C, E)) if centers is None else centers)
    return term


def batch(seed=1) -> tuple[np.ndarray, np.ndarray]:
    """Videos of 0 to 3 labels, the first of none; no video has the last label."""
    rng = np.random.default_rng(seed)
    labels = np.zeros((B, C), np.float32)
    for b in range(1, B):
        labels[b, rng.choice(C - 1, size=1 + b % 3, replace=False)] = 1
    return labels, rng.normal(size=(B, E)).astype(np.float32)


def reference(labels, embedding, centers, rate) -> tuple[float, np.ndarray]:
    """Loss and moved centres, one video and label at a time."""
    loss, moved = 0.0, np.array(centers, np.float64)
    for y, e in zip(labels, embedding.astype(np.float64), strict=True):
        if y.sum():
            loss += sum(y[c] * ((e - centers[c]) ** 2).sum() for c in range(C)) / y.sum() / len(labels)
    for c in range(C):
        delta = sum(y[c] * (centers[c] - e) for y, e in zip(labels, embedding, strict=True)) / (1 + labels[:, c].sum())
        moved[c] = centers[c] - rate * delta
    return loss, moved


@pytest.mark.parametrize("soft", [False, True])
def test_equals_the_definition(soft):
    labels, embedding = batch()
    if soft:
        labels = labels * np.random.default_rng(2).random((B, C)).astype(np.float32)
    term = made(weight=0.3, rate=0.2)
    expected, moved = reference(labels, embedding, term.centers.numpy(), 0.2)
    assert float(term(labels, embedding, None, training=True)) == pytest.approx(0.3 * expected, rel=1e-5)
    np.testing.assert_allclose(term.centers, moved, rtol=1e-5, atol=1e-6)
    assert np.abs(moved[:-1] - made().centers.numpy()[:-1]).max() > 0.05
    np.testing.assert_array_equal(term.centers[-1], made().centers[-1])  # no video has it


def test_one_label_each_is_the_ordinary_center_loss():
    labels, embedding = np.eye(C, dtype=np.float32)[[2]], batch()[1][:1]
    term = made()
    assert float(term(labels, embedding, None)) == pytest.approx(((embedding[0] - term.centers.numpy()[2]) ** 2).sum(), rel=1e-5)


def test_nothing_moves_out_of_training():
    term = made()
    before = term.centers.numpy()
    term(*batch(), None, training=False)
    term(*batch(), None)
    np.testing.assert_array_equal(term.centers, before)


def test_embeddings_at_their_centres_cost_nothing():
    labels, embedding = batch()
    term = made(centers=np.tile(embedding[1] * 100, (C, 1)))
    assert float(term(labels, np.tile(embedding[1] * 100, (B, 1)), None)) == pytest.approx(0, abs=0.05)  # of squares about 10,000
    gradient = gradient_of(term, labels, np.tile(embedding[1] * 100, (B, 1)))
    np.testing.assert_allclose(gradient, 0, atol=1e-4)


def test_videos_without_labels_cost_nothing_and_move_nothing():
    embedding = batch()[1]
    term = made()
    before = term.centers.numpy()
    assert float(term(np.zeros((B, C), np.float32), embedding, None, training=True)) == 0
    np.testing.assert_array_equal(term.centers, before)
    assert not np.any(gradient_of(term, np.zeros((B, C), np.float32), embedding))


def gradient_of(term, labels, embedding) -> np.ndarray:
    e = tf.Variable(embedding)
    with tf.GradientTape() as tape:
        loss = term(labels, e, None, training=True)
    return tape.gradient(loss, e).numpy()


def test_gradient_draws_to_the_mean_centre():
    labels, embedding = batch()
    term = made(weight=0.5)
    centers = term.centers.numpy()
    expected = [
        (0.5 / B) * 2 * (e - centers[y > 0].mean(axis=0)) if y.any() else np.zeros(E) for y, e in zip(labels, embedding, strict=True)
    ]
    np.testing.assert_allclose(gradient_of(term, labels, embedding), expected, rtol=1e-4, atol=1e-6)
    assert not term.trainable_variables


def test_a_label_of_the_whole_batch_does_not_overshoot():
    """Centres of summed occurrences would leap by 0.05 * 100 times the distance."""
    term = made(centers=np.zeros((C, E)))
    embedding = np.full((100, E), 2.0, np.float32)
    labels = np.tile(np.eye(C, dtype=np.float32)[0], (100, 1))
    losses = [float(term(labels, embedding, None, training=True)) for _ in range(200)]
    assert losses == sorted(losses, reverse=True)
    assert losses[0] == pytest.approx(4 * E)
    np.testing.assert_allclose(term.centers[0], 2, rtol=1e-3)


def test_runs_in_a_graph_and_its_state_is_checkpointed(tmp_path):
    labels, embedding = batch()
    eager, graph = made(), made()
    step = tf.function(lambda y, e: graph(y, e, None, training=True))
    for _ in range(3):
        expected = float(eager(labels, embedding, None, training=True))
        assert float(step(labels, embedding)) == pytest.approx(expected, rel=1e-5)
    np.testing.assert_allclose(graph.centers, eager.centers, rtol=1e-5)
    path = tf.train.Checkpoint(term=graph).save(tmp_path / "x")
    other = made(seed=9)
    tf.train.Checkpoint(term=other).restore(path).assert_consumed()
    np.testing.assert_array_equal(other.centers, graph.centers)


def test_builds_from_shapes_of_a_graph():
    term = CenterLoss()
    term(keras.KerasTensor((None, C)), keras.KerasTensor((None, E)), None)
    assert term.centers.shape == (C, E)
    assert not np.any(term.centers)


def test_mixed_precision_keeps_float32():
    labels, embedding = batch()
    loss = made(dtype="mixed_bfloat16")(labels, embedding, None, training=True)
    assert loss.dtype == "float32"
    assert float(loss) == pytest.approx(float(made()(labels, embedding, None)), rel=1e-6)
    halved = tf.cast(embedding, tf.bfloat16)
    assert made(dtype="mixed_bfloat16")(labels, halved, None, training=True).dtype == "float32"


def test_config_round_trip():
    config = CenterLoss(0.1, 0.2).get_config()
    assert CenterLoss.from_config(config).get_config() == config


@pytest.mark.parametrize(
    ("options", "message"),
    [({"weight": -1}, "weight of center is -1: set it"), ({"rate": 1.5}, "rate of center is 1.5: .* below 1")],
)
def test_wrong_use(options, message):
    with pytest.raises(DataError, match=message):
        CenterLoss(**options)
