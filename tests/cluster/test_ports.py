"""Who listens on what, and how: requests of workers, and what becomes of them."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import msgpack
import pytest
import trio

from actorcluster import SCHED_NONE, SCHED_RR
from actorcluster._cluster import ports as ports_module
from actorcluster._cluster.ports import ConnectionCounts, PortStatistics
from actorcluster._link.pipe import LINK_LIMITS
from actorcluster.wire import events
from actorcluster.wire._generated import BUILT_CAPABILITIES, Kind
from tests.cluster.inproc import (
    TCP,
    Cluster,
    Puppet,
    connect,
    frame,
    no_more_descriptors,
    open_cluster,
    served_by,
    until,
)
from tests.require import require


async def answer(puppet: Puppet, request: dict[str, Any]) -> events.Listening | str:
    """What the primary says to a LISTEN: the answer, or the code of the error."""
    channel = puppet.connection.send_listen(request)
    puppet.say()
    while True:
        with trio.fail_after(60):
            event = await puppet.hear(events.Event)  # type: ignore[arg-type]  # any event at all
        if isinstance(event, events.Listening) and event.channel == channel:
            if event.handle is not None:
                event.handle.close()
            return event
        if isinstance(event, events.ErrorReceived) and event.channel == channel:
            return str(event.error["code"])


async def mode(puppet: Puppet, **request: Any) -> str:
    """The mode in which the primary lets a worker listen, or the code of the error."""
    said = await answer(puppet, {**TCP, **request})
    return said if isinstance(said, str) else said.mode


async def still_works(cluster: Cluster) -> None:
    """Nothing of what was tried before hurts anybody else."""
    worker = await cluster.worker()
    listener = await worker.listen()
    with connect(listener.address) as client:
        async with await listener.accept() as stream:
            assert served_by(stream, client)


# ---- ways of listening -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "modes", "expected"),
    [
        (SCHED_RR, None, "handoff"),
        (SCHED_NONE, None, "shared"),
        (SCHED_RR, ["shared", "handoff"], "shared"),
        (SCHED_NONE, ["handoff", "shared"], "handoff"),
        (SCHED_RR, ["shared"], "shared"),
        (SCHED_RR, ["inherited", "shared"], "shared"),
        (SCHED_RR, ["inherited", "reuseport"], "os.ENOTSUP"),
        (SCHED_RR, [], "os.ENOTSUP"),
    ],
)
async def test_the_first_worker_decides(
    policy: str, modes: list[str] | None, expected: str
) -> None:
    """The best of its modes; the primary's policy where it leaves the choice."""
    async with open_cluster(policy) as cluster:
        assert expected == await mode(await cluster.puppet(), modes=modes)
        assert (expected != "os.ENOTSUP") == bool(cluster.ports.statistics())


async def test_later_workers_follow_or_are_refused() -> None:
    async with open_cluster() as cluster:
        assert "handoff" == await mode(await cluster.puppet())
        assert "handoff" == await mode(await cluster.puppet(), modes=["shared", "handoff"])
    async with open_cluster(SCHED_NONE) as cluster:
        assert "shared" == await mode(await cluster.puppet())
        assert "os.ENOTSUP" == await mode(await cluster.puppet(), modes=["handoff"])


async def test_who_can_only_accept_for_himself_does_so_beside_the_primary() -> None:
    """He is dealt nothing, has no say in it, and goes as he came."""
    async with open_cluster() as cluster:
        dealt_to = await cluster.worker()
        listener = await dealt_to.listen()
        beside = await cluster.puppet()
        wish = {**TCP, "key": "1", "modes": ["shared"], "policy": "weighted"}
        channel = beside.connection.send_listen(wish)
        beside.say()
        said = await beside.hear(events.Listening)
        assert ("shared", None, list(listener.address)) == (said.mode, said.policy, said.address)
        beside.connection.send_conn_credit(channel, 7, 3)
        beside.say()
        with said.handle.into_socket() as sock:
            for _ in range(3):
                with connect(listener.address) as client:
                    async with await listener.accept() as stream:
                        assert served_by(stream, client)
            assert "os.EADDRINUSE" == await mode(beside, modes=["shared"], key="1")
            assert {dealt_to.client.id: 3} == cluster.port.dealt
            await dealt_to.die()
            with connect(listener.address):
                (await sock.accept())[0].close()
        beside.connection.send_listen_close(channel)
        beside.say()
        await still_works(cluster)


