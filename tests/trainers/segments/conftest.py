"""Made shards with rated segments, and runs of whole videos on them."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import planted_segments
import pytest
from planted_segments import VIDEO

from trainers.fit import fit as fit_videos


class Made(NamedTuple):
    train: str
    eval: str
    video_run: str


def _made(folder: Path, count: int, *settings: str) -> Made:
    train = planted_segments.write(folder, "train", planted_segments.make(count, 0, True), 3)
    evaluation = planted_segments.write(folder, "eval", planted_segments.make(200, 1, True), 2)
    fit_videos("gated_netvlad", [train], [evaluation], str(folder / "video"), [*VIDEO, *settings])
    return Made(train, evaluation, str(folder / "video"))


@pytest.fixture(scope="session")
def make_in_context() -> Callable[..., Made]:
    """Write so many videos to train on, and train on them as `in_context` does, but for further settings."""
    return _made


@pytest.fixture(scope="session")
def in_context(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """200 videos to train on, 200 to evaluate, whose signed classes need the context, and a run of whole videos that has hardly begun."""
    return _made(tmp_path_factory.mktemp("in_context"), 200, "training.steps=10")
