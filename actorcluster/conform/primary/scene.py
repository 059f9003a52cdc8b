"""One life of a hostile worker on its way through a case: how it comes to its lie, and behind it.

Runs in: both
"""

from __future__ import annotations

import contextlib
import os
import random
from collections.abc import AsyncGenerator, Iterator
from typing import Any, Final, final

import trio

from ...wire._generated import FLAG_FRAG, Kind
from .case import (
    ACTIVE,
    CLOSING,
    HANDSHAKE,
    STARTING,
    STOPPING,
    Aborts,
    Case,
    Cut,
    Ends,
    Lives,
    Outcome,
)
from .innocent import Clients
from .lives import Gone, Hangar, Life
from .talk import CAPABILITIES, Frame, frame, hello, kind_name, pack
from .terms import Problem, Terms

__all__ = ["Problem", "Scene", "Terms"]

_ORDER: Final = (HANDSHAKE, STARTING, ACTIVE, STOPPING, CLOSING)


@final
class Scene:
    """A life, and what it needs.

    Args:
        it: who is played.
        hangar: for those who need another life.
        clients: of the innocent worker.
        chance: for what is to be random, the same each time.

    Attributes:
        state: of the primary, as far as this life has brought it.
        form: which form of the lie is told.
        terms: what WELCOME said, or an earlier one's.
    """

    def __init__(
        self,
        case: Case,
        it: Life,
        *,
        hangar: Hangar,
        clients: Clients,
        terms: Terms | None,
        form: int = 0,
        chance: random.Random | None = None,
    ) -> None:
        self.case = case
        self.it = it
        self.hangar = hangar
        self.clients = clients
        self.form = form
        self.state = HANDSHAKE
        self.chance = chance or random.Random(f"{case.id} {form}")  # noqa: S311  # of lies
        self._terms = terms
        self._next_ping = 0
        self._messages = 0
        self.is_over = False

    @property
    def terms(self) -> Terms:
        """What the primary announces; for a life that has not heard it, what another one heard."""
        if self._terms is None:
            raise Problem("no WELCOME was ever heard")
        return self._terms

    def limit(self, name: str) -> int:
        """What the primary can receive."""
        return self.terms.limits[name]

    # ---- saying, hearing ------------------------------------------------------------------

    async def say(self, *data: bytes, fds: list[int] | None = None) -> None:
        """Say it; when the primary hears nothing any more, that is for the outcome to judge."""
        with contextlib.suppress(Gone):
            await self.it.say(b"".join(data), fds or ())

    async def hear(self, *kinds: int, channel: int | None = None) -> Frame:
        """Wait until the primary says such a frame.

        Raises:
            Problem: it will not.
        """
        try:
            return await self.it.hear(
                lambda one: one.kind in kinds and channel in (None, one.channel)
            )
        except Gone as exc:
            names = " or ".join(map(kind_name, kinds))
            raise Problem(f"{names} was to come, {self._how_it_ended(exc)}") from None

    def _how_it_ended(self, exc: Gone) -> str:
        abort = self.it.last(Kind.ABORT)
        if abort is None:
            return f"the primary closed the channel ({exc})"
        return f"the primary said ABORT {abort.abort_name()}: {abort.payload}"

    async def hear_error(self, code: str, *, channel: int = 0) -> None:
        """Wait for the answer that a message was not taken, for this reason.

        Args:
            channel: of the call; 0: it was a TELL.
        """
        kind = Kind.ERROR if channel else Kind.UNDELIVERABLE
        said = (await self.hear(kind, channel=channel)).payload
        found = said.get("code") if isinstance(said, dict) else said
        if found != code:
            raise Problem(f"{kind.name} says {found!r}, not {code!r}")

    async def sync(self) -> None:
        """Have the primary prove that it has read all, and goes on."""
        self._next_ping += 1
        body = pack(None) + pack(self._next_ping)
        await self.say(frame(Kind.PING, body=body))
        try:
            await self.it.hear(lambda one: one.kind == Kind.PONG and one.body == body)
        except Gone as exc:
            raise Problem(f"no PONG: {self._how_it_ended(exc)}") from None

    # ---- one state after another ----------------------------------------------------------

    async def reach(self, state: str) -> None:
        """Do all that leads to a state, as a good worker does it."""
        while self.state != state:
            await self._advance()

    async def _advance(self) -> None:
        if self.state == HANDSHAKE:
            await self.say(self.hello())
            self.welcomed(await self.hear(Kind.WELCOME))
        elif self.state == STARTING:
            await self.say(frame(Kind.READY, None, {}))
            self.state = ACTIVE
            await self.sync()
        elif self.state == ACTIVE:
            await self.say(frame(Kind.LEAVE, None, {}))
            await self.hear(Kind.STOP)
            self.state = STOPPING
        else:
            await self.say(frame(Kind.GOODBYE, None, {"recv": 0}))
            await self.hear(Kind.GOODBYE)
            self.state = CLOSING

    def hello(self) -> bytes:
        """The HELLO of this case."""
        caps = CAPABILITIES if self.case.caps is None else self.case.caps
        return hello(caps, self.case.limits, **self.it.identity())

    def welcomed(self, welcome: Frame) -> None:
        """WELCOME is in."""
        self.state = STARTING
        self._terms = Terms.of(welcome)

    def usual(self) -> bytes:
        """What a good worker might say next."""
        if self.state == HANDSHAKE:
            return self.hello()
        if self.state == STARTING:
            return frame(Kind.READY, None, {})
        return frame(Kind.TELL, [None], "hi")

    # ---- what a lie may need --------------------------------------------------------------

    async def command(self, *words: Any) -> None:
        """Tell the conformance primary to do something, see Annex B."""
        await self.say(frame(Kind.TELL, [None], list(words)))

    @contextlib.asynccontextmanager
    async def another(self) -> AsyncGenerator[Scene, None]:
        """Have a second hostile worker, ready like this one; it ends behind this."""
        life = await self.hangar.take()
        try:
            other = Scene(
                self.case, life, hangar=self.hangar, clients=self.clients, terms=self._terms
            )
            await other.reach(ACTIVE)
            yield other
        finally:
            with trio.CancelScope(shield=True):
                await life.end()

    @property
    def aid(self) -> int:
        """The id of this worker's main actor."""
        return self.it.worker_id << 32

    async def asked(self, body: Any = "question") -> int:
        """Have the primary ask this worker something; returns the channel of the call."""
        await self.command("ask", body)
        return (await self.hear(Kind.CALL)).channel

    async def told(self, count: int = 1, body: Any = None) -> None:
        """Have the primary send messages, and wait for them."""
        await self.command("tell", [count, body])
        for _ in range(count):
            await self.hear(Kind.TELL)

    async def listens(self, channel: int = 1, **more: Any) -> int:
        """Listen on a port of one's own; returns its number."""
        asked = {"transport": "tcp", "host": "127.0.0.1", "port": 0, "modes": ["handoff"]}
        asked |= {"key": f"hostile {self.it.pid}"} | more
        await self.say(frame(Kind.LISTEN, None, asked, channel=channel))
        answer = await self.hear(Kind.LISTENING, Kind.ERROR)
        said = answer.payload
        if answer.kind == Kind.ERROR or not isinstance(said, dict):
            raise Problem(f"LISTEN was answered by {said}")
        address = said.get("address")
        return int(address[1]) if isinstance(address, list) else 0

    async def acknowledge(self) -> None:
        """Say that all handles so far have arrived: the primary keeps copies of them until then."""
        count = sum(one.nfds > 0 for one in self.it.heard)
        await self.say(frame(Kind.HANDLE_ACK, [count]))

    def piece(self, channel: int, data: bytes, *, first: bool = False, more: bool = True) -> bytes:
        """A fragment of a TELL."""
        flags = FLAG_FRAG | (1 if more else 0)
        return frame(Kind.TELL, [None] if first else None, data, channel=channel, flags=flags)

    @contextlib.contextmanager
    def pipes(self, count: int) -> Iterator[list[int]]:
        """So many descriptors to send, of one pipe."""
        read, write = os.pipe()
        try:
            yield [read] * count
        finally:
            os.close(read)
            os.close(write)

    # ---- what came of it ------------------------------------------------------------------

    async def judge(self, outcome: Outcome) -> None:
        """See that it is as it should be.

        Raises:
            Problem: it is not.
        """
        if isinstance(outcome, Ends):
            if outcome.killed:
                await self.it.ended.wait()
        elif isinstance(outcome, Aborts):
            await self._aborted(outcome.code)
        elif isinstance(outcome, Cut):
            await self.it.hear_end()
            abort = self.it.last(Kind.ABORT)
            if abort is not None and abort.abort_name() not in outcome.codes:
                raise Problem(f"ABORT {abort.abort_name()}, but {outcome}: {abort.payload}")
        else:
            assert isinstance(outcome, Lives)
            await self._lives()

    async def _aborted(self, code: str) -> None:
        await self.it.hear_end()
        abort = self.it.last(Kind.ABORT)
        if abort is None:
            if self.state == CLOSING:
                return  # its direction had ended before
            raise Problem(f"the channel was closed ({self.it.over}) without ABORT {code}")
        if abort.abort_name() != code:
            raise Problem(f"ABORT {abort.abort_name()}, not {code}: {abort.payload}")

    async def _lives(self) -> None:
        """Leave like a good worker."""
        if self.is_over:
            return
        if self.state == HANDSHAKE:
            raise AssertionError("a case that begins in HANDSHAKE says by itself what comes of it")
        await self.reach(CLOSING)
        self.it.shut()
        await self.it.hear_end()
        abort = self.it.last(Kind.ABORT)
        if abort is not None:
            raise Problem(f"ABORT {abort.abort_name()}: {abort.payload}")
