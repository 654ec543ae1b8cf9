"""Components by name: a recipe says `head: {name: moe, num_experts: 2}`, and the file of that component registers itself here.

What each kind is called with, and gives, stands beside its registry below. A component takes the options of its constructor from the
recipe, and what the assembly offers (`num_classes`, `feature_sizes`) where its constructor names it. What it reads from files or from the
training set it puts into its weights, in `prepare(train_set)`, so that a saved model needs neither.
"""

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

    def create(self, name: str, options: Mapping[str, Any], **offered: Any) -> Any:
        """Make the component called `name` with the recipe's options, and with those of the offered values that its constructor names.

        Raises:
          DataError: no component has that name, it does not take one of the options, or one that it needs is missing.
        """
        parameters = inspect.signature(self.get(name)).parameters
        parameters = {key: p for key, p in parameters.items() if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}
        known = [key for key in parameters if key not in offered]
        unknown = sorted(set(options) - set(known))
        if unknown:
            raise DataError(f"{self.kind} {name!r} has no option {unknown[0]!r}: known are {', '.join(known) or 'none'}")
        missing = [key for key in known if parameters[key].default is inspect.Parameter.empty and key not in options]
        if missing:
            raise DataError(f"{self.kind} {name!r} needs the option {missing[0]!r}: known are {', '.join(known)}")
        return self.get(name)(**options, **{key: value for key, value in offered.items() if key in parameters})

    def get(self, name: str) -> type:
        """The class called `name`.

        Raises:
          DataError: there is none.
        """
        if name not in self._classes:
            raise DataError(f"unknown {self.kind} {name!r}: known are {', '.join(self.names()) or 'none'}")
        return self._classes[name]


POOLINGS = Registry("pooling")  # (frames [B, T, D] float, mask [B, T] bool) -> [B, E]; padded frames do not count
ENCODERS = Registry("encoder")  # [B, D] -> [B, E]
HEADS = Registry("head")  # [B, D] -> probabilities [B, C]
LABEL_LAYERS = Registry("label layer")  # probabilities [B, C] -> probabilities [B, C]
LOSSES = Registry("loss")  # (labels [B, C], predictions [B, C]) -> [B], summed over classes
REGULARIZERS = Registry("regularizer")  # (labels [B, C], embedding [B, D], label_weights [D, C] or None) -> scalar, added to the loss
