"""Large messages both ways, with asks and pings beside them: ``python -m tests.hardened.large``.

Both sides send messages of 16, 8 and 3 MiB, all mixed; both ask each other small things all the
time; both measure by the protocol's PING how long the channel keeps somebody waiting who must not
wait (credit, cancellation, answers to PING go ahead of what is large). Asks are mail, whose order
a receiver can see, so they wait for what was sent before them.

Prints, for each side, the largest and other pings in ms, and how many asks were answered. The exit
code is 1 if a ping took 20 ms or more.
"""

from __future__ import annotations

import random
import sys
import time
from collections import deque
from collections.abc import Mapping
from typing import Any, Final, final

import attrs
import trio

import actorcluster
from actorcluster import Actor
from actorcluster._link.channel import Channel
from actorcluster._worker.mailbox import Mailbox
from actorcluster.wire.events import Pong
from tests.hardened.memory import MIB

__all__ = ["FULL", "Pings", "Plan", "Report", "exchange", "worker_side"]

BOUND_MS: Final = 20
_PAUSE_SECONDS: Final = 0.002
_MARK_SIZE: Final = 8
_HEAD_SIZE: Final = 5

#: Encoded size of a message -> how many there are.
Plan = Mapping[int, int]
FULL: Final[Plan] = {16 * MIB: 1, 8 * MIB: 4, 3 * MIB: 64}


@final
class Pings:
    """Sends PINGs and measures until their PONGs come, one at a time.

    Attributes:
        seconds: how long each took.
        overtook: how many came back while what had been queued before them was still here.
    """

    def __init__(self, channel: Channel) -> None:
        self.seconds: list[float] = []
        self.overtook = 0
        self._channel = channel
        self._came = trio.Event()
        channel._acts[Pong] = self._on_pong

    def _on_pong(self, _: Pong) -> None:
        self.overtook += self._channel.connection.has_unsent()
        self._came.set()

    async def once(self) -> None:
        """Send one and wait for its answer."""
        self._came = trio.Event()
        begin = time.perf_counter()
        self._channel.connection.send_ping()
        self._channel.flush()
        await self._came.wait()
        self.seconds.append(time.perf_counter() - begin)

    async def go_on(self) -> None:
        """Send them until cancelled."""
        while True:
            await self.once()
            await trio.sleep(_PAUSE_SECONDS)


@attrs.frozen
class Report:
    """What one side saw.

    Attributes:
        numbers: of the large messages, as they came.
        asks: of ours that were answered.
        pings: seconds, sorted.
        overtook: see `Pings`.
    """

    numbers: list[int]
    asks: int
    pings: list[float]
    overtook: int

    def __str__(self) -> str:
        pings = [1000 * seconds for seconds in self.pings]
        middle, high = pings[len(pings) // 2], pings[len(pings) * 99 // 100]
        return (
            f"messages={len(self.numbers)} asks={self.asks} pings={len(pings)} "
            f"median={middle:.2f}ms p99={high:.2f}ms max={pings[-1]:.2f}ms"
        )


def sizes_of(plan: Plan) -> list[int]:
    """The sizes in the order in which they are sent: the same on both sides."""
    sizes = [size for size, count in plan.items() for _ in range(count)]
    random.Random(16).shuffle(sizes)
    return sizes


def mark(number: int) -> bytes:
    return number.to_bytes(_MARK_SIZE, "big")


async def exchange(side: Any, mailbox: Mailbox, channel: Channel, plan: Plan) -> Report:
    """Send all, receive all, ask and be asked meanwhile.

    Args:
        side: has ``send`` and ``ask``.
        mailbox: what comes from the other side.
        channel: to it.
        plan: what both sides send.
    """
    sizes = sizes_of(plan)
    fillings = {size: bytes(size - _MARK_SIZE - _HEAD_SIZE) for size in plan}
    # Made before anything is measured, for that takes as long as to send them.
    bodies = deque(mark(number) + fillings[size] for number, size in enumerate(sizes))
    await side.send("ready")
    with await mailbox.receive() as message:
        assert "ready" == message.body
    numbers: list[int] = []
    asks = 0
    pings = Pings(channel)

    async def send() -> None:
        while bodies:
            await side.send(bodies.popleft())

    async def ask() -> None:
        nonlocal asks
        while True:
            assert asks == await side.ask(asks)
            asks += 1
            await trio.sleep(_PAUSE_SECONDS)

    async def receive() -> None:
        is_done = False  # the other side; so that neither stops answering too early
        while len(numbers) < len(sizes) or not is_done:
            with await mailbox.receive() as message:
                if message.is_ask:
                    await message.reply(message.body)
                    continue
                if message.body == "all here":
                    is_done = True
                    continue
                number = int.from_bytes(message.body[:_MARK_SIZE], "big")
                assert len(message.body) == sizes[number] - _HEAD_SIZE
                await trio.lowlevel.checkpoint()
                assert message.body.endswith(fillings[sizes[number]])
                numbers.append(number)
                if len(numbers) == len(sizes):
                    await side.send("all here")

    async with trio.open_nursery() as nursery:
        for act in (ask, pings.go_on):
            nursery.start_soon(act)
        async with trio.open_nursery() as both:
            both.start_soon(send)
            both.start_soon(receive)
        nursery.cancel_scope.cancel()
    return Report(numbers, asks, sorted(pings.seconds), pings.overtook)


async def worker_side(actor: Actor, plan: list[tuple[int, int]]) -> None:
    """Take part, and report; the other side may not have finished yet."""
    report = await exchange(actor, actor.mailbox, actor._channel, dict(plan))
    await actor.send(attrs.asdict(report))
    async for message in actor.mailbox:
        with message:
            await message.reply(message.body)


async def run(plan: Plan) -> tuple[Report, Report]:
    """Do it; returns what the primary and the worker saw."""
    async with actorcluster.open_primary() as primary:
        worker = await primary.fork(worker_side, [list(item) for item in plan.items()])
        channel = worker._life.channel
        assert channel is not None
        ours = await exchange(worker, worker.mailbox, channel, plan)
        while (message := await worker.mailbox.receive()).is_ask:
            await message.reply(message.body)  # it has not finished yet
    return ours, Report(**message.body)


def main() -> int:
    begin = time.perf_counter()
    reports = trio.run(run, FULL)
    seconds = time.perf_counter() - begin
    for name, report in zip(("primary", "worker"), reports, strict=True):
        assert sorted(report.numbers) == report.numbers
        print(f"{name}: {report}")
    size = 2 * sum(size * count for size, count in FULL.items())
    print(f"{size // MIB} MiB in {seconds:.2f} s")
    return int(max(report.pings[-1] for report in reports) >= BOUND_MS / 1000)


if __name__ == "__main__":
    sys.exit(main())
