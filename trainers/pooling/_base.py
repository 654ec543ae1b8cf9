"""The base class of poolings, and poolings within poolings."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras

from trainers.registry import POOLINGS
from yt8m_data.errors import DataError


class Pooling(keras.layers.Layer):
    """Takes frames and their mask, and gives a vector, which has no frames and so hands on no mask."""

    def compute_mask(self, inputs: Any, previous_mask: Any = None) -> None:
        """None; without this Keras warns of a lost mask."""
        return


def nested(component: str, pooling: Mapping[str, Any], feature_sizes: Sequence[int], dtype: Any) -> keras.layers.Layer:
    """The pooling that a component's option `pooling` names, in the component's precision.

    Args:
      component: its name, for the error.
      pooling: name and options.
      feature_sizes: widths of the features that the pooling is given.
      dtype: policy of the component, which Keras hands on to no layer within a layer.

    Raises:
      DataError: there is no name, no such pooling, or not such options of it.
    """
    if not isinstance(pooling, Mapping) or "name" not in pooling:
        raise DataError(f"pooling of {component} is {pooling!r}: give the name of a pooling and its options, for example {{name: netvlad}}")
    options = {key: value for key, value in pooling.items() if key != "name"}
    layer = POOLINGS.create(pooling["name"], options, feature_sizes=tuple(feature_sizes))
    return type(layer).from_config({**layer.get_config(), "dtype": dtype})
