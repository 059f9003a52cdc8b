"""Many tasks in one primary; `python -m benchmarks.tasks` shows how fast ten thousand start."""

from __future__ import annotations

import resource
from typing import Any

import pytest
import trio

from actorcluster import Actor, Backoff, Child, Pool, Supervisor, events, open_primary
from tests.tasks import actors

#: More than there may be descriptors.
MANY = 2000

stopped: list[int] = []


async def notes_its_end(actor: Actor, number: int) -> None:
    """Note when it is cancelled."""
    try:
        await trio.sleep_forever()
    finally:
        stopped.append(number)


async def test_they_start_in_order_and_stop_in_reverse() -> None:
    stopped.clear()
    children = [
        Child(f"t{number}", notes_its_end, args=[number], run="task") for number in range(MANY)
    ]
    descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, descriptors[1]))
    try:
        async with open_primary(Supervisor(children=children)) as primary:
            assert MANY == len(primary.workers)
            assert [f"t{number}" for number in range(MANY)] == [
                worker.name for worker in primary.workers.values()
            ]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, descriptors)
    assert [*reversed(range(MANY))] == stopped


async def test_three_hundred_with_mail_need_no_descriptors() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (128, before[1]))
    try:
        pool = Pool("p", actors.echo, count=300, run="task")
        async with open_primary(Supervisor(children=[pool])) as primary:
            assert 300 == len({(await primary.ref("p").ask(1))[0] for _ in range(300)})
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.parametrize("kinds", [(events.Restart,), ()])
async def test_a_crash_loop_lets_others_run(kinds: tuple[Any, ...]) -> None:
    """Who listens to all that happens keeps up, and who asks is answered."""
    children = [
        Child("a", actors.echo, run="task"),
        Child("b", actors.crashes, run="task", backoff=Backoff(min=0, max=0)),
    ]
    inner = Supervisor("inner", max_restarts=3000, on_exhausted="park", children=children)
    async with open_primary() as primary:
        with primary.events(*kinds) as happened:
            await primary.start_child(inner)
            answers = 0
            async for event in happened:
                if isinstance(event, events.Restart) and event.attempt % 100 == 0:
                    assert ["inner.a", 1] == await primary.ref("inner.a").ask(1)
                    answers += 1
                    if answers == 30:
                        break
    assert 30 == answers
