"""Components by name: a recipe says `head: {name: moe, num_experts: 2}`, and the file of that component registers itself here."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import keras

from yt8m_data.errors import DataError


class Registry:
    """Classes of one kind of component, by the name that recipes use."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._classes: dict[str, type] = {}

    def register(self, name: str) -> Callable[[type], type]:
        """Class decorator: register under `name` here and with Keras, which needs it to load a saved model.

        Raises:
          ValueError: the name is taken.
        """

        def add(cls: type) -> type:
            if name in self._classes:
                raise ValueError(f"{self.kind} {name!r} is registered already, by {self._classes[name].__qualname__}")
            self._classes[name] = keras.saving.register_keras_serializable(package="yt8m")(cls)
            return cls

        return add

    def names(self) -> list[str]:
        """The registered names, sorted."""
        return sorted(self._classes)

    def create(self, name: str, options: Mapping[str, Any], **given: Any) -> Any:
        """Make the component called `name` with the recipe's options, and what the assembly gives it.

        Raises:
          DataError: no component has that name, or it does not take one of the options.
        """
        if name not in self._classes:
            raise DataError(f"unknown {self.kind} {name!r}: known are {', '.join(self.names()) or 'none'}")
        cls = self._classes[name]
        known = [p.name for p in inspect.signature(cls).parameters.values() if p.kind is not p.VAR_KEYWORD and p.name not in given]
        unknown = sorted(set(options) - set(known))
        if unknown:
            raise DataError(f"{self.kind} {name!r} has no option {unknown[0]!r}: known are {', '.join(known) or 'none'}")
        return cls(**options, **given)


POOLINGS = Registry("pooling")  # (frames, mask) -> vector
HEADS = Registry("head")  # vector [B, D] -> probabilities [B, C]
LABEL_LAYERS = Registry("label layer")  # probabilities -> probabilities
LOSSES = Registry("loss")  # (multi-hot [B, C], predictions [B, C]) -> [B], summed over classes
