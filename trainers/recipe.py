"""Recipes: what to train and how, as YAML. Reading one imports no TensorFlow."""

import difflib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from yt8m_data.errors import DataError

FOLDER = Path(__file__).parent / "recipes"
_Model = TypeVar("_Model", bound=BaseModel)


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


class Move(_Section):
    """What moves videos while training: x + scale * (p - q), before any norm; see `trainers.move`."""

    deltas: str  # file of deltas, of `yt8m-data deltas`
    scale: float = Field(1.0, ge=0)
    probability: float = Field(0.8, gt=0, le=1)  # that a draw of a video is moved
    steps: int | None = Field(None, gt=0)  # training steps that move videos, after which the last ones take them as they are


class Input(_Section):
    """What happens to the concatenated features before anything else."""

    l2_normalize: Literal["joint", "each", "none"] = "joint"  # visual and audio as one vector, as in all published code; or each apart
    scale: float | None = Field(None, gt=0)  # then times this; null is sqrt(D), which makes a value about 1 in size
    adaptive_noise: float | None = Field(None, gt=0)  # times that of Na et al. (2017), eq. 11-12: training only, less for frequent labels
    noise_counts: str | None = None  # stats.json whose label counts set the noise; null counts the training set
    move: Move | None = None  # by deltas, training only; null leaves videos as they are


class Frames(_Section):
    """Which frames of a video the model is given, where the records are frame-level."""

    sample: Literal["all", "random", "sequence"] = "all"  # random: with replacement; sequence: consecutive, from a random start
    count: int | None = Field(None, gt=0)  # frames drawn
    sort: bool = False  # puts random frames in the order of time
    max_frames: int = Field(300, gt=0)  # of a video; the rest is cut off

    @model_validator(mode="after")
    def _count_goes_with_sample(self) -> "Frames":
        if (self.sample == "all") != (self.count is None):
            raise ValueError("frames.count goes with sample random or sequence, and is left out with all")
        return self


class Distill(_Section):
    """A teacher to learn from. The loss is weight times that to the teacher's scores, and 1 - weight times that to the labels."""

    teacher: str | None = None  # Parquet of `predict`, of all the training set's videos
    weight: float = Field(1.0, ge=0, le=1)  # Cho et al. (2018) found 1 the best


class Training(_Section):
    """Optimiser, schedule and length. Adam with beta 0.9 and 0.999, epsilon 1e-8, as TF1's."""

    batch_size: int = Field(256, gt=0)
    epochs: float | None = Field(None, gt=0)  # length in passes over the training set, or else in steps
    steps: int | None = Field(None, gt=0)
    learning_rate: float = Field(1e-3, gt=0)
    decay: float = Field(1.0, gt=0, le=1)  # the rate is multiplied by this every decay_examples, as a staircase
    decay_examples: int = Field(4_000_000, gt=0)
    warmup_steps: int = Field(0, ge=0)  # over which the rate rises in a line
    clipnorm: float | None = Field(None, gt=0)  # of each variable's gradient, never of them all
    ema: float | None = Field(None, gt=0, lt=1)  # momentum of the average of the weights that is evaluated and saved
    shuffle_buffer: int | None = Field(None, gt=0)  # videos; null is 32,768 of video level, 1,024 of frame level
    checkpoint_every: int = Field(500, gt=0)  # steps
    keep_checkpoints: int = Field(2, gt=0)  # the last ones; `average` takes the mean of their weights
    eval_every: int | None = Field(None, gt=0)  # steps; null evaluates at the end only
    patience: int | None = Field(None, gt=0)  # evaluations past the best GAP after which training stops; null trains to the end
    keep: Literal["last", "best"] = "last"  # the model that is saved; of several that are to be averaged, those a little past the best
    seed: int = Field(0, ge=0)
    jit: bool = False  # compile the step with XLA, anew for each length where all frames are taken
    precision: Literal["float32", "mixed_bfloat16"] = "float32"  # mixed: products in bfloat16; weights, probabilities and loss in float32
    initial_run: str | None = None  # folder of a finished run of the same layers, whose weights training begins with
    distill: Distill | None = None

    @model_validator(mode="after")
    def _one_length(self) -> "Training":
        if self.epochs is None and self.steps is None:
            raise ValueError("give training.epochs or training.steps")
        return self

    @model_validator(mode="after")
    def _evaluations(self) -> "Training":
        if self.eval_every is None and (self.patience is not None or self.keep == "best"):
            raise ValueError("training.patience and keep: best choose among evaluations: set training.eval_every")
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
    classes: tuple[int, ...] | None = None  # the classes that the model knows, by the ids that the records give; null is all of them


class Published(_Section):
    """Figures that a paper reports for this system."""

    source: str  # the paper and its table
    dataset: str
    num_classes: int  # of that data set
    split: str
    figures: dict[str, float]  # gap, map, perr, hit_at_1, as fractions


