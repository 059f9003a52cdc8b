"""Workers that leave, that are told to, and that are killed."""

from __future__ import annotations

import errno
import socket

import trio
import trio.testing

import actorcluster
from actorcluster import PeerClosed, Worker, events
from tests.node_parity import actors
from tests.node_parity.clauses import clause
from tests.node_parity.scene import Client, Scene, is_there, scene, shape
from tests.worker.lines import until


async def eight(stage: Scene) -> tuple[int, set[int], list[int]]:
    """Fork eight with two ports each, visit both, and let everybody leave."""
    stage.seen.clear()
    workers = [await stage.worker(["listen"], ["listen"]) for _ in range(8)]
    await stage.everything()
    seen = [one for one in stage.seen if isinstance(one, events.Listening)]
    ports = {one.address[1] for one in seen if isinstance(one.address, tuple)}
    served = []
    for port in ports:
        async with await Client.connect(port) as client:
            served.append(await client.served_by())
    assert {*served} <= {worker.id for worker in workers}
    await stage.primary.disconnect()
    return len(seen), ports, served


async def test_everybody_leaves_and_again() -> None:
    async with scene() as stage:
        count, ports, served = await eight(stage)
        with clause("DK-01.a"):
            assert 16 == count
        with clause("DK-01.b"):
            assert 2 == len(ports)
        with clause("DK-01.c"):
            assert 2 == len(served)
        with clause("DK-01.d"):
            assert {} == dict(stage.primary.workers)
        count, ports, served = await eight(stage)
        with clause("DK-01.e"):
            assert (16, 2, 2, {}) == (
                count,
                len(ports),
                len(served),
                dict(stage.primary.workers),
            )


async def test_those_who_have_left() -> None:
    async with scene() as stage, trio.open_nursery() as nursery:
        worker = await stage.primary.fork(actors.stays_when_left)
        other = await stage.worker()
        await stage.until(events.Disconnect, worker)
        assert "disconnected" == worker.state
        with clause("DK-08.a"):
            assert not worker.is_connected()
        nursery.start_soon(worker.disconnect)
        nursery.start_soon(stage.primary.disconnect)
        await other.wait()
        assert "disconnected" == worker.state
        worker.kill("SIGKILL")
        await worker.wait()
        await trio.testing.wait_all_tasks_blocked()
        with clause("DK-02.a"):
            assert 0 == len(nursery.child_tasks)
        await stage.everything()
        with clause("DK-02.b"):
            assert (1, 1) == stage.ends(worker)

        worker = await stage.worker()
        await worker.send(["leave"])
        await stage.until(events.Disconnect, worker)
        await worker.wait()
        with clause("DK-08.b"):
            assert None is worker.kill()  # type: ignore[func-returns-value]  # that is the clause
        with clause("DK-08.c"):
            assert (0, None, "shutdown", True) == shape(await worker.disconnect())


async def test_a_worker_that_leaves() -> None:
    async with scene() as stage:
        worker = await stage.primary.fork(actors.leaves)
        message = await worker.mailbox.receive()
        await stage.everything()
        with clause("DK-03.a"):
            assert "Draining" == stage.kinds(worker)[2]
        with clause("DK-03.b"):
            assert {"draining": True} == message.body
        with clause("DK-03.c"):
            assert (0, None, "shutdown", True) == shape(await worker.wait())


async def test_nothing_to_leave() -> None:
    async with scene() as stage:
        with clause("DK-05.a"):
            assert None is await stage.primary.disconnect()  # type: ignore[func-returns-value]  # that is the clause
        with trio.CancelScope() as scope:
            scope.cancel()
            await stage.primary.disconnect()
        with clause("DK-05.b"):
            assert scope.cancelled_caught

        workers = [stage.primary.fork_soon(actors.idle) for _ in range(2)]
        await stage.primary.disconnect()
        with clause("DK-04.a"):
            assert {} == dict(stage.primary.workers)
        pids = [worker.pid for worker in workers if worker.pid is not None]
        with clause("DK-04.b"):
            assert [False] * len(pids) == [is_there(pid) for pid in pids]


async def test_connections_that_wait() -> None:
    async with scene() as stage:
        worker = await stage.primary.fork(actors.takes_nothing, ready="listening")
        address = (await stage.until(events.Listening, worker)).address
        async with await Client.connect(address[1]) as client:
            await until(lambda: stage.primary.statistics().ports[0].unacknowledged)
            with clause("DK-06.a"):
                assert 1 == stage.primary.statistics().ports[0].unacknowledged
            await worker.disconnect()
            after = await stage.worker(["listen", address[1]])
            with clause("DK-06.b"):
                assert after.id == await client.served_by()
        (port,) = stage.primary.statistics().ports
        with clause("DK-06.c"):
            assert (0, 0) == (port.waiting, port.unacknowledged)


