"""Recipes: what to train and how, as YAML. Reading one imports no TensorFlow."""

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from yt8m_data.errors import DataError

FOLDER = Path(__file__).parent / "recipes"


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Component(BaseModel):
    """A registered component: its name, and the options of its class, which the registry checks."""

    model_config = ConfigDict(extra="allow", frozen=True)
    name: str

    @property
    def options(self) -> dict[str, Any]:
        """Keyword arguments of the component's class."""
        return dict(self.model_extra or {})


class Input(_Section):
    """What happens to the concatenated features before anything else."""

    l2_normalize: bool = True  # the whole vector, visual and audio jointly, as in all the papers
    scale: float | None = Field(None, gt=0)  # then times this; null is sqrt(D), which makes a value about 1 in size


class Training(_Section):
    """Optimiser, schedule and length. Adam with beta 0.9 and 0.999, epsilon 1e-8, as TF1's."""

    batch_size: int = Field(256, gt=0)
    epochs: float | None = Field(None, gt=0)  # length in passes over the training set, or else in steps
    steps: int | None = Field(None, gt=0)
    learning_rate: float = Field(1e-3, gt=0)
    decay: float = Field(1.0, gt=0, le=1)  # the rate is multiplied by this every decay_examples, as a staircase
    decay_examples: int = Field(4_000_000, gt=0)
    clipnorm: float | None = Field(None, gt=0)  # of each variable's gradient, never of them all
    ema: float | None = Field(None, gt=0, lt=1)  # momentum of the average of the weights that is evaluated and saved
    shuffle_buffer: int = Field(32_768, gt=0)  # records, as serialized bytes
    checkpoint_every: int = Field(500, gt=0)  # steps
    eval_every: int | None = Field(None, gt=0)  # steps; null evaluates at the end only
    seed: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _one_length(self) -> "Training":
        if self.epochs is None and self.steps is None:
            raise ValueError("give training.epochs or training.steps")
        return self

    def total_steps(self, num_records: int) -> int:
        """Steps of the whole run; `steps`, where set, wins over `epochs`."""
        return self.steps or max(1, round(self.epochs * num_records / self.batch_size))


class DataSchema(_Section):
    """The record layout that a model was trained on; `fit` fills it in."""

    kind: Literal["video", "frame"]
    id_key: str
    labels_key: str
    features: dict[str, int]  # name to size, in the order in which they are concatenated
    num_classes: int


class Published(_Section):
    """A figure that a paper reports for this system."""

    source: str
    dataset: str
    split: str
    figures: dict[str, float]


class Recipe(_Section):
    """A whole system: components, input, training, and where it was published."""

    name: str
    description: str
    pooling: Component | None = None
    head: Component
    label_layer: Component | None = None
    loss: Component = Component(name="cross_entropy")
    num_classes: int | None = Field(None, gt=0)  # null takes that of the published set whose keys the records have
    prior_scale: float | None = Field(1.0, gt=0, le=1)  # the head starts at this times the label frequencies; null leaves biases at 0
    input: Input = Input()
    training: Training
    published: tuple[Published, ...] = ()
    data: DataSchema | None = None

    def dump(self) -> str:
        """As YAML that `load` reads back."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)


def names() -> list[str]:
    """Names of the recipes that come with the package, sorted."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def load(name_or_path: str, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe.

    Args:
      name_or_path: the name of a recipe that comes with the package, or the path of a YAML file.
      overrides: `key=value`, the key dotted (`training.steps=200`), the value YAML.

    Raises:
      DataError: no such recipe, no YAML, an unknown key, or a value of the wrong kind.
    """
    path = FOLDER / f"{name_or_path}.yaml"
    if name_or_path not in names():
        path = Path(name_or_path)
        if not path.is_file():
            raise DataError(f"no recipe {name_or_path!r}: known are {', '.join(names())}, or give the path of a YAML file")
    values = _yaml(path.read_text(), str(path))
    if not isinstance(values, dict):
        raise DataError(f"{path} is no recipe: it should hold keys such as 'head' and 'training'")
    for override in overrides:
        _set(values, override)
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        raise DataError(f"recipe {name_or_path}: {_sentence(error)}") from None


def _yaml(text: str, where: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise DataError(f"{where} is no YAML: {' '.join(str(error).split())}") from None


def _set(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise DataError(f"--set {override!r} should be key=value, for example training.steps=200")
    *sections, last = key.split(".")
    for section in sections:
        if values.get(section) is None:
            values[section] = {}
        values = values[section]
        if not isinstance(values, dict):
            raise DataError(f"--set {override!r}: {section!r} holds a value, not keys")
    values[last] = _yaml(text, f"--set {override!r}")


def _sentence(error: ValidationError) -> str:
    """One thing that is wrong: an unknown key, with the known ones of its section, or else the first value."""
    first = min(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
    *sections, last = [str(part) for part in first["loc"]] or [""]
    if first["type"] == "extra_forbidden":
        known = list(_section(sections).model_fields)
        close = difflib.get_close_matches(last, known, n=1)
        hint = f", did you mean {close[0]!r}" if close else ""
        return f"unknown key {'.'.join([*sections, last])!r}{hint} (known: {', '.join(known)})"
    return f"{'.'.join([*sections, last]) or 'the recipe'}: {first['msg'].removeprefix('Value error, ')}"


def _section(sections: list[str]) -> type[BaseModel]:
    inside = {"input": Input, "training": Training, "data": DataSchema, "published": Published}
    return inside[sections[0]] if sections else Recipe
