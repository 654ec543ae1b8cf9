"""The table holds every component and varies every option, and a wrong value of an option is told in one sentence."""

import inspect
import re
import typing
from collections import defaultdict
from typing import Any

import numpy as np
import pytest
from matrix.cases import CASES, LOSS_TERMS, OFFERED, REGULARIZER_TERMS, Case
from matrix.subject import Subject

from trainers.registry import ENCODERS, HEADS, LABEL_LAYERS, LOSSES, POOLINGS, REGULARIZERS, Registry
from yt8m_data.errors import DataError

REGISTRIES = (POOLINGS, ENCODERS, HEADS, LABEL_LAYERS, LOSSES, REGULARIZERS)
COMPONENTS = [(registry, name) for registry in REGISTRIES for name in registry.names()]
TABLE = [*CASES, *LOSS_TERMS, *REGULARIZER_TERMS]

FILES = {("co_occurrence", "counts")}  # any string may be a path
RIGHT = {  # of the values that are wrong for other options
    ("position_encoding", "base"): [0],
    ("co_occurrence", "alpha"): [-1.0],
    ("co_occurrence", "beta"): [-1.0],
    ("co_occurrence", "gamma"): [-1.0],
}

every_component = pytest.mark.parametrize(("registry", "name"), COMPONENTS, ids=[name for _, name in COMPONENTS])


def options_of(registry: Registry, name: str) -> dict[str, inspect.Parameter]:
    """What a recipe can set."""
    parameters = inspect.signature(registry.get(name)).parameters
    return {key: p for key, p in parameters.items() if p.kind is not p.VAR_KEYWORD and key not in OFFERED and key != "name"}


def kinds(parameter: inspect.Parameter) -> tuple[Any, ...]:
    """The types that an option may have."""
    return typing.get_args(parameter.annotation) or (parameter.annotation,)


def given(registry: Registry, name: str) -> list[dict[str, Any]]:
    """The options of each case of a component."""
    return [case.options for case in TABLE if (case.registry, case.name) == (registry, name)]


@every_component
def test_every_component_is_in_the_table_and_every_option_varies_there(registry, name):
    """Sizes need not: `test_the_smallest_sizes` varies them."""
    cases = given(registry, name)
    assert cases, f"{registry.kind} {name} is not in cases.py"
    seen = defaultdict(set)
    for options in cases:
        for key, parameter in options_of(registry, name).items():
            seen[key].add(repr(options.get(key, parameter.default)))
    constant = {key for key, values in seen.items() if len(values) < 2}
    assert constant <= {key for key, parameter in options_of(registry, name).items() if int in kinds(parameter) or (name, key) in FILES}


def with_option(registry: Registry, name: str, key: str) -> dict[str, Any]:
    """The options of a case that gives this one, or else of the first."""
    cases = given(registry, name)
    return next((options for options in cases if key in options), cases[0])


def wrong_values(parameter: inspect.Parameter) -> list[Any]:
    """Values that YAML may hold and an option of this type should refuse."""
    wrong: list[Any] = ["nonsense", {"nonsense": 1}]
    if type(None) not in kinds(parameter):
        wrong.append(None)
    if int in kinds(parameter):
        wrong += [0, -3, 2.5, True]
    if float in kinds(parameter):
        wrong += [-1.0, float("nan"), float("inf"), True]
    if bool in kinds(parameter):
        wrong += [2, "yes"]
    if any(typing.get_origin(kind) is not None for kind in kinds(parameter)):  # Sequence[int], Mapping[str, Any]
        wrong += [[], [0], 5.5]
    return wrong


@pytest.mark.parametrize(
    ("registry", "name", "key"),
    [(registry, name, key) for registry, name in COMPONENTS for key in options_of(registry, name) if (name, key) not in FILES],
    ids=lambda part: part if isinstance(part, str) else "",
)
def test_wrong_values_are_told_in_one_sentence(registry, name, key):
    options = with_option(registry, name, key)
    for value in wrong_values(options_of(registry, name)[key]):
        if value in RIGHT.get((name, key), []):
            continue
        try:
            registry.create(name, {**options, key: value}, **OFFERED)
        except DataError as error:
            message = str(error)
        else:
            pytest.fail(f"{name} takes {value!r} for {key}")
        inner = "nonsense" if value == {"nonsense": 1} else "0" if value == [0] else str(value)
        assert inner in message
        assert key in message or inner == "nonsense", message  # the nested option is named
        assert "\n" not in message
        assert not message.endswith("."), message
        assert re.search(": |, but", message), "a sentence says what is wrong: and how to mend it"


def smallest() -> list[Case]:
    """Each component, once for each of its sizes with that size at 1."""
    takes = {(case.registry, case.name): case.takes for case in CASES}
    return [
        Case(registry, name, 0, {**with_option(registry, name, key), key: 1}, kind)
        for (registry, name), kind in takes.items()
        for key, parameter in options_of(registry, name).items()
        if int in kinds(parameter)
    ]


@pytest.mark.parametrize("case", smallest(), ids=str)
def test_the_smallest_sizes(case):
    subject = Subject(case.create, case.takes)
    step = subject.step(*subject.batch(subject.videos(1, 1)))
    assert all(np.isfinite(gradient).all() for gradient in step.gradients if gradient is not None)


@pytest.mark.parametrize("sizes", [(12,), (6, 3, 3)], ids=str)
@pytest.mark.parametrize("name", ["early_fusion", "late_fusion", "multi_modal"])
def test_one_feature_and_three(name, sizes):
    options = {"pooling": {"name": "dbof", "clusters": 6}}
    subject = Subject(lambda: POOLINGS.create(name, options, feature_sizes=sizes), "frames")
    assert np.isfinite(subject.call(*subject.batch(subject.videos(2, 1)))).all()
