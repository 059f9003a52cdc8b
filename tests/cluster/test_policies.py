"""How a port deals by a policy: whom it chooses, whom it waits for, what a bad one does.

Time mostly stands still: who takes nothing for half a second would be taken for stuck.
"""

from __future__ import annotations

import ipaddress
import time
from collections import Counter
from collections.abc import Sequence

import msgpack
import pytest
import trio

from actorcluster import Candidate, NewConnection, open_primary, sticky
from actorcluster._cluster.balance import rendezvous
from actorcluster._cluster.shares import Share
from actorcluster.wire._generated import Kind
from tests.cluster.inproc import (
    Client,
    Cluster,
    Puppet,
    connect,
    frame,
    open_cluster,
    served_by,
    until,
)

PORT = "least_connections"


def reply(channel: int, upto: int) -> bytes:
    return frame(Kind.CONN_REPLY, channel, msgpack.packb([upto]))


def closed(channel: int, closed: int) -> bytes:
    return frame(Kind.CONN_CREDIT, channel, msgpack.packb([0, closed]))


async def visit(cluster: Cluster, host: str) -> None:
    """Connect from an address of this machine; it is in the backlog when this returns."""
    address = cluster.port.address
    with trio.fail_after(5):
        client = await trio.to_thread.run_sync(lambda: connect(address, (host, 0)))
    cluster.keep(client)


# ---- built-in -------------------------------------------------------------------------------


async def test_who_has_fewest_open_is_next(mock_clock: trio.testing.MockClock) -> None:
    """What a worker has is what it was given, less what it closed, as it says."""
    async with open_cluster() as cluster:
        first, second = await cluster.puppet(), await cluster.puppet()
        one = await first.listen(credit=50, policy=PORT)
        two = await second.listen(credit=50, policy=PORT)
        cluster.connect(4)
        await until(lambda: {1: 2, 2: 2} == cluster.port.dealt)
        first.say(reply(one, 2))
        second.say(reply(two, 2), closed(two, 2))
        await until(lambda: not cluster.port.unacknowledged)
        cluster.connect(2)
        await until(lambda: {1: 2, 2: 4} == cluster.port.dealt)
        cluster.connect(2)
        await until(lambda: {1: 3, 2: 5} == cluster.port.dealt)
        second.say(reply(two, 5), closed(two, 1_000_000))  # more than there can be
        await until(lambda: 1 == cluster.port.unacknowledged)
        cluster.connect(3)
        await until(lambda: {1: 3, 2: 8} == cluster.port.dealt)
        for puppet in (first, second):
            puppet.read()


async def test_real_workers_say_what_is_closed() -> None:
    """As soon as the stream is let go of, and also when it is closed and held."""
    async with open_cluster() as cluster:
        workers = [await cluster.worker() for _ in range(2)]
        one, two = [await worker.listen(policy=PORT) for worker in workers]
        cluster.connect(2)
        held = [await one.accept(), await two.accept()]
        for number in range(4):
            held[1].socket.close()
            held.pop()
            await until(lambda: [1, 0] == [share.open for share in shares(cluster)])
            cluster.connect()
            held.append(await two.accept())
            assert {1: 1, 2: 2 + number} == cluster.port.dealt
        for stream in held:
            await stream.aclose()


def shares(cluster: Cluster) -> list[Share]:
    (port,) = set(cluster.ports._ports.values())
    assert port.dealer is not None
    return list(port.dealer._shares.values())


async def test_weighted_without_weights_is_in_turn(mock_clock: trio.testing.MockClock) -> None:
    async with open_cluster() as cluster:
        workers = [await cluster.worker() for _ in range(3)]
        listeners = [await worker.listen(policy="weighted") for worker in workers]
        for _ in range(2):
            for listener in listeners:
                (client,) = cluster.connect()
                async with await listener.accept() as stream:
                    assert served_by(stream, client)


