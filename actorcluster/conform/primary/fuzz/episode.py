"""One case: a life that is led somewhere by the rules, and then says something by chance.

Runs in: both
"""

from __future__ import annotations

import contextlib
import functools
import random
import socket
from collections.abc import Sequence
from typing import Any, Final, final

import attrs
import trio

from ....wire._generated import Kind, State
from ...frames import frame, pack
from ..judge import Judge
from ..lives import Gone, Life
from ..talk import CAPABILITIES, Frame, hello
from ..terms import Terms
from .mutate import Mutator, Piece
from .sentences import good_frame, tame, vector_burst

__all__ = ["Episode", "Finding"]

_STATES: Final = ("HANDSHAKE", "STARTING", "ACTIVE", "STOPPING", "CLOSING")
_WEIGHTS: Final = (10, 12, 50, 16, 12)
#: All pieces of a case together.
_MOST_BYTES: Final = 1 << 20
#: A life of so many seconds may be ended by the primary: it was slow to be ready, or to leave.
_LONG: Final = 1.0


@final
@attrs.frozen
class Finding:
    """The primary did what it must not.

    Attributes:
        case: number of the case.
        text: what, in words.
        state: in which the burst came, by name.
        before: how much of the log came before it.
    """

    case: int
    text: str
    state: str
    before: int


class _Wrong(Exception):
    """Becomes a `Finding`."""


