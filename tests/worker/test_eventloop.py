"""Workers that are forked inside of an event loop, which is then their own."""

from __future__ import annotations

import socket

import pytest
import trio

import actorcluster
from actorcluster._worker import eventloop
from actorcluster._worker.eventloop import EventLoop, descriptors
from tests.orphans import children
from tests.require import require

from . import loops

WAYS = ("thread", "signal", "time", "child")


@require("clone")
async def test_two_workers_are_woken_by_all_there_is_each_by_its_own() -> None:
    """Both at once: what one of them hears the other would miss, if they shared anything."""
    async with actorcluster.open_primary() as primary:
        workers = [await primary.fork(loops.says) for _ in range(2)]
        for worker in workers:
            assert True is (await worker.mailbox.receive()).body
        for way in WAYS * 3:
            async with trio.open_nursery() as nursery:
                for worker in workers:
                    nursery.start_soon(worker.ask, way)
        assert [True] * 2 * len(WAYS) == [await w.ask(way) for w in workers for way in WAYS]


@require("clone")
async def test_each_worker_finds_the_loop_that_it_needs() -> None:
    """A program runs its own. One with other limits gets another; the fork server is the same."""
    script = {"exec": loops.__file__, "start_method": "forkserver"}
    async with actorcluster.open_primary() as primary:
        servers = set()
        for settings, target, expected in (
            ({}, loops.says, True),
            (script, None, False),
            ({}, loops.says, True),
            ({"mailbox_size": 200_000}, loops.says, True),
            (script, None, False),
            (script, None, False),
            ({"mailbox_size": 200_000}, loops.says, True),
        ):
            worker = await primary.fork(target, settings=settings)
            assert expected is (await worker.mailbox.receive()).body
            assert True is await worker.ask("thread")
            servers |= children() - {worker.pid}
            worker.kill("SIGKILL")
            await worker.wait()
        assert 1 == len(servers)


def test_another_kind_of_loop_is_not_touched() -> None:
    async def main() -> None:
        with pytest.raises(LookupError, match="not the descriptors"):
            EventLoop(descriptors(), -1)
        with pytest.raises(LookupError, match="waits for"):
            EventLoop(before, -1)
        for _ in range(2):
            await trio.lowlevel.checkpoint()

    before = descriptors()
    trio.run(main)


def test_sockets_that_are_no_pair_are_found_out() -> None:
    (one, two), (three, four) = socket.socketpair(), socket.socketpair()
    with one, two, three, four:
        for sock in (one, two, three, four):
            sock.setblocking(False)
        with pytest.raises(LookupError, match="no pair"):
            eventloop._checked(one.fileno(), three.fileno())
        assert two.fileno() == eventloop._checked(one.fileno(), two.fileno())
