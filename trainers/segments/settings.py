"""What to train on rated segments and how. Reading it imports no TensorFlow."""

from typing import Annotated, Any, ClassVar, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator

from trainers.recipe import Component, Recipe, Training

LENGTH = 5  # frames of a segment


class Settings(BaseModel):
    """What `--set` can change. The defaults are those of Huang (2019), but for `masked`, `joint`, `mean_of` and the batch, of videos."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    model: Literal["context_ignorant", "context_aware", "mean"] = "mean"
    neighbors: int = Field(3, ge=0)  # frames on each side of a segment that its clip takes in
    hidden: int = Field(1024, gt=0)  # width of the layer over context and clip of the context-aware model
    momentum: float = Field(0.999, ge=0, lt=1)  # of the moving averages of that layer's batch norm
    head: Component = Component(name="moe", num_experts=2, l2=1e-6)  # of the context-aware model
    masked: bool = True  # False takes each pair of a segment and a class that was not rated for a negative
    joint: bool = False  # of the mean: its two models learn by its loss, as in the authors' code; False: each by its own
    mean_of: Literal["logits", "probabilities"] = "logits"  # of the mean: of what it is one; the authors' code has probabilities
    # Factors of the learning rate, by layer ("segment_encoder") or layer within it ("segment_encoder/pooling"); others have 1.
    rates: dict[str, Annotated[float, Field(ge=0)]] = {"context_ignorant": 0.5, "segment_encoder": 0.5}
    training: Training = Training(batch_size=32, epochs=1, learning_rate=2e-4)  # batch_size: videos, with all their rated segments

    @model_validator(mode="after")
    def _options_act(self) -> "Settings":
        for key in ("joint", "mean_of"):
            if self.model != "mean" and getattr(self, key) != type(self).model_fields[key].default:
                raise ValueError(f"{key} goes with model mean, which has two models, not with {self.model}")
        for key in ("initial_run", "distill", "jit", "precision"):
            if getattr(self.training, key) != Training.model_fields[key].default:
                raise ValueError(f"training.{key} is not for segments, whose networks begin as those of the video run: leave it out")
        return self


class SegmentRecipe(Settings):
    """Settings, and the run of whole videos that the model is built from."""

    FILE: ClassVar[str] = "segments.yaml"
    video: Recipe

    def dump(self) -> str:
        """As YAML."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)


def defaults(model: str) -> dict[str, Any]:
    """The settings of a kind of model as plain values, without the rates of layers that it does not have."""
    lacks = {"context_ignorant": "segment_encoder", "context_aware": "context_ignorant"}.get(model)
    values = Settings().model_dump(mode="json")
    return {**values, "model": model, "rates": {name: rate for name, rate in values["rates"].items() if name != lacks}}
