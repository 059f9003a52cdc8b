"""The behaviours of Node's cluster and of its channel, row by row, as rows.toml lists them."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, Final

import attrs

__all__ = ["CLAUSES", "GROUPS", "ROWS", "TABLE", "VERDICTS", "WHATS", "Clause", "Row", "parse"]

TABLE: Final = Path(__file__).with_name("rows.toml")

GROUPS: Final = {
    "LC": "Life cycle and events",
    "ST": "Setup and settings",
    "MS": "Messages",
    "HP": "Passing handles",
    "RR": "Listening, dealt round robin",
    "SH": "Listening on a shared socket",
    "DG": "Datagrams",
    "DK": "Disconnect and kill",
    "ER": "Errors",
    "X": "What Node gets wrong",
}

VERDICTS: Final = {
    "same": "same",
    "better": "better",
    "different": "different on purpose",
    "not applicable": "not applicable",
}

WHATS: Final = frozenset(
    "order count code signal flag state payload client error address process".split()
)
"""What a clause is about."""


@attrs.frozen
class Clause:
    """One thing that is so; it has an assert of its own.

    Attributes:
        id: its row's, a dot, a letter.
        what: one of `WHATS`.
        text: a sentence.
    """

    id: str
    what: str
    text: str


@attrs.frozen(kw_only=True)
class Row:
    """One behaviour.

    Attributes:
        id: group and number.
        title: what it is about.
        maps: whether it can be had here: ``"yes"``, ``"partly"``, ``"no"``.
        verdict: one of `VERDICTS`; an open row may have none.
        why: how it is better, or why it is different or not applicable.
        test: the tests that assert its clauses, as pytest names them, without the directory.
        clauses: all there is to assert.
        since: the first version of Node that does it, where that is newer than 20.
        fault: a script in faults/ that shows what Node does.
        open: what is missing; empty: nothing.
    """

    id: str
    title: str
    maps: str = ""
    verdict: str = ""
    why: str = ""
    test: tuple[str, ...] = ()
    clauses: tuple[Clause, ...] = ()
    since: str = ""
    fault: str = ""
    open: str = ""

    @property
    def group(self) -> str:
        """The letters of its id."""
        return self.id.partition("-")[0]


def parse(text: str) -> tuple[Row, ...]:
    """Read a table."""
    return tuple(_row(**entry) for entry in tomllib.loads(text)["row"])


def _row(*, test: str | list[str] = (), clauses: Any = (), **fields: str) -> Row:  # type: ignore[assignment]  # as TOML has them
    tests = (test,) if isinstance(test, str) else tuple(test)
    return Row(test=tests, clauses=tuple(Clause(*clause) for clause in clauses), **fields)


ROWS: Final = parse(TABLE.read_text())
CLAUSES: Final = {clause.id: clause for row in ROWS for clause in row.clauses}
