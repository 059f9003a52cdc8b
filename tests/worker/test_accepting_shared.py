"""Connections of a shared socket: a worker accepts by itself, with nobody to hand them over."""

from __future__ import annotations

import errno
import itertools

import pytest
import trio

from tests.cluster.inproc import no_more_descriptors, served_by
from tests.worker.boss import Background, close, connect, open_boss, own, until

# ---- shared sockets ----------------------------------------------------------------------------


async def test_accepting_by_oneself() -> None:
    async with open_boss() as boss:
        listener = await own(boss)
        with connect(listener) as client:
            async with await listener.accept() as stream:
                assert served_by(stream, client)
                assert not listener.is_idle()
            assert listener.is_idle()
        await listener.aclose()
        with pytest.raises(trio.ClosedResourceError):
            await listener.accept()


async def test_a_burst_leaves_something_to_the_others() -> None:
    """Several are accepted in one pass of the loop, but only so many: the socket is shared."""
    async with open_boss() as boss:
        listener = await own(boss)
        clients = [connect(listener) for _ in range(12)]
        passes: list[int] = []

        class Count(trio.abc.Instrument):
            def before_io_wait(self, timeout: float) -> None:
                passes.append(len(streams))

        streams: list[trio.SocketStream] = []
        count = Count()
        await trio.lowlevel.checkpoint()
        trio.lowlevel.add_instrument(count)
        for _ in clients:
            streams.append(await listener.accept())  # noqa: PERF401 (counted meanwhile)
        trio.lowlevel.remove_instrument(count)
        bursts = [after - before for before, after in itertools.pairwise([0, *passes])]
        assert 1 < max(bursts) <= 4
        for stream in streams:
            await stream.aclose()
        await listener.aclose()
        close(*clients)


async def test_accepting_by_oneself_is_a_cancellation_point_every_time() -> None:
    async with open_boss() as boss:
        listener = await own(boss)
        with connect(listener) as client:
            for _ in range(10):
                with trio.CancelScope() as scope:
                    scope.cancel()
                    await listener.accept()
                assert scope.cancelled_caught
            async with await listener.accept() as stream:
                assert served_by(stream, client)
        await listener.aclose()


async def test_stop_and_close_of_one_who_accepts_by_himself() -> None:
    async with open_boss() as boss:
        listener = await own(boss)
        async with trio.open_nursery() as nursery:
            one = Background(nursery, listener.accept)
            await trio.testing.wait_all_tasks_blocked()
            boss.stop()
            await until(lambda: listener._stopped)
            with connect(listener):
                two = Background(nursery, listener.accept)
                await trio.testing.wait_all_tasks_blocked()
                assert not one.done.is_set()
                assert not two.done.is_set()
            await one.cancel()
            listener.close()
            with pytest.raises(trio.ClosedResourceError):
                await two.wait()


async def test_close_wakes_who_accepts_by_himself() -> None:
    async with open_boss() as boss:
        listener = await own(boss)
        async with trio.open_nursery() as nursery:
            accepting = Background(nursery, listener.accept)
            await trio.testing.wait_all_tasks_blocked()
            listener.close()
            with pytest.raises(trio.ClosedResourceError):
                await accepting.wait()


async def test_max_connections_of_one_who_accepts_by_himself() -> None:
    """Not more than that are open, however many tasks accept; a close lets the next one in."""
    async with open_boss() as boss:
        listener = await own(boss, max_connections=2)
        clients = [connect(listener) for _ in range(4)]
        async with trio.open_nursery() as nursery:
            tasks = [Background(nursery, listener.accept) for _ in range(4)]
            await until(lambda: 2 == sum(task.done.is_set() for task in tasks))
            await trio.sleep(0.05)
            done = [task for task in tasks if task.done.is_set()]
            assert 2 == len(done)
            done[0].result.socket.close()
            await until(lambda: 3 == sum(task.done.is_set() for task in tasks))
            listener.close()
            await until(lambda: all(task.done.is_set() for task in tasks))
        assert 1 == sum(isinstance(task.error, trio.ClosedResourceError) for task in tasks)
        for task in tasks:
            if task.result is not None:
                task.result.socket.close()
        close(*clients)


async def test_errors_of_accept_are_the_callers() -> None:
    """As of any listener; ``trio.serve_listeners`` knows what to do about them."""
    async with open_boss() as boss:
        listener = await own(boss)
        with connect(listener):
            with no_more_descriptors(), pytest.raises(OSError) as caught:
                await listener.accept()
            assert errno.EMFILE == caught.value.errno
            (await listener.accept()).socket.close()
        listener.close()
