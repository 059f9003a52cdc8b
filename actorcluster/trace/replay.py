"""Plays the primary's side of a trace against a program, and says where it answers otherwise.

Runs in: both

Theory of operation
===================

The program is started as the conformance kit starts it, and spoken to over `conform.line`. What the
primary said is said again, in its order, and each frame only when the program has said all that had
been said before it in the trace: so a program that is slower, or faster, hears nothing too early.
Where the program gives its credit in other portions, a message waits for as much as it costs.

A program that offers less than the worker did is granted less, as any primary would do, and hears
no acknowledgements that it did not offer to take. Credit is what its own messages have cost.

Descriptors are made anew, of the kinds that they had. The other end of a connection that is handed
over says nothing and has ended: whatever serves it comes to its end.

Everything waits for at most so many seconds; what does not come in that time is a difference.
"""

from __future__ import annotations

import functools
import os
import socket
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Final, final

import attrs
import trio

from .._counted import counted
from ..conform.frames import Heard, frame
from ..conform.line import Line
from ..conform.process import Program, status_text
from ..conform.things import Thing, make_thing
from ..conform.watch import Watch
from ..wire._generated import LIMIT_DEFAULTS, Kind
from .conversation import (
    Answer,
    CannotReplay,
    Conversation,
    Place,
    Said,
    Step,
    answer_of,
    conversation,
    granting,
)
from .tracefile import TO_WORKER, Trace

__all__ = ["CannotReplay", "Outcome", "play_again"]

_FENCE: Final = b"\xc0\xa6replay"
_MOST_THINGS: Final = 200
_LAST_LINES: Final = 10
_NEEDS: Final[dict[int, str]] = {Kind.ACK: "ack", Kind.HANDLE_ACK: "handle.ack"}


@final
@attrs.frozen(kw_only=True)
class Outcome:
    """What came of it.

    Attributes:
        worker: whose conversation it was.
        said: frames that the program was told.
        answers: of the program, that were as in the trace.
        difference: the first; empty: there is none.
        printed: what the program wrote to its standard streams, if there is one.
    """

    worker: int
    said: int
    answers: int
    difference: str = ""
    printed: str = ""

    @property
    def is_same(self) -> bool:
        """Whether the program answered as the worker did."""
        return not self.difference

    def lines(self) -> list[str]:
        """Say it."""
        said, answers = counted(self.said, "frame"), counted(self.answers, "answer")
        found = f"worker {self.worker}: {said} said, {answers} as in the trace"
        if self.is_same:
            return [found]
        printed = [f"    {line}" for line in self.printed.splitlines()[-_LAST_LINES:]]
        return [*printed, found, f"first difference: {self.difference}"]


def play_again(
    trace: Trace,
    command: Sequence[str],
    *,
    worker: int | None = None,
    timeout: float = 10.0,
    payloads: bool = False,
    lane: bool | None = None,
) -> Outcome:
    """Play the primary's side of one worker of a trace against a program.

    Args:
        trace: with its conversation.
        command: starts the program.
        worker: id; None: the first.
        timeout: seconds that a wait lasts at most.
        payloads: compare these, too, and not only kinds, channels, codes and order.
        lane: whether handles go by a side lane; None: as they did in the trace.

    Raises:
        CannotReplay: the trace does not have what it takes.
        OSError: the program cannot be started.
    """
    talk = conversation(trace, worker, payloads=payloads)
    if lane is not None:
        talk.lane = lane
    return trio.run(_play, talk, command, timeout, payloads)


