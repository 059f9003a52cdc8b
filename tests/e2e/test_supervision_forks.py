"""Forks that are supervised: an implicit supervisor, the last child of the root."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from actorcluster import PeerClosed, WorkerStartError
from tests.e2e import actors
from tests.e2e.supervised import AT_ONCE, Scene, comes, dies, puppet, run_tree, stops
from tests.e2e.supervised_actors import puppet as main
from tests.hardened.moments import every_moment

OPTIONS: dict[str, Any] = {"ready": "called", "backoff": AT_ONCE}


async def fork(scene: Scene, name: str | None, *failing: int, **options: Any) -> Any:
    return await scene.primary.fork(main, list(failing), name=name, **{**OPTIONS, **options})


@pytest.mark.parametrize("restart", ["permanent", "transient", "temporary"])
async def test_first_start_fails(restart: str) -> None:
    """It raises, is not tried again, and leaves nothing: the name is free."""
    async with run_tree([puppet("a")], max_restarts=0) as scene:
        with pytest.raises(WorkerStartError) as caught:
            await fork(scene, "x", 1, restart=restart)
        assert (
            "worker x ended before it was ready: normal (its function returned, or its program"
            " exited with code 0; with ready='called', it has never called Actor.ready())"
        ) == str(caught.value)
        assert {"a": "up"} == scene.states()
        assert ["a"] == [worker.name for worker in scene.primary.workers.values()]
        with pytest.raises(PeerClosed):
            await scene.primary.ref("x").ask("who")
        worker = await fork(scene, "x", 1, restart=restart)
        assert 2 == worker.incarnation
    assert [*comes("x"), *dies("x", "normal"), *comes("x"), *stops("x", "a")] == scene.lines


@pytest.mark.parametrize("name", ["x", None])
@pytest.mark.parametrize(
    ("restart", "end", "reason", "comes_back"),
    [
        ("permanent", "return", "normal", True),
        ("permanent", "signal", "signal", True),
        ("permanent", "disconnect", None, True),
        ("transient", "return", "normal", False),
        ("transient", "raise", "error", True),
        ("temporary", "raise", "error", False),
    ],
)
async def test_it_ends_later(
    name: str | None, restart: str, end: str, reason: str | None, comes_back: bool
) -> None:
    """Restarted: another life of the same name, with an id and a process of its own."""
    async with run_tree() as scene:
        first = await fork(scene, name, restart=restart)
        name = name or "worker-1"
        assert (name, 1) == (first.name, first.incarnation)
        await scene.ends(name, end)
        await scene.calm()
        if comes_back:
            second = scene.worker(name)
            assert (name, 2, 2) == (second.name, second.id, second.incarnation)
            assert first.pid != second.pid
            assert [name, 2] == await scene.primary.ref(name).ask("who")
            assert first.is_dead()
        else:
            assert {} == scene.primary.workers
            await scene.primary.wait()
    follows = ["restart {0} 1", *comes("{0}"), *stops("{0}")] if comes_back else []
    expected = [*comes("{0}"), *(dies("{0}", reason) if reason else stops("{0}")), *follows]
    assert [line.format(name) for line in expected] == scene.lines


async def test_a_restart_fails() -> None:
    """Later failures are tried again, as in a tree."""
    async with run_tree() as scene:
        await fork(scene, "x", 2, 3, restart="permanent")
        await scene.ends("x")
        await scene.calm()
        assert 4 == scene.worker("x").incarnation
    assert [
        *[*comes("x"), *dies("x", "signal"), "restart x 1", *comes("x"), *dies("x", "normal")],
        *["restart x 2", *comes("x"), *dies("x", "normal"), "restart x 3", *comes("x")],
        *stops("x"),
    ] == scene.lines


async def test_forked_without_waiting() -> None:
    """A first start that fails is an event, and no more than that."""
    async with run_tree() as scene:
        options: dict[str, Any] = {**OPTIONS, "restart": "permanent"}
        failed = scene.primary.fork_soon(main, [1], name="x", **options)
        good = scene.primary.fork_soon(main, name="y", **options)
        assert "normal" == (await failed.wait()).reason
        await scene.calm()
        assert {"y": "up"} == scene.states()
        assert good is scene.worker("y")
        again = scene.primary.fork_soon(main, name="x", **options)
        await scene.calm()
        assert again is scene.worker("x")
    assert [] == [line for line in scene.lines if line.startswith("restart")]


@pytest.mark.parametrize("restart", ["permanent", "transient", "temporary"])
async def test_cancelled(restart: str) -> None:
    """At whatever moment: nothing is left, and the name is free."""
    async with run_tree() as scene:
        cancelled = 0
        for trial in every_moment(own_steps=True):
            worker = await trial.run(fork, scene, "x", restart=restart)
            cancelled += trial.cancelled
            if trial.cancelled:
                assert {} == scene.primary.workers
                assert {} == scene.states()
            else:
                await worker.disconnect()
            await scene.primary.wait()
        assert cancelled


async def test_disconnected() -> None:
    """Never restarted, and the name is free for another."""
    async with run_tree() as scene:
        worker = await fork(scene, "x", restart="permanent")
        with pytest.raises(ValueError, match="'x' is taken"):
            await fork(scene, "x")
        await worker.disconnect()
        await scene.primary.wait()
        again = await fork(scene, "x", restart="permanent")
        assert 2 == again.incarnation
        await scene.ends("x")
        await scene.calm()
        assert 3 == scene.worker("x").incarnation
    assert ["restart x 1"] == [line for line in scene.lines if line.startswith("restart")]


async def test_one_that_has_finished_is_forgotten() -> None:
    """Who forks jobs all day does not collect their places."""
    async with run_tree() as scene:
        for _ in range(3):
            worker = await fork(scene, None, restart="transient")
            await worker.send("return")
            await worker.wait()
            await scene.primary.wait()
        assert {} == scene.states()
        assert 0 == scene.primary.count_children().specs


async def test_names_of_the_tree_are_taken() -> None:
    async with run_tree([puppet("a"), puppet("b", restart="transient")]) as scene:
        await scene.ends("b", "return")
        for name in "ab":
            with pytest.raises(ValueError, match=f"'{name}' is taken"):
                await fork(scene, name)


async def test_they_are_stopped_before_the_tree() -> None:
    """All of them together."""
    async with run_tree([puppet("a"), puppet("b")]) as scene:
        for name in "xy":
            await fork(scene, name, restart="permanent")
    assert [*comes("x", "y"), "draining y", "draining x"] == scene.lines[:6]
    assert stops("b", "a") == scene.lines[-6:]
    assert [stops(name) for name in "xy"] == [scene.about(name)[2:] for name in "xy"]


async def test_too_many_restarts() -> None:
    """Their supervisor gives up, and the root decides: those that are not temporary come back."""
    async with run_tree([puppet("a")]) as scene:
        for name, restart in (("p", "permanent"), ("q", "transient"), ("t", "temporary")):
            await fork(scene, name, restart=restart)
        for _ in range(5):
            await scene.ends("p")
            await scene.calm()
        await scene.ends("p")
        with pytest.raises(trio.ClosedResourceError):
            scene.primary.fork_soon(main)
        await fork(scene, "x")  # waits until they are back
        await scene.calm()
        assert {"a": "up", "p": "up", "q": "up", "x": "up"} == scene.states()
    lines = scene.lines
    begin = lines.index("gaveup forks")
    assert "restart forks 1" in lines[begin:]
    assert 5 == sum(line.startswith("restart p") for line in lines)
    assert [*comes("q"), *stops("q"), *comes("q"), *stops("q")] == scene.about("q")
    assert [*comes("t"), *stops("t")] == scene.about("t")
    assert stops("a") == lines[-3:]


async def test_a_fork_in_progress_when_the_block_is_left() -> None:
    """It is killed, and whoever waits for it hears of the end."""
    outcome: list[str] = []

    async def attempt(scene: Scene) -> None:
        try:
            await scene.primary.fork(
                actors.never_ready, ready="called", restart="permanent", name="x"
            )
        except trio.ClosedResourceError as exc:
            outcome.append(str(exc))

    async with trio.open_nursery() as nursery:
        async with run_tree([puppet("a")]) as scene:
            nursery.start_soon(attempt, scene)
            await scene.until("online x")
    assert ["the primary has closed"] == outcome
    assert [*comes("x"), *dies("x", "killed"), *stops("a")] == scene.lines
