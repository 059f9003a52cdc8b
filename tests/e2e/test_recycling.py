"""Workers with limits are replaced while they are well, never two at a time."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from actorcluster import Child, Limits, Pool, ReloadAborted, events
from tests.e2e import reload_actors
from tests.e2e.supervised import comes, pool, puppet, run_tree, stops
from tests.together import Together


def greeter(limits: Limits, **options: Any) -> Child:
    return Child("a", reload_actors.takes, ready="listening", limits=limits, **options)


async def too_old() -> None:
    """It does not cost a restart, and the next life grows old as well."""
    async with run_tree([puppet("a", limits=Limits(max_age=0.2))], max_restarts=0) as scene:
        await scene.until("exit a shutdown")
        await scene.until("exit a shutdown")
    assert [*comes("a"), *stops("a")] * 2 == scene.lines[:10]


async def test_a_task_that_is_too_old(autojump_clock: trio.abc.Clock) -> None:
    child = puppet("a", run="task", limits=Limits(max_age=0.2))
    async with run_tree([child], max_restarts=0) as scene:
        await scene.until("exit a shutdown")
        assert ["a", 2] == await scene.primary.ref("a").ask("who")
    assert [*comes("a"), *stops("a")] == scene.lines[:5]


async def never_two_at_a_time() -> None:
    """All slots become due together, and are replaced one after the other."""
    names = {"web.1", "web.2", "web.3"}
    async with run_tree([pool("web", 3, limits=Limits(max_age=1.0))]) as scene:
        while not {f"exit {name} shutdown" for name in names} <= set(scene.lines):
            await scene.until_any("exit")
        lines = list(scene.lines)
    # On a slow machine the first is due before the last has started: that one's fork is not seen.
    first = next(i for i, line in enumerate(lines) if line.startswith("fork "))
    replaced = [line.split()[1] for line in lines[first:] if line.startswith("exit ")]
    assert [line for name in replaced for line in (*comes(name), *stops(name))] == lines[first:]


async def too_many_messages() -> None:
    async with run_tree([greeter(Limits(max_messages=5))]) as scene:
        ref = scene.primary.ref("a")
        assert [1] * 4 == [await ref.ask(None) for _ in range(4)]
        await ref.ask(None)
        await scene.until("exit a shutdown")
        assert 2 == await ref.ask(None)


async def too_many_connections() -> None:
    """Those that were taken, over all ports, whether they are still open or not."""
    async with run_tree([greeter(Limits(max_accepted=3))]) as scene:
        (port,) = scene.primary.statistics().ports
        for expected in (b"1", b"1", b"1"):
            assert expected == await greeting(port.address)
        await scene.until("exit a shutdown")
        assert b"2" == await greeting(port.address)


async def greeting(address: Any) -> bytes:
    async with await trio.open_tcp_stream(address[0], int(address[1])) as stream:
        return bytes(await stream.receive_some(10))


async def too_much_memory() -> None:
    async with run_tree([greeter(Limits(max_rss="200M"))]) as scene:
        ref = scene.primary.ref("a")
        assert 1 == await ref.ask(1000)
        assert 1 == await ref.ask(250 * 1024**2)
        await scene.until("exit a shutdown")
        assert 2 == await ref.ask(1000)


async def what_has_used_less_goes_on() -> None:
    limits = Limits(max_age=1000, max_rss="2G", max_messages=3, max_accepted=1)
    async with run_tree([greeter(limits)]) as scene:
        ref = scene.primary.ref("a")
        assert [1, 1] == [await ref.ask(None), await ref.ask(None)]
        await trio.sleep(1.5)
        assert [] == scene.lines
        await ref.ask(None)
        await scene.until("exit a shutdown")


async def test_the_new_one_fails(caplog: pytest.LogCaptureFixture) -> None:
    """The old one serves on, somebody hears of it, and it is tried again."""
    child = puppet("a", 2, limits=Limits(max_age=0.2))
    async with run_tree([child], max_restarts=0) as scene:
        event = await scene.until("error a")
        assert isinstance(event, events.Error)
        error = event.error
        assert isinstance(error, ReloadAborted)
        assert error.status is not None
        assert ("normal", 2) == (error.status.reason, event.worker.incarnation)
        assert 3 == (await scene.until("online a")).worker.incarnation
        await scene.until("exit a shutdown")
    text = "a: to be replaced, max_age, but its successor failed: normal"
    assert text in caplog.messages


async def a_fork_has_limits() -> None:
    async with run_tree() as scene:
        await scene.primary.fork(
            reload_actors.takes, name="a", restart="permanent", limits=Limits(max_age=0.2)
        )
        await scene.until("exit a shutdown")
        with pytest.raises(ValueError, match="limits: 'b' is temporary"):
            await scene.primary.fork(reload_actors.takes, name="b", limits=Limits(max_age=1))


async def a_worker_that_ends_while_it_is_due() -> None:
    """It is not replaced any more: what follows is the strategy's."""
    child = Pool("web", reload_actors.takes, count=1, ready="listening", limits=Limits(max_age=0.3))
    async with run_tree([child]) as scene:
        await scene.primary.terminate_child("web.1")
        await trio.sleep(0.5)
        assert {"web.1": "down"} == scene.states()


RECYCLING = Together(
    {
        "too old": too_old,
        "never two at a time": never_two_at_a_time,
        "too many messages": too_many_messages,
        "too many connections": too_many_connections,
        "too much memory": too_much_memory,
        "what has used less goes on": what_has_used_less_goes_on,
        "a fork has limits": a_fork_has_limits,
        "a worker that ends while it is due": a_worker_that_ends_while_it_is_due,
    }
)


@pytest.mark.parametrize("story", RECYCLING.names)
def test_recycling(story: str) -> None:
    RECYCLING.check(story)
