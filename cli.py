"""Command line: the groups `yt8m-data` and `yt8m-train`. Results go to stdout, progress and errors to stderr."""

from beam_jobs.commands import yt8m_data
from trainers.commands import yt8m_train

__all__ = ["yt8m_data", "yt8m_train"]
