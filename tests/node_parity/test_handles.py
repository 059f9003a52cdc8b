"""Descriptors that go along with messages."""

from __future__ import annotations

import errno
import os
import socket
from typing import Any

import pytest
import trio
import trio.testing

from actorcluster import Handle, PeerClosed, events
from tests.node_parity import actors
from tests.node_parity.clauses import clause
from tests.node_parity.scene import Client, scene, shape


def pair() -> tuple[socket.socket, trio.SocketStream]:
    """Both ends of a connection, the second as a client has it."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = socket.create_connection(server.getsockname())
        accepted, _ = server.accept()
    client.setblocking(False)
    return accepted, trio.SocketStream(trio.socket.from_stdlib_socket(client))


async def rest_of(stream: Any) -> bytes:
    """Read until the end."""
    data = b""
    async for chunk in stream:
        data += chunk
    return data


async def opened() -> tuple[trio.SocketListener, int]:
    """Open a listener of the primary's own."""
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    return listener, listener.socket.getsockname()[1]


async def test_a_connection_to_the_primary() -> None:
    listener, port = await opened()
    async with scene() as stage, listener:
        worker = await stage.worker()
        await worker.send(["give_connection", port])
        async with await listener.accept() as other:
            message = await worker.mailbox.receive()
            with clause("HP-01.a"):
                assert ("handle", True) == (message.body, isinstance(message.handle, Handle))
            assert message.handle is not None
            stream = message.handle.into_stream()
            await other.send_all(b"hello")
            with clause("HP-01.b"):
                assert b"hello" == await stream.receive_some()
        with clause("HP-01.c"):
            assert b"" == await stream.receive_some()
        await stream.aclose()


async def test_connections_that_cross() -> None:
    async with scene() as stage:
        worker = await stage.worker()
        ends = []
        for number in range(2):
            ours, client = pair()
            ends.append(client)
            await worker.send(["bounce", number], ours)
        back = [await worker.mailbox.receive() for _ in range(2)]
        with clause("HP-02.a"):
            assert [0, 1] == [message.body for message in back]
        for message in back:
            assert message.handle is not None
            async with message.handle.into_stream() as stream:
                await stream.send_all(b"hello")
        with clause("HP-02.b"):
            assert [b"hello", b"hello"] == [await rest_of(client) for client in ends]
        for client in ends:
            await client.aclose()
        with clause("HP-02.c"):
            assert (0, None) == shape(await worker.disconnect())[:2]


async def test_the_same_twice() -> None:
    listener, port = await opened()
    async with scene() as stage, listener:
        worker = await stage.worker()
        answer = await worker.ask(["give_twice", port])
        async with await listener.accept() as other:
            first = await worker.mailbox.receive()
            with clause("HP-03.a"):
                assert isinstance(first.handle, Handle)
            with clause("HP-03.b"):
                assert "ClosedResourceError" == answer
            await worker.ask(["echo", None])
            with clause("HP-03.c"):
                assert 0 == len(worker.mailbox)
            first.handle.close()
            with clause("HP-03.d"):
                assert b"" == await other.receive_some()
        with clause("HP-03.e"):
            assert 0 == (await worker.disconnect()).code


async def test_large_messages() -> None:
    text = "1234" * 200_001
    async with scene() as stage:
        worker = await stage.worker()
        ours, client = pair()
        await worker.send(["bounce", "before"])
        await worker.send(["bounce", text], ours)
        await worker.send(["bounce", "behind"])
        before, message, behind = [await worker.mailbox.receive() for _ in range(3)]
        with clause("HP-04.b"):
            assert text == message.body
        with clause("HP-04.c"):
            assert [("before", None), ("behind", None)] == [
                (one.body, one.handle) for one in (before, behind)
            ]
        assert message.handle is not None
        async with message.handle.into_stream() as stream, client:
            await client.send_all(b"mine")
            with clause("HP-04.a"):
                assert b"mine" == await stream.receive_some()


async def test_served_elsewhere() -> None:
    listener, port = await opened()
    async with scene() as stage:
        worker = await stage.worker()
        async with await Client.connect(port) as client:
            accepted = await listener.accept()
            await worker.send(["serve_given"], accepted)
            with clause("HP-05.a"):
                assert worker.id == await client.served_by()
            with clause("HP-05.b"):
                assert -1 == accepted.socket.fileno()

        async with await Client.connect(port) as client:
            await worker.send(["answer_given", "echo"], await listener.accept())
            await listener.aclose()
            with clause("HP-11.b"):
                assert -1 == listener.socket.fileno()
            with clause("HP-11.a"):
                assert b"echo" == await rest_of(client.stream)
        with clause("HP-05.c"):
            assert 0 == (await worker.disconnect()).code


