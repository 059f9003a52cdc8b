"""One performance of the demo: workers, clients, a kill under load, a respawn, and the reckoning.

Runs in: primary

It ends as soon as a promise is broken. The promises: the port is to be had; every request is
answered (see `clients` for what that means when a connection is cut); a killed worker comes back
under its name, as its next incarnation, and serves; no other worker ends; and what each living
worker says it has served is what it told us message by message, and what the clients got from it.
"""

from __future__ import annotations

import contextlib
import math
from typing import Final

import attrs
import trio

from actorcluster import ExitStatus, PeerClosed, Primary, Worker, WorkerStartError, events

from .._counted import counted
from . import service
from .clients import DEADLINE_SECONDS, Tally, run_clients
from .screen import Row, Screen
from .service import life_name, serve

__all__ = ["SHUTDOWN_SECONDS", "BrokenPromise", "Post", "Scale", "Show", "mismatch"]

SHUTDOWN_SECONDS: Final = 1.0

_REDRAW_SECONDS: Final = 0.1
_START_SECONDS: Final = 10.0
_ASK_SECONDS: Final = 3.0
_BACK_SECONDS: Final = 5.0

#: The clients report ten times a second; after this long they do not work any more.
_SILENCE_SECONDS: Final = DEADLINE_SECONDS + 1.0

#: The kill comes when this share of the requests is answered.
_KILL_AT: Final = 0.3


class BrokenPromise(Exception):
    """What was promised and not kept, in one line."""


@attrs.frozen(kw_only=True)
class Scale:
    """How much is to be shown.

    Attributes:
        workers: how many share the port.
        requests: how many the clients send at least.
        clients: how many send at the same time.
        port: of the workers; 0 for a free one.
    """

    workers: int
    requests: int
    clients: int
    port: int


@attrs.define(eq=False)
class Post:
    """A worker's place, through all its lives.

    Attributes:
        name: of the place.
        lives: the workers that have held it, the latest last.
        told: messages about served requests, by worker id.
    """

    name: str
    lives: list[Worker] = attrs.Factory(list)
    told: dict[int, int] = attrs.Factory(dict)

    @property
    def worker(self) -> Worker:
        """Who holds it now, or held it last."""
        return self.lives[-1]

    def is_back(self) -> bool:
        """Whether a later life than the first has served somebody."""
        return len(self.lives) > 1 and self.told[self.worker.id] > 0

    def row(self) -> Row:
        """Give its line in the table."""
        if not self.lives:
            return Row(worker=self.name, state="none")
        return Row(
            worker=self.name,
            pid=self.worker.pid,
            incarnation=self.worker.incarnation,
            state=self.worker.state,
            served=sum(self.told.values()),
            restarts=len(self.lives) - 1,
        )


def mismatch(life: str, *, says: object, told: int, answered: int) -> str | None:
    """Compare three counts of what one worker has served.

    Returns:
        What is wrong, in one line, or None.
    """
    if says == told == answered:
        return None
    return (
        f"{life} says that it served {says} requests, its messages say {told}, "
        f"and the clients got {answered} answers from it"
    )


