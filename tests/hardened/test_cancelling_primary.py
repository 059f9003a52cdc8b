"""What the primary awaits, cancelled at every moment: what its documentation promises is so."""

from __future__ import annotations

import functools
import itertools
import os
from typing import Any

import pytest
import trio
import trio.testing

import actorcluster
from actorcluster import PeerClosed, Primary, Worker, events
from tests.e2e import actors
from tests.hardened import probes
from tests.hardened.gifts import PATIENCE, Gift
from tests.hardened.moments import every_moment

# ---- mail for many --------------------------------------------------------------------------


async def reports(primary: Primary) -> list[list[int]]:
    return list((await primary.gather("report", timeout=PATIENCE)).values())


async def test_broadcast() -> None:
    """Each worker got it once or not at all; our handles stay ours."""
    async with actorcluster.open_primary() as primary:
        for _ in range(2):
            await primary.fork(probes.taker)
        copies = []
        for number, trial in enumerate(every_moment()):
            gift = Gift(number)
            queued = await trial.run(primary.broadcast, gift.body)
            assert gift.is_kept
            arrived = await reports(primary)
            copies.append(sum(numbers.count(number) for numbers in arrived))
            assert trial.cancelled or queued == {1, 2}
            inside, _ = await gift.written()
            assert gift.mark * copies[-1] == inside
    assert {0, 2} <= set(copies) <= {0, 1, 2}


async def test_gather() -> None:
    """The same; and the handles of answers that nobody gets are closed."""
    async with actorcluster.open_primary() as primary:
        await primary.fork(probes.taker)
        await primary.fork(probes.slow_taker)
        for trial in every_moment():
            gift = Gift(trial.step)
            answers = await trial.run(primary.gather, gift.body, timeout=PATIENCE)
            assert gift.is_kept
            assert trial.cancelled or [1, 2] == sorted(answers)
            for answer in (answers or {}).values():
                answer["inside"].close()
            assert [b"", b""] == await gift.written()


# ---- receiving and answering ----------------------------------------------------------------


@pytest.mark.parametrize("merged", [False, True])
async def test_receive(merged: bool) -> None:
    """What a cancelled receive did not return comes next."""
    async with actorcluster.open_primary() as primary:
        worker = await primary.fork(probes.counts)
        mailbox: Any = primary.mailbox if merged else worker.mailbox
        received = []
        asked = 0
        for trial in itertools.chain(every_moment(), every_moment()):
            await worker.send("go")
            asked += 1
            message = await trial.run(mailbox.receive)
            if not trial.cancelled:
                received.append(message.body)
        while len(received) < asked:
            received.append((await mailbox.receive()).body)
    assert list(range(asked)) == received


@pytest.mark.parametrize("beside", [False, True])
async def test_reply(beside: bool) -> None:
    """It was sent, or the message and the handles are still ours and it can be answered."""
    cancelled = 0
    async with actorcluster.open_primary() as primary:
        worker = await primary.fork(probes.asks_until_none)
        for trial in every_moment():
            gift = Gift(trial.step)
            answer = (None, gift.beside) if beside else ({**gift.body, "beside": gift.beside},)
            with await worker.mailbox.receive() as message:
                await trial.run(message.reply, *answer)
                if trial.cancelled:
                    cancelled += 1
                    assert not gift.beside.closed
                    await message.reply(*answer)
                assert gift.beside.closed
            assert (await gift.written())[1] == b"got it"
        with await worker.mailbox.receive() as message:
            await message.reply(None)
    assert cancelled


# ---- processes ------------------------------------------------------------------------------


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


async def close_pipes(worker: Worker) -> None:
    for stream in worker.stdio:
        if stream is not None:
            await stream.aclose()


@pytest.mark.parametrize("start_method", ["forkserver", "exec"])
async def test_fork(start_method: str) -> None:
    """The process is gone and reaped, its pipes are closed."""
    settings = {"silent": True, "start_method": start_method}
    async with actorcluster.open_primary(settings=settings) as primary:
        await close_pipes(first := await primary.fork(actors.idle))  # the fork server is up now
        first.kill("SIGKILL")
        await first.wait()
        before = descriptors()
        for trial in every_moment():
            with primary.events(events.Fork) as forks:
                worker = await trial.run(primary.fork, actors.idle)
                if trial.cancelled:
                    assert {} == primary.workers
                    assert trial.step == 0 or (await anext(forks)).worker.is_dead()
                else:
                    await close_pipes(worker)
                    worker.kill("SIGKILL")
                    await worker.wait()
            assert before == descriptors()


@pytest.mark.parametrize("wait", ["worker", "primary", "exit", "never"])
async def test_waits(wait: str) -> None:
    """They change nothing: the worker that dies meanwhile is dead afterwards."""
    async with actorcluster.open_primary() as primary:
        for trial in every_moment():
            worker = await primary.fork(actors.idle)
            calls: dict[str, Any] = {
                "worker": worker.wait,
                "primary": primary.wait,
                "exit": functools.partial(primary.wait_for, events.Exit, worker),
                "never": functools.partial(primary.wait_for, events.Listening, worker),
            }
            worker.kill("SIGKILL")
            try:
                await trial.run(calls[wait])
            except PeerClosed:
                assert wait == "never"
            else:
                assert trial.cancelled or worker.is_dead()
            status = await worker.wait()
            assert "SIGKILL" == status.signal
            assert status is await worker.wait()


@pytest.mark.parametrize("of_all", [False, True])
async def test_disconnect(of_all: bool) -> None:
    """Whoever gave up waiting has told it all the same."""
    async with actorcluster.open_primary() as primary:
        for trial in every_moment():
            worker = await primary.fork(probes.taker)
            await trial.run(primary.disconnect if of_all else worker.disconnect)
            with pytest.raises(PeerClosed):
                await worker.send("too late")
            assert trial.cancelled or worker.is_dead()
            status = await worker.wait()
            assert ("shutdown", True) == (status.reason, worker.exited_after_disconnect)


async def test_subscription() -> None:
    """What a cancelled iteration did not return comes next."""
    async with actorcluster.open_primary() as primary:
        received: list[Any] = []
        emitted = 0

        async def emit() -> None:
            nonlocal emitted
            await trio.testing.wait_all_tasks_blocked(0.001)  # longer than what settles takes
            primary.setup_primary(silent=emitted % 2 == 0)
            emitted += 1

        with primary.events(events.Setup) as setups:
            for trial in itertools.chain(every_moment(), every_moment()):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(emit)
                    event = await trial.run(anext, setups)
                if not trial.cancelled:
                    received.append(event)
            while len(received) < emitted:
                received.append(await anext(setups))
    assert [number % 2 == 0 for number in range(emitted)] == [
        event.settings.silent for event in received
    ]


async def test_open_primary() -> None:
    """Entered, used and left: afterwards nobody lives and nothing is open."""

    async def whole() -> None:
        async with actorcluster.open_primary() as primary:
            workers.append(await primary.fork(probes.taker))
            await workers[0].send({"number": 1, "inside": []})

    before = descriptors()
    for trial in every_moment(own_steps=True, stride=6):
        workers: list[Worker] = []
        await trial.run(whole)
        assert all(worker.is_dead() for worker in workers)
        assert before == descriptors(), trial