async def test_both_keep_it() -> None:
    async with scene() as stage:
        worker = await stage.worker()
        ours, client = pair()
        async with client:
            with ours:
                await worker.send(["answer_given", "child"], ours, keep_open=True)
                await worker.ask(["echo", None])
                ours.send(b"parent")
            await worker.disconnect()
            data = await rest_of(client)
            with clause("HP-06.a"):
                assert b"childparent" == data
            with clause("HP-06.b"):
                assert b"" == await client.receive_some()


async def test_the_right_message() -> None:
    async with scene() as stage:
        worker = await stage.worker()
        worker.kill("SIGSTOP")
        fd = os.memfd_create("x")
        os.truncate(fd, 1234)
        worker.send_nowait(["describe", 1])
        worker.send_nowait(["describe", 2], fd)
        worker.send_nowait(["describe", 3])
        worker.kill("SIGCONT")
        bodies = [(await worker.mailbox.receive()).body for _ in range(3)]
        with clause("HP-07.a"):
            assert [1, 2, 3] == [body[0] for body in bodies]
        with clause("HP-07.b"):
            assert [None, "memfd", None] == [body[1] for body in bodies]
        with clause("HP-07.c"):
            assert 1234 == bodies[1][2]


async def test_many_at_once() -> None:
    listener, port = await opened()
    async with scene() as stage, listener, trio.open_nursery() as nursery:
        workers = [await stage.worker() for _ in range(8)]
        before = [await worker.ask(["descriptors"]) for worker in workers]

        async def hello(stream: trio.SocketStream) -> None:
            async with stream:
                await stream.send_all(b"hello")

        nursery.start_soon(trio.serve_listeners, hello, [listener])
        for worker in workers:
            for _ in range(10):
                await worker.send(["give_connection", port])
        heard = []
        for _ in range(80):
            message = await stage.primary.mailbox.receive()
            assert message.handle is not None
            async with message.handle.into_stream() as stream:
                heard.append(await rest_of(stream))
        with clause("HP-08.a"):
            assert 80 == len(heard)
        with clause("HP-08.b"):
            assert {b"hello"} == {*heard}
        with clause("HP-08.c"):
            assert before == [await worker.ask(["descriptors"]) for worker in workers]
        nursery.cancel_scope.cancel()


async def test_spread_over_workers() -> None:
    listener, port = await opened()
    async with scene() as stage, trio.open_nursery() as nursery:
        workers = [await stage.worker() for _ in range(3)]
        clients = []
        for number in range(12):
            clients.append(await Client.connect(port))
            await workers[number % 3].send(["serve_given"], await listener.accept())
        served = [await client.served_by() for client in clients]
        with clause("HP-09.a"):
            assert 4 * [worker.id for worker in workers] == served
        await listener.aclose()
        with clause("HP-09.b"):
            assert -1 == listener.socket.fileno()
        for client in clients:
            await client.stream.send_all(b"on\n")
        with clause("HP-09.c"):
            assert ["on"] * 12 == [await client.line() for client in clients]
        for worker in workers:
            nursery.start_soon(worker.disconnect)
        for client in clients:
            await client.stream.send_eof()
        with clause("HP-09.d"):
            assert [b""] * 12 == [await client.stream.receive_some() for client in clients]
        for client in clients:
            await client.stream.aclose()


async def test_a_shared_listener() -> None:
    listener, port = await opened()
    async with scene() as stage:
        worker = await stage.primary.fork(actors.listens_on_given)
        await worker.send(None, listener, keep_open=True)
        arrived = (await worker.mailbox.receive()).body
        with clause("HP-18.a"):
            assert arrived["body"] is None
        with clause("HP-18.b"):
            assert ["tcp_listener", ["127.0.0.1", port]] == [arrived["kind"], arrived["address"]]
        async with await Client.connect(port) as client:
            with clause("HP-10.a"):
                assert b"worker" == await rest_of(client.stream)
        await worker.ask("pause")
        async with await Client.connect(port) as client:
            async with await listener.accept() as stream:
                await stream.send_all(b"primary")
            with clause("HP-10.b"):
                assert b"primary" == await rest_of(client.stream)
        await listener.aclose()
        await worker.ask("go on")
        async with await Client.connect(port) as client:
            with clause("HP-10.c"):
                assert b"worker" == await rest_of(client.stream)
        with clause("HP-10.d"):
            assert 0 == (await worker.disconnect()).code
        await stage.everything()
        with clause("HP-18.c"):
            assert "Listening" not in stage.kinds(worker)


