import subprocess
import sys

import pytest

from trainers import recipe as module
from trainers.recipe import Recipe, load, names
from yt8m_data.errors import DataError


def test_the_recipes_that_come_along():
    assert {"logistic", "moe", "moe16"} <= set(names())
    for name in names():
        recipe = load(name)
        assert recipe.name == name
        assert recipe.description
        assert recipe.data is None
    assert load("moe").head.options["num_experts"] == 2
    assert load("moe16").head.options["num_experts"] == 16


def test_the_published_figure_of_the_video_level_mixture():
    (published,) = load("moe").published
    assert published.figures == {"gap": 0.817, "map": 0.466, "perr": 0.759, "hit_at_1": 0.854}


def test_reading_recipes_imports_no_tensorflow():
    code = "import sys, trainers.recipe as r; [r.load(n) for n in r.names()]; print(any(m in sys.modules for m in ('tensorflow', 'keras')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_overrides():
    settings = ["training.steps=7", "head.num_experts=4", "loss.from_logits=true", "input.scale=null", "pooling={name: mean, k: 3}"]
    recipe = load("moe", settings)
    assert recipe.training.steps == 7
    assert recipe.head.options["num_experts"] == 4
    assert recipe.loss.options == {"from_logits": True}
    assert recipe.input.scale is None
    assert recipe.pooling.options == {"k": 3}
    assert recipe.training.total_steps(10**6) == 7


@pytest.mark.parametrize("text", ["1e-6", "1E-6", "1.0e-6", "0.1e-5", "+1e-6", "1e-06"])
def test_numbers_as_people_write_them(text):
    assert load("moe", [f"head.l2={text}"]).head.options["l2"] == 1e-6
    assert load("moe", ["head.l2=1e"]).head.options["l2"] == "1e"


def test_overrides_reach_into_lists():
    recipe = load("moe", ["encoders=[{name: dense, size: 8}, {name: dense, size: 4}]", "encoders.1.size=5", "published.0.figures.gap=0.5"])
    assert [encoder.options["size"] for encoder in recipe.encoders] == [8, 5]
    assert recipe.published[0].figures["gap"] == 0.5


def test_components_in_order():
    settings = ["pooling={name: late_fusion, pooling: {name: netvlad}}", "encoders=[{name: dense}]", "label_layer={name: co_occurrence}"]
    settings += ["loss={name: huber}", "regularizers=[{name: center}]"]
    assert load("moe", settings).components == "late_fusion(netvlad) > dense > moe > co_occurrence > huber > center"
    assert load("moe").components == "moe"


def test_the_table_has_a_line_each():
    lines = module.table([load("moe"), load("moe16")]).splitlines()
    assert lines[0].split() == ["recipe", "weights", "published", "components"]
    assert [line.split()[0] for line in lines[1:]] == ["moe", "moe16"]
    assert "gap 0.817 map 0.466" in lines[1]
    assert all(line.endswith("moe") for line in lines[1:])


def test_a_dump_loads_back(tmp_path):
    recipe = load("moe", ["training.learning_rate=3e-4", "training.clipnorm=1"])
    path = tmp_path / "mine.yaml"
    path.write_text(recipe.dump())
    assert load(str(path)) == recipe


def test_length_in_epochs():
    training = load("moe", ["training.epochs=2.5", "training.batch_size=100"]).training
    assert training.total_steps(1000) == 25
    assert training.total_steps(1) == 1


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("trainin.steps=3", "unknown key 'trainin', did you mean 'training' .known: name, description"),
        ("training.step=3", r"unknown key 'training.step', did you mean 'steps' \(known: batch_size, epochs"),
        ("training.steps=many", "training.steps: Input should be a valid integer"),
        ("training.steps=0", "training.steps: Input should be greater than 0"),
        ("training.epochs=null", "give training.epochs or training.steps"),
        ("prior_scale=0", "prior_scale: Input should be greater than 0"),
        ("training.steps", "should be key=value"),
        ("name.x=1", "'name' holds a value, not keys"),
        ("training.steps=[", "is no YAML"),
        ("head.name=null", "head.name: Input should be a valid string"),
        ("published=[{sauce: x}]", "published.0.sauce"),
        ("published.0.split.x=1", "'split' holds a value, not keys"),
        ("published.7.split=x", "'7' is no item of a list of 1: give a number from 0"),
        ("published.first.split=x", "'first' is no item of a list"),
        ("frames.sample=random", "frames.count goes with sample random or sequence"),
        ("frames.count=30", "frames.count goes with sample random or sequence"),
        ("input.move={deltas: d, prob: 1}", r"unknown key 'input.move.prob'.* \(known: deltas, scale, probability, steps\)"),
        ("input.move.scale=2", "input.move.deltas: Field required"),
        ("frames.sampel=all", r"unknown key 'frames.sampel', did you mean 'sample' \(known: sample, count"),
        ("input.l2_normalize=true", "input.l2_normalize: Input should be 'joint', 'each' or 'none'"),
    ],
)
def test_wrong_overrides(override, message):
    with pytest.raises(DataError, match=message):
        load("moe", [override])


def test_wrong_files(tmp_path):
    with pytest.raises(DataError, match="no recipe 'mow', did you mean 'moe': `yt8m-train recipes` lists them"):
        load("mow")
    (tmp_path / "list.yaml").write_text("- 1\n")
    with pytest.raises(DataError, match="is no recipe: it should hold keys"):
        load(str(tmp_path / "list.yaml"))
    (tmp_path / "bare.yaml").write_text("name: bare\n")
    with pytest.raises(DataError, match="Field required"):
        load(str(tmp_path / "bare.yaml"))


def test_every_section_lists_its_keys():
    for section in ("input", "frames", "training", "data"):
        with pytest.raises(DataError, match="known: "):
            load("moe", [f"{section}.nonsense=1"])
    assert set(module._section([]).model_fields) == set(Recipe.model_fields)