class Show:
    """One performance."""

    def __init__(self, scale: Scale, primary: Primary, screen: Screen) -> None:
        self._scale = scale
        self._primary = primary
        self._screen = screen
        self._began = trio.current_time()
        self._nursery: trio.Nursery
        self._posts = [Post(f"web-{number}") for number in range(1, scale.workers + 1)]
        self._victim: Post | None = None
        self._back_by = math.inf
        self._content = False
        self._tally = Tally()

    async def run(self) -> str:
        """Perform.

        Returns:
            The counts of the last line.

        Raises:
            BrokenPromise: in an exception group.
        """
        with self._primary.events(events.Listening, events.Exit) as happenings:
            async with trio.open_nursery() as self._nursery:
                self._nursery.start_soon(self._redraw)
                self._nursery.start_soon(self._follow, happenings)
                for post in self._posts:
                    await self._start(post)
                await self._load()
                await self._compare()
                self._draw()
                self._nursery.cancel_scope.cancel()
        restarts = sum(len(post.lives) - 1 for post in self._posts)
        return f"requests={self._tally.total} failed={self._tally.failed} restarts={restarts}"

    # ---- what is seen ---------------------------------------------------------------------

    def _event(self, text: str) -> None:
        self._screen.event(f"{trio.current_time() - self._began:5.2f} s  {text}")

    def _draw(self) -> None:
        tally = self._tally
        self._screen.draw(
            [post.row() for post in self._posts],
            f"{counted(self._scale.clients, 'client')}: {tally.total} requests answered, "
            f"{tally.repeated} sent again, {tally.failed} failed",
        )

    async def _redraw(self) -> None:
        while True:
            self._draw()
            await trio.sleep(_REDRAW_SECONDS)

    # ---- the workers ----------------------------------------------------------------------

    async def _start(self, post: Post) -> None:
        try:
            worker = await self._primary.fork(
                serve,
                self._scale.port,
                name=post.name,
                ready="listening",
                start_timeout=_START_SECONDS,
                shutdown=SHUTDOWN_SECONDS,
            )
        except WorkerStartError as exc:
            raise BrokenPromise(self._why_not_started(post, exc)) from exc
        post.lives.append(worker)
        post.told[worker.id] = 0
        self._nursery.start_soon(self._count, post, worker)

    def _why_not_started(self, post: Post, exc: WorkerStartError) -> str:
        try:
            while True:
                match self._primary.mailbox.receive_nowait().body:
                    case {service.CANNOT_LISTEN: str(why)}:
                        return f"the workers share port {self._scale.port}, but: {why}"
        except trio.WouldBlock:
            return f"{post.name} starts: {exc.status}"

    async def _count(self, post: Post, worker: Worker) -> None:
        async for _ in worker.mailbox:
            post.told[worker.id] += 1

    async def _follow(self, happenings: events.Subscription[events.Event]) -> None:
        async for event in happenings:
            worker = event.worker
            match event:
                case events.Listening(address=(host, port)):
                    life = life_name(worker.name, worker.incarnation)
                    self._event(f"{life} listens on {host}:{port} (pid {worker.pid})")
                case events.Exit(status=status):
                    await self._on_exit(worker, status)

    async def _on_exit(self, worker: Worker, status: ExitStatus) -> None:
        post = next((post for post in self._posts if worker in post.lives), None)
        if post is None:
            return  # the clients, or a worker that never started; who waits for it hears of it
        life = life_name(worker.name, worker.incarnation)
        if status.signal != "SIGKILL":
            raise BrokenPromise(f"no worker ends by itself, but {life} did: {status}")
        self._event(f"{life} died: {status} (pid {worker.pid}); starting its next incarnation")
        await self._start(post)

    # ---- the clients ----------------------------------------------------------------------

    async def _load(self) -> None:
        """Let the clients work until they have done enough; kill a worker meanwhile."""
        listening = await self._primary.wait_for(events.Listening, self._posts[0].worker)
        clients = await self._primary.fork(
            run_clients,
            listening.address[1],
            self._scale.clients,
            self._scale.requests,
            name="clients",
            shutdown=SHUTDOWN_SECONDS,
        )
        who = counted(self._scale.clients, "client")
        begin = "begins" if self._scale.clients == 1 else "begin"
        self._event(f"{who} {begin} in another process (pid {clients.pid})")
        while not self._tally.finished:
            await self._hear(clients)
            await self._direct(clients)
        with trio.move_on_after(_ASK_SECONDS):
            await clients.wait()

    async def _hear(self, clients: Worker) -> None:
        try:
            with trio.fail_after(_SILENCE_SECONDS):
                message = await clients.mailbox.receive()
        except trio.TooSlowError:
            silence = f"nothing was heard of them for {_SILENCE_SECONDS:g} seconds"
            raise BrokenPromise(f"the clients get answers, but {silence}") from None
        except trio.EndOfChannel:
            status = await clients.wait()
            raise BrokenPromise(f"the clients finish, but their process ended: {status}") from None
        repeated = self._tally.repeated
        self._tally = Tally.from_body(message.body)
        if self._tally.repeated > repeated:
            cut = self._tally.repeated - repeated
            self._event(f"requests cut off with their connection and sent again: {cut}")
        if self._tally.finished:
            total, failed = self._tally.total, self._tally.failed
            self._event(f"the clients have finished: {total} requests answered, {failed} failed")

    async def _direct(self, clients: Worker) -> None:
        """Kill when it is time; let the clients finish when the killed worker serves again."""
        victim = self._victim
        if victim is None:
            if self._tally.total >= _KILL_AT * self._scale.requests:
                self._kill(self._posts[len(self._posts) // 2])
        elif self._content:
            pass
        elif victim.is_back():
            self._content = True
            with contextlib.suppress(PeerClosed):  # a request has failed, and they have given up
                await clients.send("enough")
        elif trio.current_time() > self._back_by:
            text = f"but {victim.name} did not within {_BACK_SECONDS:g} seconds"
            raise BrokenPromise(f"a killed worker comes back and serves, {text}")

    def _kill(self, victim: Post) -> None:
        self._victim = victim
        self._back_by = trio.current_time() + _BACK_SECONDS
        life = life_name(victim.name, victim.worker.incarnation)
        self._event(f"killing {life} after {self._tally.total} requests")
        victim.worker.kill("SIGKILL")

    # ---- the promises ---------------------------------------------------------------------

    async def _compare(self) -> None:
        """Ask the workers what they have served, and compare."""
        tally = self._tally
        if tally.failed:
            text = f"every request is answered, but {tally.failed} of {tally.begun} were not"
            raise BrokenPromise(f"{text}: {tally.why}")
        says = await self._primary.gather("how many have you served?", timeout=_ASK_SECONDS)
        workers = [post.worker for post in self._posts]
        while any(worker.mailbox.statistics().messages for worker in workers):
            await trio.lowlevel.checkpoint()  # they sent their answers after all messages
        await trio.lowlevel.checkpoint()
        for post in self._posts:
            life = life_name(post.name, post.worker.incarnation)
            wrong = mismatch(
                life,
                says=says.get(post.worker.id),
                told=post.told[post.worker.id],
                answered=tally.answered[life],
            )
            if wrong is not None:
                raise BrokenPromise(f"no message is lost, but {wrong}")
        self._event("asked, the workers confirm every message and every answer")
