"""Main functions that the end-to-end tests run in workers."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

import trio

from actorcluster import Actor, ActorClusterError, Ref


async def idle(actor: Actor) -> None:
    """Do nothing until told to stop."""
    await trio.sleep_forever()


async def returns(actor: Actor, value: Any = None) -> None:
    """End at once."""


async def echo(actor: Actor) -> None:
    """Answer asks with their body, send plain messages back."""
    async for message in actor.mailbox:
        with message:
            if message.is_ask:
                await message.reply(message.body)
            else:
                await actor.send(message.body)


async def tell_args(actor: Actor, *args: Any) -> None:
    """Send what it was started with."""
    await actor.send(
        {
            "args": list(args),
            "argv": sys.argv,
            "id": actor.id,
            "name": actor.name,
            "incarnation": actor.incarnation,
            "pid": os.getpid(),
            "ppid": os.getppid(),
            "main": getattr(sys.modules["__main__"], "__name__", None),
        }
    )


async def raises(actor: Actor, kind: str = "ValueError") -> None:
    """Fail in one of several ways."""
    if kind == "ValueError":
        raise ValueError("broken on purpose")
    if kind == "group":
        raise ExceptionGroup("two at once", [ValueError("one"), KeyError("two")])
    if kind == "SystemExit":
        raise SystemExit(7)
    if kind == "SystemExit()":
        raise SystemExit
    if kind == "SystemExit(text)":
        raise SystemExit("some text")
    if kind == "SystemExit in a group":
        async with trio.open_nursery():
            raise SystemExit(7)
    if kind == "KeyboardInterrupt":
        raise KeyboardInterrupt
    if kind == "_exit":
        os._exit(9)
    if kind == "signal":
        os.kill(os.getpid(), signal.SIGKILL)


async def stubborn(actor: Actor) -> None:
    """Ignore every request to stop."""
    with trio.CancelScope(shield=True):
        await trio.sleep_forever()


async def deaf(actor: Actor) -> None:
    """Ignore every request to stop, SIGTERM too."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    actor.ready()
    await stubborn(actor)


async def ready_when_asked(actor: Actor) -> None:
    """Call itself ready after the first message."""
    async for message in actor.mailbox:
        with message:
            actor.ready()


async def never_ready(actor: Actor) -> None:
    """Come up, and never call itself ready."""
    await trio.sleep_forever()


async def serve_pid(actor: Actor, port: int = 0, **options: Any) -> None:
    """Serve a port: each client gets the worker's id and pid in a line."""
    listeners = await actor.listen_tcp(port, host="127.0.0.1", **options)

    async def handler(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.send_all(f"{actor.id} {os.getpid()}\n".encode())

    await trio.serve_listeners(handler, listeners)


async def count_args(actor: Actor, plain: Any, nested: list[Any]) -> None:
    """Send the first argument, and how deep the second is nested."""
    depth = 0
    while True:
        depth += 1
        if not nested:
            break
        (nested,) = nested
    await actor.send([plain, depth])


async def cleans_up(actor: Actor) -> None:
    """Say so when it was cancelled."""
    try:
        await trio.sleep_forever()
    finally:
        with trio.CancelScope(shield=True):
            await actor.send("cleaned up")


async def streams(actor: Actor, text: str | None = None) -> None:
    """Say the text, or all that comes in, to both streams."""
    text = sys.stdin.read() if text is None else text
    print(f"out: {text}", end="")
    print(f"err: {text}", end="", file=sys.stderr)


async def environment(actor: Actor) -> None:
    """Send what surrounds this process."""
    await actor.send({"env": dict(os.environ), "argv": sys.argv, "cwd": os.getcwd()})


async def loaded(actor: Actor, *names: str) -> None:
    """Send which modules are here without having been imported here."""
    await actor.send([name for name in names if name in sys.modules])
    await trio.sleep_forever()


# ---- leaving, dying, and mail between workers ---------------------------------------------------


async def leaves(actor: Actor) -> None:
    """Ask to leave, and say what that did."""
    await actor.disconnect()
    await actor.send({"draining": actor.draining.is_set()})
    await trio.sleep_forever()


async def kills_itself(actor: Actor) -> None:
    """End at once, in the middle of something."""
    with actor.busy():
        await actor.send("last words")
        actor.kill()
        await trio.sleep_forever()


async def never_returns(actor: Actor) -> None:
    """Say that it is up, and never look at anything again."""
    await actor.send("here")
    await actor.ask("may I?")
    while True:
        pass


async def dies_after(actor: Actor, count: int) -> None:
    """Send numbers, and die in the same breath."""
    for number in range(count):
        await actor.send(number)
    os.kill(os.getpid(), signal.SIGKILL)


async def ignores(actor: Actor) -> None:
    """Keep every message, and answer nothing."""
    kept = [message async for message in actor.mailbox]
    await actor.send(len(kept))


async def names_itself(actor: Actor) -> None:
    """Answer with the own name and the sender's; "fail" fails, "wait" waits."""
    async for message in actor.mailbox:
        with message:
            if message.body == "fail":
                message.fail(FileNotFoundError(2, "not here"))
            elif message.body == "wait":
                await actor.send("waiting")
                await trio.sleep_forever()
            elif message.is_ask:
                await message.reply([actor.name, message.sender.name, message.body])
            else:
                await message.sender.send([actor.name, message.body])


async def asks(actor: Actor, name: str, *bodies: Any) -> None:
    """Ask another worker, and tell the primary what came of it."""
    target = actor.ref(name)
    for body in bodies:
        try:
            await actor.send({"answer": await target.ask(body)})
        except ActorClusterError as exc:
            await actor.send({"error": type(exc).__name__, "path": list(getattr(exc, "path", ()))})
    async for message in actor.mailbox:
        await actor.send({"mail": message.body, "from": message.sender})


async def floods(actor: Actor, name: str, count: int) -> None:
    """Send numbers to another worker as fast as there is room."""
    target = actor.ref(name)
    for number in range(count):
        await target.send([actor.id, number])


async def collects(actor: Actor, count: int) -> None:
    """Read so many messages, and send their bodies to the primary."""
    bodies = []
    async for message in actor.mailbox:
        bodies.append(message.body)
        if len(bodies) == count:
            break
    await actor.send(bodies)


async def closes_its_channel(actor: Actor) -> None:
    """Shut down what should be left to the runtime, and live on."""
    actor._channel.shutdown_write()
    await stubborn(actor)


async def sends_as_told(actor: Actor) -> None:
    """Send a greeting to whom each ask names, and answer with what came of it."""
    async for message in actor.mailbox:
        with message:
            try:
                await actor.ref(message.body).send("hello")
            except ActorClusterError as exc:
                await message.reply(type(exc).__name__)
            else:
                await message.reply("sent")


async def asks_its_friends(actor: Actor, *friends: Ref) -> None:
    """Tell the primary what those it was given answer."""
    await actor.send([await friend.ask(friend.name) for friend in friends])
