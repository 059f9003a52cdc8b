"""Reload with real workers: ready before retire, and whatever overlaps it."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing

from actorcluster import (
    Child,
    NoSuchActor,
    ReloadAborted,
    RestartLimitReached,
    Worker,
    events,
)
from tests.e2e import reload_actors, supervised_actors
from tests.e2e.supervised import (
    NEVER,
    Scene,
    comes,
    dies,
    mail,
    pool,
    puppet,
    run_tree,
    stops,
)
from tests.worker.lines import until


def replaced(*names: str) -> list[str]:
    """The lines of those who get a successor, one after the other."""
    return [line for name in names for line in (*comes(name), *stops(name))]


def incarnations(scene: Scene) -> list[int]:
    return sorted(worker.incarnation for worker in scene.primary.workers.values())


@asynccontextmanager
async def reloading(scene: Scene, *args: Any, **options: Any) -> AsyncIterator[list[Any]]:
    """Reload beside the block, as far as the successor of ``a`` that is not ready yet.

    What came of it is in the list after the block.
    """
    outcome: list[Any] = []

    async def reload() -> None:
        try:
            await scene.primary.reload(*args, **options)
            outcome.append("done")
        except (ReloadAborted, trio.ClosedResourceError) as exc:
            outcome.append(exc)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(reload)
        await scene.until("online a")
        yield outcome


def successor(scene: Scene) -> Worker:
    """The one that has started last."""
    return max(scene.primary.workers.values(), key=lambda worker: worker.id)


# ---- as it should be ------------------------------------------------------------------------


async def test_all_workers_are_replaced() -> None:
    """In the order of the tree, each ready before the one it replaces is told to stop."""
    children = [puppet("a"), pool("web", 2), mail()]
    async with run_tree(children, max_restarts=0) as scene:
        await scene.primary.reload()
        assert [2] * 5 == incarnations(scene)
        assert {"up"} == set(scene.states().values())
        for name in ("a", "web.2", "mail.imap"):
            assert [name, 2] == await scene.primary.ref(name).ask("who")
    names = ("a", "web.1", "web.2", "mail.smtp", "mail.imap")
    assert replaced(*names) == scene.lines[: 5 * len(names)]


async def test_some_workers_are_replaced() -> None:
    children = [puppet("a"), pool("web", 2), mail()]
    async with run_tree(children) as scene:
        await scene.primary.reload("mail")
        await scene.primary.reload("web.2")
        await scene.primary.reload("a")
        assert [1, 2, 2, 2, 2] == incarnations(scene)
        assert 1 == scene.worker("web.1").incarnation


async def test_forks_are_replaced_unless_they_have_one_life() -> None:
    async with run_tree() as scene:
        await scene.primary.fork(supervised_actors.puppet, name="once")
        await scene.primary.fork(supervised_actors.puppet, name="always", restart="permanent")
        await scene.primary.reload()
        assert 1 == scene.worker("once").incarnation
        assert 2 == scene.worker("always").incarnation
        with pytest.raises(ValueError, match="'once' is temporary, it has one life"):
            await scene.primary.reload("once")


async def test_tasks_have_the_code_of_this_process() -> None:
    children = [puppet("a"), pool("web", 1, run="task")]
    async with run_tree(children) as scene:
        await scene.primary.reload()
        assert {"a": 2, "web.1": 1} == {
            worker.name: worker.incarnation for worker in scene.primary.workers.values()
        }
        for name in ("web", "web.1"):
            with pytest.raises(ValueError, match=f"^'{name}' is a task of this process"):
                await scene.primary.reload(name)


async def test_as_many_at_once_as_allowed() -> None:
    async with run_tree([pool("web", 3)]) as scene:
        await scene.primary.reload("web", max_surge=3)
        assert [2] * 3 == incarnations(scene)
    assert ["fork web.1", "fork web.2", "fork web.3"] == scene.lines[:3]


async def test_one_after_another_stopped_first() -> None:
    async with run_tree([pool("web", 2)]) as scene:
        await scene.primary.reload("web", max_surge=0, max_unavailable=1)
        assert [2, 2] == incarnations(scene)
    first = [*stops("web.1"), *comes("web.1"), *stops("web.2"), *comes("web.2")]
    assert first == scene.lines[: len(first)]


async def test_the_replaced_was_told_to_stop() -> None:
    async with run_tree([puppet("a")]) as scene:
        worker = scene.worker("a")
        await scene.primary.reload()
        status = await worker.wait()
        assert ("shutdown", True, 0) == (status.reason, status.voluntary, status.code)
        assert worker.exited_after_disconnect is True
        await scene.primary.wait_for(events.Draining, worker)


async def test_mail_that_was_accepted_is_finished_by_the_old_one() -> None:
    """A name means one life at any moment: first the one, then the other."""
    child = Child("a", reload_actors.thoughtful, ready="called")
    answers: dict[int, Any] = {}
    async with run_tree([child]) as scene:
        ref = scene.primary.ref("a")

        async def ask(number: int) -> None:
            answers[number] = await ref.ask(number)

        async with reloading(scene), trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(ask, number)
            await trio.testing.wait_all_tasks_blocked()
            await successor(scene).send("ready")
            await scene.until("draining a")
            for number in range(20, 25):
                nursery.start_soon(ask, number)
    old = {number: [1, number] for number in range(20)}
    assert old | {number: [2, number] for number in range(20, 25)} == answers


async def test_asks_that_found_no_room_go_to_the_new_one() -> None:
    """They had not left yet, so nothing is done twice."""
    settings = {"mailbox_size": 65536}
    child = Child("a", reload_actors.thoughtful, ready="called", settings=settings)
    answers: list[int] = []
    async with run_tree([child]) as scene:
        ref = scene.primary.ref("a")

        async def ask(number: int) -> None:
            incarnation, body = await ref.ask(bytes([number]) * 30_000)
            assert bytes([number]) * 30_000 == body
            answers.append(incarnation)

        async with reloading(scene), trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(ask, number)
            await trio.testing.wait_all_tasks_blocked()
            await successor(scene).send("ready")
    assert 20 == len(answers)
    assert {1, 2} == set(answers)


async def test_connections_are_finished_by_the_old_one() -> None:
    """The port goes on listening, and nobody is refused."""
    child = Child("a", reload_actors.greets, ready="listening")
    async with run_tree([child]) as scene:
        (port,) = scene.primary.statistics().ports
        host, number = port.address[0], int(port.address[1])
        async with await trio.open_tcp_stream(host, number) as first:
            assert b"1" == await first.receive_some(10)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(scene.primary.reload)
                await scene.until("draining a")
                async with await trio.open_tcp_stream(host, number) as second:
                    assert b"2" == await second.receive_some(10)
                assert [1, 2] == incarnations(scene)
                await first.send_all(b"x")
                assert b"" == await first.receive_some(10)
        assert [2] == incarnations(scene)


# ---- when it fails --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({}, "normal"),
        ({"ready_timeout": 0.5}, "start_timeout"),
    ],
)
async def test_the_new_one_fails(options: dict[str, Any], reason: str) -> None:
    """What was in service serves on; nobody is restarted, nothing counted."""
    args = ([2], []) if reason == "normal" else ([], [2])
    async with run_tree([puppet("a", args=args), puppet("b")], max_restarts=0) as scene:
        with pytest.raises(ReloadAborted, match=r"^aborted: worker a [^\n]*$") as caught:
            await scene.primary.reload(**options)
        assert [1, 1] == incarnations(scene)
        assert caught.value.worker is not None
        assert caught.value.status is not None
        assert ("a", 2) == (caught.value.worker.name, caught.value.worker.incarnation)
        assert reason == caught.value.status.reason
        assert ["a", 1] == await scene.primary.ref("a").ask("who")
        await scene.primary.reload()
        assert [2, 3] == incarnations(scene)


async def test_it_is_not_ready_in_time() -> None:
    async with run_tree([puppet("a", silent=[2])]) as scene:
        with pytest.raises(ReloadAborted, match=r"not ready within 0\.2 seconds"):
            await scene.primary.reload(ready_timeout=0.2)
        assert [1] == incarnations(scene)


async def test_those_replaced_before_it_stay_new() -> None:
    async with run_tree([puppet("a"), puppet("b", 2), puppet("c")]) as scene:
        with pytest.raises(ReloadAborted):
            await scene.primary.reload()
        assert [1, 1, 2] == incarnations(scene)
        assert 2 == scene.worker("a").incarnation


async def test_stopped_first_and_the_new_one_fails() -> None:
    """Its place stays down; the others serve on."""
    async with run_tree([puppet("a", 2), puppet("b")], max_restarts=0) as scene:
        with pytest.raises(ReloadAborted):
            await scene.primary.reload(max_surge=0, max_unavailable=1)
        assert {"a": "down", "b": "up"} == scene.states()
        await scene.primary.restart_child("a")
        await scene.primary.reload(max_surge=0, max_unavailable=1)
        assert {"a": "up", "b": "up"} == scene.states()


@pytest.mark.own_fork_server
async def test_stopped_first_beside_one_that_fails() -> None:
    """It started with code that was given up: guarded all the same, and old for the next reload."""
    async with run_tree([pool("web", 2, args=((), [2]))], max_restarts=0) as scene:
        primary = scene.primary

        async def reload() -> None:
            with pytest.raises(ReloadAborted):
                await primary.reload(max_surge=0, max_unavailable=2)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(reload)
            lines = {"online web.1", "online web.2"}
            while lines:
                await scene.until_any("online")
                lines.discard(scene.lines[-1])
            scene.worker("web.1").kill("SIGKILL")
        await scene.tell("web.2", "ready")
        assert ["web.2", 2] == await primary.ref("web.2").ask("who")
        server: Any = primary._seating.starter._server
        pid = scene.worker("web.2").pid
        await until(lambda: pid in [process.pid for process in server._guarded])
        await primary.reload()
        assert ["web.2", 3] == await primary.ref("web.2").ask("who")


async def test_the_new_one_is_killed() -> None:
    async with run_tree([puppet("a", silent=[2])]) as scene:
        async with reloading(scene) as outcome:
            successor(scene).kill("SIGKILL")
        assert isinstance(outcome[0], ReloadAborted)
        assert outcome[0].status is not None
        assert "signal" == outcome[0].status.reason
        assert [1] == incarnations(scene)


async def test_somebody_disconnects_the_new_one() -> None:
    """That says nothing about its place."""
    async with run_tree([puppet("a", silent=[2])]) as scene:
        async with reloading(scene) as outcome:
            await successor(scene).disconnect()
        assert isinstance(outcome[0], ReloadAborted)
        assert {"a": "up"} == scene.states()


# ---- what overlaps it -----------------------------------------------------------------------


async def test_the_old_one_dies() -> None:
    """That is a failure as any other; its successor is the restart, without a delay."""
    async with run_tree([puppet("a", silent=[2], backoff=NEVER)], max_restarts=1) as scene:
        async with reloading(scene) as outcome:
            ref = scene.primary.ref("a")
            new = successor(scene)
            await ref.send("signal")
            await scene.until("restart a 1")
            await new.send("ready")
        assert ["done"] == outcome
        assert ["a", 2] == await ref.ask("who")
    assert [*comes("a"), *dies("a", "signal"), "restart a 1", *stops("a")] == scene.lines


async def test_the_old_one_dies_once_too_often() -> None:
    """The restart that is one too many: both are gone."""
    with pytest.raises(RestartLimitReached):
        async with run_tree([puppet("a", silent=[2])], max_restarts=0) as scene:
            await ends_while_reloading(scene)
    assert ["exit a killed", "exit a signal"] == sorted(
        line for line in scene.lines if line.startswith("exit")
    )


async def ends_while_reloading(scene: Scene) -> None:
    async with reloading(scene):
        await scene.primary.ref("a").send("signal")
        await trio.sleep_forever()


async def test_both_die() -> None:
    async with run_tree([puppet("a", silent=[2])]) as scene:
        async with reloading(scene) as outcome:
            new = successor(scene)
            await scene.primary.ref("a").send("signal")
            await scene.until("restart a 1")
            new.kill("SIGKILL")
        assert isinstance(outcome[0], ReloadAborted)
        await scene.calm()
        assert ["a", 3] == await scene.primary.ref("a").ask("who")


async def test_a_sibling_dies() -> None:
    """Where that concerns the one that is replaced, its successor goes; both come back."""
    children = [puppet("a", silent=[2]), puppet("b")]
    async with run_tree(children, strategy="one_for_all") as scene:
        async with reloading(scene, "a") as outcome:
            await scene.ends("b")
        assert ["done"] == outcome
        await scene.calm()
        assert {"a": 3, "b": 2} == {
            worker.name: worker.incarnation for worker in scene.primary.workers.values()
        }


async def test_somebody_stops_it() -> None:
    """Both lives of the place end, and it is down then."""
    async with run_tree([puppet("a", silent=[2])]) as scene:
        async with reloading(scene) as outcome:
            await scene.primary.terminate_child("a")
            assert [] == incarnations(scene)
        assert ["done"] == outcome
        assert {"a": "down"} == scene.states()
        assert 3 == (await started(scene)).incarnation


async def started(scene: Scene) -> Worker:
    worker = await scene.primary.restart_child("a")
    assert worker is not None
    return worker


async def test_the_old_one_leaves_by_itself() -> None:
    async with run_tree([puppet("a", silent=[2])]) as scene:
        async with reloading(scene) as outcome:
            new = successor(scene)
            await scene.primary.ref("a").send("disconnect")
            await scene.until("restart a 1")
            await new.send("ready")
        assert ["done"] == outcome
        assert ["a", 2] == await scene.primary.ref("a").ask("who")


async def test_all_disconnect() -> None:
    async with run_tree([puppet("a", silent=[2]), puppet("b")]) as scene:
        async with reloading(scene):
            await scene.primary.disconnect()
            assert [] == incarnations(scene)
        await scene.primary.wait()


async def test_the_primary_closes() -> None:
    """Both lives end, and so does the waiting."""
    outcome: list[Any] = []
    async with trio.open_nursery() as nursery:

        async def reload(primary: Any) -> None:
            with pytest.raises(trio.ClosedResourceError):
                await primary.reload()
            outcome.append("closed")

        async with run_tree([puppet("a", silent=[2])]) as scene:
            nursery.start_soon(reload, scene.primary)
            await scene.until("online a")
    assert ["closed"] == outcome
    with pytest.raises(trio.ClosedResourceError):
        await scene.primary.reload()


async def test_a_second_reload_waits_for_the_first() -> None:
    async with run_tree([puppet("a", silent=[2])]) as scene:
        async with reloading(scene), trio.open_nursery() as nursery:
            nursery.start_soon(scene.primary.reload)
            await trio.testing.wait_all_tasks_blocked()
            assert [1, 2] == incarnations(scene)
            await successor(scene).send("ready")
        assert [3] == incarnations(scene)
    assert [*comes("a"), *stops("a")] * 2 + stops("a") == scene.lines


async def test_a_change_of_size_waits_for_it() -> None:
    async with run_tree([puppet("a", silent=[2]), pool("web", 1)]) as scene:
        async with reloading(scene), trio.open_nursery() as nursery:
            nursery.start_soon(scene.primary.scale, "web", 2)
            await trio.testing.wait_all_tasks_blocked()
            await successor(scene).send("ready")
        assert {"a": "up", "web.1": "up", "web.2": "up"} == scene.states()
    *_, last = (line for line in scene.lines if line.startswith("fork"))
    assert "fork web.2" == last


async def test_nobody_waits_for_it_any_more() -> None:
    """What was begun goes on, and nothing more is begun."""
    async with run_tree([puppet("a", silent=[2]), puppet("b")]) as scene:
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(scene.primary.reload)
                await scene.until("online a")
                scope.cancel()
        assert [1, 1, 2] == incarnations(scene)
        await successor(scene).send("ready")
        await scene.until("exit a shutdown")
        assert [1, 2] == incarnations(scene)
        await scene.primary.reload("b")
        assert [2, 2] == incarnations(scene)


@pytest.mark.own_fork_server
async def test_the_fork_server_dies_meanwhile() -> None:
    """The new one, or the old one: the next start finds another."""
    async with run_tree([puppet("a", silent=[2]), puppet("b")]) as scene:
        starter = scene.primary._seating.starter
        async with reloading(scene) as outcome:
            for server in (starter._server, starter._candidate):
                assert server is not None
                assert server.pid is not None
                os.kill(server.pid, signal.SIGKILL)
            await successor(scene).send("ready")
        assert ["done"] == outcome
        assert [2, 2] == incarnations(scene)


# ---- arguments ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "options"),
    [
        (TypeError, {"max_surge": 1.0}),
        (TypeError, {"max_surge": None}),
        (TypeError, {"max_unavailable": True}),
        (TypeError, {"ready_timeout": "1"}),
        (ValueError, {"max_surge": -1}),
        (ValueError, {"max_unavailable": -1}),
        (ValueError, {"max_surge": 0}),
        (ValueError, {"ready_timeout": 0}),
        (ValueError, {"ready_timeout": float("nan")}),
    ],
)
async def test_wrong_arguments(error: type[Exception], options: dict[str, Any]) -> None:
    async with run_tree() as scene:
        with pytest.raises(error, match=next(iter(options))):
            await scene.primary.reload(**options)


async def test_nobody_of_that_name() -> None:
    async with run_tree() as scene:
        with pytest.raises(NoSuchActor):
            await scene.primary.reload("a")
        await scene.primary.reload()
