"""Children that crash without end, and starts that fail: a short form of `tests.crashloop`."""

from __future__ import annotations

import itertools

import pytest
import trio

from actorcluster import Backoff, NoSuchActor, PeerClosed, open_primary
from actorcluster._cluster import names
from tests import crashing
from tests.crashloop import MAX_MEMORY, crash_loop, failed_starts, ways
from tests.e2e import actors

PATIENCE = 60
REASON = "error ValueError: on purpose"


async def test_a_crash_loop_at_the_default_backoff() -> None:
    """Each restart is logged, with what comes next; what it costs says the long form."""
    loop = await crash_loop(2)
    for name, restarts in loop.restarts.items():
        lines = [line for line in loop.logged if line[0] == name]
        assert 0 <= len(lines) - restarts <= 1  # one while the block is left
        assert [(name, REASON, n + 1) for n in range(restarts)] == [
            (who, reason, number) for who, reason, _, number in lines[:restarts]
        ]
        for n, (_, _, delay, _) in enumerate(lines):
            assert 0.1 * 2**n <= delay <= 1.2 * 0.1 * 2**n + 0.01
        assert restarts >= 1


async def test_the_log_of_a_fast_crash_loop() -> None:
    """The first ones, then ever fewer."""
    loop = await crash_loop(PATIENCE, backoff=Backoff(min=0, max=0), most=50)
    assert 50 == sum(loop.restarts.values())
    logged = [1, 2, 3, 4, 5, 6, 7, 8, 16, 32, 64, 128]
    for name, restarts in loop.restarts.items():
        numbers = [number for who, _, _, number in loop.logged if who == name]
        assert logged[: len(numbers)] == numbers
        assert sum(number <= restarts for number in logged) <= len(numbers) < 12


async def test_starts_that_fail_leave_nothing_behind() -> None:
    """Whatever it was that failed."""
    each = len(ways(""))
    before, after = await failed_starts(2 * each, warm_up=each)
    assert before.descriptors == after.descriptors
    assert before.children == after.children
    assert after.memory - before.memory <= MAX_MEMORY


async def test_names_are_not_remembered_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last ones are, and those of the living."""
    monkeypatch.setattr(names, "_REMEMBERED", 3)
    async with open_primary() as primary:
        await primary.fork(actors.echo, name="living")
        for number in range(6):
            worker = await primary.fork(crashing.returns, name=f"n{number}")
            with trio.fail_after(PATIENCE):
                await worker.wait()
        for name in ("n0", "n1", "n2"):
            with pytest.raises(NoSuchActor):
                await primary.ref(name).ask("there?")
        for name in ("n4", "n5"):
            with pytest.raises(PeerClosed):
                await primary.ref(name).ask("there?")
        assert "there?" == await primary.ref("living").ask("there?")
        again = [await primary.fork(crashing.sleeps, name=name) for name in ("n5", "n0")]
        assert [2, 1] == [worker.incarnation for worker in again]
    assert len(list(itertools.islice(primary._names._incarnations, 10))) <= 5
