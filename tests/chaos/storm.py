"""The primary: a cluster whose workers are killed, clients, and the books about both."""

from __future__ import annotations

import os
import random
import socket
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs
import trio

import actorcluster
from actorcluster import Primary, WorkerStartError, events
from actorcluster._cluster.dealing import Dealer, PortClient
from actorcluster._link.kinds import ask_socket
from actorcluster.wire import events as wire_events
from tests.chaos.clients import Failure
from tests.chaos.crowd import crowd
from tests.chaos.service import serve

WORKERS = 4
CLIENTS = 24
#: Seconds; a client that waits longer hangs.
PATIENCE = 2.0
#: On average; the times between are drawn from an exponential distribution.
KILLS_PER_SECOND = 7.0

Taken = dict[tuple[str, int | None], list[tuple[float, int]]]


@attrs.define(kw_only=True)
class Books:
    """What is known after the storm.

    Attributes:
        kills: ids of the workers that were killed.
        taken: by address of the client's end: when a worker said that it had taken the connection,
            and which one; oldest first.
        counts: connections by outcome, see `tests.chaos.clients`.
        failures: see there.
        logged: the ids that were handled, each with how often.
        dealt_again: connections that a worker had, had not taken, and that another one got.
    """

    kills: list[int] = attrs.Factory(list)
    taken: Taken = attrs.Factory(dict)
    counts: dict[str, int] = attrs.Factory(dict)
    failures: list[Failure] = attrs.Factory(list)
    logged: Counter[str] = attrs.Factory(Counter)
    dealt_again: int = 0

    @property
    def connections(self) -> int:
        return sum(self.counts.values())

    @property
    def unlogged(self) -> list[Failure]:
        """The clients that failed, and whose ids nobody had written down."""
        return [failure for failure in self.failures if not self.logged[failure.name]]

    def lost_by(self) -> tuple[Counter[int], int]:
        """Assign those to the killed workers that had taken them.

        Returns:
            how many each of them lost, and how many nobody had acknowledged.
        """
        lost: Counter[int] = Counter()
        nobodys = 0
        for failure in self.unlogged:
            owner = None
            for when, worker in self.taken.get((failure.host, failure.port), ()):
                if failure.begun <= when <= failure.ended:
                    owner = worker
            if owner in self.kills:
                lost[owner] += 1
            else:
                nobodys += 1
        return lost, nobodys

    def summary(self) -> dict[str, int]:
        """Everything, in numbers."""
        lost, nobodys = self.lost_by()
        return {
            "connections": self.connections,
            "kills": len(self.kills),
            **{name: self.counts.get(name, 0) for name in ("served", "cut", "wrong")},
            "hung": self.counts.get("hung", 0),
            "refused": self.counts.get("refused", 0),
            "twice": sum(count > 1 for count in self.logged.values()),
            "cut_unlogged": len(self.unlogged),
            "most_unlogged_per_kill": max(lost.values(), default=0),
            "unlogged_unacknowledged": nobodys,
            "dealt_again": self.dealt_again,
        }

    def broken_promises(self) -> list[str]:
        """Name what must not be."""
        summary = self.summary()
        zero = ("hung", "refused", "wrong", "twice", "unlogged_unacknowledged")
        broken = [f"{name}={summary[name]}" for name in zero if summary[name]]
        if summary["most_unlogged_per_kill"] > 1:
            broken.append(f"most_unlogged_per_kill={summary['most_unlogged_per_kill']}")
        return broken


async def storm(
    *, seconds: float, seed: int, acknowledge: str = "accept", patience: float = PATIENCE
) -> Books:
    """Run one.

    Args:
        seconds: how long.
        seed: for the moments and the victims.
        acknowledge: see `tests.chaos`.
        patience: seconds; a client that waits longer hangs.
    """
    books = Books()
    with tempfile.TemporaryDirectory() as place, recording(books.taken):
        log = os.path.join(place, "log")
        async with actorcluster.open_primary() as primary, trio.open_nursery() as nursery:
            for _ in range(WORKERS):
                nursery.start_soon(respawn, primary, log, acknowledge)
            port = await port_of(primary)
            async with crowd("tests.chaos.clients", port, CLIENTS, patience) as clients:
                with trio.move_on_after(seconds):
                    await kill_at_random(primary, random.Random(seed), books.kills)
                report = await clients.finish()
                books.counts = report["counts"]
                books.failures = [Failure(**each) for each in report["failures"]]
            books.dealt_again = primary.statistics().ports[0].dealt_again
            nursery.cancel_scope.cancel()
        books.logged.update(Path(log).read_text().split())
    return books


async def respawn(primary: Primary, log: str, acknowledge: str) -> None:
    """Keep one place filled."""
    while True:
        try:
            worker = await primary.fork(serve, log, acknowledge, ready="listening")
        except WorkerStartError:
            continue  # killed before it was ready
        await worker.wait()


async def port_of(primary: Primary) -> int:
    """Wait until somebody listens."""
    with primary.events(events.Listening) as happened:
        event = await anext(happened)
    assert isinstance(event, events.Listening)
    return int(event.address[1])


async def kill_at_random(primary: Primary, dice: random.Random, kills: list[int]) -> None:
    """End a worker every now and then, also one that only starts."""
    while True:
        await trio.sleep(dice.expovariate(KILLS_PER_SECOND))
        living = [one for one in primary.workers.values() if one.pid and one.id not in kills]
        if living:
            victim = dice.choice(living)
            kills.append(victim.id)
            victim.kill("SIGKILL")


@contextmanager
def recording(taken: Taken) -> Iterator[None]:
    """Note whose connections each worker says that it has taken."""
    reply = Dealer.reply

    def noting(self: Dealer, client: PortClient, event: wire_events.ConnReply) -> None:
        share = self._shares[client.id, event.channel]
        first = share.handed - len(share.untaken) + 1
        for number, accepted in zip(range(first, event.upto + 1), share.untaken, strict=False):
            if number not in event.rejected:
                address = ask_socket(accepted.fileno(), socket.socket.getpeername)
                taken.setdefault(address, []).append((time.monotonic(), client.id))
        reply(self, client, event)

    Dealer.reply = noting  # type: ignore[method-assign]  # undone in the end
    try:
        yield
    finally:
        Dealer.reply = reply  # type: ignore[method-assign]  # as it was
