"""Made shards with rated segments, runs of whole videos on them, and segment runs that begin with those."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from pathlib import Path
from typing import Any, NamedTuple

import planted_segments
import pytest
from planted_segments import MODELS, SEGMENTS, VIDEO

from trainers.fit import fit as fit_videos
from trainers.segments.fit import fit


class Made(NamedTuple):
    train: str
    eval: str
    video_run: str


def _made(folder: Path, needs_context: bool) -> Made:
    train = planted_segments.write(folder, "train", planted_segments.make(1600, 0, needs_context), 3)
    evaluation = planted_segments.write(folder, "eval", planted_segments.make(200, 1, needs_context), 2)
    fit_videos("gated_netvlad", [train], [evaluation], str(folder / "video"), VIDEO)
    return Made(train, evaluation, str(folder / "video"))


@pytest.fixture(scope="session")
def in_context(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """1,600 videos to train on, 200 to evaluate, whose signed classes need the context, and a run of whole videos on them."""
    return _made(tmp_path_factory.mktemp("in_context"), True)


@pytest.fixture(scope="session")
def runs(in_context: Made, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, dict[str, Any]]]:
    """Per model its run folder and its metrics."""
    folder, found = tmp_path_factory.mktemp("segment_runs"), {}
    for model in MODELS:
        settings = [*SEGMENTS, "training.steps=150"]
        metrics = fit(in_context.video_run, [in_context.train], [in_context.eval], str(folder / model), model, settings)
        found[model] = (folder / model, metrics)
    return found
