"""Handles through real workers: many at a time, and whoever dies or has no descriptors."""

from __future__ import annotations

import contextlib
import os
import signal

import pytest
import trio
import trio.testing

import actorcluster
from actorcluster import Handle, HandleError, events
from tests.descriptors import memfd, no_free_descriptor
from tests.e2e.handle_actors import (
    all_handles,
    ask_with_handle,
    give_back,
    hold,
    look,
    seen,
    to_other,
    without_descriptors,
)
from tests.e2e.things import raises_peer_closed

all_blocked = trio.testing.wait_all_tasks_blocked


# ---- many ----


async def test_hundreds_under_way_both_ways() -> None:
    """Each arrives in its place, and nothing but what was given."""
    async with actorcluster.open_primary() as primary:
        worker = await primary.fork(give_back)
        sizes: list[int] = []

        async def collect(count: int) -> None:
            for _ in range(count):
                with await worker.mailbox.receive() as message:
                    handles = all_handles(message)
                    assert message.body[0] == len(handles)
                    sizes.extend(seen(handle)["size"] for handle in handles)
                    for handle in handles:
                        handle.close()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(collect, 250)
            size = 0
            for number in range(250):
                count = 10 if number % 10 == 0 else 1
                handles = [Handle.of(memfd(size + offset)) for offset in range(count)]
                size += count
                await worker.send([count, *handles[1:]], handles[0])
        assert list(range(size)) == sizes


async def test_as_many_in_one_message_as_a_system_call_carries() -> None:
    """With much else before, behind and beside them."""
    async with actorcluster.open_primary() as primary:
        worker = await primary.fork(give_back)
        for _ in range(3):
            handles = [Handle.of(memfd(size)) for size in range(253)]
            answer = await worker.ask([b"x" * 3_000_000, handles, "y" * 100_000])
            assert list(range(253)) == [seen(handle)["size"] for handle in answer[1]]
            for handle in answer[1]:
                handle.close()
        assert "z" == await worker.ask("z")


async def test_many_asks_with_handles_at_once() -> None:
    """Each gets its own back."""
    async with actorcluster.open_primary() as primary:
        worker = await primary.fork(give_back)

        async def ask(size: int) -> None:
            if size % 2:
                handle = await worker.ask(None, memfd(size))
            else:
                (handle,) = await worker.ask([Handle.of(memfd(size))])
            assert size == seen(handle)["size"]
            handle.close()

        async with trio.open_nursery() as nursery:
            for size in range(200):
                nursery.start_soon(ask, size)


async def test_to_another_worker() -> None:
    """The primary passes handles on like everything else, and keeps none."""
    async with actorcluster.open_primary() as primary:
        await primary.fork(look, name="target")
        worker = await primary.fork(to_other, "target")
        described = (await worker.mailbox.receive()).body
        assert [8, 7] == [one["size"] for one in described]


# ---- death ----


async def test_a_receiver_that_dies_holding_them() -> None:
    """What it held is closed with it: the other ends see that."""
    async with actorcluster.open_primary() as primary:
        worker = await primary.fork(hold)
        pipes = [os.pipe() for _ in range(50)]
        for number, (_, writing) in enumerate(pipes):
            await worker.send("last" if number == 49 else number, writing)
        assert 50 == (await worker.mailbox.receive()).body
        worker.kill("SIGKILL")
        assert "SIGKILL" == (await worker.wait()).signal
        for reading, _ in pipes:
            async with trio.lowlevel.FdStream(reading) as end:
                assert b"" == await end.receive_some()


async def test_a_receiver_that_dies_before_it_gets_them() -> None:
    """In the socket, in our hands, or waiting for their turn: all closed."""
    async with actorcluster.open_primary() as primary:
        worker = await primary.fork(hold)
        assert worker.pid is not None
        os.kill(worker.pid, signal.SIGSTOP)
        pipes = [os.pipe() for _ in range(300)]
        for _, writing in pipes:
            await worker.send(b"x" * 1000, writing)
        worker.kill("SIGKILL")
        await worker.wait()
        for reading, _ in pipes:
            async with trio.lowlevel.FdStream(reading) as end:
                assert b"" == await end.receive_some()


async def test_an_asker_that_dies_before_the_answer() -> None:
    """The answer is given all the same, and what it holds is closed."""
    async with actorcluster.open_primary() as primary:
        worker = await primary.fork(ask_with_handle)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(raises_peer_closed, worker.ask, "go")
            message = await primary.mailbox.receive()
            worker.kill("SIGKILL")
            await worker.wait()
            reading, writing = os.pipe()
            with message:
                assert message.handle is not None
                await message.reply(None, writing)
                message.handle.close()
            async with trio.lowlevel.FdStream(reading) as end:
                assert b"" == await end.receive_some()


# ---- no more descriptors ----


async def test_a_worker_without_descriptors() -> None:
    """An ask learns it, a send is an event; afterwards all is as before, and nothing is left."""
    async with actorcluster.open_primary() as primary:
        worker = await primary.fork(without_descriptors)
        with primary.events(events.Error) as errors:
            with pytest.raises(actorcluster.RemoteError, match="ready"):
                await worker.ask("begin")
            with pytest.raises(HandleError):
                await worker.ask(["lost", *(Handle.of(memfd(size)) for size in range(5))])
            await worker.send(["lost", *(Handle.of(memfd(size)) for size in range(5))])
            event = await anext(errors)
            assert isinstance(event, events.Error)
            assert event.worker is worker
            assert "handle_lost" in str(event.error)
        assert "end" == await worker.ask("end")
        assert 0 == (await worker.mailbox.receive()).body
        described = await worker.ask([Handle.of(memfd(size)) for size in range(5)])
        assert list(range(5)) == [one["size"] for one in described]


async def test_a_primary_without_descriptors() -> None:
    """A worker's ask learns it, what else it sent is lost; what comes later arrives."""
    async with actorcluster.open_primary() as primary:
        worker = await primary.fork(ask_with_handle)
        with no_free_descriptor():
            assert "did not arrive" in await worker.ask("go")
            assert "behind it" == (await worker.mailbox.receive()).body
        await worker.send("on")
        with await worker.mailbox.receive() as message:
            assert message.handle is not None
            assert 3 == seen(message.handle)["size"]
            message.handle.close()


async def test_a_giver_without_descriptors() -> None:
    """A duplicate that is not to be had is the giver's trouble, and nothing was sent."""
    async with actorcluster.open_primary() as primary:
        worker = await primary.fork(look)
        with contextlib.closing(Handle.of(memfd(1))) as handle:
            with no_free_descriptor():
                for act in (worker.send, worker.ask):
                    with pytest.raises(OSError, match="Too many open files"):
                        await act([handle], keep_open=True)
            assert 1 == len(await worker.ask([handle], keep_open=True))
