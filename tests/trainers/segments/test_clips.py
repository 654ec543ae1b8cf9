import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainers.segments.clips import Clips, FrozenEncoder


def frames_of(lengths, width):
    """Frame t of video v holds 40 v + t, and what is behind the last frame 255."""
    features = np.full((len(lengths), max(*lengths, 1), width), 255, np.uint8)
    for v, length in enumerate(lengths):
        features[v, :length] = 40 * v + np.arange(length)[:, None]
    return features


@given(
    st.lists(st.integers(0, 30), min_size=1, max_size=4),
    st.lists(st.tuples(st.integers(0, 3), st.integers(-12, 45)), min_size=1, max_size=6),
    st.integers(0, 4),
)
@settings(max_examples=60)
def test_a_clip_has_the_frames_of_its_segment_and_neighbours_and_no_others(lengths, segments, neighbors):
    segments = [(video % len(lengths), start) for video, start in segments]
    features, rows = frames_of(lengths, 2), np.array(segments, np.int32)
    clips, counts = Clips(neighbors)([features, features[:, :, :1]], np.array(lengths, np.int32), rows[:, 0], rows[:, 1])
    assert clips[0].shape == (len(segments), 5 + 2 * neighbors, 2)
    assert clips[1].shape == (len(segments), 5 + 2 * neighbors, 1)
    for (video, start), clip, count in zip(segments, clips[0].numpy(), counts.numpy(), strict=True):
        inside = [t for t in range(start - neighbors, start + 5 + neighbors) if 0 <= t < lengths[video]]
        assert clip[:count, 0].tolist() == [40 * video + t for t in inside]
        assert lengths[video] == 0 or 255 not in clip  # what is behind the end is not even read


@pytest.mark.parametrize(
    ("start", "count"), [(0, 8), (3, 11), (20, 11), (292, 11), (295, 8), (299, 4), (302, 1), (303, 0), (-8, 0), (2**30, 0)]
)
def test_of_300_frames_11_make_a_clip_and_fewer_at_the_ends(start, count):
    features = np.zeros((1, 300, 4), np.uint8)
    clips, counts = Clips()([features], np.int32([300]), np.int32([0]), np.int32([start]))
    assert clips[0].shape == (1, 11, 4)
    assert counts.numpy().tolist() == [count]
    assert clips[0].dtype == "uint8"


def test_12_frames_are_segments_of_5_5_and_2():
    _, counts = Clips(0)([np.zeros((1, 12, 4), np.uint8)], np.int32([12]), np.int32([0, 0, 0]), np.int32([0, 5, 10]))
    assert counts.numpy().tolist() == [5, 5, 2]


def test_a_frozen_encoder_is_in_inference_mode_whatever_the_mode(tmp_path):
    inside = keras.Sequential([keras.Input((6,)), keras.layers.Dense(4), keras.layers.BatchNormalization(), keras.layers.Dropout(0.5)])
    x = np.random.default_rng(0).normal(size=(20, 6)).astype(np.float32)
    inside(x, training=True)  # statistics that are not those of the batch
    inputs = keras.Input((6,))
    model = keras.Model(inputs, FrozenEncoder(inside, name="frozen")(inputs))
    before = [weight.numpy() for weight in inside.weights]
    np.testing.assert_array_equal(model(x, training=True), inside(x, training=False))
    assert not model.trainable_variables
    assert all((one == other.numpy()).all() for one, other in zip(before, inside.weights, strict=True))
    model.save(tmp_path / "model.keras")
    np.testing.assert_array_equal(keras.models.load_model(tmp_path / "model.keras")(x, training=True), inside(x, training=False))
