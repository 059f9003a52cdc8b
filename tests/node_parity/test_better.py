"""What Node gets wrong, as it is here. Node's own is in faults/."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from typing import Any

import pytest
import trio
import trio.testing

from actorcluster import (
    SCHED_NONE,
    Actor,
    Backoff,
    Child,
    PeerClosed,
    RemoteProtocolError,
    RestartLimitReached,
    Supervisor,
    Worker,
    WorkerStartError,
    events,
    open_primary,
)
from actorcluster._worker.accepting import CREDIT
from actorcluster.wire._generated import Kind
from actorcluster.wire.frames import encode_head
from tests.node_parity import actors
from tests.node_parity.clauses import clause
from tests.node_parity.scene import PATIENCE, Client, Scene, scene, shape
from tests.worker.lines import until


async def stopped(stage: Scene, count: int) -> tuple[Worker, int, list[Client]]:
    """A worker that takes nothing any more, its port, and clients that were dealt to it."""
    worker = await stage.worker(["listen"])
    port = (await stage.until(events.Listening, worker)).address[1]
    worker.kill("SIGSTOP")
    clients = [await Client.connect(port) for _ in range(count)]
    await until(lambda: count == stage.primary.statistics().ports[0].unacknowledged)
    return worker, port, clients


async def serving(clients: list[Client]) -> list[int]:
    """Who serves each."""
    served = []
    for client in clients:
        async with client:
            served.append(await client.served_by())
    return served


async def test_killed_with_connections() -> None:
    async with scene() as stage:
        worker, port, clients = await stopped(stage, 2)
        other = await stage.worker(["listen", port])
        worker.kill("SIGKILL")
        with clause("X-01.a"):
            assert [other.id] * 2 == await serving(clients)
        (state,) = stage.primary.statistics().ports
        with clause("X-01.b"):
            assert (0, 0) == (state.waiting, state.unacknowledged)

    async with scene() as stage:
        worker, port, clients = await stopped(stage, 4)
        worker.kill("SIGKILL")
        await worker.wait()
        clients.append(await Client.connect(port))
        with clause("X-02.a"):
            assert port == clients[-1].stream.socket.getpeername()[1]
        after = await stage.worker(["listen", port])
        with clause("X-02.b"):
            assert [after.id] * 5 == await serving(clients)


async def test_all_at_their_limit() -> None:
    async with scene() as stage:
        workers = [await stage.worker(["listen", 0, {"max_connections": 1}]) for _ in range(2)]
        port = (await stage.until(events.Listening, workers[0])).address[1]
        first, second = [await Client.connect(port) for _ in range(2)]
        served = [await first.served_by(), await second.served_by()]
        third = await Client.connect(port)
        await trio.testing.wait_all_tasks_blocked(0.05)
        (state,) = stage.primary.statistics().ports
        with clause("X-03.a"):
            assert (2, 0, 0) == (
                sum(state.dealt.values()),
                state.unacknowledged,
                state.dealt_again,
            )
        await first.stream.aclose()
        with clause("X-03.b"):
            assert served[0] == await third.served_by()
        await second.stream.aclose()
        await third.stream.aclose()


async def test_what_is_no_message() -> None:
    async with scene() as stage:
        beside = await stage.worker()
        errors: list[RemoteProtocolError] = []
        reasons = []
        for data in (b"{ bad\n" * 10, encode_head(Kind.TELL, 0, 0x80000000)):
            worker = await stage.worker()
            await worker.send(["raw", data])
            event = await stage.until(events.Error, worker)
            errors.append(event.error)
            reasons.append((await worker.wait()).reason)
        with clause("X-04.a"):
            assert isinstance(errors[0], RemoteProtocolError)
        with clause("X-05.a"):
            assert "2147483648" in str(errors[1])
        with clause("X-04.b"):
            assert "protocol" == reasons[0]
        with clause("X-05.b"):
            assert "protocol" == reasons[1]
        with clause("X-04.c"):
            assert "here" == await beside.ask(["echo", "here"])


async def test_told_to_leave_twice() -> None:
    async with scene() as stage, trio.open_nursery() as nursery:
        worker = await stage.worker(["listen"], ["listen_when_leaving"])
        port = (await stage.until(events.Listening, worker)).address[1]
        statuses = []

        async def disconnect() -> None:
            statuses.append(await worker.disconnect())

        async with await Client.connect(port) as client:
            await client.served_by()
            nursery.start_soon(disconnect)
            nursery.start_soon(disconnect)
            with clause("X-08.a"):
                assert "ClosedResourceError" == (await worker.mailbox.receive()).body
        with clause("X-06.a"):
            assert (0, None) == shape(await worker.wait())[:2]
        await trio.testing.wait_all_tasks_blocked()
        with clause("X-06.b"):
            assert [await worker.wait()] * 2 == statuses


async def test_one_leaves_slowly() -> None:
    async with scene() as stage, trio.open_nursery() as nursery:
        slow, fast = await stage.worker(["listen"]), await stage.worker()
        port = (await stage.until(events.Listening, slow)).address[1]
        done = trio.Event()

        async def disconnect() -> None:
            await stage.primary.disconnect()
            done.set()

        async with await Client.connect(port) as client:
            await client.served_by()
            nursery.start_soon(disconnect)
            await fast.wait()
            await trio.testing.wait_all_tasks_blocked()
            with clause("X-07.a"):
                assert (True, False, False) == (fast.is_dead(), slow.is_dead(), done.is_set())
        await done.wait()
        with clause("X-07.b"):
            assert [True, True] == [slow.is_dead(), fast.is_dead()]


async def test_one_that_has_just_died() -> None:
    async with scene() as stage:
        worker = await stage.worker()
        assert worker.pid is not None
        os.kill(worker.pid, signal.SIGKILL)
        worker.send_nowait("too early to know")
        await worker.wait()
        with pytest.raises(PeerClosed) as caught:
            await worker.send("too late")
        with clause("X-09.a"):
            assert "SIGKILL" == caught.value.status.signal  # type: ignore[union-attr]  # it has ended
        with clause("X-09.b"):
            assert 1 == caught.value.unconfirmed
        await stage.everything()
        with clause("X-09.c"):
            assert [] == [one for one in stage.seen if isinstance(one, events.Error)]


async def test_one_that_cannot_be_started() -> None:
    async with scene() as stage:
        with clause("X-10.a"), pytest.raises(WorkerStartError, match="/nonexistent"):
            await stage.primary.fork(actors.obeys, settings={"cwd": "/nonexistent"})
        await stage.everything()
        with clause("X-10.b"):
            assert ["Fork", "Disconnect", "Exit"] == [type(one).__name__ for one in stage.seen]


async def test_the_primary_gets_sigterm() -> None:
    command = [sys.executable, "-m", "tests.node_parity.serving"]
    with trio.fail_after(PATIENCE):
        process = await trio.lowlevel.open_process(command, stdout=subprocess.PIPE)
        assert process.stdout is not None
        async with process.stdout as output:
            async with await Client.connect(int(await output.receive_some())) as client:
                await client.served_by()
                process.terminate()
                await client.stream.send_all(b"question\n")
                with clause("X-11.a"):
                    assert "question" == await client.line()
            with clause("X-11.b"):
                assert 0 == await process.wait()


async def test_fails_whenever_it_starts() -> None:
    at_once = Backoff(min=0, max=0)
    child = Child("fails", actors.exits, args=(1,), backoff=at_once)
    ends: list[int] = []
    with pytest.raises(RestartLimitReached) as caught:
        async with open_primary(Supervisor(max_restarts=3, children=[child])) as primary:
            with primary.events(events.Exit) as exits:
                with trio.fail_after(PATIENCE):
                    async for event in exits:
                        ends.append(event.worker.incarnation)  # noqa: PERF401  (it is cut off)
    with clause("X-12.a"):
        assert (4, True) == (caught.value.restarts, max(ends, default=0) <= 4)
    with clause("X-12.b"):
        assert 1 == caught.value.last_status.code


_CLIENT = """\
import socket, sys
with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as client:
    print(client.recv(100).decode().strip())
