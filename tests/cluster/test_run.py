"""run(): what it does to signal handlers, and what the first signal does to open primaries.

What a second signal does ends the program; see ``tests/e2e/test_signals.py``.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import actorcluster
from actorcluster import open_primary
from tests.e2e import actors

NUMBERS = (signal.SIGINT, signal.SIGTERM)


@pytest.fixture(autouse=True)
def _default_handlers() -> Iterator[None]:
    """As in a program of its own, also where the tests run as a background job."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def handlers() -> list[Any]:
    return [signal.getsignal(number) for number in NUMBERS]


def test_arguments_and_value() -> None:
    async def main(*args: int) -> tuple[int, ...]:
        await trio.lowlevel.checkpoint()
        return args

    assert (1, 2) == actorcluster.run(main, 1, 2)


def test_an_exception_goes_up() -> None:
    async def main() -> None:
        async with open_primary():
            raise KeyError("mine")

    before = handlers()
    with pytest.raises(KeyError, match="mine"):
        actorcluster.run(main)
    assert before == handlers()


@pytest.mark.parametrize("number", NUMBERS)
def test_first_signal_stops_every_open_primary(number: signal.Signals) -> None:
    """Nested or side by side, in any task. Main goes on after the outermost; its value is returned.

    As with all of Trio's scopes: an inner block that is left by a cancellation from outside too
    does not go on.
    """
    ended = []

    async def block(name: str, inside: Callable[[], Any] = trio.sleep_forever) -> None:
        async with open_primary():
            await inside()
        ended.append(name)

    async def nested() -> None:
        await block("inner")
        await trio.sleep_forever()

    async def main() -> str:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(block, "beside")
            nursery.start_soon(block, "outer", nested)
            await wait_all_tasks_blocked()
            signal.raise_signal(number)
        return "value"

    before = handlers()
    assert "value" == actorcluster.run(main)
    assert {"beside", "outer"} == set(ended)
    assert before == handlers()


def test_every_block_has_a_first_signal_of_its_own() -> None:
    """What was asked of the blocks before does not count any more."""

    async def main() -> int:
        for _ in range(3):
            async with open_primary() as primary:
                worker = await primary.fork(actors.idle)
                signal.raise_signal(signal.SIGTERM)
                await trio.sleep_forever()
            assert "shutdown" == (await worker.wait()).reason
        return 3

    assert 3 == actorcluster.run(main)


def test_handlers_are_ours_only_while_a_primary_is_open() -> None:
    """What was there before, Trio's own handler included, is there again after the last one."""
    seen: list[list[Any]] = []

    async def main() -> None:
        seen.append(handlers())
        for _ in range(2):
            async with open_primary():
                seen.append(handlers())
                async with open_primary():
                    seen.append(handlers())
                seen.append(handlers())
            seen.append(handlers())

    before = handlers()
    actorcluster.run(main)
    assert before == handlers()
    outside, *blocks = seen
    for first, both, second, after in (blocks[:4], blocks[4:]):
        assert first == both == second
        assert outside == after
        assert [] == [ours for ours, theirs in zip(first, outside, strict=True) if ours == theirs]


@pytest.mark.parametrize("before", [signal.SIG_IGN, lambda *_: None])
def test_handlers_of_the_program_come_back(before: Any) -> None:
    async def main() -> None:
        async with open_primary():
            assert before not in handlers()

    was = [signal.signal(number, before) for number in NUMBERS]
    actorcluster.run(main)
    assert [before, before] == handlers()
    for number, handler in zip(NUMBERS, was, strict=True):
        signal.signal(number, handler)


def test_a_handler_put_over_ours_stays() -> None:
    """Who replaces our handler inside the block wants the signal; we do not take that back."""
    got = []

    async def main() -> None:
        async with open_primary():
            signal.signal(signal.SIGTERM, lambda number, _: got.append(number))
            signal.raise_signal(signal.SIGTERM)
            await trio.lowlevel.checkpoint()
        signal.raise_signal(signal.SIGTERM)

    was = handlers()
    actorcluster.run(main)
    assert [signal.SIGTERM] * 2 == got
    signal.signal(signal.SIGTERM, was[1])
    assert was == handlers()


def test_a_receiver_inside_the_block_wins() -> None:
    """Trio's own way to hear of a signal works as anywhere, and gives the signal back."""

    async def main() -> str:
        async with open_primary() as primary:
            with trio.open_signal_receiver(signal.SIGTERM) as received:
                signal.raise_signal(signal.SIGTERM)
                assert signal.SIGTERM == await anext(aiter(received))
            assert not primary.scope.cancel_called
            signal.raise_signal(signal.SIGTERM)
            await trio.sleep_forever()
        return "stopped"

    assert "stopped" == actorcluster.run(main)


def test_a_primary_of_another_thread() -> None:
    """It neither keeps the handlers from being put in place nor from being taken away."""
    opened, leave = threading.Event(), threading.Event()

    async def beside() -> str:
        async with open_primary():
            opened.set()
            await trio.to_thread.run_sync(leave.wait)
        return "left"

    async def main() -> None:
        before = handlers()
        async with open_primary():
            assert before[0] != handlers()[0]
            signal.raise_signal(signal.SIGINT)
            await trio.sleep_forever()
        assert before == handlers()

    ends: list[str] = []
    thread = threading.Thread(target=lambda: ends.append(actorcluster.run(beside)))
    before = handlers()
    thread.start()
    opened.wait()
    actorcluster.run(main)
    assert before == handlers()
    leave.set()
    thread.join()
    assert before == handlers()
    assert ["left"] == ends


def test_under_plain_trio_signals_are_untouched() -> None:
    async def main() -> None:
        before = handlers()
        async with open_primary():
            assert before == handlers()

    trio.run(main)
