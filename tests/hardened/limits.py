"""Handles where the kernel refuses: ``python -m tests.hardened.limits SCENARIO``, not as root.

The kernel counts the descriptors that a user has in flight, and exempts root. Each handle is told
from all others by its size. Whatever happens to a message, its sender learns it, or it arrives
with the handles that were given; and in the end each process has the descriptors that it had.
"""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import sys
from collections.abc import Iterator
from typing import Any, Final

import trio
import trio.testing

import actorcluster
from actorcluster import Actor, Handle, HandleError, Primary, Worker, events
from tests.descriptors import memfd

__all__ = ["SCENARIOS"]

PATIENCE: Final = 60
_MANY: Final = 100


# ---- descriptors ----------------------------------------------------------------------------


def size_of(handle: Handle) -> int:
    return os.fstat(handle.fileno()).st_size


def descriptors() -> list[int]:
    """Our own, in order."""
    numbers = sorted(map(int, os.listdir("/proc/self/fd")))
    return [number for number in numbers if os.path.exists(f"/proc/self/fd/{number}")]


@contextlib.contextmanager
def limited_to(highest: int) -> Iterator[None]:
    """Have room for numbers below this only; what is open stays open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# ---- in workers -----------------------------------------------------------------------------


async def keeps(actor: Actor) -> None:
    """Keep handles, answer with their sizes; forget them, lower and raise the limit as told."""
    kept: list[int] = []
    before = 0
    stack = contextlib.ExitStack()
    async for message in actor.mailbox:
        with message:
            match message.body:
                case ["begin"]:  # not earlier: the next message may have come before main began
                    before = len(descriptors())
                    await message.reply(None)
                case ["limit", int(room)]:
                    limit = descriptors()[-1] + 1 + room
                    stack.enter_context(limited_to(limit))
                    await message.reply(None)
                case ["forget"]:
                    while kept:
                        os.close(kept.pop())
                    await message.reply(len(descriptors()) - before)
                case ["unlimit"]:
                    stack.close()
                    await message.reply(None)
                case list(inside):
                    handles = [*inside, *filter(None, [message.handle])]
                    sizes = [size_of(handle) for handle in handles]
                    kept += [handle.detach() for handle in handles]
                    await (message.reply if message.is_ask else actor.send)(sizes)


async def gives(actor: Actor) -> None:
    """Answer each number with so many handles, whose sizes begin with it."""
    async for message in actor.mailbox:
        with message:
            first, count = message.body
            handles = [Handle.of(memfd(first + offset)) for offset in range(count)]
            try:
                await message.reply(handles)
            finally:
                for handle in handles:
                    handle.close()


# ---- what can happen ------------------------------------------------------------------------


async def fork_keeper(primary: Primary) -> Worker:
    worker = await primary.fork(keeps)
    await worker.ask(["begin"])
    return worker


async def in_flight(primary: Primary) -> None:
    """More are in flight than the user may have: they wait, and arrive when others have."""
    worker = await fork_keeper(primary)
    sizes = iter(range(1, 1000))
    gifts = [[Handle.of(memfd(next(sizes))) for _ in range(4)] for _ in range(40)]
    expected = [[size_of(handle) for handle in gift] for gift in gifts]
    worker.kill("SIGSTOP")
    with limited_to(50):
        for gift in gifts:
            await worker.send(gift)
        await trio.testing.wait_all_tasks_blocked()
        channel: Any = worker._life.channel
        assert channel._socket.stalled
        worker.kill("SIGCONT")
        assert expected == [(await worker.mailbox.receive()).body for _ in gifts]
    assert 0 == await worker.ask(["forget"])


async def receiver_is_full(primary: Primary) -> None:
    """Each ask is answered for the handles it brought, or fails; a message that lost some is told.

    What comes later, when there is room again, arrives.
    """
    worker = await fork_keeper(primary)
    await worker.ask(["limit", 30])
    outcomes: list[bool] = []

    async def ask(number: int) -> None:
        sizes = [1 + 5 * number + offset for offset in range(1 + number % 5)]
        try:
            answer = await worker.ask([Handle.of(memfd(size)) for size in sizes])
        except HandleError:
            outcomes.append(False)
        else:
            assert sizes == answer, "other handles than were given"
            outcomes.append(True)

    async def ask_many() -> None:
        async with trio.open_nursery() as nursery:
            for number in range(_MANY):
                nursery.start_soon(ask, number)

    await ask_many()
    assert {True, False} == set(outcomes)
    with primary.events(events.Error) as errors:
        await worker.send([Handle.of(memfd(size)) for size in range(40)])
        assert "handle_lost" in str((await anext(errors)).error)
    assert 0 == await worker.ask(["forget"])
    await worker.ask(["unlimit"])
    outcomes.clear()
    await ask_many()
    assert [True] * _MANY == outcomes
    assert 0 == await worker.ask(["forget"])


async def sender_is_full(primary: Primary) -> None:
    """What must be duplicated is refused and stays; what is moved needs no room."""
    worker = await fork_keeper(primary)
    kept, moved = Handle.of(memfd(1)), Handle.of(memfd(2))
    with open(os.memfd_create("test"), "wb") as file, contextlib.closing(kept):
        file.write(b"333")
        codes: list[int | None] = []
        with limited_to(_lowest_free()):
            for act in (worker.send, worker.ask):
                for body, handle, keep_open in (([kept], None, True), ([], file, False)):
                    try:
                        await act(body, handle, keep_open=keep_open)
                    except OSError as exc:
                        codes.append(exc.errno)
            assert 4 * [errno.EMFILE] == codes
            assert [2] == await worker.ask([moved])
        assert [1] == await worker.ask([kept], keep_open=True)
        assert [3] == await worker.ask([], file)
    assert 0 == await worker.ask(["forget"])


async def asker_is_full(primary: Primary) -> None:
    """Each ask gets the handles that were given, or learns that they did not arrive."""
    worker = await primary.fork(gives)
    kept: list[Handle] = []
    outcomes: list[bool] = []

    async def ask(number: int) -> None:
        first, count = 1 + 5 * number, 1 + number % 5
        try:
            answer = await worker.ask([first, count])
        except HandleError:
            outcomes.append(False)
        else:
            assert [*range(first, first + count)] == [size_of(handle) for handle in answer]
            outcomes.append(True)
            kept.extend(answer)

    for room, expected in ((30, {True, False}), (1000, {True})):
        with limited_to(descriptors()[-1] + 1 + room):
            async with trio.open_nursery() as nursery:
                for number in range(_MANY):
                    nursery.start_soon(ask, number)
            for handle in kept:
                handle.close()
            kept.clear()
        assert expected == set(outcomes)
        outcomes.clear()


def _lowest_free() -> int:
    used = set(descriptors())
    return next(number for number in range(len(used) + 1) if number not in used)


SCENARIOS: Final = {
    scenario.__name__: scenario
    for scenario in (in_flight, receiver_is_full, sender_is_full, asker_is_full)
}


async def main(name: str) -> None:
    with trio.fail_after(PATIENCE):
        async with actorcluster.open_primary() as primary:
            await primary.fork(gives)  # so that what a primary opens at first is open
            before = descriptors()
            await SCENARIOS[name](primary)
            for number in primary.workers:
                if number > 1:
                    await primary.workers[number].disconnect(1)
            await trio.testing.wait_all_tasks_blocked()
            assert before == descriptors()


if __name__ == "__main__":
    trio.run(main, sys.argv[1])