async def test_all_at_once() -> None:
    async with scene() as stage, trio.open_nursery() as nursery:
        workers = [await stage.worker() for _ in range(4)]
        outcomes: list[str] = []

        async def send(worker: Worker) -> None:
            try:
                await worker.send(["echo", "news"])
            except PeerClosed:
                outcomes.append("PeerClosed")
            else:
                outcomes.append("sent")

        async def tell(one: Worker) -> None:
            await one.wait()
            for worker in workers:
                if worker is not one:
                    nursery.start_soon(send, worker)

        for number, worker in enumerate(workers):
            nursery.start_soon(tell, worker)
            await worker.send(["leave" if number % 2 else "kill"])
        for worker in workers:
            await stage.until_gone(worker)
        await until(lambda: len(outcomes) == 12)
        await stage.everything()
        with clause("DK-07.a"):
            assert {*outcomes} <= {"sent", "PeerClosed"}
        with clause("DK-07.b"):
            assert [(1, 1)] * 4 == [stage.ends(worker) for worker in workers]
        statuses = [await worker.wait() for worker in workers]
        with clause("DK-07.c"):
            assert [(0, None)] * 4 == [shape(status)[:2] for status in statuses]
        with clause("DK-07.d"):
            assert [] == [one for one in stage.seen if isinstance(one, events.Error)]


async def test_of_its_own_accord() -> None:
    async with scene() as stage:
        leaves, kills, both = [await stage.worker() for _ in range(3)]
        with clause("DK-09.a"):
            assert [None, None] == [one.exited_after_disconnect for one in (leaves, kills)]
        await leaves.send(["leave"])
        await stage.until(events.Disconnect, leaves)
        with clause("DK-09.b"):
            assert leaves.exited_after_disconnect is True
        await kills.send(["kill"])
        await stage.until(events.Disconnect, kills)
        with clause("DK-09.c"):
            assert kills.exited_after_disconnect is True
        for worker in (leaves, kills):
            await stage.until_gone(worker)
        with clause("DK-09.d"):
            assert [True, True] == [one.exited_after_disconnect for one in (leaves, kills)]
        await both.send(["leave_and_kill"])
        await stage.until_gone(both)
        await stage.everything()
        with clause("DK-11.a"):
            assert (1, 1) == stage.ends(kills)
        with clause("DK-11.b"):
            assert (1, 1) == stage.ends(both)
        with clause("DK-11.c"):
            assert [0, 0] == [(await worker.wait()).code for worker in (kills, both)]


async def test_an_endless_loop() -> None:
    async with scene() as stage:
        worker = await stage.worker()
        with trio.move_on_after(0.05):
            await worker.ask(["loop"])
        worker.kill()
        status = await worker.wait()
        with clause("DK-10.a"):
            assert "SIGTERM" == status.signal
        with clause("DK-10.b"):
            assert status.code is None


async def test_told_to_leave() -> None:
    async with scene() as stage:
        worker = await stage.primary.fork(actors.hears_and_exits, ready="listening")
        status = await worker.disconnect()
        with clause("DK-12.a"):
            assert ["told"] == [message.body async for message in worker.mailbox]
        with clause("DK-12.b"):
            assert 42 == status.code
        with clause("DK-12.c"):
            assert worker.exited_after_disconnect is True
        assert worker.pid is not None
        with clause("DK-12.d"):
            assert not is_there(worker.pid)

        with socket.create_server(("127.0.0.1", 0)) as taken:
            worker = await stage.worker()
            port = taken.getsockname()[1]
            policy = {"policy": actorcluster.SCHED_NONE}
            with clause("DK-13.a"):
                assert {"errno": errno.EADDRINUSE} == await worker.ask(["listen", port, policy])
        await worker.send(["leave"])
        with clause("DK-13.b"):
            assert (0, None, "shutdown", True) == shape(await worker.wait())


async def test_when_its_clients_have_left() -> None:
    async with scene() as stage, trio.open_nursery() as nursery:
        worker = await stage.worker(["listen"])
        address = (await stage.until(events.Listening, worker)).address
        async with await Client.connect(address[1]) as client:
            await client.served_by()
            nursery.start_soon(worker.disconnect)
            await stage.until(events.Draining, worker)
            with trio.move_on_after(0.2):  # in which one that waits for nobody is gone
                await worker.wait()
            await client.stream.send_all(b"still there?\n")
            with clause("DK-14.a"):
                assert "still there?" == await client.line()
            with clause("DK-14.b"):
                assert worker.is_connected()
            await stage.everything()
            kinds = stage.kinds(worker)
        gone = await stage.until_gone(worker)
        with clause("DK-14.c"):
            assert (False, True) == ("Disconnect" in kinds, "Disconnect" in stage.kinds(worker))
        with clause("DK-14.d"):
            assert (0, None) == shape(gone.status)[:2]
