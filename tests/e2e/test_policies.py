"""Who gets a connection, with real workers: by policy, paused, by weight, over restarts."""

from __future__ import annotations

import math
import socket
from collections.abc import Sequence
from typing import Any

import pytest
import trio

from actorcluster import (
    Actor,
    Candidate,
    NewConnection,
    Pool,
    Supervisor,
    Worker,
    events,
    open_primary,
    sticky,
)
from tests.e2e.supervised import AT_ONCE
from tests.e2e.test_ports import hold, port_of, until


class Clients:
    """Connections that are open, and the worker that names itself on each."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.held: list[tuple[int, socket.socket]] = []

    async def connect(self, count: int, host: str = "127.0.0.1") -> list[int]:
        """Open some, one after the other; returns who serves them."""
        return [await trio.to_thread.run_sync(self._connect, host) for _ in range(count)]

    def _connect(self, host: str) -> int:
        client = socket.create_connection(("127.0.0.1", self._port), 20, (host, 0))
        (worker,) = client.recv(1)
        self.held.append((worker, client))
        return worker

    def close(self, *workers: int) -> None:
        """Close those of some workers; of none: all."""
        for one in list(self.held):
            if not workers or one[0] in workers:
                one[1].close()
                self.held.remove(one)


async def holds(actor: Actor, policy: str) -> None:
    """Serve one's clients until they go, dealt by a policy."""
    await hold(actor, 0, policy=policy)


async def test_fewest_connections_pauses_and_weights() -> None:
    async with open_primary() as primary:
        one = await primary.fork(holds, "least_connections", ready="listening")
        two = await primary.fork(holds, "least_connections", ready="listening")
        clients = Clients(await port_of(primary, one))

        def counts(worker: Worker) -> Any:
            (port,) = primary.statistics().ports
            return port.workers[worker.id]

        async def has_open(*expected: int) -> None:
            await until(lambda: list(expected) == [counts(one).open, counts(two).open])

        assert [1, 2, 1, 2] == await clients.connect(4)
        clients.close(2)
        await has_open(2, 0)
        assert [2, 2] == await clients.connect(2)
        # Paused, it gets none, and keeps those that it has.
        two.pause()
        two.pause()
        assert (False, True) == (one.is_paused(), two.is_paused())
        assert [1, 1, 1] == await clients.connect(3)
        two.resume()
        assert [2, 2, 2] == await clients.connect(3)
        # With three times the weight it has three times as many.
        clients.close()
        await has_open(0, 0)
        one.weight = 3
        await clients.connect(8)
        assert (6, 2) == (counts(one).open, counts(two).open)
        had = counts(one)
        assert (11, 0, 0, 0) == (had.accepted, had.declined, had.dropped, had.waiting)
        for wrong, error in [(0, ValueError), (math.inf, ValueError), ("1", TypeError)]:
            with pytest.raises(error, match="weight must be a"):
                two.weight = wrong  # type: ignore[assignment]  # wrong on purpose
        one.kill()
        await one.wait()
        one.pause()  # nothing happens to who is dead
        clients.close()


@pytest.mark.parametrize("policy", ["sticky_address", "by_host"])
async def test_clients_stay_with_the_name_that_has_them(policy: str) -> None:
    """Over restarts, by address and by a policy of one's own; the weight stays, too."""
    hosts = [f"127.0.0.{number}" for number in range(2, 18)]
    seen: list[NewConnection] = []

    def by_host(connection: NewConnection, candidates: Sequence[Candidate]) -> Candidate:
        seen.append(connection)
        assert isinstance(connection.peer, tuple)
        return sticky(connection.peer[0], candidates)

    pool = Pool("web", holds, args=(policy,), count=3, ready="listening", backoff=AT_ONCE)
    tree = Supervisor(children=[pool])
    async with open_primary(tree, policies={"by_host": by_host}) as primary:
        workers = dict(primary.workers)
        clients = Clients(await port_of(primary, workers[1]))

        async def homes() -> dict[str, Worker]:
            found = {host: workers[(await clients.connect(1, host))[0]] for host in hosts}
            clients.close()
            return found

        before = await homes()
        assert 3 == len(set(before.values()))
        victim = before[hosts[0]]
        victim.weight = 2.0
        before = await homes()
        with primary.events(events.Listening) as lives:
            victim.kill("SIGKILL")
            heir = (await anext(lives)).worker
        assert (victim.name, 2.0) == (heir.name, heir.weight)
        workers[heir.id] = heir
        after = await homes()
        assert {host: one.name for host, one in before.items()} == {
            host: one.name for host, one in after.items()
        }
        (port,) = primary.statistics().ports
        assert (policy, 0) == (port.policy, port.policy_faults)
        if policy == "by_host":
            assert 3 * hosts == [one.peer[0] for one in seen if isinstance(one.peer, tuple)]
