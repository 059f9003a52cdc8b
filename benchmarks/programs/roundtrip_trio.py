"""Questions and answers with Trio and msgpack alone: a number goes along and comes back."""

from __future__ import annotations

import os
import signal
import socket
from typing import Any

import trio

from benchmarks.programs.common import Arguments, arguments, now, say, spread
from benchmarks.programs.triopipe import TrioPipe, start


async def echo(end: socket.socket) -> None:
    """Answer every message with what it carries."""
    pipe = TrioPipe(end)
    async for body in pipe.messages():
        await pipe.send(body)


class Asker:
    """Asks for so many seconds; counts, and looks at every answer."""

    def __init__(self, pipe: TrioPipe, data: str | bytes) -> None:
        self.sent = self.checksum = 0
        self.times: list[float] = []
        self._pipe = pipe
        self._data = data
        self._sending = trio.Lock()  # one task at a time may send
        self._waiting: dict[int, tuple[trio.Event, list[Any]]] = {}

    async def read(self) -> None:
        """Give each answer to who waits for it."""
        async for body in self._pipe.messages():
            event, answer = self._waiting.pop(body["n"])
            answer.append(body)
            event.set()

    async def ask(self, body: dict[str, Any]) -> Any:
        """Send a question and wait for its answer."""
        answer: list[Any] = []
        event = trio.Event()
        self._waiting[body["n"]] = event, answer
        async with self._sending:
            await self._pipe.send(body)
        await event.wait()
        return answer[0]

    async def ask_until(self, until: float) -> None:
        """Ask one question after another."""
        while (asked := now()) < until:
            number = self.sent
            self.sent += 1
            answer = await self.ask({"n": number, "data": self._data})
            self.times.append(now() - asked)
            assert number == answer["n"]
            self.checksum += answer["n"] + len(answer["data"])


async def measure(end: socket.socket, given: Arguments) -> None:
    """Be the primary."""
    pipe = TrioPipe(end)
    for seconds in given.phases():
        asker = Asker(pipe, given.data())
        async with trio.open_nursery() as reading:
            reading.start_soon(asker.read)
            started = now()
            async with trio.open_nursery() as nursery:
                for _ in range(given.whole("in_flight", 1)):
                    nursery.start_soon(asker.ask_until, started + seconds)
            elapsed = now() - started
            reading.cancel_scope.cancel()
    say(
        sent=asker.sent,
        received=len(asker.times),
        checksum=asker.checksum,
        seconds=elapsed,
        **spread(asker.times),
    )


def main(given: Arguments) -> None:
    pid, end = start(echo)
    try:
        trio.run(measure, end, given)
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


if __name__ == "__main__":
    main(arguments())
