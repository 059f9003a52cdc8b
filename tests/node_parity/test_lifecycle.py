"""What one worker's life looks like, and its ends."""

from __future__ import annotations

import os
import signal

import trio

from actorcluster import events
from tests.node_parity import actors
from tests.node_parity.clauses import clause
from tests.node_parity.scene import Client, is_there, scene, shape
from tests.orphans import children


async def test_one_life() -> None:
    async with scene() as stage:
        primary = stage.primary
        worker = primary.fork_soon(actors.obeys)
        with clause("LC-09.a"):
            assert worker.is_connected()
        with clause("LC-10.a"):
            assert not worker.is_dead()
        states = [worker.state]
        await stage.until(events.Online, worker)
        states.append(worker.state)

        await worker.send(["say", {"a": [1, b"\0", "ä"]}])
        with clause("LC-02.b"):
            assert {"a": [1, b"\0", "ä"]} == (await worker.mailbox.receive()).body
        with clause("LC-02.a"):
            assert ["x", {"y": None}] == await worker.ask(["echo", ["x", {"y": None}]])
        with clause("LC-09.b"):
            assert (await worker.ask(["about"]))["connected"]
        with clause("LC-10.b"):
            assert not worker.is_dead()
        with clause("LC-01.g"):
            assert "False\n" == await worker.ask(["run", *actors.grandchild()])

        await worker.ask(["listen"])
        listening = await stage.until(events.Listening, worker)
        states.append(worker.state)
        with clause("LC-01.d"):
            assert "127.0.0.1" == listening.address[0]
        async with await Client.connect(listening.address[1]) as client:
            with clause("LC-14.a"):
                assert worker.id == await client.served_by()

        worker.kill()
        await stage.until(events.Disconnect, worker)
        with clause("LC-09.c"):
            assert not worker.is_connected()
        gone = await stage.until_gone(worker)
        with clause("LC-10.c"):
            assert worker.is_dead()
        with clause("LC-01.a"):
            kinds = stage.kinds(worker)
            assert (["Fork", "Online", "Listening"], {"Disconnect", "Exit"}, 5) == (
                kinds[:3],
                set(kinds[3:]),
                len(kinds),
            )
        with clause("LC-01.b"):
            assert {worker} == {event.worker for event in stage.seen}
        with clause("LC-01.c"):
            assert ["none", "online", "listening", "dead"] == [*states, worker.state]
        with clause("LC-01.e"):
            assert (None, "SIGTERM", await worker.wait()) == (
                gone.status.code,
                gone.status.signal,
                gone.status,
            )
        with clause("LC-01.f"):
            assert 1 == worker.id

        other = await stage.worker()
        with clause("LC-02.c"):
            assert (0, None, "shutdown", True) == shape(await other.disconnect())


async def test_one_that_has_not_begun() -> None:
    async with scene() as stage:
        primary = stage.primary
        worker = primary.fork_soon(actors.obeys, name="new")
        with clause("LC-03.a"):
            assert ("none", None) == (worker.state, worker.pid)
        with clause("LC-03.b"):
            assert worker.exited_after_disconnect is None
        with clause("LC-03.c"):
            assert (1, "new", primary.settings) == (worker.id, worker.name, worker.settings)

        await worker.send(["say", "hello"])
        with clause("LC-04.a"):
            assert "hello" == (await worker.mailbox.receive()).body
        await worker.send(["exit", 2])
        with clause("LC-04.c"):
            assert 2 == (await worker.wait()).code
        with clause("LC-04.b"):
            assert [] == [message.body async for message in worker.mailbox]

        worker = primary.fork_soon(actors.exits, 42)
        gone = await stage.until_gone(worker)
        with clause("LC-08.a"):
            assert 42 == gone.status.code
        with clause("LC-08.b"):
            assert gone.status.signal is None
        with clause("LC-08.c"):
            assert worker is gone.worker


