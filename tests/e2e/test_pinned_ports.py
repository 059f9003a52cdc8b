"""Ports that a supervisor holds: real clients, while its children come and go."""

from __future__ import annotations

import errno
import logging
import socket
from collections import Counter
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

from actorcluster import SCHED_NONE, Actor, Child, Listen, Supervisor, events, open_primary
from tests.e2e import pinned_actors
from tests.e2e.supervised import AT_ONCE, LATER, PATIENCE

HERE = "127.0.0.1"
QUIET: dict[str, Any] = {"stdio": ["ignore"] * 3}


def web(*args: Any, name: str = "web", **options: Any) -> Child:
    return Child(name, pinned_actors.web, args=args, **{"backoff": LATER, **options})


async def connect(address: Any) -> trio.SocketStream:
    """Connect as a client of an address or path."""
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    sock = trio.socket.socket(family)
    try:
        await sock.connect(address)
    except BaseException:
        sock.close()
        raise
    return trio.SocketStream(sock)


async def asked(stream: trio.SocketStream) -> bytes:
    """Ask for an incarnation, and close; nothing comes if the worker dies first."""
    async with stream:
        try:
            await stream.send_all(b"?")
            return bytes(await stream.receive_some())
        except trio.BrokenResourceError:
            return b""


async def test_nobody_is_refused() -> None:
    """The only worker crashes and comes back, twice, while clients keep coming."""
    tree = Supervisor(listeners=[Listen(0, host=HERE)], children=[web()])
    outcomes: Counter[str] = Counter()

    async def client(address: Any) -> None:
        served = 0
        while served < 20:
            try:
                answer = await asked(await connect(address))
            except ConnectionRefusedError:
                outcomes["refused"] += 1
            else:
                outcomes["served" if answer else "cut"] += 1
                served += bool(answer)

    with trio.fail_after(PATIENCE):
        async with open_primary(tree, settings=QUIET) as primary:
            (port,) = primary.statistics().ports  # maybe nobody listens so far
            async with trio.open_nursery() as nursery:
                for _ in range(5):
                    nursery.start_soon(client, port.address)
                for _ in range(2):
                    async with await connect(port.address) as stream:
                        await stream.send_all(b"!")
                        assert b"" == await stream.receive_some()
            assert b"3" == await asked(await connect(port.address))
    assert (0, 100) == (outcomes["refused"], outcomes["served"])


async def test_it_is_there_before_and_between_workers() -> None:
    """Who comes while nobody listens is served by the next; what it is, its supervisor says."""
    listen = Listen(0, host=HERE, policy="least_connections", backlog=20)
    child = Child("web", pinned_actors.late, args=(0,))
    with trio.fail_after(PATIENCE):
        async with open_primary(
            Supervisor(listeners=[listen], children=[child]), settings=QUIET
        ) as primary:
            for life in (b"1", b"2"):
                (port,) = primary.statistics().ports
                assert (("root",), "least_connections") == (port.held_by, port.policy)
                assert ({}, 0) == (port.workers, port.waiting)
                clients = [await connect(port.address) for _ in range(5)]
                await next(iter(primary.workers.values())).send("listen")
                assert [life] * 5 == [await asked(client) for client in clients]
                (port,) = primary.statistics().ports
                assert "least_connections" == port.policy  # the worker asked for none
                assert [5] == [counts.accepted for counts in port.workers.values()]
                await primary.disconnect()
                if life == b"1":
                    await primary.restart_child("web")
            address = port.address
            last = await connect(address)  # nobody will come for it any more
        assert b"" == await asked(last)
        with pytest.raises(ConnectionRefusedError):
            await connect(address)


