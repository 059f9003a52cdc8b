"""What a case is, how it can come out, and the list of all of them.

Runs in: both
"""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

import attrs

from .frames import Fault

if TYPE_CHECKING:
    from .play import Play

__all__ = ["CASES", "Case", "Failed", "Noted", "Outcome", "Result", "Story", "Unclaimed", "case"]

Story = Callable[["Play"], Awaitable[None]]


class Outcome(enum.StrEnum):
    """How a case came out."""

    PASS = "pass"  # noqa: S105  (no password)
    NON_STRICT = "non-strict"
    FAIL = "fail"
    INFO = "info"
    UNCLAIMED = "unclaimed"


class Failed(Exception):
    """The worker did what it must or should not."""

    def __init__(self, requirement: str, text: str) -> None:
        super().__init__(f"[{requirement}] {text}")
        self.fault = Fault(requirement, text)


class Noted(Exception):
    """Nothing wrong, and something that people may want to know."""


class Unclaimed(Exception):
    """The worker does not claim what this is about."""


@attrs.frozen(kw_only=True)
class Case:
    """One stimulus with one outcome.

    Attributes:
        id: area and what is special, as ``fd.glued-tail``.
        requirements: the sentences that it tries.
        title: what happens, in a sentence.
        level: the lowest level at which a worker has to do it.
        caps: capabilities without which there is nothing to try.
        begin: how far the connection is brought first: "process", "hello", "starting", "active".
        grant: capabilities in WELCOME; None: all that are built.
        limits: set by ACTORCLUSTER_LIMITS, and demanded.
        window: the primary's.
        slow: only with ``--slow``.
        watch: true for what is not played, but watched in all that is.
        beside: it is about descriptors beside the bytes: not where there is a side lane.
        lane: it is about a side lane: only where there is one.
        ways: how what is written is cut up: each is played in a process of its own.
    """

    id: str
    requirements: tuple[str, ...]
    title: str
    level: int = 0
    caps: frozenset[str] = frozenset()
    begin: str = "active"
    grant: frozenset[str] | None = None
    limits: Mapping[str, int] = attrs.field(factory=dict)
    welcome: Mapping[str, Any] = attrs.field(factory=dict)
    slow: bool = False
    watch: bool = False
    beside: bool = False
    lane: bool = False
    ways: tuple[str, ...] = ("whole",)
    story: Story | None = None

    @property
    def area(self) -> str:
        """The part of the id before the first dot."""
        return self.id.partition(".")[0]


@attrs.frozen(kw_only=True)
class Result:
    """What came of a case.

    Attributes:
        text: what is wrong, or to be known.
        fault: the sentence that was broken, and how.
        seconds: it took.
        transcript: of what was said, as a stream vector; kept where it failed.
        stderr: the last words of the program.
    """

    case: Case
    outcome: Outcome
    text: str = ""
    fault: Fault | None = None
    seconds: float = 0.0
    transcript: dict[str, Any] | None = None
    stderr: str = ""


#: All cases by id, in the order of the areas. `cases` fills it.
CASES: Final[dict[str, Case]] = {}


def case(
    id: str,  # noqa: A002  (as the field is called)
    *requirements: str,
    level: int = 1,
    caps: str = "",
    **more: Any,
) -> Callable[[Story], Story]:
    """Make a case of an async function, whose docstring's first line is its title.

    Args:
        id: of the case.
        requirements: that it tries, the first being the one that is broken if it fails.
        level: see `Case`; `caps` are words in one str.
        more: other fields of `Case`.
    """

    def make(story: Story) -> Story:
        title = (story.__doc__ or "").strip().partition("\n")[0].rstrip(".")
        add(
            Case(
                id=id,
                requirements=requirements,
                title=title,
                level=level,
                caps=frozenset(caps.split()),
                story=story,
                **more,
            )
        )
        return story

    return make


def add(one: Case) -> None:
    """Enter a case into the list.

    Raises:
        ValueError: its id is there already.
    """
    if one.id in CASES:
        raise ValueError(f"there are two cases {one.id}")
    CASES[one.id] = one
