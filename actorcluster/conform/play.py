"""A case being played: a fresh process, our end of its connection, and the words of a primary.

Runs in: both

Theory of operation
===================

What the worker says gathers in an inbox. `expect` takes the first frame from there that fits, so a
case says what it waits for, and not what may come before it: urgent frames overtake others. CREDIT,
ACK and the like may come at any time (`AMBIENT`); everything else that nobody asked for is found by
`quiet`. A frame that was processed without an answer cannot be waited for; what a case does instead
is to ask for something behind it (`echo`), whose answer cannot come first.

Unless a case says otherwise (`generous`), messages are acknowledged and credited at once.

Every wait ends, by what is waited for, by the end of the connection, or after the time-out, and the
latter two are failures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import trio

from ..wire._generated import (
    BUILT_CAPABILITIES,
    BUILT_HANDLE_NAMES,
    FLAG_MORE,
    FLAG_OPTIONAL,
    KINDS,
    AbortCode,
    Kind,
    State,
)
from .case import Case, Failed, Noted
from .claims import Claims, claims_of
from .ear import AMBIENT, Ear, describe_abort
from .frames import Heard, frame, pack
from .lane import lane_type
from .line import Line
from .process import Program, status_text
from .things import Thing, make_thing
from .watch import Watch

__all__ = ["CLUSTER", "NAME", "WORKER_ID", "Play"]

NAME: Final = "conformance"
WORKER_ID: Final = 7
CLUSTER: Final = bytes(range(16))


class Play(Ear):
    """One case being played against one process.

    Args:
        case: which.
        program: that runs.
        timeout: seconds of a wait.
        command: that started it.
        way: how what is written is cut.
        seed: of random cuts.
    """

    def __init__(
        self,
        case: Case,
        program: Program,
        *,
        timeout: float,
        command: Sequence[str],
        way: str = "whole",
        seed: int = 0,
    ) -> None:
        assert program.end is not None
        self.case = case
        self.command = command
        self.program = program
        self.timeout = timeout
        self.slack = max(1.0, timeout / 5)
        self.line = Line(program.end, way, seed, self._on_frame, program.lane_end)
        self.watch = Watch()
        self.inbox: list[Heard] = []
        self.heard: list[Heard] = []
        self.claims: Claims = claims_of(None)
        self.caps: frozenset[str] = frozenset()
        self.limits: dict[str, int] = {}
        self.things: list[Thing] = []
        self.notes: list[str] = []
        self.generous = True
        self.messages_sent = 0
        self.messages_heard = 0
        self._next_channel = 0
        self._handles_heard = 0
        self._debts = trio.Event()
        self._credit_due = 0
        self._answers_due: list[bytes] = []
        self._writing = trio.Lock()

    # ---- what has come --------------------------------------------------------------------

    def _on_frame(self, heard: Heard) -> None:
        self.heard.append(heard)
        self.watch.hear(heard)
        if heard.kind not in AMBIENT and not self._is_grease(heard):
            self.inbox.append(heard)
        if heard.kind == Kind.PING:
            self._answers_due.append(frame(Kind.PONG, channel=heard.channel, body=heard.body))
        elif heard.kind == Kind.SETTINGS:
            self._answers_due.append(frame(Kind.SETTINGS_ACK))
        elif heard.kind in (Kind.TELL, Kind.CALL) and not heard.flags & FLAG_MORE:
            self.messages_heard += 1
        if heard.nfds:
            self._handles_heard += 1
        self._debts.set()

    @staticmethod
    def _is_grease(heard: Heard) -> bool:
        return heard.kind not in KINDS and bool(heard.flags & FLAG_OPTIONAL)

    async def serve(self) -> None:
        """Do at once what a good primary does for each message; ends with the connection."""
        acknowledged = handles = 0
        while self.line.ended is None:
            await self._debts.wait()
            self._debts = trio.Event()
            data, self._answers_due = b"".join(self._answers_due), []
            due = self.watch.ours_spent
            if self.generous and not self.watch.is_over:
                if due:
                    data += frame(Kind.CREDIT, [due])
                if self.messages_heard > acknowledged and "ack" in self.caps:
                    acknowledged = self.messages_heard
                    data += frame(Kind.ACK, [acknowledged])
                if self._handles_heard > handles and "handle.ack" in self.caps:
                    handles = self._handles_heard
                    data += frame(Kind.HANDLE_ACK, [handles])
            if data:
                await self.raw(data)

    # ---- saying ---------------------------------------------------------------------------

    async def raw(
        self, data: bytes, fds: Sequence[int] = (), names: Sequence[str] = (), *, way: str = ""
    ) -> None:
        """Write bytes as they are, descriptors with the first of them.

        Raises:
            Failed: the worker did not take them in time.
        """
        with trio.move_on_after(self.timeout) as scope:
            async with self._writing:
                self.watch.say(data)
                await self.line.write(data, fds, names, way=way)
        if scope.cancelled_caught:
            raise self.fail(
                f"{len(data)} bytes were not read within {self.timeout:g} s", "AWP-FC-3"
            )

    async def send(
        self,
        kind: int,
        envelope: Any = None,
        payload: Any = None,
        *,
        things: Sequence[Thing] = (),
        **header: Any,
    ) -> None:
        """Write a frame; see `frames.frame`."""
        if things:
            header.setdefault("nfds", len(things))
        if kind in (Kind.TELL, Kind.CALL) and not header.get("flags", 0) & FLAG_MORE:
            self.messages_sent += 1
        data = frame(kind, envelope, payload, **header)
        await self.raw(data, [one.fd for one in things], [one.name for one in things])
        for one in things:
            one.close_ours()

    def channel(self) -> int:
        """Take the next id of ours."""
        self._next_channel += 2
        return self._next_channel

    def take_channels_from(self, number: int) -> None:
        """Take the ids of our calls from there on."""
        self._next_channel = number

    def note_messages(self, frames: Sequence[Heard]) -> None:
        """Count messages that were written raw."""
        self.messages_sent += sum(
            one.kind in (Kind.TELL, Kind.CALL) and not one.flags & FLAG_MORE for one in frames
        )

    async def all_closed(self, requirement: str = "AWP-FD-7") -> None:
        """Find out that the worker has closed every descriptor that it was sent."""
        for one in self.things:
            if not one.device:
                continue
            await self.poll(
                lambda one=one: not self.program.holds(one.inode, one.device),  # type: ignore[misc]  # mypy infers no default
                f"the worker still has descriptor {one.name}",
                requirement=requirement,
            )

    def thing(self, kind: int) -> Thing:
        """Open a descriptor to send; it is closed with the case."""
        made = make_thing(kind, f"{kind_of_handle(kind)}-{len(self.things)}")
        self.things.append(made)
        if self.line.lane is not None and lane_type(made.fd) is None:
            raise Noted(f"a lane has no type for handles of kind {kind}")  # AWP-LN-5
        return made

    async def tell(
        self, *payload: Any, to: Any = None, things: Sequence[Thing] = (), **meta: Any
    ) -> None:
        """Send a TELL whose payload is a command."""
        envelope = _envelope(to, things, meta)
        await self.send(Kind.TELL, envelope, list(payload), things=things)

    async def call(
        self,
        *payload: Any,
        to: Any = None,
        things: Sequence[Thing] = (),
        channel: int = 0,
        **meta: Any,
    ) -> int:
        """Send a CALL whose payload is a command.

        Returns:
            its channel.
        """
        number = channel or self.channel()
        envelope = _envelope(to, things, meta)
        await self.send(Kind.CALL, envelope, list(payload), channel=number, things=things)
        return number

    # ---- what belongs together ------------------------------------------------------------

    async def reply(self, channel: int, requirement: str = "") -> Any:
        """Wait for the REPLY to a call; gives its payload, put together from its fragments."""
        return (await self.whole_reply(channel, requirement))[0]

    async def whole_reply(self, channel: int, requirement: str = "") -> tuple[Any, list[Heard]]:
        """Wait for the REPLY to a call; gives its payload, and its frames."""
        frames = [await self.outcome(channel, requirement)]
        if frames[0].kind == Kind.ERROR:
            text = f"the call got {frames[0]}, not a REPLY"
            raise self.fail(text, requirement or self.case.requirements[0])
        while frames[-1].flags & FLAG_MORE:
            frames.append(await self.expect(Kind.REPLY, channel=channel, requirement=requirement))
        return self.watch.joined(frames), frames

    async def error(self, channel: int, *codes: str, requirement: str = "") -> dict[str, Any]:
        """Wait for the ERROR that ends a call.

        Raises:
            Failed: it is another code, or a REPLY.
        """
        heard = await self.outcome(channel, requirement)
        code = heard.field("code") if heard.kind == Kind.ERROR else None
        wanted = " or ".join(codes)
        self.check(code in codes, f"expected ERROR {wanted}, not {heard}", requirement)
        assert isinstance(heard.payload, dict)
        return heard.payload

    async def outcome(self, channel: int, requirement: str = "") -> Heard:
        """Wait for the REPLY or the ERROR of a call."""

        def look() -> Heard | None:
            for index, heard in enumerate(self.inbox):
                if heard.kind in (Kind.REPLY, Kind.ERROR) and heard.channel == channel:
                    return self.inbox.pop(index)
                if heard.kind == Kind.ABORT:
                    raise self.fail(f"the worker said {describe_abort(heard)}", requirement)
            return None

        what = f"answer on channel {channel}"
        return await self.until(look, what, requirement=requirement or "AWP-CA-1")

    async def ask(self, *payload: Any, **more: Any) -> Any:
        """Give a command and wait for its REPLY."""
        return await self.reply(await self.call(*payload, **more))

    async def echo(self, requirement: str = "") -> None:
        """Find out that the actor goes on; what was queued before the answer has come then."""
        token = f"echo-{self._next_channel}"
        channel = await self.call("echo", token)
        said = await self.reply(channel, requirement)
        self.check(said == token, f"echo gave {said!r} for {token!r}", requirement)

    async def ping(self, requirement: str = "", payload: Any = None) -> None:
        """Find out that the connection is read."""
        body = pack(None) + pack(payload if payload is not None else f"ping {len(self.heard)}")
        await self.raw(frame(Kind.PING, body=body))
        pong = await self.expect(
            Kind.PONG, requirement=requirement, like=lambda one: one.body == body
        )
        self.check(pong.channel == 0, f"PONG on channel {pong.channel}", "AWP-PI-1")

    async def pong_or_abort(self, before: bytes = b"") -> Heard:
        """Send PING to one that may have given up; gives its PONG, or its ABORT.

        Args:
            before: what goes in one write with the PING.
        """
        await self.raw(before + frame(Kind.PING, body=b"\xc0\x01"))
        return await self.until(
            lambda: next((one for one in self.heard if one.kind in (Kind.PONG, Kind.ABORT)), None),
            "PONG or ABORT",
        )

    async def alive(self, requirement: str = "") -> None:
        """Find out that it goes on, by as much as it can do."""
        if "call" in self.caps and self.watch.is_active:
            await self.echo(requirement)
        else:
            await self.ping(requirement)

    async def abort(self, *codes: AbortCode, requirement: str = "") -> Heard:
        """Wait for ABORT with one of these codes, and for the end of the connection.

        Raises:
            Failed: it is another code, or something comes behind it.
        """
        wanted = " or ".join(code.name.lower() for code in codes)

        def look() -> Heard | None:
            found = next((one for one in self.heard if one.kind == Kind.ABORT), None)
            return found if found is not None else None

        what = f"ABORT({wanted})"
        heard = await self.until(look, what, requirement=requirement)
        text = f"expected ABORT({wanted}), not {describe_abort(heard)}"
        self.check(heard.field("code") in codes, text, requirement)
        await self.eof("AWP-ST-4")
        self.check(self.heard[-1] is heard, f"behind ABORT came {self.heard[-1]}", "AWP-ST-4")
        return heard

    async def eof(self, requirement: str = "", seconds: float | None = None) -> None:
        """Wait for the end of the worker's stream."""
        await self.until(
            lambda: self.line.ended,
            "end of the worker's stream",
            requirement=requirement,
            seconds=seconds,
            ends=False,
        )

    async def exited(self, requirement: str = "", *, within: float | None = None) -> int:
        """Wait for the end of the process.

        Args:
            requirement: that is broken if it does not come.
            within: seconds that the specification gives it; to be late by what a slow machine may
                need is only noted.

        Returns:
            its exit status, or the number of the signal that ended it, negative.
        """
        began = trio.current_time()
        limit = self.timeout if within is None else within + self.timeout
        with trio.move_on_after(limit):
            status = await self.program.wait()
            took = trio.current_time() - began
            if within is not None and took > within + self.slack:
                raise self.fail(f"it took {took:.1f} s to end, not {within:g} s", requirement)
            if within is not None and took > within:
                self.notes.append(f"it took {took:.1f} s to end, not {within:g} s")
            return status
        raise self.fail(f"the process still runs after {limit:g} s", requirement)

    async def ends_well(self, requirement: str = "", *, within: float | None = None) -> None:
        """Wait for the end of the process, with status 0."""
        status = await self.exited(requirement, within=within)
        self.check(status == 0, f"the process {status_text(status)}", requirement)

    async def stop(self, requirement: str = "", **payload: Any) -> Heard:
        """Send STOP and go through the rest of section 9, to the end of the process.

        Returns:
            the worker's GOODBYE.
        """
        await self.send(Kind.STOP, None, {"reason": 0, **payload})
        return await self.part(requirement)

    async def part(self, requirement: str = "") -> Heard:
        """Wait for GOODBYE, answer it, and wait for the end."""
        goodbye = await self.expect(Kind.GOODBYE, requirement=requirement or "AWP-ST-1")
        await self.send(Kind.GOODBYE, None, {"recv": self.messages_heard})
        self.line.shut_down()
        await self.eof("AWP-ST-2")
        await self.ends_well("AWP-ST-1")
        return goodbye

    async def stall(self) -> int:
        """Make the actor wait for credit in the midst of a command; its mailbox fills from then on.

        The case's WELCOME must have announced a ``window`` of 65,536 bytes.

        Returns:
            the channel of the command, which goes on as soon as credit is given.
        """
        self.generous = False
        channel = await self.call("tell_back", [2, "x" * 40_000])
        await self.expect(Kind.TELL, requirement="AWP-FC-1")
        return channel

    async def unstall(self) -> None:
        """Give the credit that `stall` withheld."""
        self.generous = True
        self._debts.set()
        await self.expect(Kind.TELL, requirement="AWP-FC-1")

    # ---- bring-up -------------------------------------------------------------------------

    async def hello(self) -> Heard:
        """Wait for HELLO; what it claims counts from then on."""
        try:
            hello = await self.expect(Kind.HELLO, requirement="AWP-HS-1")
        except Failed:
            await self._look_at_the_end()
            raise
        self.claims = claims_of(hello.payload)
        return hello

    async def _look_at_the_end(self) -> None:
        """Tell a program that has ended without a word from one that says the wrong ones."""
        if self.line.ended is None or self.heard or self.line.cutter.broken is not None:
            return
        with trio.move_on_after(self.slack):
            await self.program.wait()
        if self.program.status is not None:
            how = status_text(self.program.status)
            raise self.fail(f"the program {how} before it said HELLO", "AWP-HS-1") from None

    def welcome_frame(self, **changes: Any) -> bytes:
        """Write WELCOME as the case wants it."""
        grant = BUILT_CAPABILITIES if self.case.grant is None else self.case.grant
        self.caps = self.claims.caps & grant
        payload = {
            "version": [1, 0],
            "worker": WORKER_ID,
            "cluster": CLUSTER,
            "caps": sorted(self.caps),
            "limits": {},
            "handles": sorted(BUILT_HANDLE_NAMES),
            "heartbeat": 0,
            "config": {},
            "name": NAME,
            **self.case.welcome,
            **changes,
        }
        return frame(Kind.WELCOME, None, payload)

    async def begin(self) -> None:
        """Bring the connection to where the case begins."""
        if self.case.begin == "process":
            return
        await self.hello()
        for name, value in self.case.limits.items():
            if self.claims.limits[name] != value:
                raise Noted(f"its {name} is {self.claims.limits[name]}, whatever it is told")
        if self.case.begin == "hello":
            return
        await self.raw(self.welcome_frame())
        await self.expect(Kind.READY, requirement="AWP-HS-4")

    @property
    def state(self) -> State:
        """The worker's state, as far as we know."""
        return self.watch.state


def kind_of_handle(kind: int) -> str:
    """Give a short word for a handle's kind."""
    return f"h{kind}"


def _envelope(to: Any, things: Sequence[Thing], meta: Mapping[str, Any]) -> list[Any]:
    handles = [[one.kind, {}] for one in things] or None
    envelope = [to, None, handles, dict(meta) or None]
    while envelope and envelope[-1] is None:
        envelope.pop()
    return envelope
