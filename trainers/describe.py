"""What a recipe is made of: its layers with their shapes and numbers of weights, without making the weights."""

import contextlib
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import keras
from keras.src.backend.common.global_state import set_global_attribute

from trainers.model import assemble
from trainers.recipe import DataSchema, Recipe, load
from trainers.registry import HEADS

_SIZES = {"rgb": 1024, "audio": 128}  # of all releases of YouTube-8M
_CLASSES = 3862


class Row(NamedTuple):
    """A layer of a model."""

    name: str
    layer: str  # its class
    shape: str  # of what it gives
    trainable: int  # weights
    fixed: int  # weights that training does not change by gradients: batch norm's statistics, a co-occurrence matrix


def describe(recipe: str, overrides: Sequence[str] = ()) -> str:
    """A table of a recipe's layers, for YouTube-8M records of the release that it was published on.

    Raises:
      DataError: a wrong recipe.
    """
    settings = load(recipe, overrides)
    rows = layers(settings)
    rows.append(Row("total", "", "", sum(row.trainable for row in rows), sum(row.fixed for row in rows)))
    cells = [("layer", "class", "gives", "trainable", "fixed")]
    cells += [(row.name, row.layer, row.shape, f"{row.trainable:,}", f"{row.fixed:,}") for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "  ".join(cell.rjust(width) if i > 2 else cell.ljust(width) for i, (cell, width) in enumerate(zip(row, widths, strict=True)))
        for row in cells
    ]
    size = (rows[-1].trainable + rows[-1].fixed) * 4 / 2**20
    return "\n".join([f"{settings.name}: {settings.description}", "", *lines, "", f"{size:,.1f} MiB as float32"])


def layers(recipe: Recipe, data: DataSchema | None = None) -> list[Row]:
    """The layers of a recipe's model, in order; `data` is by default the layout that it was published on.

    Raises:
      DataError: components that do not go together.
    """
    with weightless():
        model = assemble(recipe, data or published_layout(recipe)).model
        return [
            Row(
                layer.name,
                type(layer).__name__,
                " ".join(_shape(tensor.shape) for tensor in keras.tree.flatten(layer.output)),
                _size(layer.trainable_weights),
                _size(layer.non_trainable_weights),
            )
            for layer in model.layers
            if not isinstance(layer, keras.layers.InputLayer)
        ]


def published_layout(recipe: Recipe) -> DataSchema:
    """The records that a recipe was published on: video- or frame-level, with that release's number of classes."""
    frames = recipe.pooling is not None or getattr(HEADS.get(recipe.head.name), "takes_frames", False)
    features = _SIZES if frames else {f"mean_{name}": size for name, size in _SIZES.items()}
    classes = recipe.num_classes or (recipe.published[0].num_classes if recipe.published else _CLASSES)
    return DataSchema(kind="frame" if frames else "video", id_key="id", labels_key="labels", features=features, num_classes=classes)


@contextlib.contextmanager
def weightless() -> Iterator[None]:
    """Within it layers have shapes but no values: a model of 300 million weights takes no memory."""
    with keras.StatelessScope():
        try:
            yield
        finally:
            set_global_attribute("uninitialized_variables", [])  # or the scope would initialise them all at its end


def _size(weights: Sequence[keras.Variable]) -> int:
    return sum(math.prod(weight.shape) for weight in weights if weight.dtype.startswith("float"))


def _shape(shape: Sequence[int | None]) -> str:
    return "x".join("?" if size is None else str(size) for size in shape[1:]) or "scalar"
