"""Asks all workers of a primary whether their loops run, with one timer, and tells who is stuck.

Runs in: primary

`Beats` and `Pulse` decide; see there for the theory of operation. A worker is asked from the moment
when it is ready to its GOODBYE. When it does not answer somebody looks into the process (see
`stackfile`), which takes two seconds at most; its end, if that is due, waits so long.
"""

from __future__ import annotations

import logging
import math
from typing import Any, Final, Protocol, final

import attrs
import trio

from .._worker.life import Life
from .._worker.pulse import Act, Beats, Pulse, is_starved
from .._worker.stack import Look
from .._worker.stackfile import can_run, look_into, processor_time
from .._worker.words import printable
from .._worker.worker import Worker
from ..wire._generated import State
from . import events

__all__ = ["Liveness"]

log = logging.getLogger("actorcluster.worker")

#: Nobody else can be asked, or could answer.
_ASKED: Final = (State.ACTIVE, State.STOPPING)


class Owner(Protocol):
    """Whose worker it is."""

    @property
    def worker(self) -> Worker: ...

    def emit(self, kind: type[events.Event], **more: Any) -> None: ...


@final
@attrs.define(eq=False)
class _Watched:
    """One worker that is asked.

    Attributes:
        heard: as its channel had it when we last looked.
        ran: its `processor_time` at the first beat without an answer.
        is_looked_into: just now.
        heartbeat: in force.
        is_condemned: it will be killed after that.
    """

    owner: Owner
    life: Life
    pulse: Pulse
    heard: int
    heartbeat: float
    ran: float | None = None
    is_looked_into: bool = False
    is_condemned: bool = False

    def can_be_asked(self) -> bool:
        """Whether it has not taken its leave."""
        return self.life.status is None and self.life.connection.state in _ASKED

    def ends_at(self) -> float:
        """When it has to be killed."""
        return self.pulse.ends_at if self.can_be_asked() else math.inf

    def has_spoken(self) -> bool:
        """Whether it has said anything since we last looked; also what is still to be read."""
        channel = self.life.channel
        assert channel is not None
        before, self.heard = self.heard, channel.heard
        return before != self.heard or (self.pulse.asked_at is not None and channel.has_unread())

    def is_starved(self) -> bool:
        """Whether it has had no processor since the first beat without an answer."""
        assert self.life.process is not None
        pid = self.life.process.pid
        ran = processor_time(pid)
        if self.ran is None:
            self.ran = ran
        return ran is not None and is_starved(ran - (self.ran or 0.0), can_run=can_run(pid))


@final
class Liveness:
    """Watches the workers of one primary.

    Args:
        nursery: whoever looks into a process is a task in it.
    """

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self._watched: dict[Owner, _Watched] = {}
        self._beats: dict[float, tuple[Beats, list[_Watched]]] = {}
        self._sleep = trio.CancelScope()
        nursery.start_soon(self._run)

    @trio.lowlevel.enable_ki_protection
    def watch(self, owner: Owner, life: Life) -> None:
        """Ask a worker that is ready, until `forget`."""
        heartbeat, hung_after = life.heartbeat, life.options.hung_after
        if heartbeat == math.inf or life.channel is None:
            return
        pulse = Pulse(math.inf if hung_after is None else hung_after)
        watched = _Watched(owner, life, pulse, life.channel.heard, heartbeat)
        if heartbeat not in self._beats:
            self._beats[heartbeat] = Beats.of(heartbeat, trio.current_time()), []
        beats, members = self._beats[heartbeat]
        members.append(watched)
        self._watched[owner] = watched
        self._sleep.deadline = min(self._sleep.deadline, beats.due)

    @trio.lowlevel.enable_ki_protection
    def forget(self, owner: Owner) -> None:
        """Ask it no longer."""
        watched = self._watched.pop(owner, None)
        if watched is not None:
            heartbeat = watched.heartbeat
            _, members = self._beats[heartbeat]
            members.remove(watched)
            if not members:
                del self._beats[heartbeat]

    # ---- beats ------------------------------------------------------------------------------

    @trio.lowlevel.enable_ki_protection
    async def _run(self) -> None:
        while True:
            with trio.CancelScope() as self._sleep:
                self._sleep.deadline = self._due()
                await trio.sleep_forever()
            now = trio.current_time()
            for beats, members in list(self._beats.values()):
                if beats.due <= now:
                    counts = beats.hold(now)
                    for watched in list(members):
                        self._beat(watched, now, counts)
            for watched in list(self._watched.values()):
                if watched.ends_at() <= now:
                    self._do(watched, watched.pulse.end(now, heard=watched.has_spoken()))

    def _due(self) -> float:
        dues = [beats.due for beats, _ in self._beats.values()]
        ends = [watched.ends_at() for watched in self._watched.values()]
        return min((*dues, *ends), default=math.inf)

    def _beat(self, watched: _Watched, now: float, counts: bool) -> None:
        if not watched.can_be_asked():
            return
        heard = watched.has_spoken()
        if heard or watched.pulse.asked_at is None:
            watched.ran = None
        elif counts:
            counts = not watched.is_starved()
        self._do(watched, watched.pulse.beat(now, heard=heard, counts=counts))

    def _do(self, watched: _Watched, acts: list[Act]) -> None:
        life = watched.life
        for act in acts:
            if act is Act.ASK:
                assert life.channel is not None
                life.connection.send_ping()
                life.channel.flush_once()
            elif act is Act.REPORT:
                watched.is_looked_into = True
                self._nursery.start_soon(self._look_into, watched)
            elif act is Act.RECOVERED:
                life.stack = None
                log.warning("worker %s answers again", life.options.name)
            elif watched.is_looked_into:
                watched.is_condemned = True
            else:
                self._kill(watched)

    # ---- those that are stuck ---------------------------------------------------------------

    @trio.lowlevel.enable_ki_protection
    async def _look_into(self, watched: _Watched) -> None:
        life, process = watched.life, watched.life.process
        assert process is not None
        seconds = watched.pulse.silence(trio.current_time())
        try:
            look = await look_into(process)
        finally:
            watched.is_looked_into = False
        if life.status is not None:
            return  # how it ended is told already
        if watched.pulse.is_stuck:
            life.stack = look.stack
        self._tell(watched, look, seconds)
        if watched.is_condemned:
            self._kill(watched)

    def _tell(self, watched: _Watched, look: Look, seconds: float) -> None:
        stack, name = look.stack, watched.life.options.name
        where = f"no stack: {look.no_stack}"
        if stack is not None:
            where = f"it is in {stack.file}, line {stack.line}, in {stack.function}"
        log.warning("worker %s does not answer for %.3g s; %s", name, seconds, printable(where))
        watched.owner.emit(
            events.Hung,
            seconds=seconds,
            file=None if stack is None else stack.file,
            line=None if stack is None else stack.line,
            function=None if stack is None else stack.function,
            stack=None if stack is None else stack.text,
            no_stack=look.no_stack,
            stopped=look.stopped,
        )

    def _kill(self, watched: _Watched) -> None:
        name, after = watched.life.options.name, watched.life.options.hung_after
        log.error("worker %s has not answered for %g s, and is killed", name, after)
        watched.life.condemn("hung")
