"""Values of attrs classes from a TOML file; whatever is wrong is named with its place in the file.

Runs in: primary
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import attrs

__all__ = ["Build", "build", "read", "within"]

T = TypeVar("T")

#: Makes one field of what stands in the file, told where that is.
Build = Callable[[Any, str], Any]


def read(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a TOML file.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no TOML; the text names the file and the line.
    """
    with open(path, "rb") as file:
        try:
            return tomllib.load(file)
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ValueError(f"{os.fspath(path)}: {error}") from error


def within(where: str, name: str) -> str:
    """Say where something stands: ``tree.toml: children[0].limits``."""
    return f"{where}{name}" if where.endswith(": ") else f"{where}.{name}"


def build(kind: type[T], table: object, where: str, special: Mapping[str, Build]) -> T:
    """Make a value of a table.

    Args:
        kind: an attrs class whose fields the table names.
        table: as read.
        where: its place, for errors.
        special: for fields that are not what TOML makes of them.

    Raises:
        TypeError, ValueError: as the class does, with the place in front.
    """
    at = where.removesuffix(": ")
    if not isinstance(table, dict):
        raise TypeError(f"{at}: a {kind.__name__} must be a table, not {table!r}")
    known = [field.name for field in attrs.fields(kind)]  # type: ignore[arg-type]  # all of them are attrs classes
    for key in table:
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"
            raise ValueError(f"{at}: a {kind.__name__} has no {key!r}; {hint}")
    missing = [
        field.name
        for field in attrs.fields(kind)  # type: ignore[arg-type]  # all of them are attrs classes
        if field.default is attrs.NOTHING and field.name not in table
    ]
    if missing:
        raise ValueError(f"{at}: a {kind.__name__} needs {' and '.join(missing)}")
    fields = {
        key: special[key](value, within(where, key)) if key in special else value
        for key, value in table.items()
    }
    try:
        return kind(**fields)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{at}: {error}") from error
