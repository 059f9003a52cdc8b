"""Clients of a server whose workers it kills; the same for every server.

Each client asks again and again who is there. Once both workers have been seen, one of them is
killed with SIGKILL, and the time is taken until somebody new has answered. A client that gets
nothing, not even the end of its connection, for so many seconds hangs.
"""

from __future__ import annotations

import os
import signal

import trio

from benchmarks.programs.common import Arguments, arguments, now, say, spread

CLIENTS = 4
WORKERS = 2
PATIENCE = 2.0  # seconds
PAUSE = 0.05  # seconds from a replacement's first answer to the next kill


class Clients:
    """What the clients have seen.

    Attributes:
        answered, failed, hung: how many requests ended in which way.
        alive: process ids that have answered and were not killed.
    """

    def __init__(self, port: int) -> None:
        self.answered = self.failed = self.hung = 0
        self.alive: set[int] = set()
        self._killed: set[int] = set()
        self._port = port
        self._somebody_new = trio.Event()

    async def ask_until_over(self, over: trio.Event) -> None:
        """Ask again and again."""
        while not over.is_set():
            try:
                with trio.fail_after(PATIENCE):
                    pid = await self._ask()
            except trio.TooSlowError:
                self.hung += 1
            except (OSError, trio.BrokenResourceError):
                self.failed += 1
            else:
                self.answered += 1
                self._saw(pid)

    async def _ask(self) -> int:
        async with await trio.open_tcp_stream("127.0.0.1", self._port) as stream:
            await stream.send_all(b"who is there?\n")
            answer = b"".join([bytes(part) async for part in stream])
        if not answer:
            raise trio.BrokenResourceError("closed without an answer")
        return int(answer)

    def _saw(self, pid: int) -> None:
        if pid not in self.alive and pid not in self._killed:
            self.alive.add(pid)
            self._somebody_new.set()
            self._somebody_new = trio.Event()

    async def wait_for_all(self) -> None:
        """Wait until every worker has answered."""
        while len(self.alive) < WORKERS:
            await self._somebody_new.wait()

    async def kill_one(self) -> float:
        """Kill a worker; returns the seconds until a new one answered."""
        pid = self.alive.pop()
        self._killed.add(pid)
        started = now()
        os.kill(pid, signal.SIGKILL)
        await self._somebody_new.wait()
        return now() - started


async def main(given: Arguments) -> None:
    clients = Clients(given.whole("port", 0))
    over = trio.Event()
    times: list[float] = []
    async with trio.open_nursery() as nursery:
        for _ in range(CLIENTS):
            nursery.start_soon(clients.ask_until_over, over)
        for seconds in given.phases():
            times = []
            until = now() + seconds
            while now() < until or not times:
                await clients.wait_for_all()
                await trio.sleep(PAUSE)
                times.append(await clients.kill_one())
        over.set()
    say(
        sent=len(times),
        received=len(times),
        seconds=sum(times),
        answered=clients.answered,
        failed=clients.failed,
        hung=clients.hung,
        **spread(times),
    )


if __name__ == "__main__":
    trio.run(main, arguments())
