"""What 10,000 small messages cost, counted and not timed, between two real processes.

Each system call that writes or reads the channel counts, for whatever purpose, at both ends; so
does each pass of the scheduler, whatever else it was good for. How fast either side is, and how
busy the machine, must not matter much: who is preempted has a scheduling point a millisecond after
the last one, which is one pass more, and a receiver that is faster than its sender wakes up for
every bit that is written.
"""

from __future__ import annotations

import sys
from typing import Any

import attrs
import pytest
import trio

import actorcluster
from actorcluster import Actor
from actorcluster._link.channel import Channel
from actorcluster._worker.mailbox import Mailbox, MergedMailbox
from tests.link.pair import Passes

COUNT = 10_000
LIMIT = 400

Costs = dict[str, int]


@attrs.define
class Meter:
    """Counts from its construction on.

    Coverage does not measure meanwhile: it makes messages so slow that, by the clock, a scheduling
    point is due long before there were 64 of them.
    """

    channel: Channel
    passes: Passes = attrs.Factory(Passes)
    start: Costs = attrs.field(init=False)
    tracer: Any = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.start = self.read()
        trio.lowlevel.add_instrument(self.passes)
        self.tracer = sys.gettrace()
        sys.settrace(None)

    def read(self) -> Costs:
        statistics = self.channel.statistics()
        return {
            "sends": statistics.sends,
            "receives": statistics.receives,
            "passes": self.passes.count,
        }

    def stop(self) -> Costs:
        sys.settrace(self.tracer)
        trio.lowlevel.remove_instrument(self.passes)
        return {name: count - self.start[name] for name, count in self.read().items()}


async def send_many(target: Actor | actorcluster.Worker) -> None:
    for number in range(COUNT):
        await target.send({"id": number, "name": "small", "flags": [True, None]})


async def receive_many(mailbox: Mailbox | MergedMailbox, work: float) -> None:
    """Take all of them, one after another; ``work`` seconds each are spent on the processor."""
    async for message in mailbox:
        until = trio.current_time() + work if work else 0.0
        while work and trio.current_time() < until:
            pass
        if message.body["id"] == COUNT - 1:
            return


async def sender(actor: Actor) -> None:
    await actor.mailbox.receive()
    meter = Meter(actor._channel)
    await send_many(actor)
    await actor.mailbox.receive()
    await actor.send(meter.stop())


async def receiver(actor: Actor, work: float) -> None:
    meter = Meter(actor._channel)
    await receive_many(actor.mailbox, work)
    await actor.send("all")
    await actor.send(meter.stop())


def check(costs: Costs, **more: Any) -> None:
    print({**costs, **more})
    assert [] == [f"{name}: {count}" for name, count in costs.items() if count > LIMIT]


@pytest.mark.parametrize("work", [0.0, 20e-6])
@pytest.mark.parametrize("merged", [True, False])
async def test_from_a_worker(work: float, merged: bool) -> None:
    async with actorcluster.open_primary() as primary:
        worker = await primary.fork(sender)
        channel = worker._life.channel
        assert channel is not None
        await worker.send("go")
        mailbox = primary.mailbox if merged else worker.mailbox
        meter = Meter(channel)
        await receive_many(mailbox, work)
        check(meter.stop(), side="receiver")
        await worker.send("stop")
        check((await mailbox.receive()).body, side="sender")


@pytest.mark.parametrize("work", [0.0, 20e-6])
async def test_to_a_worker(work: float) -> None:
    async with actorcluster.open_primary() as primary:
        worker = await primary.fork(receiver, work)
        channel = worker._life.channel
        assert channel is not None
        meter = Meter(channel)
        await send_many(worker)
        assert "all" == (await primary.mailbox.receive()).body
        check(meter.stop(), side="sender")
        check((await primary.mailbox.receive()).body, side="receiver")
