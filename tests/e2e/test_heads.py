"""Connections that were read from, sent through real workers; and TLS, which stays."""

from __future__ import annotations

import io
import socket
import ssl
from typing import Any

import pytest
import trio
import trio.testing

import actorcluster
from actorcluster import Actor, Handle, Message, Worker
from tests.e2e import actors
from tests.link.things import tcp_pair

LARGE = bytes(range(256)) * 256


async def handles_of(message: Message) -> list[Handle]:
    beside = [] if message.handle is None else [message.handle]
    return beside + list(message.body or ())


async def reads(actor: Actor) -> None:
    """Answer with what each handle's stream gives until the end."""
    async for message in actor.mailbox:
        with message:
            said = []
            for handle in await handles_of(message):
                head = handle.head
                async with handle.into_stream() as stream:
                    said.append([head, b"".join([piece async for piece in stream])])
            await message.reply(said)


async def passes_on(actor: Actor, name: str) -> None:
    """Take two bytes of each stream, send it to another worker, and answer what that says."""
    async for message in actor.mailbox:
        with message:
            assert message.handle is not None
            stream = message.handle.into_stream()
            taken = await stream.receive_some(2)
            answer = await actor.ref(name).ask(None, stream)
            await message.reply([taken, answer])


async def gives_back(actor: Actor) -> None:
    """Answer an ask with its own stream, read from or not, in each way there is."""
    async for message in actor.mailbox:
        with message:
            if message.handle is None:
                continue
            stream = message.handle.into_stream()
            match message.body:
                case "reply":
                    await message.reply(None, stream, head=await stream.receive_some(3))
                case "body":
                    read = await stream.receive_some(3)
                    await message.reply({"it": Handle.of(stream, head=read)})
                case "send":
                    await actor.send("here", stream)
                    await message.reply(None)
                case "ask":
                    await message.reply(await actor.ask("here", stream))


def connection(rest: bytes = b"LATE") -> socket.socket:
    """A connection whose other end has said this, and no more."""
    ours, theirs = tcp_pair()
    theirs.sendall(rest)
    theirs.close()
    return ours


async def content(handle: Handle) -> tuple[bytes, bytes]:
    head = handle.head
    async with handle.into_stream() as stream:
        return head, b"".join([piece async for piece in stream])


async def test_what_was_read_is_read_first() -> None:
    async with actorcluster.open_primary() as primary:
        worker = await primary.fork(reads, name="reads")
        ref = primary.ref("reads")
        for to in (worker, ref):
            assert [[b"EARLY ", b"EARLY LATE"]] == await to.ask(None, connection(), head=b"EARLY ")
        assert [[LARGE, LARGE + b"LATE"]] == await worker.ask(None, connection(), head=LARGE)
        body = [Handle.of(connection(), head=b"EARLY "), Handle.of(connection())]
        assert [[b"x", b"xLATE"], [b"EARLY ", b"EARLY LATE"], [b"", b"LATE"]] == await worker.ask(
            body, connection(), head=b"x"
        )
        with connection() as kept:
            answer = await worker.ask(None, kept, head=b"EARLY ", keep_open=True)
            assert [[b"EARLY ", b"EARLY LATE"]] == answer
        # From one to the other: what is left of it, by itself.
        other = await primary.fork(passes_on, "reads")
        taken, answer = await other.ask(None, connection(), head=b"EARLY ")
        assert (b"EA", [[b"RLY ", b"RLY LATE"]]) == (taken, answer)
        taken, answer = await other.ask(None, connection(), head=b"EA")
        assert (b"EA", [[b"", b"LATE"]]) == (taken, answer)


async def test_it_comes_back() -> None:
    async with actorcluster.open_primary() as primary:
        worker = await primary.fork(gives_back)
        handle = await worker.ask("reply", connection(), head=b"EARLY ")
        assert (b"EARLY ", b"EARLY LATE") == await content(handle)
        body = await worker.ask("body", connection(), head=b"EARLY ")
        assert (b"EARLY ", b"EARLY LATE") == await content(body["it"])
        await worker.ask("send", connection(), head=b"EARLY ")
        message = await worker.mailbox.receive()
        assert message.handle is not None
        assert (b"EARLY ", b"EARLY LATE") == await content(message.handle)
        async with trio.open_nursery() as nursery:

            async def answer() -> None:
                ask = await worker.mailbox.receive()
                with ask:
                    assert ask.handle is not None
                    await ask.reply(await content(ask.handle))

            nursery.start_soon(answer)
            said = await worker.ask("ask", connection(), head=b"EARLY ")
        assert [b"EARLY ", b"EARLY LATE"] == said


