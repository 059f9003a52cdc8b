"""The innocent worker's clients: so many requests a second, and what came of them.

Runs in: both

A request is a connection to the innocent worker's port, which serves as Annex A of SPEC.md has it:
it writes its id and a line feed, writes back what it reads, and closes at the end of file.
"""

from __future__ import annotations

import contextlib
from collections import deque
from typing import Final, final

import trio

__all__ = ["INTERVAL", "Clients", "request"]

#: Seconds between two requests.
INTERVAL: Final = 0.1
_LONGEST_ID: Final = 12
_REMEMBERED: Final = 10


async def request(port: int, text: bytes) -> int:
    """Be a client; returns the id of the worker that served.

    Raises:
        ConnectionError: it was not served as it should be.
    """
    try:
        stream = await trio.open_tcp_stream("127.0.0.1", port)
    except OSError as exc:
        raise ConnectionError(f"no connection: {exc!r}") from None
    async with stream:
        try:
            await stream.send_all(text)
            await stream.send_eof()
            answer = b""
            while data := await stream.receive_some():
                answer += data
        except (trio.BrokenResourceError, OSError) as exc:
            raise ConnectionError(f"the connection broke: {exc.__cause__ or exc!r}") from None
    number, _, echo = answer.partition(b"\n")
    if not number.isdigit() or len(number) > _LONGEST_ID or echo != text:
        raise ConnectionError(f"answered {answer[:100]!r} to {text!r}")
    return int(number)


@final
class Clients:
    """Ask the innocent worker all the time.

    Args:
        port: its.
        patience: seconds that an answer may take.

    Attributes:
        served: requests that were answered rightly.
        failed: how many were not.
        failures: what became of the last of those, in words.
        slowest: seconds that the slowest answer took.
    """

    def __init__(self, port: int, patience: float) -> None:
        self.port = port
        self.served = 0
        self.failed = 0
        self.failures: deque[str] = deque(maxlen=_REMEMBERED)
        self.slowest = 0.0
        self.is_paused = False
        self._patience = patience
        self._under_way = 0
        self._news = trio.Event()

    async def run(self) -> None:
        """Ask at the same pace, however long answers take; cancel it."""
        async with trio.open_nursery() as nursery:
            number = 0
            while True:
                if not self.is_paused:
                    number += 1
                    nursery.start_soon(self._ask, b"request %d" % number)
                await trio.sleep(INTERVAL)

    async def _ask(self, text: bytes) -> None:
        begin = trio.current_time()
        self._under_way += 1
        try:
            with trio.fail_after(self._patience):
                await request(self.port, text)
            self.served += 1
        except (ConnectionError, trio.TooSlowError) as exc:
            took = trio.current_time() - begin
            self.failed += 1
            self.failures.append(f"{text.decode()}: {exc!r} after {took:.1f} s")
        finally:
            self._under_way -= 1
            self.slowest = max(self.slowest, trio.current_time() - begin)
            news, self._news = self._news, trio.Event()
            news.set()

    async def pause(self) -> None:
        """Ask no more, until `go_on`; returns when nobody waits for an answer any more."""
        self.is_paused = True
        while self._under_way:
            await self._news.wait()

    def go_on(self) -> None:
        """Ask again."""
        self.is_paused = False

    async def next(self) -> None:
        """Wait until something that is asked from now on has an answer, or none is to come."""
        with contextlib.suppress(trio.TooSlowError), trio.fail_after(2 * self._patience):
            target = self.served + self.failed + self._under_way + 1
            while self.served + self.failed < target and not self.is_paused:
                await self._news.wait()
