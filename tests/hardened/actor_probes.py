"""Main functions of workers that cancel what an actor awaits, at every moment, and look at it."""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import tempfile
import warnings
from collections.abc import Awaitable, Callable
from typing import Any

import trio

from actorcluster import SCHED_NONE, Actor, Message
from actorcluster._worker.accepting import ClusterListener
from tests.hardened.gifts import sign
from tests.hardened.moments import Edge, Trial, every_moment

# ---- listening ------------------------------------------------------------------------------


async def listens(actor: Actor) -> None:
    """Cancel each way to listen; whoever gave up listens on nothing.

    An ask to the primary comes after all that was said before; it is told how many ports are used.
    """
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "socket")
        ways: list[Callable[[], Awaitable[Any]]] = [
            lambda: actor.listen_tcp(0, host="127.0.0.1"),
            lambda: actor.listen_tcp(0, host="127.0.0.1", policy=SCHED_NONE),
            lambda: actor.listen_tcp(0, host="127.0.0.1", exclusive=True),
            lambda: actor.listen_tcp(0, host="localhost"),
            lambda: actor.listen_unix(path),
            lambda: actor.listen_fd("given"),
            lambda: actor.bind_udp(0, host="127.0.0.1"),
        ]
        await actor.send([await _cancel_listening(actor, way) for way in ways])


async def _cancel_listening(actor: Actor, way: Callable[[], Awaitable[Any]]) -> int:
    """Cancel one of them at every moment; returns how often that stopped it."""
    cancelled = 0
    for trial in every_moment():
        given = await trial.run(way)
        for one in given if isinstance(given, list) else [given]:
            if isinstance(one, trio.abc.AsyncResource):
                await one.aclose()
            elif one is not None:
                one.close()
        actor._listeners._forget_closed_sockets()  # which nobody tells it
        cancelled += trial.cancelled
        ports = await actor.ask("ports")
        assert 0 == ports, f"{trial}: {ports} ports are listened on"
        assert not actor._listeners._listeners
        assert not actor._listeners._requests
    return cancelled


def connect(listener: ClusterListener) -> socket.socket:
    address = listener.address
    assert isinstance(address, tuple)
    return socket.create_connection(address)


async def number_of(stream: trio.SocketStream) -> int:
    """What the client at its other end sent."""
    async with stream:
        return (await stream.receive_some())[0]


async def accepts(actor: Actor) -> None:
    """Cancel accept(): each connection is accepted, sooner or later, once."""
    for options in ({}, {"policy": SCHED_NONE}, {"exclusive": True}, {"max_connections": 2}):
        (listener,) = await actor.listen_tcp(0, host="127.0.0.1", **options)
        numbers: list[int] = []
        clients = []

        for number, trial in enumerate(itertools.chain(every_moment(), every_moment())):
            clients.append(connect(listener))
            clients[-1].sendall(bytes([number]))
            accepted = await trial.run(listener.accept)
            if not trial.cancelled:
                numbers.append(await number_of(accepted))
        while len(numbers) < len(clients):
            numbers.append(await number_of(await listener.accept()))
        assert list(range(len(clients))) == sorted(numbers), numbers
        for client in clients:
            client.close()
        for trial in every_moment():
            await trial.run(listener.aclose)
            assert listener.is_closed
        assert 0 == await actor.ask("ports")
    await actor.send("done")


# ---- mail -----------------------------------------------------------------------------------


async def receives(actor: Actor) -> None:
    """Cancel receive(): the primary sends the next number for each "go"."""
    received = []
    asked = 0
    for trial in itertools.chain(every_moment(), every_moment()):
        await actor.send("go")
        asked += 1
        message = await trial.run(actor.mailbox.receive)
        if not trial.cancelled:
            received.append(message.body)
    while len(received) < asked:
        received.append((await actor.mailbox.receive()).body)
    assert list(range(asked)) == received
    await actor.send("done")


async def serves(actor: Actor, concurrency: int, most: int) -> None:
    """Cancel serve_messages() again and again while asks with gifts keep coming."""

    async def handler(message: Message) -> Any:
        inside = message.body["inside"][0]
        assert message.handle is not None
        try:
            sign(message.handle, message.body["number"])
            if message.body["number"] % 2:
                await trio.lowlevel.checkpoint()
        except BaseException:
            inside.close()
            raise
        return {"inside": inside}

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for trial in every_moment(most=most):
            await trial.run(actor.serve_messages, handler, concurrency=concurrency)
    await actor.send([str(warning.message) for warning in caught])
    await actor.serve_messages(handler)


async def leaves(actor: Actor, step: int, edge: str) -> None:
    """Cancel disconnect() at one moment; say what came of it."""
    trial = Trial(step, Edge[edge])
    with actor.busy():
        await trial.run(actor.disconnect)
        draining = actor.draining.is_set()
        with contextlib.suppress(trio.Cancelled):
            await actor.send([trial.reached, trial.cancelled, draining])
