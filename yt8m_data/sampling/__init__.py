"""The sampling plan: label counts -> what happens to each video. One file per family of policies; `policies` is the list of them."""

from yt8m_data.sampling.forecast import forecast, growth
from yt8m_data.sampling.outcome import unfilled
from yt8m_data.sampling.plan import KEEP, OVER, REGIMES, SPLIT, SUB, Plan
from yt8m_data.sampling.policies import FULL_RECORDS, needs_sets, plan
from yt8m_data.sampling.published import FULL_THRESHOLD
from yt8m_data.sampling.settings import (
    DECOUPLE,
    LABEL_RULES,
    METHODS,
    PAIRED,
    POLICIES,
    LabelRule,
    Method,
    Policy,
    Settings,
    parse_range,
    parse_threshold,
    read_targets,
)

__all__ = [
    "DECOUPLE",
    "FULL_RECORDS",
    "FULL_THRESHOLD",
    "KEEP",
    "LABEL_RULES",
    "METHODS",
    "OVER",
    "PAIRED",
    "POLICIES",
    "REGIMES",
    "SPLIT",
    "SUB",
    "LabelRule",
    "Method",
    "Plan",
    "Policy",
    "Settings",
    "forecast",
    "growth",
    "needs_sets",
    "parse_range",
    "parse_threshold",
    "plan",
    "read_targets",
    "unfilled",
]
