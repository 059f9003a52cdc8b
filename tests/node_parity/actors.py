"""What the workers do: mostly, one thing after the other, as they are told."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

import trio

from actorcluster import Actor, Message
from tests.node_parity.hand import Hand


async def obeys(actor: Actor, *told: list[Any]) -> None:
    """Do what was told, then what each ask says, answered with what came of it.

    What is told is the name of a method of `Hand`, and its arguments. The answer to an ask that
    ended in an OSError is its number.
    """
    async with trio.open_nursery() as nursery:
        hand = Hand(actor, nursery)
        try:
            for name, *arguments in told:
                await getattr(hand, name)(*arguments)
        except trio.ClosedResourceError:
            return  # told to stop before all of it was done
        async for message in actor.mailbox:
            with message:
                name, *arguments = message.body
                hand.handle = message.handle
                try:
                    result = await getattr(hand, name)(*arguments)
                except OSError as exc:
                    result = {"errno": exc.errno}
                if message.is_ask:
                    await message.reply(result)


async def exits(actor: Actor, code: int) -> None:
    """End with this code at once."""
    raise SystemExit(code)


async def exits_when_told(actor: Actor, code: int) -> None:
    """Have the last word about the own code."""
    try:
        actor.ready()
        await trio.sleep_forever()
    finally:
        raise SystemExit(code)


async def idle(actor: Actor) -> None:
    """Do nothing."""
    await trio.sleep_forever()


async def leaves(actor: Actor) -> None:
    """Leave, and say what that did before one goes."""
    with actor.busy():
        await actor.disconnect()
        await actor.send({"draining": actor.draining.is_set()})


async def stays_when_left(actor: Actor) -> None:
    """Close the channel, and stay until somebody ends it."""
    actor._channel.shutdown_write()
    with trio.CancelScope(shield=True):
        await trio.sleep_forever()


async def takes_nothing(actor: Actor) -> None:
    """Listen, and never accept."""
    await actor.listen_tcp(0, host="127.0.0.1")
    await trio.sleep_forever()


async def hears_and_exits(actor: Actor) -> None:
    """Say that one was told to leave, and end in a way of one's own."""
    with actor.busy():
        await actor.listen_tcp(0, host="127.0.0.1")
        await actor.draining.wait()
        await actor.send("told")
        raise SystemExit(42)


async def fails_to_handle(actor: Actor, port: int) -> None:
    """Find that a port is taken, ask to leave, and fail."""
    try:
        await actor.listen_tcp(port, host="127.0.0.1")
    except OSError:
        with actor.busy():
            await actor.disconnect()
            raise RuntimeError("cannot handle it") from None


async def calls(actor: Actor, port: int, busy: bool) -> None:
    """Be connected to somewhere, and read until the other side ends it; tell its last words."""
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    async with stream:
        if not busy:
            await actor.send("connected")
            await trio.sleep_forever()
        with actor.busy():
            await actor.send("connected")
            async for chunk in stream:
                await actor.send(chunk)
            await stream.send_all(b"bye")


async def says_whether_connected(actor: Actor, path: str) -> None:
    """Write down at the end whether there is a primary."""
    try:
        actor.ready()
        await trio.sleep_forever()
    finally:
        with open(path, "w") as file:
            file.write(f"connected: {actor.is_connected()}")


def grandchild() -> list[str]:
    """Give the command of a program that prints whether it is a worker."""
    return [sys.executable, "-c", "import actorcluster; print(actorcluster.is_worker())"]


# ---- mail ---------------------------------------------------------------------------------------


async def reads_when_told(actor: Actor) -> None:
    """Read nothing before SIGUSR1; then tell the first of each message."""
    with trio.open_signal_receiver(signal.SIGUSR1) as signals:
        actor.ready()
        await anext(signals)
    async for message in actor.mailbox:
        with message:
            await actor.send(message.body[0])
            if message.handle is not None:
                message.handle.close()


async def always_fails(actor: Actor) -> None:
    """Fail for every number; say which there were."""
    seen: list[int] = []

    async def handler(message: Message) -> Any:
        match message.body:
            case int():
                seen.append(message.body)
                raise ValueError(f"no {message.body}")
            case {"give back": value}:
                return value
        return seen

    await actor.serve_messages(handler)


async def tells_arguments(actor: Actor, *arguments: Any) -> None:
    """Send what one was started with, and the first message, and end."""
    with await actor.mailbox.receive() as message:
        await actor.send([list(arguments), message.body])


