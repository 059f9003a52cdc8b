"""Where two things happen to a tree at once, and where nobody is where he is looked for."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import attrs
import pytest
import trio

import actorcluster
from actorcluster import (
    Actor,
    Backoff,
    Child,
    Pool,
    RestartLimitReached,
    RetryAfter,
    Supervisor,
    events,
)
from tests.program import running
from tests.worker.lines import until

SOON = Backoff(min=0.01, max=0.01, jitter=0)
NEVER = Backoff(min=1000, max=1000)


# ---- what runs in the workers ----------------------------------------------------------------


async def idle(actor: Actor) -> None:
    await trio.sleep_forever()


async def crashes(actor: Actor, lives: int) -> None:
    """Fail in that many lives; finish in the next."""
    if actor.incarnation <= lives:
        os._exit(3)


async def ready_when_told(actor: Actor) -> None:
    await actor.mailbox.receive()
    actor.ready()
    await trio.sleep_forever()


async def echoes(actor: Actor) -> None:
    async for message in actor.mailbox:
        with message:
            await message.reply(message.body)


async def asks(actor: Actor, names: list[str]) -> None:
    """Ask somebody of each name, then tell."""
    async with trio.open_nursery() as nursery:
        for name in names:
            nursery.start_soon(actor.ref(name).ask, name)
    await actor.send("answered")
    await trio.sleep_forever()


async def asks_in_vain(actor: Actor) -> None:
    await actor.mailbox.receive()
    for _ in range(30):
        with trio.move_on_after(0.002):
            await actor.ref("b").ask("x" * 1000)
    await actor.send("gave up")
    await actor.mailbox.receive()  # what it has taken is done


async def deaf(actor: Actor) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    actor.ready()
    with trio.CancelScope(shield=True):
        await trio.sleep_forever()


# ---- waiting for the end -----------------------------------------------------------------------


async def test_a_supervisor_that_waits_for_its_delay_is_waited_for() -> None:
    inner = Supervisor(
        "inner",
        max_restarts=0,
        auto_shutdown="never",
        children=[Child("c", crashes, args=(2,), restart="transient", backoff=SOON)],
    )
    async with actorcluster.open_primary(Supervisor(children=[inner])) as primary:
        with primary.events(events.Fork) as forks, trio.fail_after(60):
            await primary.wait()
            assert "finished" == primary.tree().children[0].children[0].state
    assert 3 >= len([event async for event in forks])


async def test_one_terminates_what_another_starts_again() -> None:
    async with actorcluster.open_primary(Supervisor(children=[Child("x", idle)])) as primary:

        async def terminate_and_restart() -> None:
            await primary.terminate_child("x")
            await primary.restart_child("x")

        with trio.fail_after(60):
            for _ in range(4):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(primary.terminate_child, "x")
                    nursery.start_soon(terminate_and_restart)
        assert "up" == primary.tree().children[0].state


async def test_nobody_is_started_once_all_are_killed() -> None:
    """A supervisor whose turn to stop has not come does not take that for failures."""
    inner = Supervisor("m", children=[Child(f"i{k}", idle, backoff=SOON) for k in range(2)])
    last = Child("last", deaf, ready="called", shutdown=30)
    tree = Supervisor(children=[inner, last])
    async with actorcluster.open_primary(tree, shutdown_timeout=0.2) as primary:
        lives = max(primary.workers)
        subscription = primary.events(events.Fork, events.Restart)
        subscription.__enter__()
    assert [] == [event async for event in subscription]
    assert 3 == lives


# ---- names -------------------------------------------------------------------------------------


async def test_those_who_come_later_in_the_first_start_are_waited_for() -> None:
    names = ["plain", "web", "web.1", "mail.smtp", "mail.p"]
    tree = Supervisor(
        children=[
            Child("first", asks, args=(names,)),
            Child("plain", echoes),
            Pool("web", echoes, count=1),
            Supervisor("mail", children=[Child("smtp", echoes), Pool("p", echoes, count=1)]),
        ]
    )
    with trio.fail_after(60):
        async with actorcluster.open_primary(tree) as primary:
            message = await primary.mailbox.receive()
            assert ("first", "answered") == (message.sender.name, message.body)


async def test_asks_that_were_given_up_are_not_kept() -> None:
    tree = Supervisor(
        max_restarts=0,
        on_exhausted=RetryAfter(1000),
        children=[Child("b", echoes), Child("a", asks_in_vain)],
    )
    async with actorcluster.open_primary(tree) as primary:
        with primary.events(events.Restart) as restarts, trio.fail_after(60):
            primary.workers[1].kill("SIGKILL")
            await anext(restarts)
            await primary.ref("a").send("now")
            assert "gave up" == (await primary.mailbox.receive()).body
            await until(lambda: primary._names.sought == {})


async def test_a_slot_that_is_online_is_asked_rather_than_one_that_starts() -> None:
    tree = Supervisor(children=[Pool("p", echoes, count=3, backoff=SOON)])
    async with actorcluster.open_primary(tree) as primary:
        stopped = next(iter(primary.workers.values()))
        with primary.events(events.Fork) as forks, trio.fail_after(60):
            stopped.kill("SIGKILL")
            await anext(forks)
            names = [primary._names.find("p") for _ in range(4)]
        assert {"p.2", "p.3"} == {relay.life.options.name for relay in names if relay is not None}


@attrs.define(eq=False)
class Seeker:
    """Waits for somebody, since a moment that its ticket tells."""

    ticket: int
    order: list[int]

    def found(self, target: object) -> None:
        self.order.append(self.ticket)


async def test_who_came_first_goes_first() -> None:
    """Also if he had waited for room at the last life, and so has begun to seek only now."""
    order: list[int] = []
    async with actorcluster.open_primary(Supervisor(children=[Child("c", idle)])) as primary:
        for ticket in (5, 2, 9):
            primary._names.when_there("c", Seeker(ticket, order))
        forgotten = Seeker(1, order)
        primary._names.when_there("c", forgotten)
        primary._names.nevermind("c", forgotten)
        primary._names.look_again()
    assert [2, 5, 9] == order


async def test_a_restart_can_be_waited_for() -> None:
    tree = Supervisor(children=[Child("c", echoes, backoff=NEVER)])
    async with actorcluster.open_primary(tree) as primary:
        worker = primary.workers[1]
        worker.kill("SIGKILL")
        with trio.fail_after(60):
            restart = await primary.wait_for(events.Restart, worker)
        assert ("c", 1, "signal") == (restart.name, restart.attempt, restart.status.reason)


# ---- the first start -----------------------------------------------------------------------------


async def test_a_tree_that_gives_up_while_it_starts_has_no_body() -> None:
    tree = Supervisor(
        max_restarts=0,
        children=[Child("b", crashes, args=(9,)), Child("s", ready_when_told, ready="called")],
    )
    with pytest.raises(RestartLimitReached, match="the last was b: exit 3"), trio.fail_after(60):
        async with actorcluster.open_primary(tree):
            raise AssertionError("entered")


PROGRAM = """
import signal
import sys
import trio
import actorcluster

async def waits(actor):
    print("starting", flush=True)
    await trio.sleep_forever()

async def main():
    tree = actorcluster.Supervisor(children=[actorcluster.Child("s", waits, ready="called")])
    async with actorcluster.open_primary(tree):
        print("entered", flush=True)

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
    try:
        trio.run(main)
    except KeyboardInterrupt:
        sys.exit("interrupted")
"""


async def test_an_interrupt_while_the_tree_starts(tmp_path: Path) -> None:
    """Under plain ``trio.run``: there is no body yet that it could end."""
    script = tmp_path / "program.py"
    script.write_text(PROGRAM)
    async with running(str(script)) as program:
        await program.says("starting")
        program.interrupt()
        assert 1 == await program.ends(), program.text
        assert "entered" not in program.text
        assert "Traceback" not in program.text
        await program.says("interrupted")
