"""LSTM with the sums of what it read and of what it gave: LSTM-M, LSTM-M-O and LSTM-M-O-LN (Na et al. 2017, section 2.2.1)."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from trainers.options import flag, within
from trainers.pooling._base import Pooling
from trainers.pooling._clusters import frame_sum, unit
from trainers.pooling._layer_norm_lstm import LayerNormLSTMCell
from trainers.pooling._recurrent import at_least_one, cells_of_layers
from trainers.registry import POOLINGS
from yt8m_data.errors import DataError


@POOLINGS.register("lstm_memory")
class LSTMMemory(Pooling):
    """[c_N, s_N, M, O]: the final states of each layer, M the sum of the frames, O the sum of the top layer's outputs s_t.

    The paper's symbol in O is g_t, the candidate; its words, and the authors' code, say the outputs.

    Args:
      cells: of each layer, from the bottom; one number is one layer, None one layer as wide as a frame, as in the paper.
      memory: adds M.
      outputs: adds O.
      l2_normalize: M and O have unit norm, as in the authors' code; False leaves the sums, as the paper writes them.
      layer_norm: normalises each gate and the cell.
      dropout: rate on the candidates of a cell with layer norm, in training only. The paper's "0.8" is the share that is kept, hence 0.2.

    Raises:
      DataError: an option with a value that it cannot have.
    """

    def __init__(
        self,
        cells: int | Sequence[int] | None = None,
        memory: bool = True,
        outputs: bool = True,
        l2_normalize: bool = True,
        layer_norm: bool = False,
        dropout: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.cells = None if cells is None else cells_of_layers("lstm_memory", cells)
        flag("lstm_memory", memory=memory, outputs=outputs, l2_normalize=l2_normalize, layer_norm=layer_norm)
        within("lstm_memory", 0, 1, dropout=dropout)
        if dropout and not layer_norm:
            raise DataError(f"dropout of lstm_memory is {dropout}, but only the cell with layer norm has it: set layer_norm to true")
        self.memory, self.outputs, self.l2_normalize, self.layer_norm, self.dropout = memory, outputs, l2_normalize, layer_norm, dropout

    def build(self, frames_shape: tuple[int | None, ...]) -> None:
        """Make the layers of the stack."""
        self.rnns = []
        for i, size in enumerate(self.cells or [frames_shape[-1]], start=1):
            options = {"return_sequences": True, "return_state": True, "dtype": self.dtype_policy, "name": f"layer_{i}"}
            if self.layer_norm:
                cell = LayerNormLSTMCell(size, self.dropout, dtype=self.dtype_policy, name="cell")
                rnn = keras.layers.RNN(cell, **options)
            else:
                rnn = keras.layers.LSTM(size, **options)
            rnn.build(frames_shape)
            self.rnns.append(rnn)
            frames_shape = (*frames_shape[:-1], size)

    def call(self, frames: Any, mask: Any, training: bool | None = None) -> Any:
        """[B, T, D] and mask [B, T] to [B, 2 * the sum of the cells, + D with M, + the cells of the top layer with O]."""
        x, joined = frames, []
        for rnn in self.rnns:
            x, h, c = rnn(x, mask=at_least_one(mask), training=training)
            joined += [c, h]
        for sequence, used in ((frames, self.memory), (x, self.outputs)):
            if used:
                total = frame_sum(mask, sequence)
                joined.append(ops.cast(unit(total) if self.l2_normalize else total, self.compute_dtype))
        return ops.concatenate(joined, axis=-1)

    def get_config(self) -> dict[str, Any]:
        """Configuration for saving."""
        own = ("cells", "memory", "outputs", "l2_normalize", "layer_norm", "dropout")
        return {**super().get_config(), **{key: getattr(self, key) for key in own}}
