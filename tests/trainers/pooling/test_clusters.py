"""What the poolings share gives the same as its plain form."""

import numpy as np
import tensorflow as tf

from trainers.pooling._clusters import flatten, normalize, normalize_and_flatten


def test_both_norms_at_once_are_one_after_the_other():
    """Descriptors and their gradients, among them tiny ones, zeros, and a video that is all zeros."""
    v = np.random.default_rng(0).normal(size=(4, 5, 6)).astype(np.float32)
    v[0, 1] = v[1] = 0
    v[2, 3] *= 1e-8
    weights = tf.random.stateless_normal([4, 30], [1, 2])
    found = []
    for norms in (normalize_and_flatten, lambda v: flatten(normalize(v, "intra"))):
        with tf.GradientTape() as tape:
            given = tf.constant(v)
            tape.watch(given)
            flat = norms(given)
            total = tf.reduce_sum(flat * weights)
        found.append((flat, tape.gradient(total, given)))
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-5, atol=1e-6 * float(tf.reduce_max(tf.abs(other))))
    np.testing.assert_allclose(np.linalg.norm(found[0][0], axis=1), [1, 0, 1, 1], rtol=1e-5)
