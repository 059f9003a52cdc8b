"""Ports whose socket the workers share."""

from __future__ import annotations

import errno
import socket

import trio

from actorcluster import SCHED_NONE, events
from tests.node_parity import actors
from tests.node_parity.clauses import clause
from tests.node_parity.scene import Client, scene, shape


async def test_a_port_that_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        async with scene(scheduling_policy=SCHED_NONE) as stage:
            worker = await stage.worker()
            port = taken.getsockname()[1]
            with clause("SH-03.a"):
                assert {"errno": errno.EADDRINUSE} == await worker.ask(["listen", port])
            with clause("SH-03.c"):
                assert "here" == await worker.ask(["echo", "here"])
            with clause("SH-03.d"):
                assert 0 == (await worker.disconnect()).code
            await stage.everything()
            with clause("SH-03.b"):
                assert "Listening" not in stage.kinds(worker)


async def test_a_client_while_both_leave() -> None:
    async with scene(scheduling_policy=SCHED_NONE) as stage:
        workers = [await stage.worker(["listen"]) for _ in range(2)]
        port = (await stage.until(events.Listening, workers[0])).address[1]
        statuses = []

        async def leave() -> None:
            await stage.primary.disconnect()
            statuses.extend([await worker.wait() for worker in workers])

        outcome: int | str = "waits"
        async with trio.open_nursery() as nursery:
            nursery.start_soon(leave)
            try:
                async with await Client.connect(port) as client:
                    await client.stream.send_eof()
                    outcome = await client.served_by()
            except (OSError, trio.BrokenResourceError):
                outcome = "refused"
        with clause("SH-05.a"):
            assert [(0, None)] * 2 == [shape(status)[:2] for status in statuses]
        with clause("SH-05.b"):
            assert outcome in (0, "refused", *(worker.id for worker in workers))
        await stage.everything()
        with clause("SH-05.c"):
            assert [] == [one for one in stage.seen if isinstance(one, events.Error)]


async def test_leaving_at_once() -> None:
    async with scene(scheduling_policy=SCHED_NONE) as stage:
        primary = stage.primary
        worker = primary.fork_soon(actors.obeys, ["listen"])
        await primary.disconnect()
        await stage.everything()
        with clause("SH-06.a"):
            assert (1, 1) == stage.ends(worker)
        with clause("SH-06.b"):
            assert {} == dict(primary.workers)

        first = await stage.worker(["listen"])
        second = primary.fork_soon(actors.obeys, ["listen"])
        async with trio.open_nursery() as nursery:
            nursery.start_soon(first.disconnect)
            await stage.until(events.Online, second)
            nursery.start_soon(second.disconnect)
        with clause("SH-07.a"):
            assert [0, 0] == [(await worker.wait()).code for worker in (first, second)]
        await stage.everything()
        with clause("SH-07.b"):
            assert [] == [one for one in stage.seen if isinstance(one, events.Error)]


async def test_leaving_without_having_listened() -> None:
    async with scene(scheduling_policy=SCHED_NONE) as stage:
        listening, other = await stage.worker(["listen"]), await stage.worker()
        port = (await stage.until(events.Listening, listening)).address[1]
        await other.disconnect()
        async with await Client.connect(port) as client:
            with clause("SH-08.a"):
                assert listening.id == await client.served_by()
        await stage.primary.disconnect()
        with clause("SH-08.b"):
            assert {} == dict(stage.primary.workers)
