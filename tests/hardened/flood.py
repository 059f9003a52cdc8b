"""A sender that is faster than its receiver: ``python -m tests.hardened.flood [SECONDS]``.

The primary sends as fast as it may; the worker takes a message every millisecond. Whoever has
nothing but a mailbox of 4 MiB to fill must wait, and nothing piles up anywhere. Prints once in a
while what both processes have in memory and what `Worker.statistics` says; the exit code is 1
when either has grown by more than 16 MiB since its first second.
"""

from __future__ import annotations

import sys
from typing import Any, Final

import attrs
import trio
import trio.testing

import actorcluster
from actorcluster import Actor, Worker
from tests.hardened.memory import MIB, resident

__all__ = ["Sample", "flood"]

_BODY: Final = b"x" * 4096
_TASKS: Final = 4
_SLOW_SECONDS: Final = 0.001
_MOST_GROWTH: Final = 16 * MIB


@attrs.frozen
class Sample:
    """One look.

    Attributes:
        sender: bytes in memory.
        receiver: bytes in memory.
        sent: messages so far.
        senders_waiting: as `ChannelStatistics` has it.
        room: likewise.
    """

    sender: int
    receiver: int
    sent: int
    senders_waiting: int
    room: int

    def __str__(self) -> str:
        return (
            f"sender={self.sender / MIB:.1f}MiB receiver={self.receiver / MIB:.1f}MiB "
            f"sent={self.sent} senders_waiting={self.senders_waiting} room={self.room}"
        )


async def slow(actor: Actor, pause: float) -> None:
    """Take one message after the other, slowly."""
    async for _ in actor.mailbox:
        await trio.sleep(pause)


async def flood(seconds: float, looks: int, pause: float = _SLOW_SECONDS) -> list[Sample]:
    """Do it for so long, looking so often."""
    sent = 0
    samples = []
    async with actorcluster.open_primary() as primary:
        worker = await primary.fork(slow, pause)

        async def send() -> None:
            nonlocal sent
            while True:
                await worker.send(_BODY)
                sent += 1

        async with trio.open_nursery() as nursery:
            for _ in range(_TASKS):
                nursery.start_soon(send)
            for _ in range(looks):
                await trio.sleep(seconds / looks)
                await trio.testing.wait_all_tasks_blocked()  # whoever was let in waits again
                samples.append(_look(worker, sent))
            nursery.cancel_scope.cancel()
        worker.kill("SIGKILL")  # it would take what is there before it leaves
    return samples


def _look(worker: Worker, sent: int) -> Sample:
    channel: Any = worker.statistics().channel
    return Sample(resident(), resident(worker.pid), sent, channel.senders_waiting, channel.room)


def growth(samples: list[Sample]) -> int:
    """By how much the one that grew most has grown."""
    return max(
        max(sample.sender for sample in samples) - samples[0].sender,
        max(sample.receiver for sample in samples) - samples[0].receiver,
    )


def main(seconds: float = 30) -> int:
    samples = trio.run(flood, seconds, max(2, round(seconds)))
    for sample in samples[:: max(1, len(samples) // 15)]:
        print(sample)
    print(f"growth={growth(samples) / MIB:.1f}MiB")
    return int(growth(samples) > _MOST_GROWTH)


if __name__ == "__main__":
    sys.exit(main(*map(float, sys.argv[1:])))
