"""LSTMs that read the frames forward and backward: BiLSTM and Stacked BiLSTM (Garg 2018, section 4.1)."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from trainers.options import one_of
from trainers.pooling._base import Pooling
from trainers.pooling._recurrent import at_least_one, cells_of_layers
from trainers.registry import POOLINGS
from yt8m_data.errors import DataError

LINKS = ("none", "sum", "residual")


@POOLINGS.register("bilstm")
class BiLSTMPooling(Pooling):
    """[the top forward layer's output at the last real frame, the top backward layer's at the first]; forget gates begin with bias 1.

    Args:
      cells: of each layer of one direction, from the bottom; one number is one layer. Garg's "2048" is 1024 here.
      link: what a layer above the first reads. "none": the layer of its own direction, so that the directions never meet. "sum": the sum of
        both directions' outputs, at each frame, which is the Stacked BiLSTM. "residual": both directions' outputs side by side, and in
        layer 3 the sum of those of layers 1 and 2.

    Raises:
      DataError: an option with a value that it cannot have.
    """

    def __init__(self, cells: int | Sequence[int] = 1024, link: str = "none", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.cells = cells_of_layers("bilstm", cells)
        one_of("bilstm", LINKS, link=link)
        if link == "residual" and (len(self.cells) != 3 or self.cells[0] != self.cells[1]):
            raise DataError(f"link residual of bilstm needs 3 layers, the first two alike, not {self.cells}: set cells, as [512, 512, 512]")
        self.link = link
        self.forwards = [self._layer(i, size, False) for i, size in enumerate(self.cells, start=1)]
        self.backwards = [self._layer(i, size, True) for i, size in enumerate(self.cells, start=1)]

    def build(self, frames_shape: tuple[int | None, ...]) -> None:
        """Build the layers of both stacks."""
        for forward, backward in zip(self.forwards, self.backwards, strict=True):
            forward.build(frames_shape)
            backward.build(frames_shape)
            frames_shape = (*frames_shape[:-1], forward.units * (2 if self.link == "residual" else 1))

    def call(self, frames: Any, mask: Any, training: bool | None = None) -> Any:
        """[B, T, D] and mask [B, T] to [B, 2 * cells of the top layer]."""
        mask = at_least_one(mask)
        ahead, back, joined = frames, frames, []
        for forward, backward in zip(self.forwards, self.backwards, strict=True):
            ahead, last, _ = forward(ahead, mask=mask, training=training)
            back, first, _ = backward(back, mask=mask, training=training)
            back = ops.flip(back, axis=1)  # Keras gives the steps in the order of reading
            if self.link == "sum":
                ahead = back = ahead + back
            elif self.link == "residual":
                joined.append(ops.concatenate([ahead, back], axis=-1))
                ahead = back = joined[-1] if len(joined) == 1 else joined[0] + joined[1]
        return ops.concatenate([last, first], axis=-1)

    def compute_output_shape(self, frames_shape: tuple[int | None, ...]) -> tuple[int | None, int]:
        """That of the vector; without it Keras traces all layers to find it."""
        return (frames_shape[0], 2 * self.cells[-1])

    def _layer(self, i: int, size: int, backward: bool) -> keras.layers.Layer:
        name = f"{'backward' if backward else 'forward'}_{i}"
        return keras.layers.LSTM(size, return_sequences=True, return_state=True, go_backwards=backward, dtype=self.dtype_policy, name=name)

    def get_config(self) -> dict[str, Any]:
        """Configuration for saving."""
        return {**super().get_config(), "cells": self.cells, "link": self.link}