@pytest.mark.parametrize(
    ("missing", "policy", "expected"),
    [
        ("listen.shared", SCHED_NONE, "handoff"),
        ("listen.handoff", SCHED_RR, "shared"),
    ],
)
async def test_modes_need_their_capabilities(missing: str, policy: str, expected: str) -> None:
    """AWP-LI-5."""
    async with open_cluster(policy) as cluster:
        puppet = await cluster.puppet(capabilities=BUILT_CAPABILITIES - {missing})
        assert expected == await mode(puppet)
        neither = BUILT_CAPABILITIES - {"listen.shared", "listen.handoff"}
        assert "os.ENOTSUP" == await mode(await cluster.puppet(capabilities=neither))


async def test_datagrams_are_always_shared() -> None:
    async with open_cluster() as cluster:
        puppet = await cluster.puppet()
        assert "shared" == await mode(puppet, transport="udp")
        assert "os.ENOTSUP" == await mode(puppet, transport="udp", modes=["handoff"], key="2")
        assert [SCHED_NONE] == [port.policy for port in cluster.ports.statistics()]


async def test_a_worker_that_takes_no_listening_sockets() -> None:
    async with open_cluster(SCHED_NONE) as cluster:
        puppet = await cluster.puppet(handle_names=["tcp-socket"])
        assert "app" == await mode(puppet)
        await still_works_shared(cluster)


async def still_works_shared(cluster: Cluster) -> None:
    puppet = await cluster.puppet()
    assert "shared" == await mode(puppet)


async def test_a_shared_socket_is_marked_and_non_blocking() -> None:
    async with open_cluster(SCHED_NONE) as cluster:
        puppet = await cluster.puppet()
        puppet.connection.send_listen(TCP)
        puppet.say()
        event = await puppet.hear(events.Listening)
        assert not os.get_blocking(event.handle.fileno())
        kind, meta = event.handle._declared, event.handle._meta
        assert (2, {"shared": True}) == (kind, meta)
        event.handle.close()


# ---- one port for many, or not -----------------------------------------------------------------


async def test_equal_requests_share_a_port() -> None:
    """Port 0 by its key, and by the number that it turned out to be."""
    async with open_cluster() as cluster:
        one, two = await cluster.puppet(), await cluster.puppet()
        first = await answer(one, {**TCP, "key": "1"})
        second = await answer(one, {**TCP, "key": "2"})
        assert isinstance(first, events.Listening)
        assert isinstance(second, events.Listening)
        assert first.address != second.address
        for key, expected in [("1", first), ("2", second)]:
            again = await answer(two, {**TCP, "key": key})
            assert isinstance(again, events.Listening)
            assert expected.address == again.address
        three = await cluster.puppet()
        number = first.address[1]
        joined = await answer(three, {**TCP, "port": number})
        assert isinstance(joined, events.Listening)
        assert first.address == joined.address
        other = await answer(three, {**TCP, "port": number, "host": "0.0.0.0"})
        assert "os.EADDRINUSE" == other
        assert 2 == len(cluster.ports.statistics())
        assert [("127.0.0.1", number)] == three.client.addresses


async def test_the_same_address_twice_in_one_worker() -> None:
    """Also when it was port 0 at first, and in both policies; but again after it was closed."""
    for policy in (SCHED_RR, SCHED_NONE):
        async with open_cluster(policy) as cluster:
            puppet = await cluster.puppet()
            first = await answer(puppet, TCP)
            assert isinstance(first, events.Listening)
            number = first.address[1]
            assert "os.EADDRINUSE" == await answer(puppet, TCP)
            assert "os.EADDRINUSE" == await answer(puppet, {**TCP, "port": number})
            puppet.connection.send_listen_close(first.channel)
            again = await answer(puppet, {**TCP, "port": number})
            assert isinstance(again, events.Listening)
            assert first.address == again.address


@pytest.mark.parametrize("transport", ["tcp", "udp"])
async def test_any_port_beside_one_by_its_number(transport: str) -> None:
    """The second port 0 of another worker, had by its number, is not this one's next port 0."""
    any_port = {**TCP, "transport": transport}
    async with open_cluster() as cluster:
        one, two = await cluster.puppet(), await cluster.puppet()
        seen = []
        for key in ("1", "2"):
            said = await answer(two, {**any_port, "key": key})
            assert isinstance(said, events.Listening)
            seen.append(said)
        by_number = await answer(one, {**any_port, "port": seen[1].address[1]})
        assert isinstance(by_number, events.Listening)
        assert seen[1].address == by_number.address
        for key, expected in (("1", seen[0].address), ("2", None)):
            said = await answer(one, {**any_port, "key": key})
            assert isinstance(said, events.Listening)
            seen.append(said)
            assert expected in (None, said.address)
        third = await answer(two, {**any_port, "key": "3"})
        assert isinstance(third, events.Listening)
        assert third.address == seen[-1].address
        assert 3 == len({said.address[1] for said in (*seen, by_number, third)})
        assert "os.EADDRINUSE" == await answer(two, {**any_port, "key": "2"})
        for said in (*seen, by_number, third):
            if said.handle is not None:
                said.handle.close()