async def fill(worker: Worker) -> None:
    with pytest.raises(trio.WouldBlock):
        while True:
            worker.send_nowait(bytes(10_000))


async def test_what_was_not_sent_is_as_it_was() -> None:
    """Refused, or cancelled while it waited: stream and head are the sender's."""
    settings = {"max_message": 65536, "mailbox_size": 65536}
    async with actorcluster.open_primary(settings=settings) as primary:
        worker = await primary.fork(gives_back)
        message_body = await worker.ask("body", connection(), head=b"EARLY ")
        stream = message_body["it"].into_stream()
        assert b"EA" == await stream.receive_some(2)
        for error, options in (
            (actorcluster.MessageTooLarge, {"head": bytes(65536)}),
            (TypeError, {"head": "text"}),
            (TypeError, {"head": 5}),
        ):
            for act in (worker.send, worker.ask):
                with pytest.raises(error):
                    await act(None, stream, **options)
            with pytest.raises(error):
                worker.send_nowait(None, stream, **options)
        with pytest.raises(TypeError, match="goes with handle="):
            await worker.send(None, head=b"x")
        idle = await primary.fork(actors.idle)
        await fill(idle)
        for act in (idle.send, idle.ask):
            with trio.move_on_after(0.01) as scope:
                await act(bytes(10_000), stream, head=b"x")
            assert scope.cancelled_caught
        with pytest.raises(trio.WouldBlock):
            idle.send_nowait(bytes(10_000), stream)
        # Who reads from it while it waits breaks only that send.
        async with trio.open_nursery() as nursery:

            async def sends() -> None:
                with pytest.raises(trio.BusyResourceError):
                    await worker.send(bytes(60_000), stream)

            worker.kill("SIGSTOP")
            await fill(worker)
            nursery.start_soon(sends)
            await trio.testing.wait_all_tasks_blocked()
            assert b"R" == await stream.receive_some(1)
            worker.kill("SIGCONT")
        assert b"LY LATE" == b"".join([piece async for piece in stream])
        await stream.aclose()


def anonymous(protocol: int) -> ssl.SSLContext:
    """TLS that needs no certificate."""
    context = ssl.SSLContext(protocol)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("AECDH:ADH:@SECLEVEL=0")
    return context


async def test_tls_stays() -> None:
    """Refused wherever it is given; and the connection is as good as before."""
    ours, theirs = (trio.SocketStream(trio.socket.from_stdlib_socket(end)) for end in tcp_pair())
    server = trio.SSLStream(ours, anonymous(ssl.PROTOCOL_TLS_SERVER), server_side=True)
    client = trio.SSLStream(theirs, anonymous(ssl.PROTOCOL_TLS_CLIENT))
    (plain,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    listener = trio.SSLListener(plain, anonymous(ssl.PROTOCOL_TLS_SERVER))
    async with server, client, listener, actorcluster.open_primary() as primary:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.do_handshake)
            nursery.start_soon(client.do_handshake)
        worker = await primary.fork(actors.echo)
        for forgotten in (ours, ours.socket, plain, io.TextIOWrapper(io.BytesIO())):
            name = type(forgotten).__name__
            with pytest.raises(TypeError, match=rf"body\['it'\]: {name} .* Handle.of\(\) of it"):
                await worker.send({"it": forgotten})
        things: list[tuple[Any, str]] = [(server, "SSLStream"), (listener, "SSLListener")]
        for thing, name in things:
            says = f"{name} cannot be sent: .* TLS .* before the handshake"
            for target in (worker, primary.ref(worker.name)):
                for act in (target.send, target.ask):
                    with pytest.raises(TypeError, match=says):
                        await act(None, thing)
                    with pytest.raises(TypeError, match=says):
                        await act(None, thing, head=b"x", keep_open=True)
                    with pytest.raises(TypeError, match=rf"body\['it'\]\[1\]: {says}"):
                        await act({"it": [0, thing]})
                with pytest.raises(TypeError, match=says):
                    target.send_nowait(None, thing)
            with pytest.raises(TypeError, match=says):
                Handle.of(thing)
        await client.send_all(b"hello")
        assert b"hello" == await server.receive_some()
        assert 5 == await worker.ask(5)
