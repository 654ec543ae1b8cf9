"""Checks of the options that a recipe gives a component. Each raises a DataError that names the option, its value and the mend."""

from collections.abc import Sequence
from typing import Any

from yt8m_data.errors import DataError


def whole(component: str, or_null: bool = False, **options: Any) -> None:
    """Each option is a whole number of at least 1, or None where that is allowed."""
    for option, value in options.items():
        if not (or_null and value is None) and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            raise DataError(f"{option} of {component} is {value!r}: set it to a whole number of at least 1{' or null' * or_null}")


def within(component: str, low: float, high: float, or_null: bool = False, **options: Any) -> None:
    """Each option is a number with low <= number < high, or None where that is allowed."""
    for option, value in options.items():
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not (or_null and value is None) and not (number and low <= value < high):
            end = f" and below {high:g}" if high < float("inf") else ""
            raise DataError(f"{option} of {component} is {value!r}: set it to a number of at least {low:g}{end}{' or null' * or_null}")


def positive(component: str, **options: Any) -> None:
    """Each option is a number above 0."""
    for option, value in options.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
            raise DataError(f"{option} of {component} is {value!r}: set it to a number above 0")


def one_of(component: str, choices: Sequence[Any], **options: Any) -> None:
    """Each option is one of the choices."""
    for option, value in options.items():
        if not any(value == choice and type(value) is type(choice) for choice in choices):  # True == 1
            known = ", ".join("null" if choice is None else str(choice) for choice in choices)
            raise DataError(f"{option} of {component} is {value!r}: choose one of {known}")


def flag(component: str, **options: Any) -> None:
    """Each option is true or false."""
    for option, value in options.items():
        if not isinstance(value, bool):
            raise DataError(f"{option} of {component} is {value!r}: choose true or false")
