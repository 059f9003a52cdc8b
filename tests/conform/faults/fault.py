"""What a fault is."""

from __future__ import annotations

from collections.abc import Iterable

import attrs

__all__ = ["Fault", "faults_of"]


@attrs.frozen
class Fault:
    """One change to a worker that is wrong.

    Attributes:
        base: name in `bases.BASES`.
        file: inside of its directory.
        old: the text that is replaced; it occurs once.
        new: by which.
        case: of the kit, that fails then; hardly any other does.
    """

    id: str
    base: str
    file: str
    old: str
    new: str
    case: str


def faults_of(base: str, path: str, rows: Iterable[tuple[str, str, str, str, str]]) -> list[Fault]:
    """Make a worker's faults of rows of id, file, old, new and case.

    Args:
        base: name in `bases.BASES`, with which each id begins.
        path: of its files, with braces where a row has the name.
        rows: see `Fault`.
    """
    return [
        Fault(f"{base}.{name}", base, path.format(file), old, new, case)
        for name, file, old, new, case in rows
    ]