async def test_the_same_worker_for_the_same_address(mock_clock: trio.testing.MockClock) -> None:
    async with open_cluster() as cluster:
        workers = [await cluster.worker() for _ in range(4)]
        homes: dict[str, int] = {}
        for worker in workers:
            await worker.listen(policy="sticky_address")
        hosts = [f"127.0.0.{n}" for n in range(2, 22)]
        for count, host in enumerate(hosts * 2, 1):
            before = Counter(cluster.port.dealt)
            await visit(cluster, host)
            await dealt(cluster, count)
            (home,) = Counter(cluster.port.dealt) - before
            assert home == homes.setdefault(host, home)
        assert len(set(homes.values())) > 1


async def dealt(cluster: Cluster, count: int) -> None:
    """Wait until so many connections have been dealt."""
    await until(lambda: count == sum(cluster.port.dealt.values()))


async def test_what_is_meant_for_one_waits_for_it(mock_clock: trio.testing.MockClock) -> None:
    """More from one address than its worker takes at once: they wait; others are dealt."""
    async with open_cluster() as cluster:
        puppets = {number: await cluster.puppet() for number in (1, 2)}
        for puppet in puppets.values():
            await puppet.listen(credit=2, policy="sticky_address", backlog=50)
        home, other = home_of("127.0.0.1"), 3 - home_of("127.0.0.1")
        stranger = next(host for n in range(2, 99) if other == home_of(host := f"127.0.0.{n}"))
        cluster.connect(4)
        await until(lambda: 2 == cluster.port.waiting)
        await visit(cluster, stranger)
        await until(lambda: {home: 2, other: 1} == cluster.port.dealt)
        assert 2 == cluster.port.waiting
        puppets[home].say(reply(1, 1))
        puppets[home].credit(1, 1)
        puppets[other].say(reply(1, 1))
        await until(lambda: {home: 3, other: 1} == cluster.port.dealt)
        await until(lambda: 2 == cluster.port.unacknowledged)
        assert 1 == cluster.port.waiting
        # It gets stuck, so the last one goes to whoever takes it; it ends, and so do its others.
        mock_clock.jump(0.4)
        await trio.testing.wait_all_tasks_blocked()
        assert 1 == cluster.port.waiting
        mock_clock.jump(0.2)
        await until(lambda: {home: 3, other: 2} == cluster.port.dealt)
        puppets[other].say(reply(1, 2))
        puppets[other].credit(1, 50)
        await puppets[home].die()
        await until(lambda: {other: 4} == cluster.port.dealt)
        assert (0, 2) == (cluster.port.waiting, cluster.port.dealt_again)
        puppets[other].read()


async def test_no_more_wait_for_busy_workers_than_the_backlog(
    mock_clock: trio.testing.MockClock,
) -> None:
    """For all of them together; others go to whoever has room."""
    async with open_cluster() as cluster:
        puppets = [await cluster.puppet() for _ in range(3)]
        for puppet, credit in zip(puppets, (1, 1, 9), strict=True):
            await puppet.listen(credit=credit, policy="sticky_address", backlog=2)
        hosts = [f"127.0.0.{number}" for number in range(2, 99)]
        one, two = (next(h for h in hosts if home_of(h, 3) == home) for home in (1, 2))
        for host in (one, two, one, one, two):
            await visit(cluster, host)
        await until(lambda: {1: 1, 2: 1, 3: 1} == cluster.port.dealt)
        assert 2 == cluster.port.waiting
        for puppet in puppets:
            puppet.read()


def home_of(host: str, count: int = 2) -> int:
    """Which of so many workers has the clients of an address."""
    candidates = [Candidate(number, f"w{number}", 0, 1.0) for number in range(1, count + 1)]
    return rendezvous(ipaddress.ip_address(host).packed, candidates).id


# ---- the primary's own ----------------------------------------------------------------------


