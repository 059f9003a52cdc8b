"""Anything that workers and clients may do, in any order: each connection ends in one place."""

from __future__ import annotations

import random
from typing import Any

import attrs
import msgpack
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from actorcluster import Peek
from actorcluster._worker.accepting import HandoffListener
from actorcluster.wire import events
from actorcluster.wire._generated import Kind
from tests.cluster.inproc import Cluster, Puppet, frame, open_cluster

CHANNEL = 1
"""Of a worker's only listener."""

DEEDS = ["connect"] * 4 + ["take"] * 4 + ["refuse", "credit", "credit", "pause", "time", "time"]
DEEDS += ["close", "stop", "die", "weigh"]
POLICIES = ["round_robin", "least_connections", "sticky_address", "sticky_peek", "mine", "lines"]
WORDS = [b"", b"x\n", b"half", b"GET / HTTP/1.1\r\nX-Forwarded-For: 10.0.0.7\r\n\r\n"]


@attrs.define
class Player:
    """A worker, which replies when it likes.

    Attributes:
        given: number of the latest connection that it was given.
        decided: up to which it has replied.
    """

    puppet: Puppet
    given: int = 0
    decided: int = 0

    def read(self) -> None:
        self.puppet.read()
        for event in self.puppet.heard:
            if isinstance(event, events.Connections):
                self.given = event.first + len(event.handles) - 1
                for handle in event.handles:
                    handle.close()
        self.puppet.heard.clear()

    def reply(self, rng: random.Random, *, refuses: bool) -> None:
        if self.decided < self.given:
            self.decided = upto = rng.randint(self.decided + 1, self.given)
            envelope = [upto, [upto]] if refuses else [upto]
            self.puppet.say(frame(Kind.CONN_REPLY, CHANNEL, msgpack.packb(envelope)))


async def enter(cluster: Cluster, how: dict[str, Any], rng: random.Random) -> Player:
    player = Player(await cluster.puppet())
    port = cluster.ports.statistics()
    where = {"port": port[0].address[1]} if port else {}
    await player.puppet.listen(credit=rng.choice([0, 2, 64]), **where, **how)
    return player


async def do(deed: str, player: Player, rng: random.Random) -> None:
    """What a worker does, or is done to it."""
    client = player.puppet.client
    match deed:
        case "take" | "refuse":
            player.reply(rng, refuses=deed == "refuse")
        case "credit":
            credit = rng.choice([(1,), (5, 1), (0, 2**40, 7)])
            player.puppet.connection.send_conn_credit(CHANNEL, *credit)
            player.puppet.say()
        case "pause":
            client.is_paused = not client.is_paused
            client.ports.look_again(client)
        case "close":
            player.puppet.connection.send_listen_close(CHANNEL)
            player.puppet.say()
        case "stop":
            client.stop()
        case "die":
            await player.puppet.die()
        case "weigh":
            client.weight = rng.random() + 0.01


def books(cluster: Cluster) -> int:
    """Check them; returns how many connections have come to an end, or are a worker's."""
    port = cluster.port
    for worker, counts in port.workers.items():
        assert 0 <= counts.open <= counts.accepted
        untaken = sum(
            len(share.untaken)
            for shared in set(cluster.ports._ports.values())
            if shared.dealer is not None
            for share in shared.dealer._shares.values()
            if share.id == worker
        )
        assert counts.accepted + untaken == port.dealt.get(worker, 0)
    assert 0 <= port.peeking <= port.waiting
    return sum(port.dealt.values()) + port.dealt_before + port.timed_out + port.dropped


async def serve(listener: HandoffListener) -> None:
    while True:
        await (await listener.accept()).aclose()


@pytest.mark.parametrize("seed", range(12))
async def test_each_connection_ends_in_one_place(seed: int, mock_clock: MockClock) -> None:
    rng = random.Random(seed)
    how: dict[str, Any] = {"policy": POLICIES[seed % len(POLICIES)]}
    how |= rng.choice([{}, {"wait": 500}, {"limit": 3, "full": "drop"}])

    def mine(_: object, candidates: Any) -> Any:
        return rng.choice([None, 3, *candidates])

    connected = 0
    policies = {"mine": mine, "lines": Peek(mine, until=b"\n", timeout=0.3)}
    async with open_cluster(policies=policies) as cluster, trio.open_nursery() as nursery:
        players = [await enter(cluster, how, rng) for _ in range(3)]
        for _ in range(100):
            player, deed = rng.choice(players), rng.choice(DEEDS)
            if deed == "connect":
                for client in cluster.connect(rng.randint(1, 4)):
                    connected += 1
                    client.sendall(rng.choice(WORDS))
                    if rng.random() < 0.2:
                        client.close()
            elif deed == "time":
                mock_clock.jump(rng.choice([0.05, 0.2, 0.6]))
            else:
                await do(deed, player, rng)
            if deed in ("close", "stop", "die"):
                if deed != "die":
                    await player.puppet.die()
                players[players.index(player)] = await enter(cluster, how, rng)
            await wait_all_tasks_blocked()
            for player in players:
                player.read()
            assert books(cluster) <= connected
        for player in players:
            await player.puppet.die()
        worker = await cluster.worker()
        nursery.start_soon(serve, await worker.listen(cluster.port.address[1]))
        while books(cluster) < connected:
            mock_clock.jump(0.1)
            await wait_all_tasks_blocked()
        await wait_all_tasks_blocked()
        assert (connected, 0, 0) == (
            books(cluster),
            cluster.port.waiting,
            cluster.port.unacknowledged,
        )
        nursery.cancel_scope.cancel()
