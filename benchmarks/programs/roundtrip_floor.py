"""Questions and answers at the least that our way to ask and answer asks of Python and Trio.

One after another: the task that asks sends, and waits itself until the socket has the answer. Many:
what all tasks ask in one pass of the scheduler is sent at once, and one task reads for all. Nothing
else is left of what a library would do, see ``floorpipe.py``.
"""

from __future__ import annotations

import os
import signal
import socket
from typing import Any, Final

import msgpack
import trio
from trio.lowlevel import checkpoint_if_cancelled, current_task, wait_readable

from benchmarks.programs.common import Arguments, arguments, now, say, spread
from benchmarks.programs.triopipe import start

_READ_SIZE: Final = 256 * 1024


class Wire:
    """One end: what is packed until it is written, what is read until it is unpacked."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._packer = msgpack.Packer(autoreset=False)
        self.pack = self._packer.pack
        self.unpacker = msgpack.Unpacker(max_buffer_size=0)

    def flush(self) -> None:
        """Write what was packed; it is never more than the socket takes."""
        with self._packer.getbuffer() as packed:
            if packed:
                self._end.sendall(packed)
        self._packer.reset()

    async def read(self) -> None:
        """Wait for something to unpack."""
        await wait_readable(self._end)
        self.unpacker.feed(self._end.recv(_READ_SIZE))


async def echo(end: socket.socket) -> None:
    """Answer every message with what it carries."""
    wire = Wire(end)
    while True:
        await wire.read()
        for body in wire.unpacker:
            await checkpoint_if_cancelled()
            wire.pack(body)
        wire.flush()


class Asker:
    """Asks for so many seconds; counts, and looks at every answer."""

    def __init__(self, wire: Wire, data: str | bytes, *, is_alone: bool) -> None:
        self.sent = self.checksum = 0
        self.times: list[float] = []
        self._wire = wire
        self._data = data
        self._ask = self._ask_alone if is_alone else self._ask_among_others
        self._waiting: dict[int, trio.lowlevel.Task] = {}
        self._answers: dict[int, Any] = {}

    async def _ask_alone(self, body: dict[str, Any]) -> Any:
        await checkpoint_if_cancelled()
        self._wire.pack(body)
        self._wire.flush()
        await self._wire.read()
        return self._wire.unpacker.unpack()

    async def _ask_among_others(self, body: dict[str, Any]) -> Any:
        await checkpoint_if_cancelled()
        self._wire.pack(body)
        self._waiting[body["n"]] = current_task()
        await trio.lowlevel.wait_task_rescheduled(_never)
        return self._answers.pop(body["n"])

    async def read(self) -> None:
        """Send what was asked, give each answer to who waits for it, and again."""
        wire, waiting = self._wire, self._waiting
        while True:
            await trio.lowlevel.checkpoint()  # who has got an answer may ask again
            if waiting:
                wire.flush()
                await wire.read()
                for answer in wire.unpacker:
                    self._answers[answer["n"]] = answer
                    trio.lowlevel.reschedule(waiting.pop(answer["n"]))

    async def ask_until(self, until: float) -> None:
        """Ask one question after another."""
        while (asked := now()) < until:
            number = self.sent
            self.sent += 1
            answer = await self._ask({"n": number, "data": self._data})
            self.times.append(now() - asked)
            assert number == answer["n"]
            self.checksum += answer["n"] + len(answer["data"])


def _never(_: Any) -> trio.lowlevel.Abort:
    return trio.lowlevel.Abort.FAILED


async def measure(end: socket.socket, given: Arguments) -> None:
    """Be the primary."""
    wire, many = Wire(end), given.whole("in_flight", 1)
    for seconds in given.phases():
        asker = Asker(wire, given.data(), is_alone=many == 1)
        async with trio.open_nursery() as reading:
            if many > 1:
                reading.start_soon(asker.read)
            started = now()
            async with trio.open_nursery() as nursery:
                for _ in range(many):
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