async def test_a_shared_datagram_socket() -> None:
    async with scene() as stage:
        worker = await stage.worker()
        shared = trio.socket.socket(type=socket.SOCK_DGRAM)
        await shared.bind(("127.0.0.1", 0))
        address = shared.getsockname()
        await worker.send(["receive_once"], shared, keep_open=True)
        with trio.socket.socket(type=socket.SOCK_DGRAM) as sender, shared:
            await sender.sendto(b"one", address)
            with clause("HP-12.a"):
                assert b"one" == (await worker.mailbox.receive()).body
            await sender.sendto(b"two", address)
            with clause("HP-12.b"):
                assert b"two" == await shared.recv(100)


async def test_dies_with_a_handle() -> None:
    async with scene() as stage:
        worker = await stage.worker()
        pairs = [pair() for _ in range(2)]
        await worker.send(["exit", 1], pairs[0][0])
        outcome = "taken"
        try:
            await worker.send(["exit", 1], pairs[1][0])
        except PeerClosed:
            outcome = "PeerClosed"
            pairs[1][0].close()
        with clause("HP-14.a"):
            assert outcome in ("taken", "PeerClosed")
        with clause("HP-14.c"):
            assert 1 == (await worker.wait()).code
        with clause("HP-14.b"):
            assert [b"", b""] == [await client.receive_some() for _, client in pairs]
        for _, client in pairs:
            await client.aclose()
        other = await stage.worker()
        with clause("HP-14.d"):
            assert "here" == await other.ask(["echo", "here"])


async def test_in_the_middle() -> None:
    async with scene() as stage:
        worker = await stage.worker()
        ours, client = pair()
        ours.setblocking(False)
        stream = trio.SocketStream(trio.socket.from_stdlib_socket(ours))
        async with client:
            await client.send_all(b"GET /")
            await stream.receive_some()
            await stream.send_all(b"half of it, ")
            await worker.send(["answer_given", "and the rest"], stream)
            with clause("HP-15.a"), pytest.raises(trio.ClosedResourceError):
                await stream.send_all(b"more")
            with clause("HP-15.b"):
                assert b"half of it, and the rest" == await rest_of(client)


async def test_as_standard_output() -> None:
    async with scene() as stage:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with theirs:
            streams = {"stdio": ["ignore", theirs, "ignore"]}
            worker = await stage.worker(settings=streams)
        async with trio.SocketStream(trio.socket.from_stdlib_socket(ours)) as stream:
            await worker.ask(["print", "words"])
            with clause("HP-16.a"):
                assert b"words\n" == await stream.receive_some()
            with clause("HP-16.c"):
                assert 0 == (await worker.disconnect()).code
            with clause("HP-16.b"):
                assert b"" == await stream.receive_some()


async def test_a_client_of_the_dead() -> None:
    async with scene() as stage:
        worker = await stage.worker(["listen"])
        address = (await stage.until(events.Listening, worker)).address
        async with await Client.connect(address[1]) as client:
            await client.served_by()
            worker.kill("SIGKILL")
            with clause("HP-17.a"):
                assert (None, "SIGKILL") == shape(await worker.wait())[:2]
            try:
                data = await client.stream.receive_some()
            except trio.BrokenResourceError:
                data = b""
            with clause("HP-17.b"):
                assert b"" == data


async def test_a_listener_of_ones_own() -> None:
    async with scene() as stage:
        worker = await stage.worker()
        port = await worker.ask(["listen_alone"])
        async with await Client.connect(port) as client:
            with clause("HP-19.a"):
                assert worker.id == await client.served_by()
        await stage.everything()
        with clause("HP-19.b"):
            assert (False, ()) == (
                "Listening" in stage.kinds(worker),
                stage.primary.statistics().ports,
            )


async def test_inherited_by_number() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        async with scene(settings={"listen_fds": [server.fileno()]}) as stage:
            worker = await stage.worker()
            with clause("HP-22.c"):
                assert {"errno": errno.EPERM} == await worker.ask(["listen_fd", 0])
            with clause("HP-22.a"):
                assert ["127.0.0.1", port] == await worker.ask(["listen_fd", server.fileno()])
            async with await Client.connect(port) as client:
                with clause("HP-22.b"):
                    assert worker.id == await client.served_by()
            server.close()
            async with await Client.connect(port) as client:
                with clause("HP-20.a"):
                    assert worker.id == await client.served_by()
