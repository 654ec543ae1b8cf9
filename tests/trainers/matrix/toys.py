"""Layers with one thing wrong each, and one with none, to check the checks."""

import keras
import numpy as np
from keras import ops


@keras.saving.register_keras_serializable(package="toys")
class Right(keras.layers.Layer):
    """A pooling: batch norm over the real frames, attention, and a gate."""

    def __init__(self, sharpness=1.0, **kwargs):
        super().__init__(**kwargs)
        self.sharpness = sharpness
        self.norm = keras.layers.BatchNormalization(dtype=self.dtype_policy, name="norm")

    def build(self, shape):
        self.norm.build(shape)
        self.attention = self.add_weight(shape=(shape[-1], 1), name="attention")
        self.gate = self.add_weight(shape=(shape[-1], shape[-1]), name="gate")

    def call(self, x, mask, training=None):
        x = self.normed(x, mask, training)
        pooled = ops.sum(self.shares(x, mask) * x, axis=1)
        return pooled * ops.sigmoid(ops.matmul(pooled, self.gate))

    def normed(self, x, mask, training):
        return self.norm(x, mask=mask, training=training)

    def shares(self, x, mask):
        """[B, T, 1]."""
        real = mask[:, :, None]
        scores = self.sharpness * ops.tanh(ops.matmul(x, self.attention))
        return ops.softmax(ops.where(real, scores, -1e4), axis=1) * ops.cast(real, x.dtype)

    def get_config(self):
        return {**super().get_config(), "sharpness": self.sharpness}


class TakesSevenFrames(Right):
    def call(self, x, mask, training=None):
        return super().call(ops.reshape(x, (-1, 7, x.shape[-1])), mask, training)


class MixesTheBatch(Right):
    """As a norm along the wrong axis."""

    def call(self, x, mask, training=None):
        pooled = super().call(x, mask, training)
        return pooled / ops.norm(pooled, axis=0)


class TakesPaddingForFrames(Right):
    def shares(self, x, mask):
        return super().shares(x, ops.ones_like(mask))


class NormsPadding(Right):
    def normed(self, x, mask, training):
        return self.norm(x, training=training)


class PaddingGetsGradients(Right):
    """The statistics are right, but the forward pass in training is not."""

    def normed(self, x, mask, training):
        x = super().normed(x, mask, training)
        return x + 0.1 * ops.mean(x, axis=1, keepdims=True) if training else x


class WeighsByPosition(Right):
    def shares(self, x, mask):
        return super().shares(x, mask) * ops.cast(1 / (1 + ops.arange(ops.shape(x)[1], dtype="float32")), x.dtype)[None, :, None]


class ConstantAttention(Right):
    """The softmax runs over an axis of length 1."""

    def shares(self, x, mask):
        return ops.softmax(ops.matmul(x, self.attention), axis=-1) * ops.cast(mask[:, :, None], x.dtype)


class Constant(Right):
    def call(self, x, mask, training=None):
        return super().call(x, mask, training) * 0 + 1


class DeadWeight(Right):
    def build(self, shape):
        super().build(shape)
        self.dead = self.add_weight(shape=(3,), name="dead")


class MostlyDeadWeight(DeadWeight):
    def build(self, shape):
        super().build(shape)
        self.dead = self.add_weight(shape=(20, shape[-1]), name="mostly_dead")

    def call(self, x, mask, training=None):
        return super().call(x, mask, training) + self.dead[0]


class BiasBeforeTheNorm(Right):
    """The norm takes it out, so that its gradients are but rounding errors."""

    def build(self, shape):
        super().build(shape)
        self.bias = self.add_weight(shape=(shape[-1],), name="bias")

    def normed(self, x, mask, training):
        return super().normed(x + self.bias, mask, training)


class MovesAWeight(Right):
    def call(self, x, mask, training=None):
        if training:
            self.attention.assign(self.attention + 1)
        return super().call(x, mask, training)


class MovesInInference(Right):
    def normed(self, x, mask, training):
        return super().normed(x, mask, True)


class KeepsItsStatistics(Right):
    """As a layer that does not hand `training` on."""

    def normed(self, x, mask, training):
        return super().normed(x, mask, False)


class MovesWhenFrozen(Right):
    def call(self, x, mask, training=None):
        if training:
            self.norm.moving_mean.assign(self.norm.moving_mean + 1)
        return super().call(x, mask, training)


class DividesByNoFrames(Right):
    def shares(self, x, mask):
        shares = super().shares(x, mask)
        return shares / ops.sum(shares, axis=1, keepdims=True)


class HasNoGradientAtZero(Right):
    """The value is finite, 0, where its gradient is not."""

    def call(self, x, mask, training=None):
        pooled = super().call(x, mask, training)
        return pooled + ops.sqrt(ops.sum(pooled * pooled, axis=-1, keepdims=True))


class ForgetsAnOption(Right):
    def get_config(self):
        return keras.layers.Layer.get_config(self)


class SavesAnotherOption(Right):
    def get_config(self):
        return {**super().get_config(), "sharpness": 1.0}


@keras.saving.register_keras_serializable(package="toys")
class HasAStateThatIsNoWeight(Right):
    def build(self, shape):
        super().build(shape)
        self.projection = np.random.default_rng().normal(size=(shape[-1], shape[-1])).astype(np.float32)

    def call(self, x, mask, training=None):
        return ops.matmul(super().call(x, mask, training), ops.cast(self.projection, x.dtype))


class KnowsFloat32Alone(Right):
    def shares(self, x, mask):
        return ops.cast(super().shares(x, mask), "float32")


class OverflowsInHalf(Right):
    """As a count of frames in bfloat16, which has no whole numbers beyond 256."""

    def call(self, x, mask, training=None):
        large = ops.cast(1000, x.dtype)
        return (super().call(x, mask, training) + large) - large


class Gate(keras.layers.Layer):
    """A constant gate on a vector: affine."""

    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1],), name="kernel")

    def call(self, x):
        return x * ops.sigmoid(self.kernel)


class Scores(keras.layers.Layer):
    """A head that forgets its sigmoid."""

    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], 5), name="kernel")

    def call(self, x):
        return self.activation(ops.matmul(x, self.kernel))

    def activation(self, z):
        return z


class SoftmaxByExp(Scores):
    """Not a number where the exponentials overflow."""

    def activation(self, z):
        return ops.exp(z) / (1 + ops.exp(z))


class HalfProbabilities(Scores):
    """Right, but in bfloat16 where all else is."""

    def activation(self, z):
        return ops.sigmoid(z)