async def test_all_kinds_between_two_lives(tmp_path: Path) -> None:
    """Shared sockets, files and inherited descriptors are held like what is dealt out."""
    path = str(tmp_path / "s")
    with socket.create_server((HERE, 0)) as own:
        tree = Supervisor(
            listeners=[
                Listen(0, host=HERE, policy="none"),
                Listen(path=path, mode=0o640, policy="least_connections"),
                Listen(fd="web"),
            ],
            children=[
                web(name="shared"),
                web(path, name="path"),
                web(["fd", "web"], name="fd"),
                web(0, {"policy": "round_robin"}, name="other", restart="temporary"),
            ],
        )
        settings = {**QUIET, "listen_fds": {"web": own.fileno()}}
        with trio.fail_after(PATIENCE):
            async with open_primary(tree, settings=settings) as primary:
                ports = primary.statistics().ports
                policies = [port.policy for port in ports]
                assert ["none", "least_connections", "round_robin"] == policies
                addresses = [port.address for port in ports]
                assert [path, own.getsockname()] == addresses[1:]
                file = (tmp_path / "s").stat()
                assert 0o640 == file.st_mode & 0o777
                for worker in primary.workers.values():
                    await primary.wait_for(events.Listening, worker)
                with primary.events(events.Exit) as ends:
                    for worker in primary.workers.values():
                        worker.kill("SIGKILL")
                    for _ in range(4):
                        await anext(ends)
                clients = [await connect(address) for address in addresses]
                assert [b"2"] * 3 == [await asked(client) for client in clients]
                assert file.st_ino == (tmp_path / "s").stat().st_ino
    assert [] == [*tmp_path.iterdir()]


async def test_what_cannot_be_bound(tmp_path: Path) -> None:
    """That is told, with its place; nothing was started, and nothing is left."""
    path = str(tmp_path / "s")
    with socket.create_server((HERE, 0)) as taken:
        port = taken.getsockname()[1]
        nested = Supervisor("mail", listeners=[Listen(path=path), Listen(port, host=HERE)])
        text = rf"mail: listeners\[1\]: cannot listen on {HERE}:{port}: Address already in use"
        child = Child("a", pinned_actors.fails, run="task", restart="temporary")
        with pytest.raises(OSError, match=text) as caught:
            async with open_primary(Supervisor(children=[child, nested])):
                raise AssertionError
        assert errno.EADDRINUSE == caught.value.errno
        assert [] == [*tmp_path.iterdir()]
        for listen, error in (
            (Listen(fd="web"), "descriptor web: .*not name 'web'"),
            (Listen(path=f"{path}/s"), "/s/s: No such file or directory"),
            (Listen(0, policy="fair"), "policy is 'fair'; there are round_robin"),
        ):
            where = rf"root: listeners\[0\]: cannot listen on .*{error}"
            with pytest.raises((OSError, ValueError), match=where):
                async with open_primary(Supervisor(listeners=[listen])):
                    raise AssertionError
        async with open_primary() as primary:
            with pytest.raises(OSError, match=text):
                await primary.start_child(nested)
            assert ((), 0) == (primary.which_children(), len(primary.statistics().ports))
            assert [] == [*tmp_path.iterdir()]


async def test_a_supervisor_comes_and_goes(tmp_path: Path) -> None:
    """What it holds stays while it is started again, and goes when it is stopped by hand."""
    path = tmp_path / "s"
    child = web(str(path), run="task", ready="listening")
    held = Supervisor("in", max_restarts=0, listeners=[Listen(path=path)], children=[child])
    tree = Supervisor(children=[Supervisor("mail", max_restarts=0, children=[held])])
    with trio.fail_after(PATIENCE):
        async with open_primary(tree) as primary:
            file = path.stat().st_ino
            with primary.events(events.GaveUp) as given_up:
                next(iter(primary.workers.values())).kill()
                assert ["mail.in", "mail"] == [(await anext(given_up)).name for _ in "12"]
            assert b"2" == await asked(await connect(str(path)))
            assert file == path.stat().st_ino
            assert [("mail.in",)] == [port.held_by for port in primary.statistics().ports]
            await primary.terminate_child("mail.in")
            assert ([], ()) == ([*tmp_path.iterdir()], primary.statistics().ports)
            await primary.terminate_child("mail")
            with socket.socket(socket.AF_UNIX) as other:
                other.bind(str(path))
                other.listen()
                await primary.restart_child("mail")  # which does not start what was stopped in it
                with pytest.raises(OSError, match=r"mail\.in: .*Address already in use"):
                    await primary.restart_child("mail.in")
                assert ["down"] == [one.state for one in primary.which_children(under="mail")]
            path.unlink()
            await primary.restart_child("mail.in")
            assert b"3" == await asked(await connect(str(path)))
            await primary.terminate_child("mail")
            await primary.delete_child("mail")
            assert [] == [*tmp_path.iterdir()]
            await primary.start_child(attrs.evolve(held, children=()))
            assert path.is_socket()
    assert [] == [*tmp_path.iterdir()]


