"""Asking the primary for ports: each answer, no answer, and an answer that nobody waits for."""

from __future__ import annotations

import errno
import os
import socket
from typing import Any

import pytest
import trio

from actorcluster._link.handles import Handle, commit
from actorcluster._link.staging import stage
from actorcluster._worker.accepting import HandoffListener, SharedListener
from actorcluster._worker.listening import bind_udp, listen_fd, listen_tcp, listen_unix
from actorcluster.errors import ActorClusterError, HandleError, PeerClosed
from actorcluster.wire import events
from tests.cluster.inproc import served_by
from tests.worker.boss import Background, Boss, open_boss, until


def shared(sock: socket.socket) -> Handle:
    return commit(stage(sock, keep_open=True))


async def tcp(boss: Boss, port: int = 0, **options: Any) -> Any:
    (listener,) = await listen_tcp(boss.listeners, port, host="127.0.0.1", **options)
    return listener


async def asked(boss: Boss, nursery: trio.Nursery, *args: Any) -> tuple[Background, events.Listen]:
    """Begin to listen; what the primary hears."""
    background = Background(nursery, *args)
    return background, await boss.hear(events.Listen)


# ---- answers -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("os.EADDRINUSE", OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))),
        ("os.EACCES", PermissionError(errno.EACCES, os.strerror(errno.EACCES))),
        ("refused", trio.ClosedResourceError()),
        ("stopping", trio.ClosedResourceError()),
        ("bad_payload", ValueError()),
        ("os.NONSENSE", ActorClusterError()),
        ("os", ActorClusterError()),
    ],
)
async def test_an_error(code: str, expected: Exception) -> None:
    async with open_boss() as boss, trio.open_nursery() as nursery:
        listening, listen = await asked(boss, nursery, tcp, boss, 80)
        boss.connection.send_error(listen.channel, {"code": code, "message": "the reason"})
        boss.say()
        with pytest.raises(type(expected)) as caught:
            await listening.wait()
        if isinstance(caught.value, OSError):
            assert isinstance(expected, OSError)
            assert expected.errno == caught.value.errno
            assert "127.0.0.1:80" == caught.value.filename
        assert not boss.listeners._requests


@pytest.mark.parametrize(
    ("call", "where"),
    [
        (lambda boss: listen_unix(boss.listeners, "/nowhere/s"), "/nowhere/s"),
        (lambda boss: listen_fd(boss.listeners, "web"), "web"),
        (lambda boss: bind_udp(boss.listeners, 53), "*:53"),
    ],
)
async def test_an_error_says_where(call: Any, where: str) -> None:
    async with open_boss() as boss, trio.open_nursery() as nursery:
        listening, listen = await asked(boss, nursery, call, boss)
        boss.connection.send_error(listen.channel, {"code": "os.EPERM"})
        boss.say()
        with pytest.raises(PermissionError) as caught:
            await listening.wait()
        assert where == caught.value.filename


async def test_handed_over_or_shared() -> None:
    """The primary decides; either way it is a listener with an address."""
    async with open_boss() as boss, trio.open_nursery() as nursery:
        listening, listen = await asked(boss, nursery, tcp, boss)
        boss.grant(listen.channel, address=("127.0.0.1", 1234))
        listener = await listening.wait()
        assert isinstance(listener, HandoffListener)
        assert ("127.0.0.1", 1234) == listener.address
        with socket.create_server(("127.0.0.1", 0)) as server:
            listening, listen = await asked(boss, nursery, tcp, boss)
            address = server.getsockname()
            boss.grant(listen.channel, mode="shared", address=address, handle=shared(server))
            listener = await listening.wait()
            assert isinstance(listener, SharedListener)
            assert address == listener.address
            with socket.create_connection(address) as client:
                async with await listener.accept() as stream:
                    assert served_by(stream, client)
        await listener.aclose()
        assert events.ListenClosed(listen.channel) == await boss.hear(events.ListenClosed)


async def test_connections_right_behind_the_answer() -> None:
    """In one read with it: the listener is there before anybody was told."""
    async with open_boss() as boss, trio.open_nursery() as nursery:
        listening, listen = await asked(boss, nursery, tcp, boss)
        ours, theirs = socket.socketpair()
        with theirs:
            boss.connection.send_listening(listen.channel, mode="handoff", address=["::", 1])
            boss.connection.send_connections(listen.channel, 1, [Handle.of(ours)])
            boss.say()
            async with await (await listening.wait()).accept() as stream:
                await stream.send_all(b"x")
                assert b"x" == theirs.recv(1)


