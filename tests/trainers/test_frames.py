import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from trainers import frames as module
from trainers.frames import draw
from trainers.recipe import Frames

MASK = 2**64 - 1


def random(count, sort=False):
    return Frames(sample="random", count=count, sort=sort)


def sequence(count):
    return Frames(sample="sequence", count=count)


def indices(frames, ids, num_frames, seed=0, repetitions=0):
    ids = [b"video%d" % i for i in range(ids)] if isinstance(ids, int) else ids
    numbers = [tf.broadcast_to(tf.constant(value, dtype), [len(ids)]) for value, dtype in ((num_frames, tf.int32), (repetitions, tf.int64))]
    drawn = draw(frames, tf.constant(ids), numbers[0], seed, numbers[1])
    assert drawn.dtype == tf.int32
    return drawn.numpy()


def splitmix(start, count):
    """The generator in Python's integers, after its published C code."""
    numbers = []
    for _ in range(count):
        start = (start + 0x9E3779B97F4A7C15) & MASK
        z = ((start ^ (start >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        numbers.append(z ^ (z >> 31))
    return numbers


def mixed(number):
    return splitmix((number - 0x9E3779B97F4A7C15) & MASK, 1)[0]


def uniform(values, bins):
    """The p-value of the chi-square test that all of 0..bins-1 are equally frequent."""
    return chisquare(np.bincount(np.ravel(values), minlength=bins)).pvalue


def test_the_oracle_gives_the_published_outputs():
    assert splitmix(1234567, 3) == [6457827717110365317, 3203168211198807973, 9817491932198370423]


def test_random_frames_are_those_of_the_published_generator():
    seed, repetition, video, frames = 3, 5, b"video0", 300
    hashed = int(tf.strings.to_hash_bucket_fast(video, 2**63 - 1))
    start = mixed(mixed((hashed + mixed(seed)) & MASK) + repetition & MASK)
    expected = [(number >> 32) * frames >> 32 for number in splitmix(start, 40)]
    np.testing.assert_array_equal(indices(random(40), [video], frames, seed, repetition)[0], expected)


def test_the_frames_of_a_video_never_change():
    """A resumed run, and an evaluation years later, draw what the first one drew."""
    assert indices(random(8), [b"abcd"], 300).tolist() == [[28, 299, 224, 66, 18, 296, 173, 33]]
    assert indices(sequence(3), [b"abcd"], 300).tolist() == [[28, 29, 30]]


@pytest.mark.parametrize("num_frames", [2, 7, 300])
def test_random_frames_are_uniform(num_frames):
    drawn = indices(random(200), 300, num_frames)
    assert drawn.min() == 0
    assert drawn.max() == num_frames - 1
    assert uniform(drawn, num_frames) > 1e-3


@pytest.mark.parametrize("of", ["draws", "videos", "seeds", "repetitions"])
def test_random_frames_are_independent(of):
    """Of the next draw, of the next video, and of the same video under the next seed or repetition: all 49 pairs are equally frequent."""
    n = 7
    drawn = indices(random(100), 200, n)
    other = {
        "draws": lambda: np.roll(drawn, 1, axis=1),
        "videos": lambda: np.roll(drawn, 1, axis=0),
        "seeds": lambda: indices(random(100), 200, n, seed=1),
        "repetitions": lambda: indices(random(100), 200, n, repetitions=1),
    }[of]()
    assert uniform(drawn * n + other, n * n) > 1e-3


@pytest.mark.parametrize(("num_frames", "count"), [(12, 5), (5, 5), (300, 150)])
def test_sequences_start_everywhere_alike(num_frames, count):
    starts = indices(sequence(count), 6000, num_frames)[:, 0]
    assert starts.max() == num_frames - count
    assert num_frames == count or uniform(starts, num_frames - count + 1) > 1e-3


@settings(max_examples=40)
@given(st.lists(st.integers(0, 400), min_size=1, max_size=5), st.integers(1, 70), st.integers(0, 2**70), st.integers(0, 2**62))
def test_laws(num_frames, count, seed, repetition):
    lengths = np.array(num_frames)[:, None]
    drawn = indices(random(count), len(num_frames), num_frames, seed, repetition)
    taken = indices(sequence(count), len(num_frames), num_frames, seed, repetition)
    for found in (drawn, taken):
        assert found.shape == (len(num_frames), count)
        assert (found >= 0).all()
        assert (found <= np.maximum(lengths - 1, 0)).all()
    np.testing.assert_array_equal(indices(random(count, sort=True), len(num_frames), num_frames, seed, repetition), np.sort(drawn, axis=1))
    np.testing.assert_array_equal(taken, np.minimum(taken[:, :1] + np.arange(count), np.maximum(lengths - 1, 0)))  # in a row, to the last
    assert (taken[:, 0] <= np.maximum(lengths[:, 0] - count, 0)).all()


def test_short_videos():
    assert indices(random(4), 3, 1).tolist() == [[0] * 4] * 3
    assert indices(sequence(4), 3, 1).tolist() == [[0] * 4] * 3
    assert indices(sequence(5), 3, 3).tolist() == [[0, 1, 2, 2, 2]] * 3
    assert indices(random(3), 1, 0).tolist() == indices(sequence(3), 1, 0).tolist() == [[0, 0, 0]]
    assert len(set(indices(random(50), 1, 3)[0].tolist())) == 3  # with replacement, though there are fewer frames than draws


@pytest.mark.parametrize("frames", [random(6), sequence(6)])
def test_a_function_of_seed_video_and_repetition_alone(frames):
    lengths = [300, 240, 270, 200]
    ids = [b"a", b"b", b"c", b"d"]
    whole = indices(frames, ids, lengths, seed=4, repetitions=[0, 1, 2, 3])
    for row in range(4):  # in a batch of its own
        np.testing.assert_array_equal(indices(frames, [ids[row]], lengths[row], seed=4, repetitions=row)[0], whole[row])
    reordered = indices(frames, ids[::-1], lengths[::-1], seed=4, repetitions=[3, 2, 1, 0])
    np.testing.assert_array_equal(reordered[::-1], whole)
    for changed in ({"seed": 5}, {"repetitions": [1, 2, 3, 4]}, {"ids": [b"e", b"f", b"g", b"h"]}):
        arguments = {"ids": ids, "seed": 4, "repetitions": [0, 1, 2, 3]} | changed
        other = indices(frames, num_frames=lengths, **arguments)
        assert (other != whole).any(axis=1).all()


def test_the_bits_fill_all_64():
    bits = module._bits(tf.constant([b"video%d" % i for i in range(100)]), 0, tf.zeros(100, tf.int64), 100).numpy()
    ones = np.unpackbits(bits.reshape(-1, 1).view(np.uint8), axis=1).mean(axis=0)
    np.testing.assert_allclose(ones, 0.5, atol=0.03)
