import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from trainers.pooling.netvlad import NetRVLAD, NetVLAD
from trainers.pooling.non_local import NonLocal
from yt8m_data.errors import DataError

pytestmark = pytest.mark.filterwarnings("ignore:You are using a softmax over axis -1")  # one descriptor attends to itself


def made(count=4, depth=6, seed=0, **options) -> NonLocal:
    block = NonLocal(**options)
    block.build((None, count, depth))
    rng = np.random.default_rng(seed)
    block.set_weights([rng.normal(size=w.shape) for w in block.get_weights()])
    return block


def reference(v: np.ndarray, weights: list[np.ndarray], factor: float) -> np.ndarray:
    """One pair of descriptors at a time: v [K, D]; theta, phi and g [D, E], W_o [E, D]."""
    theta, phi, g, output = (w.astype(np.float64) for w in weights)
    result = np.zeros_like(v)
    for i in range(len(v)):
        shares = np.array([np.exp(factor * (v[i] @ theta) @ (v[j] @ phi)) for j in range(len(v))])
        shares /= shares.sum()
        y = sum(share * (v[j] @ g) for j, share in enumerate(shares))
        result[i] = v[i] + y @ output
    return result


DESCRIPTORS = np.random.default_rng(9).normal(size=(3, 4, 6)).astype(np.float32) * 0.7


@pytest.mark.parametrize(
    ("options", "factor"),
    [
        ({}, 6**-0.5),
        ({"width": 3}, 6**-0.5),
        ({"scale": "width", "width": 3}, 3**-0.5),
        ({"scale": "width"}, 4**-0.5),
        ({"scale": "none", "width": 2}, 1.0),
    ],
)
def test_equals_the_definition(options, factor):
    block = made(**options)
    assert block.get_weights()[0].shape == (6, options.get("width", 4))
    for row, v in zip(np.array(block(DESCRIPTORS)), DESCRIPTORS, strict=True):
        np.testing.assert_allclose(row, reference(v.astype(np.float64), block.get_weights(), factor), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("shared", [False, True])
def test_stacked_blocks(shared):
    stack = made(blocks=2, shared=shared)
    weights = stack.get_weights()
    assert len(weights) == (4 if shared else 8)
    expected = DESCRIPTORS
    for own in (weights[:4], weights[-4:]):
        single = made()
        single.set_weights(own)
        expected = single(expected)
    np.testing.assert_allclose(stack(DESCRIPTORS), expected, rtol=1e-4, atol=1e-4)


def test_permuting_the_descriptors_permutes_the_result():
    block, order = made(), [2, 0, 3, 1]
    np.testing.assert_allclose(block(DESCRIPTORS[:, order]), np.array(block(DESCRIPTORS))[:, order], rtol=1e-4, atol=1e-5)


def test_one_descriptor_gets_its_own_value():
    block = made(count=1, width=5)
    v = DESCRIPTORS[:, :1]
    _, _, g, output = block.get_weights()
    np.testing.assert_allclose(block(v), v + v @ g @ output, rtol=1e-4, atol=1e-5)


def test_weights_over_descriptors_sum_to_one():
    """Where g gives every descriptor the same value, so does the attention, whatever theta and phi are."""
    block = made(scale="none")
    constant = DESCRIPTORS.copy()
    constant[:, :, 0] = 1.0
    theta, phi, g, output = block.get_weights()
    g = np.concatenate([g[:1], np.zeros_like(g[1:])])
    block.set_weights([theta, phi, g, output])
    np.testing.assert_allclose(np.array(block(constant)) - constant, np.broadcast_to(g[0] @ output, constant.shape), rtol=1e-3, atol=1e-4)


def test_gradients_reach_every_map_and_g_is_one_of_its_own():
    block = made(blocks=2)
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(block(DESCRIPTORS) ** 2)
    for weight, gradient in zip(block.trainable_weights, tape.gradient(total, [w.value for w in block.trainable_weights]), strict=True):
        assert np.abs(gradient).max() > 1e-4, weight.name
    before = np.array(block(DESCRIPTORS))
    g = next(w for w in block.weights if w.name == "g_0")
    g.assign(-np.array(g))
    assert np.abs(np.array(block(DESCRIPTORS)) - before).max() > 0.1


def test_the_output_map_does_not_begin_at_zero():
    block = NonLocal(width=100)
    block.build((None, 8, 400))
    theta, phi, g, output = (np.array(w) for w in block.weights)
    for kernel, fan_in in ((theta, 400), (phi, 400), (g, 400), (output, 100)):
        assert kernel.std() == pytest.approx(fan_in**-0.5, rel=0.03)
    for one, other in itertools.combinations((theta, phi, g), 2):
        assert not np.array_equal(one, other)


@pytest.mark.parametrize("placement", ["before_norm", "after_norm"])
@pytest.mark.parametrize("kind", [NetVLAD, NetRVLAD])
def test_in_a_pooling(clips, randomized, kind, placement):
    """Before the pooling's norm the block sees raw sums, after it unit vectors; with W_o = 0 it changes nothing."""
    pool = randomized(kind(clusters=4, non_local={"placement": placement, "width": 3}))
    plain = kind(clusters=4)
    plain.build((None, None, 6))
    plain.assignment.set_weights(pool.assignment.get_weights())
    if kind is NetVLAD:
        plain.centers.assign(pool.centers)
    a = np.array(keras.ops.softmax(pool.assignment(clips.frames, mask=clips.mask), axis=-1)) * clips.mask[:, :, None]
    v = np.einsum("btk,btd->bkd", a, clips.frames).astype(np.float64)
    if kind is NetVLAD:
        v -= a.sum(axis=1)[:, :, None] * np.array(pool.centers)

    def intra(v):
        return v / np.linalg.norm(v, axis=-1, keepdims=True)

    def block(v):
        return np.stack([reference(clip, pool.block.get_weights(), 6**-0.5) for clip in v])

    expected = (intra(block(v)) if placement == "before_norm" else block(intra(v))).reshape(3, -1)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(pool(clips.frames, mask=clips.mask), expected, rtol=1e-3, atol=1e-4)

    output = next(w for w in pool.block.weights if w.name == "output_0")
    output.assign(np.zeros(output.shape))
    np.testing.assert_allclose(pool(clips.frames, mask=clips.mask), plain(clips.frames, mask=clips.mask), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 0}, "width of non_local is 0: set it to a whole number of at least 1 or null"),
        ({"scale": "depht"}, "scale of non_local is 'depht': choose one of depth, width, none"),
        ({"placement": "before"}, "placement of non_local is 'before': choose one of before_norm, after_norm"),
        ({"blocks": 1.5}, "blocks of non_local is 1.5"),
        ({"shared": True}, "shared of non_local is true, but there is 1 block"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(DataError, match=message):
        NetVLAD(non_local=options)
