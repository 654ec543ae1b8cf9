"""Layers of GRU (Cho et al. 2014) over the frames, with the final states of all layers (Miech et al. 2017's code)."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from trainers.pooling._base import Pooling
from trainers.pooling._recurrent import at_least_one, cells_of_layers
from trainers.registry import POOLINGS


def gates_open(shape: tuple[int, ...], dtype: str) -> Any:
    """The biases [3 * cells] at the start: 1 for the update and the reset gate, 0 for the candidate, as TF1's."""
    return ops.cast(ops.arange(shape[0]) < shape[0] * 2 // 3, dtype)


@POOLINGS.register("gru")
class GRUPooling(Pooling):
    """[h1, h2, ...], the final state of each layer; the reset gate acts on the state before the candidate's product, as in the 2014 paper.

    Args:
      cells: of each layer, from the bottom; one number is one layer.

    Raises:
      DataError: there is no layer, or one without cells.
    """

    def __init__(self, cells: int | Sequence[int] = (1024, 1024), **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.cells = cells_of_layers("gru", cells)
        options = {"reset_after": False, "bias_initializer": gates_open, "return_sequences": True, "return_state": True}
        self.rnns = [
            keras.layers.GRU(size, **options, dtype=self.dtype_policy, name=f"layer_{i}") for i, size in enumerate(self.cells, start=1)
        ]

    def build(self, frames_shape: tuple[int | None, ...]) -> None:
        """Build the layers of the stack."""
        for rnn in self.rnns:
            rnn.build(frames_shape)
            frames_shape = (*frames_shape[:-1], rnn.units)

    def call(self, frames: Any, mask: Any, training: bool | None = None) -> Any:
        """[B, T, D] and mask [B, T] to [B, sum of the cells]."""
        x, mask, states = frames, at_least_one(mask), []
        for rnn in self.rnns:
            x, state = rnn(x, mask=mask, training=training)
            states.append(state)
        return ops.concatenate(states, axis=-1)

    def get_config(self) -> dict[str, Any]:
        """Configuration for saving."""
        return {**super().get_config(), "cells": self.cells}