"""


async def test_a_busy_primary() -> None:
    async with scene() as stage:
        worker = await stage.worker(["listen", 0, {"policy": SCHED_NONE}])
        port = (await stage.until(events.Listening, worker)).address[1]
        # Nothing else runs here until the client has ended.
        done = subprocess.run(
            [sys.executable, "-S", "-c", _CLIENT, str(port)],
            stdout=subprocess.PIPE, text=True, timeout=PATIENCE, check=True,
        )  # fmt: skip
        with clause("X-13.a"):
            assert f"{worker.id}\n" == done.stdout


async def test_behind_a_handle() -> None:
    async with scene() as stage:
        worker = await stage.worker()
        worker.kill("SIGSTOP")
        for number in (0, 2):
            worker.send_nowait(["describe", number], os.memfd_create("x"))
            worker.send_nowait(["describe", number + 1])
        await trio.testing.wait_all_tasks_blocked()
        channel: Any = worker._life.channel
        with clause("X-14.a"):
            assert (4, 0) == (channel.unconfirmed, channel._socket.unsent)
        worker.kill("SIGCONT")
        bodies = [(await worker.mailbox.receive()).body for _ in range(4)]
        with clause("X-14.b"):
            assert [[0, "memfd", 0], [1, None, 0], [2, "memfd", 0], [3, None, 0]] == bodies


async def test_more_than_the_backlog() -> None:
    async with scene() as stage:
        worker = await stage.worker(["listen", 0, {"backlog": 16}])
        address = (await stage.until(events.Listening, worker)).address
        worker.kill("SIGSTOP")
        before = len(os.listdir("/proc/self/fd"))
        clients = [socket.socket() for _ in range(100)]
        for number, client in enumerate(clients):
            client.setblocking(False)
            client.connect_ex(address)
            if number < CREDIT:  # or the backlog is full before anybody looks
                await trio.lowlevel.wait_writable(client)
        await until(lambda: CREDIT == stage.primary.statistics().ports[0].unacknowledged)
        await trio.testing.wait_all_tasks_blocked(0.05)
        (state,) = stage.primary.statistics().ports
        with clause("X-15.a"):
            assert (64, 0) == (sum(state.dealt.values()), state.waiting)
        with clause("X-15.b"):
            assert CREDIT == len(os.listdir("/proc/self/fd")) - before - len(clients)
        worker.kill("SIGCONT")
        await trio.lowlevel.wait_readable(clients[0])
        with clause("X-15.c"):
            assert f"{worker.id}\n".encode() == clients[0].recv(100)
        for client in clients:
            client.close()


async def test_large_last_words() -> None:
    words = bytes(range(256)) * 4096
    async with scene() as stage:
        worker = await stage.primary.fork(actors.repeats_and_returns)
        await worker.send(words)
        await worker.wait()
        with clause("X-16.a"):
            assert [words] == [message.body async for message in worker.mailbox]
        worker = await stage.worker()
        await worker.send(["say_and_kill", words])
        await worker.wait()
        with clause("X-16.b"):
            assert [words] == [message.body async for message in worker.mailbox]

        worker = await stage.primary.fork(actors.counts_mail)
        for _ in range(50):
            await worker.send(bytes(64_000))
        await worker.disconnect()
        with clause("X-19.a"):
            assert [50] == [message.body async for message in worker.mailbox]


async def reads_connections(actor: Actor) -> None:
    """Say what comes on each connection until its end."""
    async for message in actor.mailbox:
        with message:
            assert message.handle is not None
            async with message.handle.into_stream() as stream:
                await actor.send(b"".join([data async for data in stream]))


async def passes_connections(actor: Actor, name: str) -> None:
    """Look at the first bytes of each connection, and let somebody else have it."""
    async for message in actor.mailbox:
        with message:
            assert message.handle is not None
            stream = message.handle.into_stream()
            seen = await stream.receive_some(2)
            await actor.ref(name).send(None, stream, head=seen)


async def early_and_late(listener: trio.SocketListener, to: Worker) -> None:
    """A client's first word is read here, and the connection sent on before the second."""
    async with await trio.open_tcp_stream(*listener.socket.getsockname()) as client:
        stream = await listener.accept()
        await client.send_all(b"EARLY ")
        early = await stream.receive_some(6)
        await to.send(None, stream, head=early)
        await client.send_all(b"LATE")


async def test_read_from_before() -> None:
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with scene() as stage, listener:
        worker = await stage.primary.fork(reads_connections)
        await early_and_late(listener, worker)
        with clause("X-17.a"):
            assert b"EARLY LATE" == (await worker.mailbox.receive()).body
        other = await stage.primary.fork(passes_connections, worker.name)
        await early_and_late(listener, other)
        with clause("X-17.b"):
            assert b"EARLY LATE" == (await worker.mailbox.receive()).body


async def test_who_has_fewer() -> None:
    async with scene() as stage:
        policy = {"policy": "least_connections"}
        keeps = await stage.worker(["listen", 0, policy])
        port = (await stage.until(events.Listening, keeps)).address[1]
        closes = await stage.primary.fork(actors.closes_at_once, port, ready="listening")
        kept = []

        def nothing_open() -> bool:
            counts = stage.primary.statistics().ports[0].workers[closes.id]
            return 0 == counts.open + counts.waiting

        for _ in range(20):
            client = await Client.connect(port)
            if await client.served_by() == keeps.id:
                kept.append(client)
            else:
                await client.stream.aclose()
                await until(nothing_open)
        with clause("X-18.a"):
            assert 1 == len(kept)
        for client in kept:
            await client.stream.aclose()
