"""The harness finds every moment, and nothing but those of the call."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from tests.hardened.moments import Edge, every_moment


async def three_steps(log: list[str]) -> str:
    log.append("a")
    await trio.lowlevel.checkpoint()
    log.append("b")
    await trio.lowlevel.cancel_shielded_checkpoint()
    log.append("c")
    return "done"


async def test_every_moment_of_a_call() -> None:
    """Before it begins and in its checkpoint it is stopped; behind that nothing stops it."""
    found: dict[Edge, list[str]] = {edge: [] for edge in Edge}
    for trial in every_moment():
        log: list[str] = []
        result = await trial.run(three_steps, log)
        assert (None if trial.cancelled else "done") == result
        found[trial.edge].append("".join(log) + ("!" if trial.cancelled else ""))
    assert {
        Edge.WAKING: ["a!", "a!", "abc", "abc"],
        Edge.ASLEEP: ["a!", "abc", "abc"],
        Edge.SETTLED: ["abc", "abc", "abc"],  # it never waits for others
    } == found


async def test_a_wait_that_ends_by_itself() -> None:
    """It may be over and not know it yet: then it was not cancelled."""
    found = []

    async def wait_and_see(event: trio.Event) -> None:
        await event.wait()
        found.append(f"{trial} late")

    for trial in every_moment():
        event = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trial.run, wait_and_see, event)
            await trio.testing.wait_all_tasks_blocked(0.001)  # longer than what settles takes
            event.set()
        if trial.cancelled:
            found.append(str(trial))
    never = ["waking, step 2 late", "asleep, step 1 late", "settled, step 1 late"]
    assert [
        "waking, step 0",
        "waking, step 1 late",
        never[0],
        "asleep, step 0",
        never[1],
        "settled, step 0",
        never[2],
    ] == found


async def test_whose_steps_count() -> None:
    """Those of the call's children, unless only its own are wanted; never anybody else's."""

    async def parent() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(three_steps, [])

    async def other() -> None:
        while True:
            await trio.lowlevel.checkpoint()

    counts = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(other)
        for own_steps in (True, False):
            trials = []
            for trial in every_moment(own_steps=own_steps):
                if trial.edge is not Edge.SETTLED:  # with the other one nothing ever does
                    await trial.run(parent)
                trials.append(trial)
            counts.append(sum(trial.reached for trial in trials))
        nursery.cancel_scope.cancel()
    assert [3, 9] == counts


async def test_errors_come_out() -> None:
    async def fails() -> None:
        await trio.lowlevel.checkpoint()
        raise LookupError("on purpose")

    seen = 0
    for trial in every_moment():
        try:
            await trial.run(fails)
        except LookupError:
            seen += 1
        else:
            assert trial.cancelled
    assert seen


async def test_what_never_gets_through_is_told() -> None:
    async def endless() -> None:
        with trio.CancelScope(shield=True):
            for _ in range(trial.step + 10):
                await trio.lowlevel.checkpoint()

    with pytest.raises(AssertionError, match="never gets through"):
        for trial in every_moment(stride=500):
            await trial.run(endless)