@pytest.mark.parametrize("what", ["nothing", "file", "pretender"])
async def test_an_answer_that_is_of_no_use(what: str) -> None:
    """A shared socket that is missing, or is none: the caller is told, and so is the primary."""
    async with open_boss() as boss, trio.open_nursery() as nursery:
        listening, listen = await asked(boss, nursery, tcp, boss)
        reading, writing = os.pipe()
        handle = None
        if what == "file":
            handle = Handle.of(reading)
        elif what == "pretender":
            handle = Handle(reading, 2, {}, 2)  # type: ignore[arg-type]  # wrong on purpose
        boss.grant(listen.channel, mode="shared", handle=handle)
        with pytest.raises(HandleError):
            await listening.wait()
        assert events.ListenClosed(listen.channel) == await boss.hear(events.ListenClosed)
        assert not boss.listeners._requests
        os.close(writing)
        if handle is None:
            os.close(reading)


async def test_connections_that_nobody_can_want() -> None:
    """On a channel whose worker accepts for itself: given back."""
    async with open_boss() as boss, trio.open_nursery() as nursery:
        with socket.create_server(("127.0.0.1", 0)) as server:
            listening, listen = await asked(boss, nursery, tcp, boss)
            boss.grant(listen.channel, mode="shared", handle=shared(server))
            listener = await listening.wait()
            clients = boss.hand(listen.channel, 1, 2)
            reply = await boss.hear(events.ConnReply)
            assert (2, (1, 2)) == (reply.upto, reply.rejected)
            listener.close()
            for client in clients:
                client.close()


# ---- cancelled, stopped, lost ------------------------------------------------------------------


async def test_cancelled_before_the_answer() -> None:
    """The primary hears of it; its late answer, and what comes behind it, is given back."""
    async with open_boss() as boss, trio.open_nursery() as nursery:
        listening, listen = await asked(boss, nursery, tcp, boss)
        with socket.create_server(("127.0.0.1", 0)) as server:
            boss.connection.send_listening(
                listen.channel, mode="shared", address=["::", 1], handle=shared(server)
            )
            await listening.cancel()
            boss.say()
        assert events.ListenClosed(listen.channel) == await boss.hear(events.ListenClosed)
        listening, listen = await asked(boss, nursery, tcp, boss)
        boss.connection.send_listening(listen.channel, mode="handoff", address=["::", 1])
        clients = [socket.socketpair() for _ in range(2)]
        boss.connection.send_connections(
            listen.channel, 1, [Handle.of(ours) for ours, _ in clients]
        )
        await listening.cancel()
        boss.say()
        assert events.ListenClosed(listen.channel) == await boss.hear(events.ListenClosed)
        for _, theirs in clients:
            theirs.close()
        await trio.testing.wait_all_tasks_blocked()
        assert not boss.listeners._requests
        assert not boss.listeners._listeners


@pytest.mark.parametrize("answer", ["handoff", "shared", "error"])
async def test_cancelled_with_the_answer_there(answer: str) -> None:
    """Both in one scheduler pass: whatever came is closed again, and the primary told."""
    async with open_boss() as boss, trio.open_nursery() as nursery:
        listening, listen = await asked(boss, nursery, tcp, boss)
        pending = boss.listeners._pending[listen.channel]
        was_answered = pending.answered

        class Both:
            """Cancels at the very moment of the answer."""

            def set(self) -> None:
                listening.scope.cancel()
                was_answered.set()

            async def wait(self) -> None:
                await was_answered.wait()

        pending.answered = Both()  # type: ignore[assignment]  # in place of an event
        with socket.create_server(("127.0.0.1", 0)) as server:
            if answer == "handoff":
                boss.grant(listen.channel)
            elif answer == "shared":
                boss.grant(listen.channel, mode="shared", handle=shared(server))
            else:
                boss.connection.send_error(listen.channel, {"code": "os.EADDRINUSE"})
                boss.say()
            await listening.done.wait()
        assert listening.scope.cancelled_caught
        if answer != "error":
            assert events.ListenClosed(listen.channel) == await boss.hear(events.ListenClosed)
        assert not boss.listeners._requests
        assert not boss.listeners._listeners


async def test_a_datagram_socket_that_comes_too_late() -> None:
    async with open_boss() as boss, trio.open_nursery() as nursery:
        binding, listen = await asked(boss, nursery, bind_udp, boss.listeners, 0)
        pending = boss.listeners._pending[listen.channel]
        with socket.socket(type=socket.SOCK_DGRAM) as sock:
            sock.bind(("127.0.0.1", 0))
            boss.grant(listen.channel, mode="shared", handle=shared(sock))
            while not pending.answered.is_set():
                binding.scope.cancel() if pending.result is not None else None
                await trio.lowlevel.checkpoint()
            binding.scope.cancel()
            await binding.done.wait()
        if binding.result is not None:
            binding.result.close()


