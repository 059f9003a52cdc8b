"""Waiting for what a worker says: every wait has an end, and says what it waited for.

Runs in: both
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

import trio

from ..wire._generated import AbortCode, Kind
from .case import Case, Failed
from .frames import Heard, kind_name
from .line import Line

__all__ = ["AMBIENT", "Ear", "describe_abort"]

T = TypeVar("T")

#: What may come at any time and needs no answer that a case would miss.
AMBIENT: Final = frozenset(
    {
        Kind.CREDIT, Kind.ACK, Kind.HANDLE_ACK, Kind.CONN_CREDIT, Kind.LOG, Kind.SERVING,
        Kind.EXIT_INFO, Kind.PING, Kind.SETTINGS, Kind.MONITOR, Kind.DEMONITOR,
    }
)  # fmt: skip


class Ear:
    """What has come from a worker, and how to wait for more.

    Attributes:
        inbox: frames that nobody has asked for so far.
        heard: all frames.
    """

    case: Case
    timeout: float
    line: Line
    inbox: list[Heard]
    heard: list[Heard]

    # ---- waiting --------------------------------------------------------------------------

    def fail(self, text: str, requirement: str = "") -> Failed:
        """Make a failure; without another sentence it is of the case's first."""
        return Failed(requirement or self.case.requirements[0], text)

    def check(self, is_so: bool, text: str, requirement: str = "") -> None:
        """Fail unless it is so."""
        if not is_so:
            raise self.fail(text, requirement)

    async def until(
        self,
        look: Callable[[], T | None],
        what: str,
        *,
        seconds: float | None = None,
        requirement: str = "",
        ends: bool = True,
    ) -> T:
        """Wait until `look` gives something; it is asked whenever something came.

        Args:
            look: gives None as long as it is not there.
            what: is waited for, in words.
            seconds: at most; None: the time-out.
            requirement: that is broken if it does not come.
            ends: whether the end of the connection ends the wait.

        Raises:
            Failed: it did not come.
        """
        limit = self.timeout if seconds is None else seconds
        with trio.move_on_after(limit):
            while True:
                found = look()
                if found is not None:
                    return found
                if ends and self.line.ended is not None:
                    raise self.fail(f"{_absent(what)}: {self._how_it_ended()}", requirement)
                await self.line.news()
        text = f"{_absent(what)} within {limit:g} s{self._leftovers()}"
        raise self.fail(text, requirement)

    async def poll(
        self, look: Callable[[], bool], what: str, *, requirement: str = "", seconds: float = 0
    ) -> None:
        """Wait for something that nobody announces: it is looked at often."""
        limit = seconds or self.timeout
        with trio.move_on_after(limit):
            while not look():  # noqa: ASYNC110  (another process has no event to wait for)
                await trio.sleep(0.005)
            return
        raise self.fail(f"{what} after {limit:g} s", requirement)

    def _how_it_ended(self) -> str:
        abort = next((one for one in self.heard if one.kind == Kind.ABORT), None)
        if abort is not None:
            return f"the worker said {describe_abort(abort)}"
        if self.line.cutter.broken is not None:
            return self.line.cutter.broken.text
        cut = self.line.cutter.unfinished
        tail = f" with {cut} bytes of an unfinished frame" if cut else ""
        return f"the connection ended ({self.line.ended}){tail}{self._leftovers()}"

    def _leftovers(self) -> str:
        return f"; unexpected: {', '.join(map(str, self.inbox[:5]))}" if self.inbox else ""

    async def expect(
        self,
        kind: Kind,
        *,
        channel: int | None = None,
        seconds: float | None = None,
        requirement: str = "",
        like: Callable[[Heard], bool] | None = None,
    ) -> Heard:
        """Wait for a frame, and take it out of the inbox."""

        def look() -> Heard | None:
            for index, heard in enumerate(self.inbox):
                if (
                    heard.kind == kind
                    and channel in (None, heard.channel)
                    and (like is None or like(heard))
                ):
                    return self.inbox.pop(index)
                if heard.kind == Kind.ABORT:
                    text = f"no {kind_name(kind)}: the worker said {describe_abort(heard)}"
                    raise self.fail(text, requirement)
            return None

        where = "" if channel is None else f" on channel {channel}"
        what = f"{kind_name(kind)}{where}"
        return await self.until(look, what, seconds=seconds, requirement=requirement)

    async def ambient(
        self,
        like: Callable[[Heard], bool],
        what: str,
        *,
        seconds: float | None = None,
        requirement: str = "",
    ) -> Heard:
        """Wait for a frame that is one of `AMBIENT`, now or earlier."""
        return await self.until(
            lambda: next((one for one in self.heard if like(one)), None),
            what,
            seconds=seconds,
            requirement=requirement,
        )

    def total(self, kind: Kind, *, channel: int = 0) -> int:
        """Sum up the first elements of all frames of a kind: credit, for one."""
        return sum(
            one.item(0)
            for one in self.heard
            if one.kind == kind and one.channel == channel and isinstance(one.item(0), int)
        )

    def highest(self, kind: Kind) -> int:
        """Give the highest first element of all frames of a kind: ACK, for one."""
        numbers = [one.item(0) for one in self.heard if one.kind == kind]
        return max((one for one in numbers if isinstance(one, int)), default=0)

    def has_aborted(self) -> bool:
        """Whether ABORT has come so far."""
        return any(one.kind == Kind.ABORT for one in self.heard)

    def drop(self, like: Callable[[Heard], bool]) -> None:
        """Do not expect it, nor mind it."""
        self.inbox = [one for one in self.inbox if not like(one)]

    def quiet(self, requirement: str = "") -> None:
        """Fail if something came that was not expected."""
        self.check(not self.inbox, f"unexpected: {', '.join(map(str, self.inbox))}", requirement)


def _absent(what: str) -> str:
    """Say that it has not come: "no PONG", but "the second message did not come"."""
    is_told = what.startswith("the ") or what[:1].isdigit()
    return f"{what} did not come" if is_told else f"no {what}"


def describe_abort(heard: Heard) -> str:
    """Say which ABORT it is."""
    code = heard.field("code")
    names = {int(one): one.name.lower() for one in AbortCode}
    return f"ABORT({names.get(code, code)}): {heard.field('detail')}"