async def says_and_returns(actor: Actor, text: str) -> None:
    """Send it and end."""
    await actor.send(text)


async def repeats_and_returns(actor: Actor) -> None:
    """Send back what comes first, and end."""
    await actor.send((await actor.mailbox.receive()).body)


async def waits_for_its_end(actor: Actor) -> None:
    """Repeat messages, and print a farewell."""
    async for message in actor.mailbox:
        with message:
            await actor.send(message.body)
    print("bye", flush=True)


async def reads_after_leaving(actor: Actor) -> None:
    """Leave, with something to do, and then look for mail."""
    with actor.busy():
        await actor.disconnect()
        try:
            await actor.mailbox.receive()
        except trio.EndOfChannel as exc:
            await actor.send(type(exc).__name__)


async def nothing(actor: Actor) -> None:
    """End."""


async def repeats_input(actor: Actor) -> None:
    """Print the lines that come in."""
    for line in sys.stdin:
        print(line, end="", flush=True)


async def relays(actor: Actor, number: int | None, text: str) -> None:
    """Print something, and send what comes at a descriptor, or as a message; then end."""
    os.write(1, b"to stdout")
    data = text.encode()
    while data:
        data = data[os.write(2, data) :]
    if number is None:
        with await actor.mailbox.receive() as message:
            await actor.send(message.body)
    else:
        with trio.socket.socket(fileno=number) as sock:
            await actor.send(await sock.recv(100))


async def counts_mail(actor: Actor) -> None:
    """Read until there is no more, and say how much there was."""
    count = 0
    async for _ in actor.mailbox:
        count += 1
    await actor.send(count)


# ---- handles ------------------------------------------------------------------------------------


async def listens_on_given(actor: Actor) -> None:
    """Serve a listener that is given; every ask begins or ends a pause."""
    with await actor.mailbox.receive() as message:
        assert message.handle is not None
        about = {"body": message.body, "kind": message.handle.kind}
        address: Any = message.handle.address
        await actor.send({**about, "address": [*address]})
        listener = message.handle.into_listener()

    async with listener, trio.open_nursery() as nursery:
        scope = trio.CancelScope()

        async def serve() -> None:
            with scope:
                while True:
                    async with await listener.accept() as stream:
                        await stream.send_all(b"worker")

        nursery.start_soon(serve)
        async for message in actor.mailbox:
            with message:
                scope.cancel()
                if message.body == "go on":
                    scope = trio.CancelScope()
                    nursery.start_soon(serve)
                await message.reply(None)
        nursery.cancel_scope.cancel()


# ---- ports --------------------------------------------------------------------------------------


async def listens_and_closes(actor: Actor) -> None:
    """Listen, close that, and end."""
    (listener,) = await actor.listen_tcp(0, host="127.0.0.1")
    await listener.aclose()


async def only_serves(actor: Actor) -> None:
    """Serve, and do nothing else."""

    async def tell(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.send_all(f"{actor.id}\n".encode())

    await trio.serve_listeners(tell, await actor.listen_tcp(0, host="127.0.0.1"))


async def answers_http(actor: Actor, path: str) -> None:
    """Tell each client by what name it is known here."""

    async def answer(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.receive_some()
            body = f"peer: {stream.socket.getpeername()}"
            await stream.send_all(f"HTTP/1.0 200 OK\r\nContent-Type: text\r\n\r\n{body}".encode())

    await trio.serve_listeners(answer, [await actor.listen_unix(path)])


async def receives(actor: Actor, count: int, port: int = 0) -> None:
    """Tell the port, and then of so many datagrams."""
    sock = await actor.bind_udp(port, host="127.0.0.1")
    with sock:
        await actor.send(sock.getsockname()[1])
        await _tell_received(actor, sock, count)


async def receives_on_given(actor: Actor, count: int) -> None:
    """The same with a socket that is given."""
    with await actor.mailbox.receive() as message:
        assert message.handle is not None
        sock = message.handle.into_socket()
    with sock:
        await actor.send("have it")
        await _tell_received(actor, sock, count)


async def _tell_received(actor: Actor, sock: trio.socket.SocketType, count: int) -> None:
    for _ in range(count):
        await sock.recv(100)
        await actor.send("received")


async def closes_at_once(actor: Actor, port: int) -> None:
    """Tell each client the own number, and close."""

    async def tell(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.send_all(f"{actor.id}\n".encode())

    await trio.serve_listeners(tell, await actor.listen_tcp(port, host="127.0.0.1"))