async def two_ports(actor: Actor) -> None:
    """Tell what my ports 0 are, and wait."""
    ports = []
    for _ in range(3):
        (listener,) = await actor.listen_tcp(0, host=HERE)
        ports.append(listener.address[1])
    await actor.send(ports)
    await trio.sleep_forever()


async def test_ports_0_in_their_order() -> None:
    """A worker's first is the first of its supervisor; those it has too many are its own."""
    tree = Supervisor(
        listeners=[Listen(0, host=HERE), Listen(0, host=HERE)],
        children=[Child("a", two_ports, run="task")],
    )
    with trio.fail_after(PATIENCE):
        async with open_primary(tree) as primary:
            *held, own = (await next(iter(primary.workers.values())).mailbox.receive()).body
            ports = {port.address[1]: port.held_by for port in primary.statistics().ports}
            assert {held[0]: ("root",), held[1]: ("root",), own: ()} == ports
            await primary.disconnect()
            assert held == [port.address[1] for port in primary.statistics().ports]


async def test_nobody_waits_too_long() -> None:
    """With nobody there, and with everybody at the limit; the primary deals them for that."""
    tree = Supervisor(
        listeners=[
            Listen(0, host=HERE, wait_timeout=0.01),
            Listen(0, host=HERE, wait_timeout=1000, when_full="drop"),
        ],
        children=[Child("a", full, run="task", ready="listening")],
    )
    with trio.fail_after(PATIENCE):
        async with open_primary(tree, scheduling_policy=SCHED_NONE) as primary:
            late, drops = (port.address for port in primary.statistics().ports)
            async with await connect(drops) as kept:
                assert b"1" == await kept.receive_some()
                assert [b"", b""] == [await asked(await connect(one)) for one in (late, drops)]
            assert [(1, 0, "round_robin"), (0, 1, "round_robin")] == [
                (port.timed_out, port.dropped, port.policy) for port in primary.statistics().ports
            ]


async def full(actor: Actor) -> None:
    """Close my first port 0, and take one client of the second."""
    first, second = [await actor.listen_tcp(0, host=HERE, max_connections=1) for _ in "12"]
    await first[0].aclose()
    async with await second[0].accept() as stream:
        await stream.send_all(b"1")
        await trio.sleep_forever()


async def once(actor: Actor) -> None:
    """End when told to."""
    await actor.mailbox.receive()


async def test_a_supervisor_that_had_finished(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It holds nothing then; started again with a sibling it does, if that can be had."""
    path = tmp_path / "s"
    options: dict[str, Any] = {"run": "task", "backoff": AT_ONCE}
    mail = Supervisor(
        "mail",
        listeners=[Listen(path=path)],
        children=[Child("a", once, restart="transient", significant=True, **options)],
    )
    tree = Supervisor(strategy="one_for_all", children=[mail, Child("b", once, **options)])
    with trio.fail_after(PATIENCE):
        async with open_primary(tree) as primary:
            for is_taken in (False, True):
                assert path.is_socket()
                await primary.ref("mail.a").send("end")
                while "finished" != primary.which_children()[0].state:
                    await primary._tree.changes()
                assert [] == [*tmp_path.iterdir()]
                if is_taken:
                    path.write_text("precious")
                with primary.events(events.Online) as onlines:
                    await primary.ref("b").send("end")
                    assert ["mail.a", "b"] == [(await anext(onlines)).worker.name for _ in "ab"]
            assert ["mail: listeners[0]"] == [
                record.getMessage()[:18]
                for record in caplog.records
                if record.levelno == logging.ERROR and "cannot listen" in record.getMessage()
            ]
    assert "precious" == path.read_text()