async def test_a_worker_that_exits() -> None:
    async with scene() as stage:
        before = children()
        workers = [await stage.worker(["listen"]) for _ in range(3)]
        begun = [await stage.until(events.Fork, worker) for worker in workers]
        with clause("LC-20.a"):
            assert workers == [one.worker for one in stage.seen if isinstance(one, events.Fork)]
        with clause("LC-20.b"):
            assert children() - before == {event.worker.pid for event in begun}

        worker = workers[0]
        assert worker.pid is not None
        await worker.send(["exit", 42])
        gone = await stage.until_gone(worker)
        with clause("LC-05.e"):
            assert ("dead", False) == (worker.state, worker.is_connected())
        with clause("LC-05.f"):
            assert not is_there(worker.pid)
        with clause("LC-05.b"):
            assert 42 == gone.status.code
        with clause("LC-05.c"):
            assert gone.status.signal is None
        with clause("LC-05.d"):
            assert worker.exited_after_disconnect is False
        await stage.primary.disconnect()
        await stage.everything()
        with clause("LC-05.a"):
            assert (1, 1) == stage.ends(worker)


async def test_a_worker_that_is_killed() -> None:
    async with scene() as stage:
        worker = await stage.worker(["listen"])
        assert worker.pid is not None
        os.kill(worker.pid, signal.SIGKILL)
        gone = await stage.until_gone(worker)
        with clause("LC-06.e"):
            assert not is_there(worker.pid)
        with clause("LC-06.b"):
            assert gone.status.code is None
        with clause("LC-06.c"):
            assert "SIGKILL" == gone.status.signal
        with clause("LC-06.d"):
            assert worker.exited_after_disconnect is False
        await stage.everything()
        with clause("LC-06.a"):
            assert (1, 1) == stage.ends(worker)

        worker = await stage.worker()
        assert worker.pid is not None
        worker.kill("SIGKILL")
        gone = await stage.until_gone(worker)
        with clause("LC-07.d"):
            assert "dead" == worker.state
        with clause("LC-07.e"):
            assert {} == dict(stage.primary.workers)
        with clause("LC-07.f"):
            assert not is_there(worker.pid)
        with clause("LC-07.a"):
            assert "SIGKILL" == gone.status.signal
        with clause("LC-07.b"):
            assert gone.status.code is None
        with clause("LC-07.c"):
            assert worker.exited_after_disconnect is False


async def test_leave_to_finish() -> None:
    async with scene() as stage, trio.open_nursery() as nursery:
        primary = stage.primary
        worker = await primary.fork(actors.exits_when_told, 42, ready="called")
        with clause("LC-11.a"):
            assert 42 == (await worker.disconnect()).code
        with clause("LC-11.b"):
            assert worker.exited_after_disconnect is True

        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        port = listener.socket.getsockname()[1]
        async with listener:
            worker = await primary.fork(actors.calls, port, True)
            async with await listener.accept() as stream:
                assert "connected" == (await worker.mailbox.receive()).body
                nursery.start_soon(worker.disconnect)
                await stage.until(events.Draining, worker)
                await stream.send_all(b"still there?")
                assert b"still there?" == (await worker.mailbox.receive()).body
                with clause("LC-12.a"):
                    assert "disconnecting" == worker.state
                await stream.send_eof()
                with clause("LC-12.b"):
                    assert [b"bye", b""] == [await stream.receive_some() for _ in range(2)]
            with clause("LC-12.c"):
                assert (0, None) == shape(await worker.wait())[:2]

            worker = await primary.fork(actors.calls, port, False)
            async with await listener.accept() as stream:
                assert "connected" == (await worker.mailbox.receive()).body
                nursery.start_soon(worker.disconnect)
                with clause("LC-12.d"):
                    assert b"" == await stream.receive_some()
            await worker.wait()

        worker = await stage.worker(["listen"])
        await worker.send(["close_channel"])
        status = await worker.wait()
        with clause("LC-13.a"):
            assert 0 == status.code
        with clause("LC-13.b"):
            assert status.signal is None
        with clause("LC-13.c"):
            assert worker.exited_after_disconnect is False
