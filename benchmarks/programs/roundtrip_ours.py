"""Questions and answers with actorcluster: so many tasks, each of which asks again and again."""

from __future__ import annotations

import trio

import actorcluster
from actorcluster import Actor, Worker
from benchmarks.programs.common import Arguments, arguments, now, say, spread


async def echo(actor: Actor) -> None:
    """Answer every message with what it carries; nothing here needs a block."""
    async for message in actor.mailbox:
        await message.reply(message.body)


class Asker:
    """Asks for so many seconds; counts, and looks at every answer."""

    def __init__(self, worker: Worker, data: str | bytes) -> None:
        self.sent = self.checksum = 0
        self.times: list[float] = []
        self._worker = worker
        self._data = data

    async def run(self, seconds: float, in_flight: int) -> float:
        """Keep so many questions in flight; returns the seconds until the last answer."""
        started = now()
        async with trio.open_nursery() as nursery:
            for _ in range(in_flight):
                nursery.start_soon(self._ask_until, started + seconds)
        return now() - started

    async def _ask_until(self, until: float) -> None:
        while (asked := now()) < until:
            number = self.sent
            self.sent += 1
            answer = await self._worker.ask({"n": number, "data": self._data})
            self.times.append(now() - asked)
            assert number == answer["n"]
            self.checksum += answer["n"] + len(answer["data"])


async def main(given: Arguments) -> None:
    async with actorcluster.open_primary() as primary:
        worker = await primary.fork(echo)
        for seconds in given.phases():
            asker = Asker(worker, given.data())
            elapsed = await asker.run(seconds, given.whole("in_flight", 1))
        worker.kill("SIGKILL")
    say(
        sent=asker.sent,
        received=len(asker.times),
        checksum=asker.checksum,
        seconds=elapsed,
        **spread(asker.times),
    )


if __name__ == "__main__":
    trio.run(main, arguments())