@require("ipv6")
async def test_a_port_that_nobody_uses_is_not_kept_as_it_was(tmp_path: Path) -> None:
    """Whoever comes then has whom it asked for let in, and nobody else; as long as one uses it
    the first one's choice stays."""
    both: dict[str, Any] = {"transport": "tcp", "port": 0, "key": "1", "credit": 0}
    path = tmp_path / "s"
    file: dict[str, Any] = {"transport": "unix", "path": str(path), "mode": 0o666}
    async with open_cluster() as cluster:
        one, two = await cluster.puppet(), await cluster.puppet()
        first, socket_file = await answer(one, both), await answer(one, file)
        assert isinstance(first, events.Listening)
        assert isinstance(socket_file, events.Listening)
        for request in ({**both, "v6only": True}, {**file, "mode": 0o600}):
            said = await answer(two, request)
            assert isinstance(said, events.Listening)
            two.connection.send_listen_close(said.channel)
            two.say()
        assert (True, 0o666) == (reached_by_ipv4(first.address[1]), path.stat().st_mode & 0o777)
        for said in (first, socket_file):
            one.connection.send_listen_close(said.channel)
        for same in ({**both, "v6only": False}, {**file, "mode": None}):
            said = await answer(one, same)
            assert isinstance(said, events.Listening)
            assert said.address in (first.address, socket_file.address)
            one.connection.send_listen_close(said.channel)
        assert 0o666 == path.stat().st_mode & 0o777

        narrow = await answer(one, {**both, "v6only": True})
        assert isinstance(narrow, events.Listening)
        assert not reached_by_ipv4(narrow.address[1])
        assert isinstance(await answer(one, {**file, "mode": 0o600}), events.Listening)
        assert 0o600 == path.stat().st_mode & 0o777
        assert 2 == len(cluster.ports.statistics())


