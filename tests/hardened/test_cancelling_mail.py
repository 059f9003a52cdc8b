"""Sends and asks cancelled at every moment: wholly sent or wholly kept, exactly once, in order."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
import trio

import actorcluster
from tests.hardened import probes
from tests.hardened.gifts import SMALL_MAILBOX, Gift, cancel_asks, cancel_sends, fill, take
from tests.hardened.moments import every_moment

ACTS: dict[str, Any] = {"send": cancel_sends, "ask": cancel_asks}


def ways() -> Iterator[tuple[str, bool]]:
    """Each act with room, and without any at first."""
    return itertools.product(ACTS, (False, True))


def size_of(crowded: bool) -> dict[str, Any]:
    return {"mailbox_size": SMALL_MAILBOX} if crowded else {}


@pytest.mark.parametrize("by_ref", [False, True], ids=["worker", "ref"])
async def test_from_the_primary(by_ref: bool) -> None:
    async with actorcluster.open_primary() as primary:
        for act, crowded in ways():
            worker = await primary.fork(probes.taker, settings=size_of(crowded))
            target: Any = primary.ref(worker.name) if by_ref else worker
            before = fill(target.send_nowait) if crowded else list
            size = SMALL_MAILBOX // 2 if crowded else 0
            given = await ACTS[act](getattr(target, act), size=size, before=before)
            given.check(await worker.ask("report"))


@pytest.mark.parametrize("to", [None, "primary"], ids=["actor", "ref"])
async def test_to_the_primary(to: str | None) -> None:
    for crowded in (False, True):
        async with actorcluster.open_primary(settings=size_of(crowded)) as primary:
            for act in ACTS:
                worker = await primary.fork(probes.giver, act, to, crowded)
                numbers, said = await take(worker.mailbox)
                probes.as_given(said).check(numbers)


async def test_from_worker_to_worker() -> None:
    async with actorcluster.open_primary() as primary:
        for act, crowded in ways():
            target = await primary.fork(probes.taker, settings=size_of(crowded))
            worker = await primary.fork(probes.giver, act, target.name, crowded)
            (said,) = [message.body async for message in worker.mailbox]
            probes.as_given(said).check(await target.ask("report"))


async def test_from_the_primary_to_itself() -> None:
    async with actorcluster.open_primary() as primary, trio.open_nursery() as nursery:
        arrived: list[list[int]] = []

        async def takes() -> None:
            arrived.append((await take(primary.mailbox))[0])

        nursery.start_soon(takes)
        target = primary.ref("primary")
        given = await cancel_sends(target.send)
        await target.send([])
    given.check(arrived[0])


@pytest.mark.parametrize("act", ACTS)
async def test_before_it_is_online(act: str) -> None:
    """Each to a worker of its own, which comes up while somebody waits to send."""
    kept = sent = 0
    async with actorcluster.open_primary() as primary:
        for trial in every_moment():
            worker = primary.fork_soon(probes.taker)
            gift = Gift(trial.step)
            answer = await trial.run(getattr(worker, act), gift.body, gift.beside)
            if answer is not None:
                answer["inside"].close()
            if not trial.cancelled:
                sent += 1
                assert [trial.step] == await worker.ask("report")
            elif gift.is_kept:
                kept += 1
                assert [] == await worker.ask("report")
            assert set(await gift.written()) <= {b"", gift.mark}
            worker.kill("SIGKILL")
    assert kept
    assert sent