@final
class Episode:
    """Plays a case.

    Args:
        life: that it is played in.
        terms: of the primary.
        seed: of all cases.
        number: of this one.
        fd: a descriptor to send.
        place: a directory for sockets.
        patience: seconds that anything may take.

    Attributes:
        outcome: how it came out: ``"lived"``, or the code of ABORT, or ``"closed"``.
    """

    def __init__(
        self,
        life: Life,
        terms: Terms,
        *,
        seed: int,
        number: int,
        fd: int,
        place: str,
        patience: float,
    ) -> None:
        self.life = life
        self.number = number
        self.outcome = "lived"
        self._chance = chance = random.Random(f"{seed} {number}")  # noqa: S311  # of lies
        self._patience = patience
        self._fd = fd
        self._caps: tuple[str, ...] = CAPABILITIES
        if chance.random() < 0.15:
            self._caps = tuple(sorted(chance.sample(CAPABILITIES, chance.randrange(12))))
        self._terms = terms
        self.judge = Judge(terms, life.worker_id, self._caps)
        self._mutator = Mutator(chance, terms.limits, functools.partial(tame, place=place))
        self._noted = 0
        self._pings = 0
        self._channel = 1
        self._listeners: list[int] = []
        self._calls: list[int] = []
        self._clients: list[socket.socket] = []
        self._before = 0
        self._target = ""
        limits = chance.choice(({}, {}, {"window": 65536}, {"max_frame": 16384, "max_fds": 1}))
        self._hello: dict[str, Any] = {"limits": limits}
        if life.worker_id:
            self._hello["worker"] = life.worker_id
        if life.token:
            self._hello["token"] = life.token

    async def play(self) -> Finding | None:
        """Play it; returns what was wrong."""
        chance = self._chance
        self._target = chance.choices(_STATES, _WEIGHTS)[0]
        try:
            with trio.fail_after(self._patience):
                await self._lead()
        except (_Wrong, Gone) as exc:
            if await self._was_killed():
                return None
            return self._finding(f"on the way to {self._target}: {exc}")
        except trio.TooSlowError:
            return self._finding(f"{self._target} was not reached within {self._patience:g} s")
        finally:
            self._before = len(self.life.log)
        try:
            await self._commit()
        except _Wrong as exc:
            if self.life.over is not None and await self._was_killed():
                return None
            return self._finding(str(exc))
        finally:
            for client in self._clients:
                client.close()
        return None

    async def _was_killed(self) -> bool:
        """Whether the primary has ended the process, without ABORT, for being slow."""
        if self.life.last(Kind.ABORT) is not None:
            return False
        if trio.current_time() - self.life.born < _LONG:
            return False
        with trio.move_on_after(self._patience):
            await self.life.ended.wait()
            self.outcome = "killed"
        return self.life.ended.is_set()

    def _finding(self, text: str) -> Finding:
        self.outcome = "wrong"
        return Finding(self.number, text, self._target, self._before)

    # ---- by the rules ---------------------------------------------------------------------

    async def _lead(self) -> None:
        place = _STATES.index(self._target)
        if place >= 1:
            await self._say(hello(self._caps, **self._hello))
            await self._hear(Kind.WELCOME)
        if place >= 2:
            await self._say(frame(Kind.READY, None, {}))
            await self._sync()
            for _ in range(self._chance.choice((0, 0, 1, 2, 3, 5))):
                await self._converse()
        if place >= 3:
            await self._say(frame(Kind.LEAVE, None, {}))
            await self._hear(Kind.STOP)
            self.judge.states = {State.STOPPING}
        if place >= 4:
            await self._say(frame(Kind.GOODBYE, None, {"recv": 0}))
            await self._hear(Kind.GOODBYE)
        self._note()
        if not self.judge.verdict.may_live:
            raise _Wrong(f"a rightful conversation was judged: {self.judge.verdict}")
        self.judge.begin()

    async def _converse(self) -> None:
        """Do something rightful that leaves traces, and wait for what comes of it."""
        chance, caps = self._chance, self._caps
        what = chance.randrange(7)
        if what == 0 and {"msg", "call"} <= {*caps}:
            await self._say(frame(Kind.TELL, [None], ["ask", "question"]))
            self._calls.append((await self._hear(Kind.CALL)).channel)
        elif what == 1 and "msg" in caps:
            await self._say(frame(Kind.TELL, [None], ["tell", [2, "x"]]))
            for _ in range(2):
                await self._hear(Kind.TELL)
        elif what == 2 and "listen.handoff" in caps:
            await self._listen()
        elif what == 3 and "monitor" in caps:
            await self._say(frame(Kind.MONITOR, [chance.randrange(2) + 2 * self._take(), "db"]))
        elif what == 4 and "call" in caps:
            to = chance.choice((None, "db"))
            await self._say(frame(Kind.CALL, [to], ["echo", 1], channel=self._take()))
            await self._hear(Kind.REPLY, Kind.ERROR)
        elif what == 5 and {"msg", "frag"} <= {*caps}:
            piece = frame(Kind.TELL, [None], b"\x91", channel=self._take(), flags=3)
            await self._say(piece)
        elif what == 6:
            await self._say(frame(Kind.SETTINGS, None, {"limits": {"max_calls": 9}}))
            await self._hear(Kind.SETTINGS_ACK)
        await self._sync()

    async def _listen(self) -> None:
        channel = self._take()
        asked = {"transport": "tcp", "host": "127.0.0.1", "port": 0, "modes": ["handoff"]}
        asked |= {"key": f"lane {self.number % 8}", "credit": 2}
        await self._say(frame(Kind.LISTEN, None, asked, channel=channel))
        answer = await self._hear(Kind.LISTENING, Kind.ERROR)
        address = answer.payload.get("address") if answer.kind == Kind.LISTENING else None
        if not isinstance(address, list):
            return
        self._listeners.append(channel)
        if self._chance.random() < 0.7:
            client = socket.socket()
            self._clients.append(client)
            client.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                client.connect(("127.0.0.1", address[1]))

    def _take(self) -> int:
        channel, self._channel = self._channel, self._channel + 2
        return channel

    # ---- by chance ------------------------------------------------------------------------

    async def _commit(self) -> None:
        chance = self._chance
        frames: Sequence[Piece] = ()
        if chance.random() < 0.25:
            frames = vector_burst(chance, self._target)
        if not frames:
            count = chance.choice((1, 1, 2, 3, 4, 8))
            facts = self._facts()
            frames = [good_frame(chance, self._target, facts) for _ in range(count)]
        pieces = self._mutator.burst(list(frames))
        size = 0
        with contextlib.suppress(Gone), trio.move_on_after(self._patience):
            for piece in pieces:
                size += len(piece.data)
                if size > _MOST_BYTES:
                    break
                await self._say(piece.data, piece.fds)
            await self._complete()
        await self._probe()

    def _facts(self) -> dict[str, Any]:
        heard = self.life.heard
        return {
            "worker": self.life.worker_id,
            "next": self._channel,
            "calls": self._calls,
            "listeners": self._listeners,
            "said": sum(one.kind in (Kind.TELL, Kind.CALL) for one in heard),
            "handles": sum(one.nfds > 0 for one in heard),
            "hello": {"versions": [[1, 0]], "caps": list(self._caps), **self._hello},
        }

    async def _complete(self) -> None:
        """Finish the frame that was begun, so that the primary has something to answer."""
        for _ in range(4):
            missing = self.judge.unfinished
            if not 0 < missing <= _MOST_BYTES:
                break
            await self._say(bytes(missing))

    async def _probe(self) -> None:
        """Find out what became of it."""
        nonce = pack(None) + pack(f"probe {self.number}")
        states = self.judge.states
        wanted = Kind.PONG
        probe = frame(Kind.PING, body=nonce)
        if states == {State.HANDSHAKE}:
            probe, wanted = hello(self._caps, **self._hello), Kind.WELCOME
        elif State.STARTING in states:
            probe = frame(Kind.READY, None, {}) + probe
        if states != {State.CLOSED}:
            with contextlib.suppress(Gone), trio.move_on_after(self._patience):
                await self._say(probe)
        end = None
        try:
            with trio.fail_after(self._patience):
                await self.life.hear(
                    lambda one: one.kind == wanted and (wanted != Kind.PONG or one.body == nonce)
                )
        except Gone as exc:
            end = str(exc)
        except trio.TooSlowError:
            raise _Wrong(
                f"nothing happened for {self._patience:g} s; expected: {self.judge.verdict}"
            ) from None
        if self.life.noise is not None:
            raise _Wrong(f"the primary said what is no frame: {self.life.noise}")
        self._conclude(end)

    def _conclude(self, end: str | None) -> None:
        verdict = self.judge.verdict
        abort = self.life.last(Kind.ABORT)
        if abort is not None:
            name = abort.abort_name()
            self.outcome = name
            if name not in verdict.codes:
                raise _Wrong(f"ABORT {name}: {abort.payload}; expected: {verdict}")
        elif end is None:
            if not verdict.may_live:
                raise _Wrong(f"it lives on; expected: {verdict}")
        else:
            self.outcome = "closed"
            if not (self.judge.is_silent or self.life.last(Kind.GOODBYE) is not None):
                raise _Wrong(f"the channel was closed ({end}) without a word; expected: {verdict}")

    # ---- both -----------------------------------------------------------------------------

    async def _say(self, data: bytes, fds: int = 0) -> None:
        self._note()
        self.judge.said(data, fds)
        await self.life.say(data, [self._fd] * fds)

    async def _hear(self, *kinds: int) -> Frame:
        try:
            found = await self.life.hear(lambda one: one.kind in kinds)
        except Gone as exc:
            abort = self.life.last(Kind.ABORT)
            text = str(exc) if abort is None else f"ABORT {abort.payload}"
            raise _Wrong(f"{Kind(kinds[0]).name} was to come: {text}") from None
        self._note()
        return found

    async def _sync(self) -> None:
        self._pings += 1
        body = pack(None) + pack(self._pings)
        await self._say(frame(Kind.PING, body=body))
        try:
            await self.life.hear(lambda one: one.kind == Kind.PONG and one.body == body)
        except Gone as exc:
            abort = self.life.last(Kind.ABORT)
            raise _Wrong(f"no PONG: {exc if abort is None else abort.payload}") from None
        self._note()

    def _note(self) -> None:
        """Let the judge know what the primary has said."""
        heard = self.life.heard
        while self._noted < len(heard):
            self.judge.heard(heard[self._noted])
            self._noted += 1