def reached_by_ipv4(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


async def test_an_address_that_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        async with open_cluster() as cluster:
            puppet = await cluster.puppet()
            number = taken.getsockname()[1]
            assert "os.EADDRINUSE" == await answer(puppet, {**TCP, "port": number})
            taken.close()
            assert isinstance(await answer(puppet, {**TCP, "port": number}), events.Listening)


async def test_the_data_of_the_first_worker_is_given_to_all() -> None:
    async with open_cluster() as cluster:
        for _ in range(2):
            puppet = await cluster.puppet()
            number = puppet.client.id
            said = await answer(puppet, {**TCP, "data": {"from": number, "ticket": b"\0\1"}})
            assert isinstance(said, events.Listening)
            assert {"from": 1, "ticket": b"\0\1"} == said.data


async def test_ports_that_nobody_uses_are_kept_but_not_without_limit(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A worker that asks for ever other ports does not use up the primary's descriptors."""
    monkeypatch.setattr(ports_module, "_MOST_UNUSED", 2)
    async with open_cluster() as cluster:
        puppet = await cluster.puppet()
        keeper = await cluster.puppet()
        assert isinstance(await answer(keeper, {**TCP, "key": "kept"}), events.Listening)
        path = str(tmp_path / "s")
        numbers = []
        requests: list[dict[str, Any]] = [{"transport": "unix", "path": path}]
        requests += [{**TCP, "key": key} for key in "abc"]
        for request in requests:
            said = await answer(puppet, request)
            assert isinstance(said, events.Listening)
            numbers.append(said.address[1])
            puppet.connection.send_listen_close(said.channel)
            puppet.say()
        await until(lambda: 3 == len(cluster.ports.statistics()))
        assert not os.path.exists(path)
        for key, number in zip("cb", reversed(numbers[2:]), strict=True):
            said = await answer(puppet, {**TCP, "key": key})
            assert isinstance(said, events.Listening)
            assert number == said.address[1]
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", numbers[1]))
        assert isinstance(await answer(puppet, {**TCP, "port": numbers[1]}), events.Listening)


async def test_inherited_sockets_are_for_those_whose_settings_name_them() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        async with open_cluster() as cluster:
            one, two = await cluster.puppet(), await cluster.puppet()
            one.client.listen_fds = {"web": server.fileno()}
            request = {"transport": "fd", "name": "web"}
            assert isinstance(await answer(one, request), events.Listening)
            assert "os.EPERM" == await answer(two, request)
            assert "os.EPERM" == await answer(two, {**request, "name": server.fileno()})
            two.client.listen_fds = (server.fileno(),)
            joined = await answer(two, {**request, "name": server.fileno()})
            assert isinstance(joined, events.Listening)
            assert list(server.getsockname()) == joined.address
            assert 1 == len(cluster.ports.statistics())
            two.client.listen_fds = {"gone": 9999}
            assert "os.EBADF" == await answer(two, {**request, "name": "gone"})


# ---- what workers may say ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "request_",
    [
        {"transport": "sctp"},
        {"transport": "tcp", "host": "localhost"},  # looking it up would hold up the primary
        {"transport": "tcp", "host": "127.0.0.1\0"},
        {"transport": "tcp", "host": ""},
        {"transport": "tcp", "port": -1},
        {"transport": "tcp", "port": 65_536},
        {"transport": "tcp", "port": 2**63},
        {"transport": "tcp", "backlog": -1},
        {"transport": "tcp", "backlog": 2**31},
        {"transport": "tcp", "key": "k" * 1000},
        {"transport": "tcp", "limit": -1},
        {"transport": "tcp", "full": "close"},
        {"transport": "unix"},
        {"transport": "unix", "path": ""},
        {"transport": "unix", "path": "relative"},
        {"transport": "unix", "path": "/tmp/a\0b"},
        {"transport": "unix", "path": "\0abstract"},
        {"transport": "unix", "path": "/tmp/x", "mode": -1},
        {"transport": "unix", "path": "/tmp/x", "mode": 2**40},
        {"transport": "unix", "path": "/tmp/x", "mode": "rw"},
        {"transport": "fd"},
    ],
)
async def test_a_bad_request_is_answered(request_: dict[str, Any]) -> None:
    async with open_cluster() as cluster:
        puppet = await cluster.puppet()
        assert "bad_payload" == await answer(puppet, request_)
        assert () == cluster.ports.statistics()
        assert isinstance(await answer(puppet, TCP), events.Listening)


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        ({"transport": "unix", "path": "/" + "x" * 200}, "os.ENAMETOOLONG"),
        ({"transport": "unix", "path": "/nowhere/at/all"}, "os.ENOENT"),
        ({"transport": "tcp", "host": "192.0.2.1"}, "os.EADDRNOTAVAIL"),
        ({"transport": "fd", "name": 2**62}, "os.EPERM"),
    ],
)
async def test_what_the_kernel_refuses(request_: dict[str, Any], code: str) -> None:
    async with open_cluster() as cluster:
        assert code == await answer(await cluster.puppet(), request_)
        assert () == cluster.ports.statistics()


@pytest.mark.parametrize(
    "request_",
    [
        {},
        {"transport": 1},
        {"transport": "tcp", "port": "80"},
        {"transport": "tcp", "credit": -1},
        {"transport": "tcp", "credit": 2**32},
        {"transport": "tcp", "v6only": "yes"},
        {"transport": "tcp", "modes": [1]},
        {"transport": "tcp", "wait": -1},
        {"transport": "tcp", "limit": "10"},
        {"transport": "tcp", "full": True},
    ],
)
async def test_a_request_against_the_protocol_ends_its_worker(request_: dict[str, Any]) -> None:
    async with open_cluster() as cluster:
        puppet = await cluster.puppet()
        puppet.say(frame(Kind.LISTEN, 1, payload=msgpack.packb(request_)))
        await puppet.client.gone.wait()
        assert puppet.client.fault is not None
        assert "AWP-FR-6" == puppet.client.fault.requirement
        await still_works(cluster)


async def test_too_many_listeners_of_one_worker() -> None:
    async with open_cluster() as cluster:
        puppet = await cluster.puppet()
        for number in range(64):
            key = f"key {number}"
            assert isinstance(await answer(puppet, {**TCP, "key": key}), events.Listening)
        assert "refused" == await answer(puppet, {**TCP, "key": "one more"})
        await still_works(cluster)


async def test_the_others_limit_is_not_the_first_ones() -> None:
    """The first worker's data may be too large for another: that one is refused."""
    async with open_cluster() as cluster:
        puppet = await cluster.puppet()
        assert isinstance(await answer(puppet, {**TCP, "data": b"x" * 70_000}), events.Listening)
        small = await cluster.puppet(limits={**LINK_LIMITS, "max_frame": 65_536})
        assert "app" == await answer(small, TCP)
        assert 1 == len(cluster.ports.statistics())


