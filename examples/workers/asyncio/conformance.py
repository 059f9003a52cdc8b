"""The actor that a conformance kit talks to: SPEC.md, annex A.

python conformance.py      # started by the kit, which plays the primary
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Awaitable, Callable

from awp import (
    Accepted,
    Code,
    Handle,
    Listener,
    ListenerClosed,
    Message,
    RemoteError,
    Worker,
    run,
)


class Unknown(Exception):
    """No such command, or not with that argument."""


class Actor:
    """Takes commands one after the other; only a `sleep` keeps nobody waiting."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._cancelled = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._listeners: list[Listener] = []
        self._commands: dict[str, Callable[[Message, object], Awaitable[object]]] = {
            "echo": self._echo,
            "fail": self._fail,
            "cancel_state": self._cancel_state,
            "tell_back": self._tell_back,
            "log": self._log,
            "crash": self._crash,
            "exit": self._exit,
            "take_handle": self._take_handle,
            "give_handle": self._give_handle,
            "listen": self._listen,
            "unlisten": self._unlisten,
        }

    async def main(self) -> None:
        """Take commands until the worker is to stop."""
        async for message in self._worker:
            body = message.body
            if isinstance(body, list) and body[:1] == ["sleep"]:
                self._start(self._sleep(message, body[1] if len(body) > 1 else None))
            else:
                await self._command(message)
            del message
        self._worker.interrupt_calls(Code.STOPPING)
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _start(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        assert isinstance(task, asyncio.Task)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _command(self, message: Message) -> None:
        async with message:
            try:
                message.reply(await self._do(message))
            except Unknown:
                pass  # the end of the block answers
            except RemoteError as error:
                message.fail(error.code, str(error.error.get("message", "")))

    async def _do(self, message: Message) -> object:
        match message.body:
            case [str(name), *rest] if name in self._commands:
                return await self._commands[name](message, rest[0] if rest else None)
        raise Unknown

    async def _echo(self, message: Message, argument: object) -> object:
        return argument

    async def _fail(self, message: Message, text: object) -> object:
        message.fail(Code.APP, str(text))
        return None

    async def _sleep(self, message: Message, milliseconds: object) -> None:
        async with message:
            if not isinstance(milliseconds, int | float):
                return
            try:
                await asyncio.sleep(milliseconds / 1000)
            finally:
                self._cancelled += message.cancelled
            message.reply(None)

    async def _cancel_state(self, message: Message, argument: object) -> object:
        return self._cancelled

    async def _tell_back(self, message: Message, argument: object) -> object:
        match argument:
            case [int(count), body]:
                for number in range(1, count + 1):
                    await self._worker.tell(None, [number, body])
                return count
        raise Unknown

    async def _log(self, message: Message, argument: object) -> object:
        match argument:
            case [int(level), str(text)] if 0 <= level <= 255:
                self._worker.log(level, text, "conformance")
                return None
        raise Unknown

    async def _crash(self, message: Message, argument: object) -> object:
        signal.signal(signal.SIGABRT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGABRT)
        return None

    async def _exit(self, message: Message, code: object) -> object:
        if not isinstance(code, int):
            raise Unknown
        os._exit(code & 0xFF)

    async def _take_handle(self, message: Message, argument: object) -> object:
        return [[int(one.kind), os.fstat(one.fd).st_ino] for one in message.handles]

    async def _give_handle(self, message: Message, count: object) -> object:
        if not isinstance(count, int):
            raise Unknown
        return [Handle.of(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]

    async def _listen(self, message: Message, request: object) -> object:
        if not isinstance(request, dict):
            raise Unknown
        listener = await self._worker.ask_to_listen(request)
        self._listeners.append(listener)
        self._start(self._serve(listener))
        return listener.address

    async def _serve(self, listener: Listener) -> None:
        """Take connections as they come, whatever becomes of those before."""
        try:
            while True:
                self._start(self._serve_one(await listener.accept()))
        except ListenerClosed:
            pass

    async def _serve_one(self, accepted: Accepted) -> None:
        with accepted:
            try:
                reader, writer = await accepted.open()
                writer.write(b"%d\n" % self._worker.id)
                while data := await reader.read(65536):
                    writer.write(data)
                    await writer.drain()
                writer.close()
                await writer.wait_closed()
            except ConnectionError:
                pass  # clients come and go

    async def _unlisten(self, message: Message, argument: object) -> object:
        listeners, self._listeners = self._listeners, []
        for listener in listeners:
            listener.close()
        return len(listeners)


async def main(worker: Worker) -> None:
    """Be that actor."""
    await Actor(worker).main()


if __name__ == "__main__":
    run(main)
