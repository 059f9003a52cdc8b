"""The stage: a primary under test, its innocent worker's clients, and the hangar of hostile lives.

Runs in: both
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from typing import Final, final

import attrs
import trio

from ..._counted import counted
from ...wire._generated import Kind
from .innocent import Clients
from .lives import Gone, Hangar
from .standins import stand_in
from .subject import TEST_WORKER, Subject, Unfit, descriptors, memory
from .talk import frame, hello
from .terms import Problem, Terms

__all__ = ["MOST_PORTS", "Stage", "open_stage"]

#: A primary may keep the ports of workers that are gone, but not ever more of them.
MOST_PORTS: Final = 1024

#: Seconds between two looks at what should settle.
_LOOK: Final = 0.005


@final
@attrs.define
class Stage:
    """What all cases share.

    Attributes:
        subject: the program.
        hangar: where lives come from.
        clients: of the innocent worker.
        lanes: how many hostile workers there are at a time.
        patience: seconds that anything may take.
        terms: what a first life has heard in WELCOME.
        baseline: descriptors of the primary with all lanes waiting, by kind.
    """

    subject: Subject
    hangar: Hangar
    clients: Clients
    lanes: int
    patience: float
    terms: Terms
    baseline: Counter[str] = attrs.Factory(Counter)

    @property
    def primary(self) -> int:
        """Process id of the primary."""
        return self.hangar.primary or self.subject.pid

    def descriptors(self) -> Counter[str]:
        """How many of each kind the primary has, but for ports."""
        return descriptors(self.primary, self.clients.port)[0]

    def ports(self) -> int:
        """How many ports the primary holds."""
        return descriptors(self.primary, self.clients.port)[1]

    def memory(self) -> int:
        """Resident bytes of the primary."""
        return memory(self.primary)

    async def settle(self) -> str | None:
        """Wait until all lanes wait, and the primary has no descriptor too many; else say so."""
        now: Counter[str] | None = None
        with trio.move_on_after(self.patience), contextlib.suppress(Gone):
            await self.hangar.settled(self.lanes)
            await self.clients.pause()
            while True:
                await self.hangar.settled(self.lanes)
                now = self.descriptors()
                if now.total() <= self.baseline.total():
                    break
                await trio.sleep(_LOOK)
        self.clients.go_on()
        if self.subject.status is not None:
            return f"the primary has ended with status {self.subject.status}"
        if now is None:
            return (
                f"of {counted(self.lanes, 'hostile worker')} only {self.hangar.waiting} came back"
            )
        if (count := now.total() - self.baseline.total()) > 0:
            kinds = ", ".join(f"{kind} +{more}" for kind, more in (now - self.baseline).items())
            return f"{counted(count, 'descriptor')} left behind: {kinds}"
        if (ports := self.ports()) > MOST_PORTS:
            return f"it holds {ports} ports"
        return None

    async def find_baseline(self) -> None:
        """Count descriptors until the count stays the same."""
        await self.hangar.settled(self.lanes)
        await self.clients.pause()
        same, found = 0, self.baseline
        with trio.move_on_after(self.patience):
            while same < 10:
                await trio.sleep(_LOOK)
                now = self.descriptors()
                same, found = (same + 1, found) if now == found else (0, now)
        self.baseline = found
        self.clients.go_on()


@contextlib.asynccontextmanager
async def open_stage(
    argv: Sequence[str], *, lanes: int = 1, patience: float = 10, start: float = 60
) -> AsyncGenerator[Stage, None]:
    """Start a program as the primary under test, and end it.

    Args:
        argv: its command line.
        lanes: how many hostile workers it is to have.
        patience: seconds that anything may take.
        start: seconds that it may take to begin.

    Raises:
        Unfit: it is no primary, or has nothing to do with hostile workers.
    """
    place = tempfile.mkdtemp(prefix="awp-")
    path = os.path.join(place, "kit")
    try:
        async with trio.open_nursery() as nursery:
            hangar = Hangar(nursery, path)
            await nursery.start(hangar.run)
            worker = (*await stand_in(place), path)
            subject = await Subject.start(argv, worker=worker, lanes=lanes, patience=start)
            try:
                clients = Clients(subject.port, patience)
                terms = await _meet(hangar, subject, start)
                stage = Stage(subject, hangar, clients, lanes, patience, terms)
                nursery.start_soon(clients.run)
                nursery.start_soon(_watch, stage)
                await clients.next()
                await stage.find_baseline()
                yield stage
            finally:
                nursery.cancel_scope.cancel()
                await subject.stop()
    finally:
        shutil.rmtree(place, ignore_errors=True)


async def _watch(stage: Stage) -> None:
    """See the primary end, and all that waits for it."""
    await stage.subject.wait()
    stage.hangar.close()
    stage.clients.is_paused = True


async def _meet(hangar: Hangar, subject: Subject, patience: float) -> Terms:
    """Have a first life hear what the primary can."""
    try:
        with trio.fail_after(patience):
            life = await hangar.take()
            await life.say(hello(**life.identity()))
            welcome = await life.hear(lambda one: one.kind == Kind.WELCOME)
            await life.say(frame(Kind.READY, None, {}) + frame(Kind.PING, 1, 2))
            await life.hear(lambda one: one.kind == Kind.PONG)
            await life.end()
            return Terms.of(welcome)
    except (Gone, Problem, trio.TooSlowError) as exc:
        text = f"it takes no worker that is started from {TEST_WORKER}: {exc!r}"
        raise Unfit(f"{text}\n{subject.tail()}") from None
