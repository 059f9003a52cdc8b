"""What a case is: a lie of a hostile worker, and what a primary makes of it.

Runs in: both

Cases are declared with `case`, one for a lie. Most can be told in several states of the connection;
each of these is played in a life of its own, and the case passes if all of them do. A case may tell
its lie in several *forms* too: sizes, say, or places in a header.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final, TypeAlias, final

import attrs

if TYPE_CHECKING:
    from .scene import Scene

__all__ = [
    "ACTIVE",
    "CASES",
    "CLOSING",
    "EVERYWHERE",
    "HANDSHAKE",
    "OPEN",
    "STARTING",
    "STOPPING",
    "Aborts",
    "Case",
    "Cut",
    "Ends",
    "Lives",
    "Outcome",
    "add",
    "case",
]

#: States of the primary, by their names in section 18 of SPEC.md.
HANDSHAKE: Final = "HANDSHAKE"
STARTING: Final = "STARTING"
ACTIVE: Final = "ACTIVE"
STOPPING: Final = "STOPPING"
CLOSING: Final = "CLOSING"
EVERYWHERE: Final = (HANDSHAKE, STARTING, ACTIVE, STOPPING, CLOSING)
#: Those in which messages may be said.
OPEN: Final = (ACTIVE, STOPPING)


@final
@attrs.frozen
class Aborts:
    """The primary answers ABORT with this code, and closes.

    Once both sides have said GOODBYE it has nothing left to write on; then it is enough that it
    outlives the lie.

    Attributes:
        code: by its name in the registry.
    """

    code: str

    def __str__(self) -> str:
        return f"ABORT {self.code}"


@final
@attrs.frozen
class Cut:
    """The primary gives the connection up, which it can only say to somebody who reads.

    Attributes:
        codes: those that ABORT may have, if it is heard.
    """

    codes: tuple[str, ...]

    def __str__(self) -> str:
        return f"is cut off, with ABORT {' or '.join(self.codes)} if any"


@final
@attrs.frozen
class Lives:
    """Nothing comes of it but what the sentence says: the worker can leave like a good one."""

    def __str__(self) -> str:
        return "lives on"


@final
@attrs.frozen
class Ends:
    """The primary ends the worker, some time later, or finds that it has ended.

    Attributes:
        killed: whether the process must have been ended by the primary.
    """

    killed: bool = False

    def __str__(self) -> str:
        return "killed" if self.killed else "ends"


Outcome: TypeAlias = Aborts | Cut | Lives | Ends
Lie: TypeAlias = "Callable[[Scene], Awaitable[None]]"


@final
@attrs.frozen(kw_only=True)
class Case:
    """One lie.

    Attributes:
        id: area and name, with a dot between.
        requirement: the sentence of SPEC.md that the lie breaks, or that says how it is borne.
        text: the lie in a line.
        lie: tells it.
        outcomes: by state, what becomes of the connection.
        forms: in how many forms it is told.
        caps: the capabilities that the hostile worker offers, where it is not all of them.
        limits: what it announces, where that is not nothing.
        also: further sentences that it is about.
        slow: whether it takes seconds by its nature.
        needs: what of Annex B the primary must do for it; capabilities that must be in force.
    """

    id: str
    requirement: str
    text: str
    lie: Lie
    outcomes: dict[str, Outcome]
    forms: int = 1
    caps: tuple[str, ...] | None = None
    limits: dict[str, int] | None = None
    also: tuple[str, ...] = ()
    slow: bool = False
    needs: tuple[str, ...] = ()

    @property
    def requirements(self) -> tuple[str, ...]:
        """All sentences that it is about."""
        return (self.requirement, *self.also)

    def plays(self) -> Iterator[tuple[str, int]]:
        """State and form of each life that it takes."""
        for state in self.outcomes:
            for form in range(self.forms):
                yield state, form


#: All of them, in the order in which they are played.
CASES: Final[dict[str, Case]] = {}


def add(one: Case) -> None:
    """Enter a case."""
    if one.id in CASES:
        raise ValueError(f"there are two cases {one.id}")
    CASES[one.id] = one


def case(
    id: str,  # noqa: A002  # as the field is called
    requirement: str,
    outcome: Outcome | Mapping[str, Outcome],
    states: Sequence[str] = (ACTIVE,),
    *,
    forms: int = 1,
    caps: tuple[str, ...] | None = None,
    limits: dict[str, int] | None = None,
    also: tuple[str, ...] = (),
    slow: bool = False,
    needs: tuple[str, ...] = (),
) -> Callable[[Lie], Lie]:
    """Declare a case; the first line of the function's docstring says what it is.

    Args:
        outcome: the same in all states, or by state.
        states: in which it is told, where `outcome` does not say so.
    """

    def enter(lie: Lie) -> Lie:
        outcomes = dict(outcome) if isinstance(outcome, Mapping) else dict.fromkeys(states, outcome)
        text = (lie.__doc__ or "").partition("\n")[0].strip()
        add(
            Case(
                id=id,
                requirement=requirement,
                text=text,
                lie=lie,
                outcomes=outcomes,
                forms=forms,
                caps=caps,
                limits=limits,
                also=also,
                slow=slow,
                needs=needs,
            )
        )
        return lie

    return enter
