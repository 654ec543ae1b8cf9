import re

import pytest

from trainers.describe import describe, layers, published_layout
from trainers.model import assemble
from trainers.recipe import DataSchema, load
from yt8m_data.errors import DataError

SMALL = DataSchema(kind="video", id_key="id", labels_key="labels", features={"mean_rgb": 6, "mean_audio": 2}, num_classes=5)


def test_rows_equal_a_model_that_has_its_weights():
    recipe = load("moe")
    rows = {row.name: row for row in layers(recipe, SMALL)}
    model = assemble(recipe, SMALL).model
    assert list(rows) == [layer.name for layer in model.layers if layer.name not in ("mean_rgb", "mean_audio")]
    for name, row in rows.items():
        assert row.trainable == sum(weight.numpy().size for weight in model.get_layer(name).trainable_weights)
        assert row.fixed == 0
    assert (rows["join"].shape, rows["head"].shape) == ("8", "5")
    assert rows["head"].layer == "MixtureOfExperts"


def test_a_large_model_is_counted_without_being_made():
    rows = layers(load("moe", ["head.num_experts=1000"]))  # 36 GB as float32
    assert sum(row.trainable for row in rows) == 1152 * 3862 * 2001 + 3862 * 1000


def test_the_table():
    text = describe("moe")
    lines = text.splitlines()
    assert lines[0] == f"moe: {load('moe').description}"
    assert re.split(r"\s{2,}", lines[2]) == ["layer", "class", "gives", "trainable", "fixed"]
    count = 1152 * 3862 * 5 + 2 * 3862
    assert re.split(r"\s{2,}", lines[-3].strip()) == ["total", f"{count:,}", "0"]
    assert lines[-1] == f"{count * 4 / 2**20:,.1f} MiB as float32"


def test_the_layout_of_the_published_records():
    assert published_layout(load("moe")).num_classes == 3862
    assert published_layout(load("moe", ["published.0.num_classes=4716"])).num_classes == 4716
    assert published_layout(load("moe", ["num_classes=12"])).num_classes == 12
    assert published_layout(load("moe", ["pooling.name=average"])).features == {"rgb": 1024, "audio": 128}
    assert published_layout(load("moe", ["head={name: many_to_many}"])).kind == "frame"


def test_a_wrong_option_is_told():
    with pytest.raises(DataError, match="has no option 'experts'"):
        describe("moe", ["head.experts=3"])
