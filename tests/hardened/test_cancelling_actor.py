"""What an actor awaits, cancelled at every moment; the probes are in `actor_probes`."""

from __future__ import annotations

import itertools
import socket
from typing import Any

import pytest
import trio

import actorcluster
from actorcluster import NotHandled, PeerClosed, Primary, Worker
from tests.hardened import actor_probes
from tests.hardened.gifts import PATIENCE, Gift
from tests.hardened.moments import Edge


async def answered(primary: Primary, worker: Worker) -> Any:
    """Answer "ports" and "go" until the worker says something else."""
    with trio.fail_after(PATIENCE):
        numbers = itertools.count()
        async for message in worker.mailbox:
            with message:
                match message.body:
                    case "ports":
                        ports = primary._ports  # those that no worker uses stay bound for a while
                        await message.reply(len(ports.statistics()) - len(ports._unused))
                    case "go":
                        await worker.send(next(numbers))
                    case said:
                        return said
    raise AssertionError((await worker.wait()).report)


async def test_listening() -> None:
    """Cancelled: nothing is listened on, by whatever way."""
    with socket.create_server(("127.0.0.1", 0)) as given:
        async with actorcluster.open_primary() as primary:
            worker = await primary.fork(
                actor_probes.listens, settings={"listen_fds": {"given": given.fileno()}}
            )
            cancelled = await answered(primary, worker)
    assert 7 == len(cancelled)
    assert all(cancelled)


@pytest.mark.parametrize("probe", [actor_probes.accepts, actor_probes.receives])
async def test_in_the_worker(probe: Any) -> None:
    async with actorcluster.open_primary() as primary:
        assert "done" == await answered(primary, await primary.fork(probe))


@pytest.mark.parametrize("concurrency", [1, 3])
async def test_serve_messages(concurrency: int) -> None:
    """Each ask has one outcome, soon, and no handle is left anywhere."""
    outcomes: list[str] = []

    async def ask_on(worker: Worker, first: int) -> None:
        for number in itertools.count(first, 10):
            gift = Gift(number)
            try:
                answer = await worker.ask(gift.body, gift.beside)
            except PeerClosed:
                await gift.written()
                return
            except NotHandled:
                outcomes.append("not handled")
                assert set(await gift.written()) <= {b"", gift.mark}
            else:
                outcomes.append("answered")
                answer["inside"].close()
                assert [b"", gift.mark] == await gift.written()

    async with actorcluster.open_primary() as primary, trio.open_nursery() as nursery:
        worker = await primary.fork(actor_probes.serves, concurrency, 20)
        for first in range(4):
            nursery.start_soon(ask_on, worker, first)
        assert [] == await answered(primary, worker)  # warnings of handles that were forgotten
        await worker.disconnect()
    assert {"answered", "not handled"} == set(outcomes)


async def test_disconnect() -> None:
    """Recorded or not; where it was, the worker is told to stop."""
    async with actorcluster.open_primary() as primary:
        for edge in Edge:
            for step in itertools.count():
                worker = await primary.fork(actor_probes.leaves, step, edge.name)
                reached, cancelled, draining = await answered(primary, worker)
                assert cancelled or draining
                status = await worker.wait()
                assert status.voluntary or cancelled
                if not reached:
                    break
