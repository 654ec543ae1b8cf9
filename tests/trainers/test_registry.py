import keras
import pytest

from trainers.registry import Registry
from yt8m_data.errors import DataError


def test_registers_creates_and_lists():
    registry = Registry("toy")

    @registry.register("scale")
    class ToyScale(keras.layers.Layer):
        def __init__(self, by: float = 2.0, num_classes: int = 0, **kwargs):
            super().__init__(**kwargs)
            self.by = by

    assert registry.names() == ["scale"]
    assert registry.create("scale", {"by": 3.0}, num_classes=5).by == 3.0
    assert keras.saving.get_registered_name(ToyScale) == "yt8m>ToyScale"


def test_refuses():
    registry = Registry("toy")

    @registry.register("one")
    class ToyOne:
        def __init__(self, num_classes: int, width: int = 1):
            self.width = width

        def get_config(self):
            return {}

    @registry.register("three")
    class ToyThree:
        def __init__(self, depth: int, width: int = 1):
            self.depth = depth

        def get_config(self):
            return {}

    assert registry.create("three", {"depth": 2}, num_classes=3, feature_sizes=(1,)).depth == 2  # it names neither, so it gets neither
    with pytest.raises(ValueError, match="toy 'one' is registered already"):
        registry.register("one")(ToyOne)
    with pytest.raises(DataError, match="unknown toy 'two': known are one"):
        registry.create("two", {})
    with pytest.raises(DataError, match="toy 'one' has no option 'depth': known are width"):
        registry.create("one", {"depth": 2}, num_classes=3)
    with pytest.raises(DataError, match="no option 'num_classes'"):  # the assembly's to give, not the recipe's
        registry.create("one", {"num_classes": 2}, num_classes=3)
    with pytest.raises(DataError, match="toy 'three' needs the option 'depth': known are depth, width"):
        registry.create("three", {"width": 1})
    with pytest.raises(DataError, match="known are none"):
        Registry("empty").create("x", {})