async def test_a_policy_of_ones_own(mock_clock: trio.testing.MockClock) -> None:
    """It sees who connects and who may be chosen, and chooses."""
    seen: list[tuple[NewConnection, list[Candidate]]] = []

    def last(connection: NewConnection, candidates: Sequence[Candidate]) -> Candidate:
        seen.append((connection, list(candidates)))
        return max(candidates, key=lambda one: one.id)

    async with open_cluster(policies={"last": last}) as cluster:
        puppets = [await cluster.puppet() for _ in range(3)]
        for puppet in puppets:
            await puppet.listen(credit=5, policy="last")
        clients = cluster.connect(2)
        await until(lambda: {3: 2} == cluster.port.dealt)
        assert 0 == cluster.port.policy_faults
        assert [client.getsockname() for client in clients] == [facts.peer for facts, _ in seen]
        assert {cluster.port.address} == {facts.address for facts, _ in seen}
        assert [
            [Candidate(1, "w1", 0, 1.0), Candidate(2, "w2", 0, 1.0), Candidate(3, "w3", 0, 1.0)],
            [Candidate(1, "w1", 0, 1.0), Candidate(2, "w2", 0, 1.0), Candidate(3, "w3", 1, 1.0)],
        ] == [candidates for _, candidates in seen]
        puppets[2].read()


async def test_a_bad_policy_is_reported_and_its_connections_served_in_turn(
    caplog: pytest.LogCaptureFixture,
) -> None:
    remembered: list[Candidate] = []
    deeds = iter(["raise", "dead", "wrong", "slow", "none", "busy", "raise"])

    def bad(_: NewConnection, candidates: Sequence[Candidate]) -> object:
        began = time.thread_time()
        match next(deeds, "none"):
            case "raise":
                remembered.append(Candidate(99, "ghost", 0, 1.0))
                raise RuntimeError("on purpose")
            case "dead":
                return remembered[0]
            case "wrong":
                return 1
            case "slow":
                time.sleep(0.011)
            case "busy":
                while time.thread_time() < 0.011 + began:
                    pass
        return None

    async with open_cluster(policies={"bad": bad}) as cluster:
        puppets = [await cluster.puppet() for _ in range(2)]
        for puppet in puppets:
            await puppet.listen(credit=9, policy="bad")
        faults = []
        for number in range(1, 8):
            cluster.connect()
            await dealt(cluster, number)
            faults.append(cluster.port.policy_faults)
        assert [1, 2, 3, 4, 4, 5, 6] == faults
        assert {1: 4, 2: 3} == cluster.port.dealt
        for puppet in puppets:
            puppet.read()
    told = [record.message for record in caplog.records if record.name == "actorcluster.ports"]
    assert ["raised", "chose", "returned", "took"] == [
        text.split(") ")[1].split()[0] for text in told
    ]


async def test_sticky_by_ones_own_key(mock_clock: trio.testing.MockClock) -> None:
    def by_port(connection: NewConnection, candidates: Sequence[Candidate]) -> Candidate:
        assert isinstance(connection.peer, tuple)
        return sticky(str(connection.peer[1]), candidates)

    async with open_cluster(policies={"by_port": by_port}) as cluster:
        for _ in range(4):
            await (await cluster.puppet()).listen(credit=50, policy="by_port")
        clients = cluster.connect(40)
        await until(lambda: 40 == sum(cluster.port.dealt.values()))
        candidates = [Candidate(n, f"w{n}", 0, 1.0) for n in range(1, 5)]
        expected = Counter(sticky(str(c.getsockname()[1]), candidates).id for c in clients)
        assert expected == cluster.port.dealt


# ---- what is wrong --------------------------------------------------------------------------


async def test_a_policy_that_nobody_knows() -> None:
    async with open_cluster(policies={"mine": sticky}) as cluster:
        worker = await cluster.worker()
        with pytest.raises(ValueError, match=r"policy is 'theirs'; there are round_robin,.* mine"):
            await worker.listen(policy="theirs")
        for wrong, error in [(7, TypeError), ("", ValueError)]:
            with pytest.raises(error, match="policy must"):
                await worker.listen(policy=wrong)
        listener = await worker.listen(policy="mine")
        assert "mine" == cluster.port.policy
        other = await cluster.worker()
        await other.listen(listener.address[1], policy="weighted")
        assert "mine" == cluster.port.policy  # the first one's holds


async def coroutine(*_: object) -> None:
    raise AssertionError


