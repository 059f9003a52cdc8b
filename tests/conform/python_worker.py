"""The conformance actor (annex A of the specification) with the public API, and nothing else.

What the API does in its own way: of the map of `listen` it takes what `Actor.listen_tcp` knows, and
says LISTEN with a ``credit`` of its own; a listener's LISTEN_CLOSE is that of `aclose`.
"""

from __future__ import annotations

import fcntl
import logging
import os
import socket
import stat
import sys
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import trio

import actorcluster
from actorcluster import Actor, Handle, Message, RemoteError

KINDS = {
    "tcp_stream": 1,
    "tcp_listener": 2,
    "udp_socket": 3,
    "unix_stream": 4,
    "unix_listener": 5,
    "file": 10,
    "memfd": 11,
}
UNIX_DGRAM, UNIX_SEQPACKET, PIPE_READ, PIPE_WRITE, TTY, OPAQUE = 6, 7, 8, 9, 12, 127
ANONYMOUS = {"anon_inode:[eventfd]": 13, "anon_inode:[pidfd]": 14}
OPTIONS = {
    "policy": "policy",
    "backlog": "backlog",
    "limit": "max_connections",
    "full": "when_full",
}


class Conformance:
    """What the commands of one worker share."""

    def __init__(self, actor: Actor, nursery: trio.Nursery) -> None:
        self.actor = actor
        self.nursery = nursery
        self.cancelled = 0
        self.listeners: list[tuple[Any, trio.CancelScope]] = []

    async def serve(self) -> None:
        async for message in self.actor.mailbox:
            body = message.body
            is_command = isinstance(body, list) and body and isinstance(body[0], str)
            name = body[0] if is_command else None
            argument = body[1] if is_command and len(body) > 1 else None
            if name == "sleep":
                self.nursery.start_soon(self.sleep, message, argument)
            else:
                await self.obey(message, name, argument)

    async def obey(self, message: Message, name: str | None, argument: Any) -> None:
        command: Callable[[Any], Awaitable[Any]] | None = getattr(self, f"do_{name}", None)
        try:
            with message:
                try:
                    if command is not None:
                        result = await command(argument)
                        if message.is_ask:
                            await message.reply(result)
                finally:
                    close_handles(message.body)
        except Exception as exc:  # noqa: BLE001  (of whatever an argument is)
            # An ask has got its ERROR; a command that comes by TELL fails for nobody.
            logging.getLogger("worker").debug("%s: %s", name, exc)

    async def sleep(self, message: Message, milliseconds: Any) -> None:
        is_over = False
        if not isinstance(milliseconds, int | float):
            await self.obey(message, None, None)
            return
        with message:
            close_handles(message.body)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.end_at_stop, message, nursery.cancel_scope)
                await trio.sleep(milliseconds / 1000)
                if message.is_ask:
                    await message.reply(None)
                nursery.cancel_scope.cancel()
            is_over = True
        if not is_over and trio.current_time() < message.deadline:
            self.cancelled += 1

    async def end_at_stop(self, message: Message, scope: trio.CancelScope) -> None:
        await self.actor.draining.wait()
        if message.is_ask:
            message.fail(RemoteError("told to stop", code="stopping"))
        scope.cancel()

    # ---- the commands ---------------------------------------------------------------------

    async def do_echo(self, argument: Any) -> Any:
        return argument

    async def do_fail(self, text: Any) -> Any:
        raise RuntimeError(text)

    async def do_cancel_state(self, argument: Any) -> int:
        return self.cancelled

    async def do_tell_back(self, argument: Any) -> int:
        count, body = argument
        for number in range(1, count + 1):
            await self.actor.send([number, body])
        return int(count)

    async def do_log(self, argument: Any) -> None:
        level, text = argument
        logging.getLogger("conformance").log(level, "%s", text)

    async def do_crash(self, argument: Any) -> None:
        os.abort()

    async def do_exit(self, code: Any) -> None:
        os._exit(code)

    async def do_take_handle(self, argument: Any) -> list[list[int]]:
        return [
            [wire_kind(handle), os.fstat(handle.fileno()).st_ino] for handle in handles_in(argument)
        ]

    async def do_give_handle(self, count: Any) -> list[Handle]:
        return [Handle.of(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]

    async def do_listen(self, request: Any) -> Any:
        options = {ours: request[theirs] for theirs, ours in OPTIONS.items() if theirs in request}
        if request.get("modes") == ["shared"]:
            options["policy"] = "none"
        if "wait" in request:
            options["wait_timeout"] = request["wait"] / 1000
        (listener,) = await self.actor.listen_tcp(
            request.get("port", 0), host=request.get("host", "0.0.0.0"), **options
        )
        scope = trio.CancelScope()
        self.listeners.append((listener, scope))
        self.nursery.start_soon(self.serve_port, listener, scope)
        return list(listener.address)

    async def do_unlisten(self, argument: Any) -> int:
        count = len(self.listeners)
        for listener, scope in self.listeners:
            scope.cancel()
            await listener.aclose()
        self.listeners.clear()
        return count

    async def serve_port(self, listener: Any, scope: trio.CancelScope) -> None:
        with scope:
            while True:
                stream = await listener.accept()
                self.nursery.start_soon(self.serve_connection, stream)

    async def serve_connection(self, stream: trio.SocketStream) -> None:
        async with stream:
            try:
                await stream.send_all(b"%d\n" % self.actor.id)
                async for data in stream:
                    await stream.send_all(data)
            except trio.BrokenResourceError:
                pass  # the client is gone


def handles_in(value: Any) -> Iterator[Handle]:
    """Give all handles in a body, in their order."""
    if isinstance(value, Handle):
        yield value
    elif isinstance(value, list | dict):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from handles_in(inner)


def close_handles(body: Any) -> None:
    for handle in handles_in(body):
        handle.close()


def wire_kind(handle: Handle) -> int:
    """Give the code of a handle's kind, of which the API has only a word, or "other"."""
    if handle.kind in KINDS:
        return KINDS[handle.kind]
    fd = handle.fileno()
    if handle.kind == "pipe":
        mode = fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE
        return PIPE_READ if mode == os.O_RDONLY else PIPE_WRITE
    if os.isatty(fd):
        return TTY
    if stat.S_ISSOCK(os.fstat(fd).st_mode):
        with socket.socket(fileno=os.dup(fd)) as sock:
            return UNIX_DGRAM if sock.type == socket.SOCK_DGRAM else UNIX_SEQPACKET
    return ANONYMOUS.get(os.readlink(f"/proc/self/fd/{fd}"), OPAQUE)


async def main(actor: Actor) -> None:
    log = logging.getLogger("conformance")
    log.setLevel(logging.DEBUG)
    log.addHandler(actor.log_handler())
    async with trio.open_nursery() as nursery:
        await Conformance(actor, nursery).serve()


if __name__ == "__main__":
    try:
        problem = "" if actorcluster.is_worker() else "ACTORCLUSTER_CHANNEL is not set"
    except RuntimeError as exc:
        problem = str(exc)
    if problem:
        print(f"this is a worker: {problem}", file=sys.stderr)
        sys.exit(2)
    sys.exit(actorcluster.run_worker(main))