class Recipe(_Section):
    """A whole system: components, input, training, and where it was published."""

    FILE: ClassVar[str] = "recipe.yaml"  # in a run folder
    name: str
    description: str
    parameters: int | None = Field(None, gt=0)  # trainable weights, for the records of `published`
    pooling: Component | None = None  # of frame-level records; null for video-level ones, and for heads that take frames
    encoders: tuple[Component, ...] = ()  # between pooling and head, one after the other
    head: Component
    label_layer: Component | None = None
    loss: Component = Component(name="cross_entropy")
    regularizers: tuple[Component, ...] = ()
    num_classes: int | None = Field(None, gt=0)  # null takes that of the published set whose keys the records have
    classes: str | None = None  # CSV with a column Index, or one id a line: videos of other classes are left out, and ids become rows
    prior_scale: float | None = Field(1.0, gt=0, le=1)  # the head starts at this times the label frequencies; null leaves biases at 0
    input: Input = Input()
    frames: Frames = Frames()
    training: Training
    published: tuple[Published, ...] = ()
    data: DataSchema | None = None

    @property
    def components(self) -> str:
        """Names of the components in order, as in "late_fusion(netvlad) > dense > moe"; what is default is left out."""
        parts = [part for part in (self.pooling, *self.encoders, self.head, self.label_layer) if part is not None]
        parts += [self.loss] if self.loss.name != "cross_entropy" else []
        return " > ".join(_nested_name(part) for part in [*parts, *self.regularizers])

    def dump(self) -> str:
        """As YAML that `load` reads back."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)


def _nested_name(component: Component) -> str:
    inner = component.options.get("pooling")
    return f"{component.name}({inner['name']})" if isinstance(inner, dict) else component.name


def names() -> list[str]:
    """Names of the recipes that come with the package, sorted."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def table(recipes: Sequence[Recipe]) -> str:
    """A line per recipe: name, components, trainable weights in millions, and the first set of figures that was published."""
    rows = [("recipe", "weights", "published", "components")]
    for recipe in recipes:
        weights = f"{recipe.parameters / 1e6:.1f} M" if recipe.parameters else ""
        figures = recipe.published[0].figures if recipe.published else {}
        rows.append((recipe.name, weights, " ".join(f"{name} {value:g}" for name, value in figures.items()), recipe.components))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        f"{name:{widths[0]}}  {weights:>{widths[1]}}  {figures:{widths[2]}}  {components}" for name, weights, figures, components in rows
    )


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
            close = difflib.get_close_matches(name_or_path, names(), n=1)
            hint = f", did you mean {close[0]!r}" if close else ""
            raise DataError(f"no recipe {name_or_path!r}{hint}: `yt8m-train recipes` lists them, or give the path of a YAML file")
    return validated(Recipe, read_yaml(path), overrides, f"recipe {name_or_path}")


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a recipe's keys and values.

    Raises:
      DataError: it is no YAML, or holds no keys.
    """
    values = _yaml(path.read_bytes(), str(path))
    if not isinstance(values, dict):
        raise DataError(f"{path} is no recipe: it should hold keys such as 'head' and 'training'")
    return values


def validated(kind: type[_Model], values: dict[str, Any], overrides: Sequence[str], what: str) -> _Model:
    """Values, with `key=value` over them, as a recipe of a kind.

    Raises:
      DataError: an unknown key, or a value of the wrong kind; `what` says of what.
    """
    for override in overrides:
        _set(values, override)
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise DataError(f"{what}: {_sentence(error, kind)}") from None


class _Loader(yaml.SafeLoader):
    """Reads 1e-6 as a number, as YAML 1.2 and people do; PyYAML keeps to 1.1, where it is text."""


_Loader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789"))


def _yaml(text: str | bytes, where: str) -> Any:
    try:
        return yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        raise DataError(f"{where} is no YAML: {' '.join(str(error).split())}") from None


def _set(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise DataError(f"--set {override!r} should be key=value, for example training.steps=200")
    *sections, last = key.split(".")
    inside: Any = values
    for section in sections:
        if isinstance(inside, dict) and inside.get(section) is None:
            inside[section] = {}
        inside = inside[_place(inside, section, override)]
        if not isinstance(inside, dict | list):
            raise DataError(f"--set {override!r}: {section!r} holds a value, not keys")
    inside[_place(inside, last, override)] = _yaml(text, f"--set {override!r}")


def _place(inside: dict[str, Any] | list[Any], key: str, override: str) -> Any:
    """The key of a mapping, or the number of an item of a list."""
    if isinstance(inside, dict):
        return key
    if not key.isdigit() or int(key) >= len(inside):
        raise DataError(f"--set {override!r}: {key!r} is no item of a list of {len(inside)}: give a number from 0")
    return int(key)


def _sentence(error: ValidationError, kind: type[BaseModel]) -> str:
    """One thing that is wrong: an unknown key, with the known ones of its section, or else the first value."""
    first = min(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
    *sections, last = [str(part) for part in first["loc"]] or [""]
    if first["type"] == "extra_forbidden":
        known = list(_section(sections, kind).model_fields)
        close = difflib.get_close_matches(last, known, n=1)
        hint = f", did you mean {close[0]!r}" if close else ""
        return f"unknown key {'.'.join([*sections, last])!r}{hint} (known: {', '.join(known)})"
    return f"{'.'.join([*sections, last]) or 'the recipe'}: {first['msg'].removeprefix('Value error, ')}"


def _section(sections: list[str], kind: type[BaseModel] = Recipe) -> type[BaseModel]:
    inside = {"input": Input, "frames": Frames, "training": Training, "data": DataSchema, "published": Published}
    nested = {("input", "move"): Move, ("training", "distill"): Distill}
    return nested.get(tuple(sections)) or (inside[sections[0]] if sections else kind)