async def test_after_stop() -> None:
    async with open_boss() as boss:
        listener = await boss.listen()
        boss.stop()
        await until(lambda: listener._stopped)
        for call in (
            lambda: tcp(boss),
            lambda: tcp(boss, exclusive=True),
            lambda: listen_unix(boss.listeners, "/nowhere"),
            lambda: listen_fd(boss.listeners, 3),
            lambda: bind_udp(boss.listeners, 0),
        ):
            with pytest.raises(trio.ClosedResourceError, match="told to stop"):
                await call()


async def test_an_answer_after_stop() -> None:
    """The listener is there, and its accept() waits."""
    async with open_boss() as boss, trio.open_nursery() as nursery:
        listening, listen = await asked(boss, nursery, tcp, boss)
        boss.connection.send_stop(None)
        boss.grant(listen.channel)
        listener = await listening.wait()
        assert listener._stopped
        await listener.aclose()


async def test_stop_reaches_all_kinds_of_listeners() -> None:
    async with open_boss() as boss:
        listeners = [await boss.listen(), await tcp(boss, exclusive=True)]
        boss.stop()
        await until(lambda: all(listener._stopped for listener in listeners))
        for listener in listeners:
            listener.close()


async def test_the_primary_is_lost() -> None:
    """Who waits for an answer is told; who asks later as after Stop."""
    async with open_boss() as boss, trio.open_nursery() as nursery:
        listener = await boss.listen()
        listening, _ = await asked(boss, nursery, tcp, boss, 80)
        boss.close()
        with pytest.raises(PeerClosed, match="gone"):
            await listening.wait()
        with pytest.raises(trio.ClosedResourceError):
            await tcp(boss)
        listener.close()


# ---- keys, limits, sockets that are closed silently --------------------------------------------


async def test_the_nth_port_zero_is_the_nth_of_every_worker() -> None:
    """Counting those that are open: a closed one's place is taken first."""
    async with open_boss() as boss, trio.open_nursery() as nursery:
        keys = []

        async def listen(**options: Any) -> Any:
            listening, listen = await asked(boss, nursery, lambda: tcp(boss, **options))
            keys.append(listen.request.get("key"))
            boss.grant(listen.channel)
            return await listening.wait()

        first, second = await listen(), await listen()
        first.close()
        third = await listen()
        assert ["1", "2", "1"] == keys
        listening, request = await asked(boss, nursery, tcp, boss)
        await listening.cancel()
        fourth = await listen()
        assert "3" == request.request["key"] == keys[-1]
        listening, request = await asked(boss, nursery, tcp, boss, 80)
        assert "key" not in request.request
        await listening.cancel()
        listening, request = await asked(
            boss, nursery, lambda: listen_tcp(boss.listeners, 0, host="127.0.0.2")
        )
        assert "1" == request.request["key"]
        await listening.cancel()
        for listener in (second, third, fourth):
            listener.close()


async def test_too_many_listeners() -> None:
    """The limit is the primary's; it is kept here, so that the error is not that of a stop."""
    async with open_boss(max_listeners=2) as boss:
        first, _ = await boss.listen(), await boss.listen()
        with pytest.raises(OSError) as caught:
            await tcp(boss)
        assert errno.EMFILE == caught.value.errno
        first.close()
        await boss.hear(events.ListenClosed)
        await boss.listen()


async def test_datagram_sockets_are_forgotten_when_they_are_closed() -> None:
    """Nobody tells us; so it is noticed at the next request."""
    async with open_boss(max_listeners=1) as boss, trio.open_nursery() as nursery:
        for _ in range(3):
            binding, listen = await asked(boss, nursery, bind_udp, boss.listeners, 0)
            assert ("udp", None, "1") == tuple(
                listen.request.get(name) for name in ("transport", "host", "key")
            )
            with socket.socket(type=socket.SOCK_DGRAM) as sock:
                sock.bind(("127.0.0.1", 0))
                boss.grant(listen.channel, mode="shared", handle=shared(sock))
            bound = await binding.wait()
            with pytest.raises(OSError, match="too many"):
                await bind_udp(boss.listeners, 0)
            bound.close()
        binding, _ = await asked(boss, nursery, bind_udp, boss.listeners, 0)
        assert 3 == sum(isinstance(event, events.ListenClosed) for event in boss.heard)
        await binding.cancel()


async def test_idle_is_when_no_connection_is_open() -> None:
    """Also of listeners that are closed by now, and those are forgotten in the end."""
    async with open_boss() as boss:
        listener, other = await boss.listen(), await boss.listen()
        clients = boss.hand(1, 1, 2)
        streams = [await listener.accept() for _ in clients]
        assert not boss.listeners.is_idle()
        listener.close()
        assert not boss.listeners.is_idle()
        await streams[0].aclose()
        assert not boss.listeners.is_idle()
        await streams[1].aclose()
        assert boss.listeners.is_idle()
        other.close()
        assert not boss.listeners._others
        for client in clients:
            client.close()