# Ctrl-C must not come between the start of a process and the note of it.
@trio.lowlevel.enable_ki_protection
async def _play(
    talk: Conversation, command: Sequence[str], timeout: float, payloads: bool
) -> Outcome:
    environment = {"ACTORCLUSTER_WORKER_ID": str(talk.worker)}
    limits = [f"{name}={talk.limits[name]}" for name in ("window", "max_message")
              if name in talk.limits]  # fmt: skip
    if limits:
        environment["ACTORCLUSTER_LIMITS"] = " ".join(limits)
    program = Program(command, environment, lane="node" if talk.lane else "")
    player = _Player(talk, program, timeout, payloads=payloads)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(player.line.read_forever)
            difference = await player.play()
            nursery.cancel_scope.cancel()
        printed = program.last_words() if difference else ""
    finally:
        player.close()
        await program.close()
    return Outcome(
        worker=talk.worker,
        said=player.said,
        answers=player.as_before,
        difference=difference,
        printed=printed,
    )


class _Different(Exception):
    """The first difference."""


@final
class _Player:
    """One program that is played with."""

    def __init__(
        self, talk: Conversation, program: Program, timeout: float, *, payloads: bool
    ) -> None:
        assert program.end is not None
        self._talk = talk
        self._program = program
        self._timeout = timeout
        self._payloads = payloads
        self.line = Line(program.end, "whole", 0, self._on_frame, program.lane_end)
        self.said = 0
        self.as_before = 0
        self._expected: dict[Place, list[tuple[Answer, Step]]] = defaultdict(list)
        for step in talk.steps:
            if isinstance(step.what, Answer):
                self._expected[step.what.place].append((step.what, step))
        self._came: dict[Place, int] = defaultdict(int)
        self._due: list[Step] = []
        self._wrong = ""
        self._credit = talk.limits.get("window", LIMIT_DEFAULTS["window"])
        self._rooms: dict[int, int] = defaultdict(int)  # connections that it takes, by channel
        self._cost = 0
        self._pongs: list[bytes] = []
        self._offered: frozenset[str] = frozenset()
        self._watch = Watch()
        self._is_fenced = False
        self._things: list[Thing] = []

    # ---- what the program says ------------------------------------------------------------

    def _on_frame(self, heard: Heard) -> None:
        for fd in heard.fds:
            os.close(fd)
        first = heard.item(0)
        self._watch.hear(heard)
        if heard.kind == Kind.PING:
            self._pongs.append(frame(Kind.PONG, channel=heard.channel, body=heard.body))
        elif heard.kind == Kind.HELLO:
            self._offered = frozenset(heard.field("caps") or ())
        elif heard.kind == Kind.PONG and heard.body == _FENCE:
            self._is_fenced = True
            return
        elif heard.kind == Kind.CREDIT and heard.channel == 0 and isinstance(first, int):
            self._credit += first
        elif heard.kind == Kind.CONN_CREDIT and isinstance(first, int):
            self._rooms[heard.channel] += first
        elif heard.kind == Kind.LISTEN:
            credit = heard.field("credit")
            self._rooms[heard.channel] = credit if isinstance(credit, int) else 1
        answer = answer_of(
            heard.kind, heard.flags, heard.channel, heard.payload, payloads=self._payloads
        )
        if answer is not None and not self._wrong:
            self._judge(answer)

    def _judge(self, answer: Answer) -> None:
        at = self._came[answer.place]
        self._came[answer.place] += 1
        expected = self._expected[answer.place]
        if at >= len(expected):
            self._wrong = f"the program said {answer}, which the trace does not have"
            return
        before, step = expected[at]
        if before.is_like(answer):
            self.as_before += 1
        elif str(before) == str(answer):
            self._wrong = (
                f"{answer} has another payload than in record {step.number}:"
                f" {answer.payload!r:.200}, not {before.payload!r:.200}"
            )
        else:
            self._wrong = f"the program said {answer} where record {step.number} has {before}"

    # ---- what it is told ------------------------------------------------------------------

    async def play(self) -> str:
        """Say everything; returns the first difference, or nothing."""
        try:
            for step in self._talk.steps:
                if isinstance(step.what, Answer):
                    self._due.append(step)
                elif isinstance(step.what, Said):
                    await self._answered()
                    await self._affordable(step, step.what)
                    await self._say(step.what)
                elif step.what.direction == TO_WORKER:
                    await self._answered()
                    self.line.shut_down()
            await self._answered()
            await self._end()
        except _Different as exc:
            return str(exc)
        return ""

    async def _answered(self) -> None:
        """Wait until all is there that was there by now."""
        for step in self._due:
            assert isinstance(step.what, Answer)
            place = step.what.place
            text = f"{step.what}, record {step.number}"
            await self._until(functools.partial(self._has_come, place, step.before), text)
        self._due.clear()
        self._raise_if_wrong()

    def _has_come(self, place: Place, before: int) -> bool:
        return self._came[place] > before

    async def _affordable(self, step: Step, said: Said) -> None:
        """Wait until the program takes it."""
        if said.cost:
            self._cost += said.cost
            window = self._talk.limits.get("window", LIMIT_DEFAULTS["window"])
            needed = min(self._cost, window + step.credit)
            await self._until(lambda: self._credit >= needed, "CREDIT for a message")
        elif said.kind == Kind.CONN:
            rooms, count = self._rooms, len(said.fds)
            await self._until(lambda: rooms[said.channel] >= count, "CONN_CREDIT for a connection")
            rooms[said.channel] -= count

    async def _say(self, said: Said) -> None:
        needed = _NEEDS.get(said.kind)
        if said.kind == Kind.CREDIT or not (needed is None or needed in self._offered):
            return
        data = said.data if said.kind != Kind.WELCOME else granting(said.data, self._offered)
        things = [make_thing(kind, str(at)) for at, kind in enumerate(said.fds)]
        self._things += things
        await self._write(data, [thing.fd for thing in things])
        self.said += 1
        for thing in things:
            thing.close_ours()
            for other in thing.others if said.kind == Kind.CONN else ():
                if isinstance(other, socket.socket):
                    other.shutdown(socket.SHUT_WR)
        while len(self._things) > _MOST_THINGS:
            self._things.pop(0).close()

    async def _write(self, data: bytes, fds: Sequence[int] = ()) -> None:
        self._watch.say(data)
        with trio.move_on_after(self._timeout):
            await self.line.write(data, fds)
            return
        raise _Different(f"the program did not read within {self._timeout:g} s")

    async def _end(self) -> None:
        """See that nothing more comes, and how it ends."""
        talk = self._talk
        if not talk.ends_by_itself:
            if self.line.ended is None and not self.line.is_refused:
                await self._write(frame(Kind.PING, body=_FENCE))
                await self._until(lambda: self._is_fenced or self.line.ended is not None, "PONG")
            return
        await self._until(lambda: self.line.ended is not None, "end of its stream")
        # The primary had closed its ends then, and a program may wait for that.
        self.line.shut_down()
        if self.line.lane is not None:
            self.line.lane.end()
        assert talk.exit is not None
        status: int | None = None
        with trio.move_on_after(self._timeout):
            status = await self._program.wait()
        if status != talk.exit.code:
            raise _Different(f"the program {status_text(status)}, not with {talk.exit.code}")

    async def _until(self, is_there: Callable[[], bool], what: str) -> None:
        with trio.move_on_after(self._timeout):
            while True:
                owed, self._pongs = self._pongs, []
                if self._watch.ours_spent and not self._watch.is_over:
                    owed.append(frame(Kind.CREDIT, [self._watch.ours_spent]))
                if owed:
                    await self._write(b"".join(owed))
                self._raise_if_wrong()
                if is_there():
                    return
                if self.line.ended is not None:
                    raise _Different(f"the program's stream has ended without {what}")
                await self.line.news()
        raise _Different(f"no {what}, within {self._timeout:g} s")

    def _raise_if_wrong(self) -> None:
        if not self._wrong and self.line.cutter.broken is not None:
            self._wrong = self.line.cutter.broken.text
        if self._wrong:
            raise _Different(self._wrong)

    def close(self) -> None:
        """Close all that was made."""
        self.line.close_descriptors([])
        for thing in self._things:
            thing.close()
