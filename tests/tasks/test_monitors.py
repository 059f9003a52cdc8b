"""Monitors of tasks and by tasks: what processes have, they have as well."""

from __future__ import annotations

from typing import Any

import pytest

from actorcluster import Child
from tests.e2e import flooding_actors, supervised_actors, watching_actors
from tests.e2e.supervised import NEVER, Scene, run_tree
from tests.e2e.watching_actors import told
from tests.worker.lines import until

KINDS = ["task", "process"]


def child(name: str, main: Any, run: Any, *args: Any, **options: Any) -> Child:
    options = {"ready": "called", "backoff": NEVER, **options}
    return Child(name, main, run=run, args=args, **options)


def watcher(run: Any) -> Child:
    return child("w", watching_actors.watcher, run, ready="online")


async def says(scene: Scene, name: str = "w") -> Any:
    return (await scene.worker(name).mailbox.receive()).body


def watches(scene: Scene) -> int:
    return len(scene.primary._names.watching)


@pytest.mark.parametrize("watched", KINDS)
@pytest.mark.parametrize("watching", KINDS)
@pytest.mark.parametrize("how", ["return", "raise", "exit"])
async def test_whoever_watches_whom(watched: str, watching: str, how: str) -> None:
    async with run_tree(
        [child("b", supervised_actors.puppet, watched), watcher(watching)]
    ) as scene:
        await scene.tell("w", "b")
        assert "watching" == await says(scene)
        async with scene.primary.ref("b").monitor() as monitor:
            worker = await scene.ends("b", how)
            down = told(await monitor.wait())
        assert down == await says(scene)
        status = await worker.wait()
        assert ["b", status.reason, status.code] == down[:3]
        assert {"return": "normal", "raise": "error", "exit": "exit"}[how] == status.reason
        assert 0 == watches(scene)


@pytest.mark.parametrize("watching", KINDS)
async def test_a_dead_one_an_unknown_one_and_oneself(watching: str) -> None:
    async with run_tree([child("b", supervised_actors.puppet, "task"), watcher(watching)]) as scene:
        await scene.ends("b", "exit")
        await scene.primary.terminate_child("b")
        for name, expected in [("b", ["b", "exit"]), ("nobody", ["nobody", None])]:
            await scene.tell("w", name)
            assert "watching" == await says(scene)
            assert expected == (await says(scene))[:2]
        await scene.tell("w", "w")
        assert "watching" == await says(scene)
        assert 1 == watches(scene)
        scene.worker("w").kill()
        await scene.until("restart w 1")
        assert 0 == watches(scene)


async def test_a_task_takes_a_monitor_back() -> None:
    async with run_tree([child("b", supervised_actors.puppet, "task"), watcher("task")]) as scene:
        await scene.tell("w", "b")
        assert "watching" == await says(scene)
        assert 1 == watches(scene)
        await scene.tell("w", "leave")
        assert "left" == await says(scene)
        assert 0 == watches(scene)


async def test_hundreds_of_tasks_watched_by_one() -> None:
    names = [f"b{number}" for number in range(300)]
    tree = [
        *(child(name, supervised_actors.puppet, "task", restart="temporary") for name in names),
        watcher("task"),
    ]
    async with run_tree(tree) as scene:
        for name in names:
            await scene.tell("w", name)
            assert "watching" == await says(scene)
        assert 300 == watches(scene)
        for name in names:
            await scene.tell(name, "return")
        downs = [await says(scene) for _ in names]
        assert sorted([name, "normal", 0, None, False, None] for name in names) == sorted(downs)
        assert 0 == watches(scene)


@pytest.mark.parametrize("flooding", KINDS)
@pytest.mark.parametrize("flooded", KINDS)
async def test_a_flood_leaves_half_a_window_to_others(flooding: str, flooded: str) -> None:
    """The one that is flooded never reads; three windows are sent there."""
    tree = [
        child("b", flooding_actors.deaf, flooded),
        child("s", flooding_actors.sink, "task"),
        child("f", flooding_actors.flooder, flooding, "b", 800, 16_000),
    ]
    async with run_tree(tree) as scene:
        await scene.tell("f", "go")
        b = scene.primary._names.seat_named("b")
        assert b is not None

        def is_stuck() -> bool:
            channel = b.life.channel
            return channel is not None and channel.statistics().senders_waiting > 0

        await until(is_stuck)
        for number in range(50):
            assert number == await scene.worker("f").ask(["ask", "s", number])
            await scene.worker("f").ask(["send", "s", "x" * 100_000])
        assert await scene.worker("f").ask("stop") < 800