@pytest.mark.parametrize(
    ("policies", "error", "text"),
    [
        ([], TypeError, "policies must be a mapping"),
        ({7: sticky}, TypeError, "a name must be a str, not 7"),
        ({"": sticky}, ValueError, "'' cannot be a name"),
        ({"weighted": sticky}, ValueError, "'weighted' cannot be a name"),
        ({"none": sticky}, ValueError, "'none' cannot be a name"),
        ({"mine": 7}, TypeError, r"policies\['mine'\] must be a plain function, not 7"),
        ({"mine": coroutine}, TypeError, "must be a plain function"),
    ],
)
def test_policies_are_checked(policies: object, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        open_primary(policies=policies)  # type: ignore[arg-type]  # wrong on purpose


# ---- pause, weight, warm-up -----------------------------------------------------------------


async def test_a_paused_worker_is_dealt_nothing(mock_clock: trio.testing.MockClock) -> None:
    """In any policy; what was kept for it goes to others, and with nobody else all wait."""
    for policy in (None, "least_connections", "sticky_address"):
        async with open_cluster() as cluster:
            puppets = {number: await cluster.puppet() for number in (1, 2)}
            for puppet in puppets.values():
                await puppet.listen(credit=3, **({"policy": policy} if policy else {}))
            home = home_of("127.0.0.1")
            cluster.connect(2)
            await dealt(cluster, 2)
            had = dict(cluster.port.dealt)
            pause(cluster, puppets[home].client, is_paused=True)
            cluster.connect(1)
            await dealt(cluster, 3)
            assert {3 - home: 1} == Counter(cluster.port.dealt) - Counter(had)
            pause(cluster, puppets[3 - home].client, is_paused=True)
            cluster.connect(1)
            await trio.testing.wait_all_tasks_blocked()
            assert (0, 3) == (cluster.port.waiting, cluster.port.unacknowledged)  # not accepted
            pause(cluster, puppets[home].client, is_paused=False)
            await dealt(cluster, 4)
            assert had[home] + 1 == cluster.port.dealt[home]
            for puppet in puppets.values():
                puppet.read()


def pause(cluster: Cluster, client: Client, *, is_paused: bool) -> None:
    client.is_paused = is_paused
    cluster.ports.look_again(client)


async def test_weights_count_where_the_policy_asks(mock_clock: trio.testing.MockClock) -> None:
    expected = {"weighted": [6, 2], "least_connections": [6, 2], "round_robin": [4, 4]}
    for policy, counts in expected.items():
        async with open_cluster() as cluster:
            puppets = [await cluster.puppet() for _ in range(2)]
            puppets[0].client.weight = 3.0
            for puppet in puppets:
                await puppet.listen(credit=50, policy=policy)
            cluster.connect(8)
            await dealt(cluster, 8)
            assert counts == [cluster.port.dealt[number] for number in (1, 2)]
            for puppet in puppets:
                puppet.read()


@pytest.mark.parametrize("policy", ["round_robin", "weighted", "least_connections"])
async def test_the_share_of_a_worker_that_warms_up_grows(
    policy: str, mock_clock: trio.testing.MockClock
) -> None:
    async with open_cluster() as cluster:
        puppets = [await cluster.puppet() for _ in range(2)]
        cold = puppets[1].client
        cold.warm_up, cold.ready_at = 8.0, None
        for puppet in puppets:
            await puppet.listen(credit=200, policy=policy)
        shares_of_cold = []
        for number, seconds in enumerate([0.0, 2.0, 2.0, 4.0, 4.0], 1):
            if number == 2:
                cold.ready_at = 0.0
            mock_clock.jump(seconds)
            before = cluster.port.dealt.get(2, 0)
            cluster.connect(20)
            await dealt(cluster, 20 * number)
            shares_of_cold.append(cluster.port.dealt.get(2, 0) - before)
            for puppet in puppets:
                await everything_is_done(cluster, puppet)
        assert [0, 4, 7, 10, 10] == [round(share) for share in shares_of_cold]


async def everything_is_done(cluster: Cluster, puppet: Puppet) -> None:
    """Whatever it was given is taken and closed again."""
    given = cluster.port.dealt.get(puppet.client.id, 0)
    if given and cluster.port.workers[puppet.client.id].waiting:
        puppet.read()
        puppet.say(reply(1, given), closed(1, given))
        await until(lambda: not cluster.port.workers[puppet.client.id].open)
        await until(lambda: not cluster.port.workers[puppet.client.id].waiting)
