"""Main functions of workers that get handles: look, use, give back, hold."""

from __future__ import annotations

import itertools
import os
import warnings
from typing import Any

import trio
import trio.testing

from actorcluster import Actor, Handle, HandleError, Message
from tests.descriptors import memfd, no_free_descriptor


def seen(handle: Handle) -> dict[str, Any]:
    """What can be said about a handle that others can check."""
    status = os.fstat(handle.fileno())
    return {"kind": handle.kind, "id": [status.st_dev, status.st_ino], "size": status.st_size}


def handles_in(body: Any) -> list[Handle]:
    """All handles in a body, in reading order."""
    if isinstance(body, Handle):
        return [body]
    nests = body.values() if isinstance(body, dict) else body if isinstance(body, list) else ()
    return list(itertools.chain.from_iterable(map(handles_in, nests)))


def all_handles(message: Message) -> list[Handle]:
    beside = [] if message.handle is None else [message.handle]
    return [*beside, *handles_in(message.body)]


async def look(actor: Actor) -> None:
    """Say what arrived, and close it."""
    async for message in actor.mailbox:
        with message:
            described = []
            for handle in all_handles(message):
                described.append(seen(handle))
                handle.close()
            if message.is_ask:
                await message.reply(described)
            else:
                await actor.send(described)


async def use(actor: Actor) -> None:
    """Use what was given beside the body as what it is: tell "used" to whoever is at its end."""
    async for message in actor.mailbox:
        with message:
            assert message.handle is not None
            match message.handle.kind:
                case "tcp_stream" | "unix_stream":
                    async with message.handle.into_stream() as stream:
                        await stream.send_all(b"used")
                case "tcp_listener" | "unix_listener":
                    async with message.handle.into_listener() as listener:
                        async with await listener.accept() as stream:
                            await stream.send_all(b"used")
                case "udp_socket":
                    with message.handle.into_socket() as sock:
                        await sock.sendto(b"used", tuple(message.body))
                case "pipe" if message.body == "write":
                    async with message.handle.into_stream() as stream:
                        await stream.send_all(b"used")
                case _:
                    with message.handle.into_file() as file:
                        await actor.send(file.read())


async def give_back(actor: Actor) -> None:
    """Answer with what was asked, handles and all; plain messages come back as such."""
    async for message in actor.mailbox:
        with message:
            if message.is_ask:
                await message.reply(message.body, message.handle)
            else:
                await actor.send(message.body, message.handle)


async def originate(actor: Actor) -> None:
    """Send what the primary never had: in a send, in an ask, and in the answer to an ask."""
    await actor.send({"in": "body", "handle": Handle.of(memfd(1))})
    await actor.send("beside", memfd(2))
    assert "thanks" == await actor.ask(["ask", Handle.of(memfd(3))], memfd(4))
    message = await actor.mailbox.receive()
    with message:
        await message.reply([Handle.of(memfd(5))])
    message = await actor.mailbox.receive()
    with message:
        await message.reply(None, memfd(6))


async def forget(actor: Actor) -> None:
    """Leave a message's block with its handles unclaimed."""
    message = await actor.mailbox.receive()
    handles = all_handles(message)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with message:
            claimed = handles.pop().detach()
    os.close(claimed)
    texts = [f"{warning.category.__name__}: {warning.message}" for warning in caught]
    await actor.send([*texts, [handle.closed for handle in handles]])


async def hold(actor: Actor) -> None:
    """Receive, and keep what arrives."""
    kept = []
    async for message in actor.mailbox:
        kept.append(message)
        if message.body == "last":
            await actor.send(len(kept))


async def serve(actor: Actor) -> None:
    """Serve connections that were accepted elsewhere."""

    async def echo(handle: Handle) -> None:
        async with handle.into_stream() as stream:
            async for data in stream:
                await stream.send_all(data.upper())

    async with trio.open_nursery() as nursery:
        async for message in actor.mailbox:
            assert message.handle is not None
            nursery.start_soon(echo, message.handle)


async def without_descriptors(actor: Actor) -> None:
    """Receive in vain, as long as this process gets no descriptors; then in earnest."""
    message = await actor.mailbox.receive()
    before = len(os.listdir("/proc/self/fd"))
    with no_free_descriptor(but=2):
        message.fail(ValueError("ready"))
        message = await actor.mailbox.receive()  # what had handles never came
        await message.reply(message.body)
    await actor.send(len(os.listdir("/proc/self/fd")) - before)
    await look(actor)


async def ask_with_handle(actor: Actor) -> None:
    """Ask the primary, handing over what it cannot take."""
    message = await actor.mailbox.receive()
    try:
        await actor.ask("take these", memfd(1))
    except HandleError as exc:
        await message.reply(str(exc))
    await actor.send("lost", memfd(2))
    await actor.send("behind it")
    await actor.mailbox.receive()
    await actor.send("and on", memfd(3))


async def to_other(actor: Actor, name: str) -> None:
    """Hand something over to another worker."""
    answer = await actor.ref(name).ask(["x", Handle.of(memfd(7))], memfd(8))
    await actor.send(answer)
