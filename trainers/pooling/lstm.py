"""Layers of LSTM (Hochreiter and Schmidhuber 1997) over the frames, as Garg (2018, section 4.1) and Miech et al. (2017) pool them."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import ops

from trainers.options import flag, one_of
from trainers.pooling._base import Pooling, nested
from trainers.pooling._recurrent import at_least_one, cells_of_layers, top_over_time
from trainers.registry import POOLINGS
from yt8m_data.errors import DataError

OUTPUTS = ("last", "max", "attention", "all_states")


@POOLINGS.register("lstm")
class LSTMPooling(Pooling):
    """Each layer reads the outputs of the one below, from the first real frame to the last; the forget gates begin with bias 1.

    Args:
      cells: of each layer, from the bottom; one number is one layer.
      residual: layer 3 reads the sum of what layers 1 and 2 give, the one skip of Garg's Fig. 3.
      output: of the top layer's outputs h_t, "last" keeps that of the last frame, "max" the maximum over time, "attention" their attention
        pooling. "all_states" joins the final states of every layer, [c1, h1, c2, h2, ...], as Miech et al.'s code does.
      attention: options of the attention pooling.

    Raises:
      DataError: an option with a value that it cannot have.
    """

    def __init__(
        self,
        cells: int | Sequence[int] = 1024,
        residual: bool = False,
        output: str = "last",
        attention: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.cells = cells_of_layers("lstm", cells)
        flag("lstm", residual=residual)
        one_of("lstm", OUTPUTS, output=output)
        if residual and (len(self.cells) != 3 or self.cells[0] != self.cells[1]):
            raise DataError(f"residual of lstm needs 3 layers, the first two alike, not {self.cells}: set cells, as [1024, 1024, 1024]")
        if attention is not None and not isinstance(attention, Mapping):
            raise DataError(f"attention of lstm is {attention!r}: give its options, for example {{softmax: false}}, or null")
        if attention and output != "attention":
            raise DataError(f"attention of lstm goes with output attention, not {output}: set output, or leave attention out")
        self.residual, self.kept, self.attention = residual, output, dict(attention or {})
        self.rnns = [
            keras.layers.LSTM(size, return_sequences=True, return_state=True, dtype=self.dtype_policy, name=f"layer_{i}")
            for i, size in enumerate(self.cells, start=1)
        ]
        if output == "attention":
            self.attend = nested("lstm", {"name": "attention", **self.attention}, [self.cells[-1]], self.dtype_policy)

    def build(self, frames_shape: tuple[int | None, ...]) -> None:
        """Build the layers of the stack."""
        for rnn in self.rnns:
            rnn.build(frames_shape)
            frames_shape = (*frames_shape[:-1], rnn.units)
        if self.kept == "attention":
            self.attend.build(frames_shape)

    def call(self, frames: Any, mask: Any, training: bool | None = None) -> Any:
        """[B, T, D] and mask [B, T] to [B, cells of the top layer], or with all states to [B, 2 * the sum of the cells]."""
        mask = at_least_one(mask)
        x, outputs, states = frames, [], []
        for rnn in self.rnns:
            if self.residual and len(outputs) == 2:
                x = outputs[0] + outputs[1]
            x, h, c = rnn(x, mask=mask, training=training)
            outputs.append(x)
            states += [c, h]
        if self.kept == "all_states":
            return ops.concatenate(states, axis=-1)
        if self.kept == "attention":
            return self.attend(x, mask)
        return top_over_time(x, mask) if self.kept == "max" else states[-1]

    def get_config(self) -> dict[str, Any]:
        """Configuration for saving."""
        own = {"cells": self.cells, "residual": self.residual, "output": self.kept, "attention": self.attention or None}
        return {**super().get_config(), **own}
