"""Validators for attrs that say which field is wrong, what it holds and what it may hold.

Runs in: primary
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NoReturn, TypeAlias

import attrs

__all__ = [
    "Validator",
    "at_least",
    "between",
    "count",
    "instance",
    "one_of",
    "one_of_or",
    "optional",
    "positive",
    "positive_or_inf",
    "seconds",
    "seconds_or",
    "whole",
]

Validator: TypeAlias = Callable[[Any, "attrs.Attribute[Any]", Any], None]

optional = attrs.validators.optional


def _fail(
    error: type[Exception], field: attrs.Attribute[Any], allowed: str, value: object
) -> NoReturn:
    raise error(f"{field.name} must be {allowed}, not {value!r}")


def _number(field: attrs.Attribute[Any], value: object, allowed: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        _fail(TypeError, field, allowed, value)
    try:
        return float(value)
    except OverflowError:
        _fail(ValueError, field, allowed, value)
        raise


def seconds(_: object, field: attrs.Attribute[Any], value: object) -> None:
    """Any duration, ``inf`` included."""
    allowed = "a number of seconds, 0 or more"
    if not _number(field, value, allowed) >= 0:
        _fail(ValueError, field, allowed, value)


def positive_or_inf(_: object, field: attrs.Attribute[Any], value: object) -> None:
    """A duration that is not nothing."""
    allowed = "a number of seconds above 0"
    if not _number(field, value, allowed) > 0:
        _fail(ValueError, field, allowed, value)


def positive(_: object, field: attrs.Attribute[Any], value: object) -> None:
    """A duration that is not nothing and ends."""
    allowed = "a finite number of seconds above 0"
    if not 0 < _number(field, value, allowed) < math.inf:
        _fail(ValueError, field, allowed, value)


def seconds_or(word: str) -> Validator:
    """Any duration, or a word."""

    def check(instance: object, field: attrs.Attribute[Any], value: object) -> None:
        if value != word:
            if isinstance(value, str):
                _fail(ValueError, field, f"a number of seconds or {word!r}", value)
            seconds(instance, field, value)

    return check


def at_least(least: float) -> Validator:
    """A finite number, not less than `least`."""
    allowed = f"a number of at least {least}"

    def check(_: object, field: attrs.Attribute[Any], value: object) -> None:
        if not least <= _number(field, value, allowed) < math.inf:
            _fail(ValueError, field, allowed, value)

    return check


def between(low: float, high: float) -> Validator:
    """A number, both ends included."""
    allowed = f"a number from {low} to {high}"

    def check(_: object, field: attrs.Attribute[Any], value: object) -> None:
        if not low <= _number(field, value, allowed) <= high:
            _fail(ValueError, field, allowed, value)

    return check


def count(least: int, unit: str = "") -> Validator:
    """A whole number, not less than `least`."""
    allowed = f"an int of at least {least}" if not unit else f"a number of {unit}, {least} or more"

    def check(_: object, field: attrs.Attribute[Any], value: object) -> None:
        if isinstance(value, bool) or not isinstance(value, int):
            _fail(TypeError, field, allowed, value)
        elif value < least:
            _fail(ValueError, field, allowed, value)

    return check


def whole(least: int, most: int) -> Validator:
    """A whole number, both ends included."""
    allowed = f"an int from {least} to {most}"

    def check(_: object, field: attrs.Attribute[Any], value: object) -> None:
        if isinstance(value, bool) or not isinstance(value, int):
            _fail(TypeError, field, allowed, value)
        elif not least <= value <= most:
            _fail(ValueError, field, allowed, value)

    return check


def one_of(*words: str) -> Validator:
    """One of some words."""
    allowed = f"{', '.join(map(repr, words[:-1]))} or {words[-1]!r}"

    def check(_: object, field: attrs.Attribute[Any], value: object) -> None:
        if not isinstance(value, str):
            _fail(TypeError, field, allowed, value)
        elif value not in words:
            _fail(ValueError, field, allowed, value)

    return check


def one_of_or(kind: type, *words: str) -> Validator:
    """One of some words, or an instance of a class."""
    allowed = f"{', '.join(map(repr, words))} or a {kind.__name__}"

    def check(_: object, field: attrs.Attribute[Any], value: object) -> None:
        if not isinstance(value, (str, kind)):
            _fail(TypeError, field, allowed, value)
        elif isinstance(value, str) and value not in words:
            _fail(ValueError, field, allowed, value)

    return check


def instance(kind: type, allowed: str) -> Validator:
    """An instance of a class."""

    def check(_: object, field: attrs.Attribute[Any], value: object) -> None:
        if not isinstance(value, kind):
            _fail(TypeError, field, allowed, value)

    return check
