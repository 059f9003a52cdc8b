"""The primary: a pool that is reloaded, workers that are killed, clients."""

from __future__ import annotations

import os
import random
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import trio

import actorcluster
from actorcluster import Backoff, Pool, Primary, ReloadAborted, Supervisor
from actorcluster._cluster.dealing import Dealer
from actorcluster._cluster.shares import Accepted, PortClient
from actorcluster._link.kinds import ask_socket
from actorcluster.wire import events as wire_events
from tests.chaos.clients import Failure
from tests.chaos.crowd import crowd
from tests.chaos.storm import PATIENCE
from tests.e2e.releases import Release, released
from tests.reload_load.books import Books, Rollout, Sightings
from tests.reload_load.service import BROKEN, good

__all__ = ["half"]

WORKERS: Final = 4
CLIENTS: Final = 16
#: On average; the times between are drawn from an exponential distribution.
KILLS_PER_SECOND: Final = 7.0


async def half(
    *,
    reloads: int,
    kills: int,
    seed: int,
    preload: bool,
    broken: bool = True,
    ready_seconds: float = 2.0,
    patience: float = PATIENCE,
) -> Books:
    """Run one half, see `tests.reload_load`.

    Args:
        reloads: how many alone.
        kills: how many while reloads go on.
        seed: for the moments and the victims.
        preload: whether the fork server imports the release.
        broken: whether broken releases are tried as well.
        ready_seconds: what a broken release that says nothing is given.
        patience: seconds; a client that waits longer hangs.
    """
    books = Books()
    with tempfile.TemporaryDirectory() as place, recording(books):
        with released(Path(place), f"release_{os.getpid()}_{int(preload)}") as release:
            log = os.path.join(place, "log")
            site = _Site(release, books)
            site.write(good(0))
            settings: dict[str, Any] = {"stdio": ["ignore", "inherit", "ignore"]}
            settings |= {"preload": [release.name]} if preload else {}
            async with actorcluster.open_primary(site.tree(log), settings=settings) as primary:
                site.begin(primary)
                async with crowd(
                    "tests.reload_load.clients", _port_of(primary), CLIENTS, patience
                ) as clients:
                    await site.reload_alone(reloads)
                    if broken:
                        await site.reload_broken(ready_seconds)
                    await site.reload_and_kill(kills, random.Random(seed))
                    report = await clients.finish()
                    books.answers = [tuple(each) for each in report["answers"]]
                    books.failures = [Failure(**each) for each in report["failures"]]
        books.logged.update(Path(log).read_text().split())
    return books


class _Site:
    """What is in service, and what was."""

    def __init__(self, release: Release, books: Books) -> None:
        self._release = release
        self._books = books
        self._primary: Primary
        self._version = 0

    def write(self, text: str) -> None:
        self._release.write_text(text)

    def tree(self, log: str) -> Supervisor:
        pool = Pool(
            "web",
            self._release.target,
            count=WORKERS,
            args=(log,),
            ready="listening",
            max_restarts=10**6,
            backoff=Backoff(min=0, max=0),
        )
        return Supervisor(children=[pool])

    def begin(self, primary: Primary) -> None:
        self._primary = primary
        now = time.monotonic()
        self._books.rollouts.append(Rollout(version=0, begun=now, ended=now, is_done=True))

    async def reload_alone(self, count: int) -> None:
        await trio.sleep(1.0)  # the clients' program starts meanwhile
        for _ in range(count):
            await self._next()

    async def reload_broken(self, ready_seconds: float) -> None:
        for text in BROKEN.values():
            begun = time.monotonic()
            self.write(text)
            await self._reload(None, begun, ready_seconds)
        await self._next()

    async def reload_and_kill(self, count: int, dice: random.Random) -> None:
        if not count:
            return
        self._books.first_kill = time.monotonic()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._reload_for_ever)
            while len(self._books.kills) < count:
                await trio.sleep(dice.expovariate(KILLS_PER_SECOND))
                self._kill_somebody(dice)
            nursery.cancel_scope.cancel()

    def _kill_somebody(self, dice: random.Random) -> None:
        kills, workers = self._books.kills, self._primary.workers.values()
        living = [one for one in workers if one.pid and one.id not in kills]
        if living:
            victim = dice.choice(living)
            kills.append(victim.id)
            victim.kill("SIGKILL")

    async def _reload_for_ever(self) -> None:
        while True:
            await self._next()

    async def _next(self) -> None:
        self._version += 1
        begun = time.monotonic()
        self.write(good(self._version))
        await self._reload(self._version, begun)

    async def _reload(self, version: int | None, begun: float, ready_seconds: float = 30.0) -> None:
        is_done = False
        try:
            await self._primary.reload(ready_timeout=ready_seconds)
            is_done = True
        except ReloadAborted:
            pass
        finally:
            ended = time.monotonic()
            self._books.rollouts.append(
                Rollout(version=version, begun=begun, ended=ended, is_done=is_done)
            )


def _port_of(primary: Primary) -> int:
    (port,) = primary.statistics().ports
    return int(port.address[1])


# ---- how far connections come ------------------------------------------------------------------


@contextmanager
def recording(books: Books) -> Iterator[None]:
    """Note which connections are accepted, dealt and taken."""
    make, hand_over, reply = Accepted.__init__, Dealer._hand_over, Dealer.reply

    def making(self: Any, fd: int, *rest: Any) -> None:
        _note(books.accepted, fd, 0)
        make(self, fd, *rest)

    def handing_over(self: Dealer, share: Any, count: int) -> None:
        for accepted in list(share.untaken)[-count:]:
            _note(books.dealt, accepted.fileno(), share.client.id)
        hand_over(self, share, count)

    def replying(self: Dealer, client: PortClient, event: wire_events.ConnReply) -> None:
        share = self._shares[client.id, event.channel]
        first = share.handed - len(share.untaken) + 1
        for number, accepted in zip(range(first, event.upto + 1), share.untaken, strict=False):
            if number not in event.rejected:
                _note(books.taken, accepted.fileno(), client.id)
        reply(self, client, event)

    Accepted.__init__ = making  # type: ignore[assignment,method-assign]  # undone below
    Dealer._hand_over = handing_over  # type: ignore[method-assign]  # undone below
    Dealer.reply = replying  # type: ignore[method-assign]  # undone below
    try:
        yield
    finally:
        Accepted.__init__ = make  # type: ignore[method-assign]  # as it was
        Dealer._hand_over = hand_over  # type: ignore[method-assign]  # as it was
        Dealer.reply = reply  # type: ignore[method-assign]  # as it was


def _note(sightings: Sightings, fd: int, worker: int) -> None:
    try:
        address = ask_socket(fd, socket.socket.getpeername)
    except OSError:  # the client has gone
        return
    sightings.setdefault(address, []).append((time.monotonic(), worker))
