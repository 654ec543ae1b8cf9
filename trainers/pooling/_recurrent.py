"""What the recurrent poolings share: how many cells each layer has, and where a video without frames begins."""

from collections.abc import Sequence
from typing import Any

from keras import ops

from trainers.options import whole
from yt8m_data.errors import DataError


def cells_of_layers(component: str, cells: int | Sequence[int]) -> list[int]:
    """The cells of each layer, from the bottom; one number is one layer.

    Raises:
      DataError: there is no layer, or one without cells.
    """
    layers = list(cells) if isinstance(cells, list | tuple) else [cells]
    if not layers:
        raise DataError(f"cells of {component} is []: give the cells of each layer, as [1024, 1024]")
    for layer in layers:
        whole(component, cells=layer)
    return layers


def at_least_one(mask: Any) -> Any:
    """Mask [B, T] with the first frame of a video that has none counted as real, since cuDNN refuses sequences of no step."""
    first = ops.arange(ops.shape(mask)[1]) == 0
    return ops.logical_or(mask, ops.logical_and(first[None, :], ops.logical_not(ops.any(mask, axis=1, keepdims=True))))


def top_over_time(outputs: Any, mask: Any) -> Any:
    """Maximum of outputs [B, T, E] over the real steps of mask [B, T], of which each row has one, as [B, E]."""
    return ops.max(ops.where(mask[:, :, None], outputs, -float("inf")), axis=1)
