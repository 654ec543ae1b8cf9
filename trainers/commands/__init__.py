"""The commands of `yt8m-train`: parse, call one function, print. Each imports its job when it runs: TensorFlow takes seconds."""

from trainers.commands import models, recipes, runs, segments  # noqa: F401 (their commands join the group)
from trainers.commands.options import yt8m_train

__all__ = ["yt8m_train"]
