"""The commands of `yt8m-data`: parse, call one function, print. Each imports its job when it runs: Beam takes seconds."""

from beam_jobs.commands import augmentation, setup, shards, statistics  # noqa: F401 (their commands join the group)
from beam_jobs.commands.options import yt8m_data

__all__ = ["yt8m_data"]
