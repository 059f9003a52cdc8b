"""What somebody sees of a tree; calls on it while it stops, and calls that are cancelled."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio

from actorcluster import Child, ChildCount
from tests.e2e import supervised_actors
from tests.e2e.supervised import NEVER, Scene, mail, pool, puppet, run_tree
from tests.hardened.moments import every_moment

# ---- what there is --------------------------------------------------------------------------


async def test_what_there_is() -> None:
    children = [
        puppet("a"),
        mail(puppet("smtp"), puppet("imap", restart="transient")),
        pool("web", 2, on_exhausted="park", max_restarts=0),
        puppet("once", restart="temporary"),
        puppet("late", backoff=NEVER),
    ]
    async with run_tree(children) as scene:
        primary = scene.primary
        assert ChildCount(specs=9, active=9, supervisors=2, workers=7) == primary.count_children()
        await scene.ends("mail.imap", "return")
        await scene.ends("web.1")
        await scene.ends("once", "return")
        await scene.ends("late")
        await primary.terminate_child("a")
        await primary.fork(supervised_actors.puppet, name="forked")
        assert [
            ("a", "child", "down", 0),
            ("mail", "supervisor", "up", 0),
            ("web", "pool", "up", 0),
            ("late", "child", "waiting", 1),
            ("forks", "supervisor", "up", 0),
        ] == [(one.name, one.kind, one.state, one.failures) for one in primary.which_children()]
        assert [("mail.smtp", "up"), ("mail.imap", "finished")] == [
            (one.name, one.state) for one in primary.which_children(under="mail")
        ]
        smtp, imap = primary.which_children(under="mail")
        assert (scene.worker("mail.smtp"), None) == (smtp.worker, imap.worker)
        tree = primary.tree()
        assert ("root", "supervisor", "up", None) == (tree.name, tree.kind, tree.state, tree.worker)
        assert primary.which_children() == tree.children
        assert ChildCount(specs=9, active=5, supervisors=2, workers=7) == primary.count_children()
        pids = {worker.name: worker.pid for worker in primary.workers.values()}
        assert [
            "root up",
            "  a down",
            "  mail up",
            f"    mail.smtp up pid {pids['mail.smtp']}",
            "    mail.imap finished",
            "  web up",
            "    web.1 parked",
            f"    web.2 up pid {pids['web.2']}",
            "  late waiting",
            "  forks up",
            f"    forked up pid {pids['forked']}",
        ] == str(tree).splitlines()


async def test_what_there_was_is_still_there_afterwards() -> None:
    """When the block has been left all is down, and nothing can be started."""
    async with run_tree([puppet("a"), mail()]) as scene:
        pass
    primary = scene.primary
    assert "down" == primary.tree().state
    assert {"a": "down", "mail.smtp": "down", "mail.imap": "down"} == scene.states()
    assert 0 == primary.count_children().active
    with pytest.raises(trio.ClosedResourceError):
        await primary.start_child(puppet("b"))
    with pytest.raises(trio.ClosedResourceError):
        await primary.restart_child("a")
    await primary.terminate_child("a")


# ---- while the block is left ----------------------------------------------------------------

Call = Callable[[], Awaitable[object]]


async def test_while_the_block_is_left() -> None:
    """What is in progress ends, what is begun is refused; who stops somebody waits for that."""
    outcomes: dict[str, str] = {}

    async def attempt(name: str, call: Call) -> None:
        try:
            await call()
        except trio.ClosedResourceError:
            outcomes[name] = "closed"
        else:
            outcomes[name] = "done"

    lingers = Child("slow", supervised_actors.lingers, ready="called")
    async with trio.open_nursery() as nursery:
        async with run_tree([puppet("a"), lingers, puppet("down", silent=[2])]) as scene:
            primary = scene.primary
            await primary.terminate_child("down")
            nursery.start_soon(
                attempt, "starting", lambda: primary.start_child(puppet("x", silent=[1]))
            )
            await scene.until("online x")
            nursery.start_soon(attempt, "restarting", lambda: primary.restart_child("down"))
            await scene.until("online down")
            scene.primary.scope.cancel()
            nursery.start_soon(_when_stopping, scene, attempt, nursery)
            await trio.sleep_forever()
    assert {
        "starting": "closed",
        "restarting": "closed",
        "start": "closed",
        "restart": "closed",
        "terminate": "done",
        "again": "done",
    } == outcomes


async def _when_stopping(scene: Scene, attempt: Any, nursery: trio.Nursery) -> None:
    """Begin some more when the slow one has been told to stop."""
    primary = scene.primary
    while (await primary.mailbox.receive()).body != "draining":
        pass
    assert "stopping" == scene.states()["slow"]
    nursery.start_soon(attempt, "start", lambda: primary.start_child(puppet("y")))
    nursery.start_soon(attempt, "restart", lambda: primary.restart_child("down"))
    nursery.start_soon(attempt, "terminate", lambda: primary.terminate_child("a"))
    nursery.start_soon(attempt, "again", lambda: primary.terminate_child("slow"))


async def test_while_its_supervisor_gives_up() -> None:
    """As when the block is left; the supervisor comes back without it."""
    outcomes: list[str] = []

    async def start(scene: Scene) -> None:
        try:
            await scene.primary.start_child(puppet("x", silent=[1, 2]), "mail")
        except trio.ClosedResourceError:
            outcomes.append("closed")

    async with run_tree([mail(max_restarts=0)]) as scene:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(start, scene)
            await scene.until("online mail.x")
            await scene.ends("mail.smtp")
        assert ["closed"] == outcomes
        await scene.calm()
        assert {"mail.smtp": "up", "mail.imap": "up"} == scene.states()


# ---- cancelled at every moment --------------------------------------------------------------


@pytest.mark.parametrize("kind", ["child", "supervisor"])
async def test_start_child_cancelled(kind: str) -> None:
    """It was stopped and is not kept, or it is up."""
    spec: Any = puppet("x") if kind == "child" else mail()
    async with run_tree([puppet("a")], max_restarts=0) as scene:
        cancelled = 0
        for trial in every_moment(own_steps=True):
            await trial.run(scene.primary.start_child, spec)
            cancelled += trial.cancelled
            if trial.cancelled:
                assert {"a": "up"} == scene.states()
                assert ["a"] == [worker.name for worker in scene.primary.workers.values()]
            else:
                await scene.primary.terminate_child(spec.name)
                await scene.primary.delete_child(spec.name)
        assert cancelled


async def test_restart_child_cancelled() -> None:
    """It was stopped, or it is up; its place stays."""
    async with run_tree([puppet("a"), puppet("b")], max_restarts=0) as scene:
        await scene.primary.terminate_child("b")
        cancelled = 0
        for trial in every_moment(own_steps=True):
            await trial.run(scene.primary.restart_child, "b")
            cancelled += trial.cancelled
            expected = "down" if trial.cancelled else "up"
            assert {"a": "up", "b": expected} == scene.states()
            await scene.primary.terminate_child("b")
        assert cancelled


async def test_terminate_child_cancelled() -> None:
    """It stops all the same, once it has been told; before that nothing has happened."""
    async with run_tree([puppet("a"), puppet("b")], max_restarts=0) as scene:
        cancelled = 0
        for trial in every_moment(own_steps=True):
            worker = scene.worker("b")
            await trial.run(scene.primary.terminate_child, "b")
            cancelled += trial.cancelled
            if trial.cancelled and scene.states()["b"] == "up":
                assert 0 == trial.step
                continue
            await worker.wait()
            assert {"a": "up", "b": "down"} == scene.states()
            await scene.primary.restart_child("b")
        assert cancelled


async def test_delete_child_cancelled() -> None:
    """It is still there, or it is gone."""
    async with run_tree([puppet("a")], max_restarts=0) as scene:
        for trial in every_moment(own_steps=True):
            if "b" not in scene.states():
                await scene.primary.start_child(puppet("b"))
                await scene.primary.terminate_child("b")
            await trial.run(scene.primary.delete_child, "b")
            assert trial.cancelled is ("b" in scene.states())