@pytest.mark.parametrize("end", ["close", "goodbye", "rubbish"])
async def test_a_listen_that_is_over_when_it_is_read(end: str) -> None:
    """Given up, or its worker leaves, or broke the protocol: all in one read."""
    async with open_cluster() as cluster:
        puppet = await cluster.puppet()
        channel = puppet.connection.send_listen(TCP)
        rubbish = b""
        if end == "close":
            puppet.connection.send_listen_close(channel)
        elif end == "goodbye":
            puppet.connection.send_goodbye()
        else:
            rubbish = b"rubbish" * 9
        puppet.say(rubbish)
        if end == "close":
            assert isinstance(await answer(puppet, {**TCP, "key": "2"}), events.Listening)
        else:
            await puppet.die()
        assert (end == "rubbish") == (puppet.client.fault is not None)
        assert [] == puppet.client.addresses[1:]
        await still_works(cluster)


async def test_a_listen_after_stop() -> None:
    """Sent before STOP was read: refused by the primary's core."""
    async with open_cluster() as cluster:
        puppet = await cluster.puppet()
        puppet.client.stop()
        assert "refused" == await answer(puppet, TCP)
        assert () == cluster.ports.statistics()


async def test_credit_and_replies_where_there_is_nothing_to_deal() -> None:
    """On a shared socket, on a channel that is closed, on one that never was."""
    async with open_cluster(SCHED_NONE) as cluster:
        puppet = await cluster.puppet()
        said = await answer(puppet, TCP)
        assert isinstance(said, events.Listening)
        puppet.credit(said.channel, 5)
        puppet.connection.send_listen_close(said.channel)
        puppet.say(frame(Kind.CONN_CREDIT, said.channel, msgpack.packb([1])))
        puppet.say(frame(Kind.CONN_REPLY, 77, msgpack.packb([1])))
        puppet.say(frame(Kind.LISTEN_CLOSE, 77))
        assert isinstance(await answer(puppet, TCP), events.Listening)
        assert puppet.client.fault is None


async def test_no_descriptors_left_for_an_answer() -> None:
    """EMFILE reaches the worker; the primary goes on, and so does the port."""
    async with open_cluster(SCHED_NONE) as cluster:
        puppet = await cluster.puppet()
        assert isinstance(await answer(puppet, TCP), events.Listening)
        other = await cluster.puppet()
        requests: list[dict[str, Any]] = [TCP, {**TCP, "key": "new"}]
        requests.append({"transport": "unix", "path": "/tmp/x"})
        with no_more_descriptors():
            codes = [await answer(other, request) for request in requests]
        assert 3 * ["os.EMFILE"] == codes
        assert isinstance(await answer(other, TCP), events.Listening)


# ---- the end -----------------------------------------------------------------------------------


async def test_closing_removes_the_files_that_were_made(tmp_path: Path) -> None:
    """But not what stands in their place by then."""
    ours, replaced = str(tmp_path / "ours"), str(tmp_path / "replaced")
    async with open_cluster() as cluster:
        puppet = await cluster.puppet()
        for path in (ours, replaced):
            request = {"transport": "unix", "path": path, "mode": 0o600}
            assert isinstance(await answer(puppet, request), events.Listening)
            assert 0o600 == os.stat(path).st_mode & 0o777
        os.unlink(replaced)
        Path(replaced).write_text("somebody else's")
        assert "os.EADDRINUSE" == await answer(puppet, {"transport": "unix", "path": replaced})
        cluster.ports.close()
        cluster.ports.close()
        assert not os.path.exists(ours)
        assert os.path.exists(replaced)


async def test_statistics() -> None:
    async with open_cluster() as cluster:
        worker = await cluster.worker()
        listener = await worker.listen()
        cluster.connect(2)
        await until(lambda: 2 == cluster.port.unacknowledged)
        stream = await listener.accept()
        await until(lambda: 1 == cluster.port.unacknowledged)
        assert (
            PortStatistics(
                address=listener.address,
                policy=SCHED_RR,
                dealt={1: 2},
                dealt_before=0,
                waiting=0,
                unacknowledged=1,
                dealt_again=0,
                timed_out=0,
                dropped=0,
                policy_faults=0,
                workers={1: ConnectionCounts(open=1, accepted=1, waiting=1)},
            )
            == cluster.port
        )
        await stream.aclose()
        del stream
        await (await listener.accept()).aclose()
        with trio.move_on_after(0.5):  # whoever waits for the next one says so, by and by
            await listener.accept()
        assert {1: ConnectionCounts(accepted=2)} == cluster.port.workers
