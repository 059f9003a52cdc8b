"""Pools of real workers that change their size."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing

from actorcluster import NoSuchActor, PeerClosed, Pool, WorkerStartError
from tests.e2e import reload_actors, supervised_actors
from tests.e2e.supervised import NEVER, comes, mail, pool, puppet, run_tree, stops


async def test_a_pool_grows_and_shrinks() -> None:
    async with run_tree([puppet("a"), pool("web", 1)]) as scene:
        await scene.primary.scale("web", 3)
        assert ["a", "web.1", "web.2", "web.3"] == list(scene.states())
        assert {"up"} == set(scene.states().values())
        answers = [await scene.primary.ref("web").ask("who") for _ in range(3)]
        assert [["web.1", 1], ["web.2", 1], ["web.3", 1]] == sorted(answers)
        await scene.primary.scale("web", 1)
        assert ["a", "web.1"] == list(scene.states())
        with pytest.raises(PeerClosed):
            await scene.primary.ref("web.3").ask("who")
        assert ["web.1", 1] == await scene.primary.ref("web").ask("who")
        await scene.primary.scale("web", 2)
        assert 2 == scene.worker("web.2").incarnation
    down = [line for line in scene.lines if line.startswith("draining")]
    order = ["web.3", "web.2", "web.2", "web.1", "a"]
    assert [f"draining {name}" for name in order] == down


async def test_what_was_accepted_is_finished() -> None:
    """A slot that goes answers what it has."""
    pool = Pool("web", reload_actors.thoughtful, count=2, ready="called")
    answers: list[Any] = []
    async with run_tree([pool]) as scene:
        ref = scene.primary.ref("web.2")

        async def ask(number: int) -> None:
            answers.append(await ref.ask(number))

        async with trio.open_nursery() as nursery:
            for number in range(10):
                nursery.start_soon(ask, number)
            await trio.testing.wait_all_tasks_blocked()
            await scene.primary.scale("web", 1)
            assert 10 == len(answers)


async def test_nobody_is_left() -> None:
    async with run_tree([pool("web", 2)]) as scene:
        await scene.primary.scale("web", 0)
        await scene.primary.wait()
        with pytest.raises(PeerClosed, match="nobody of web is left"):
            await scene.primary.ref("web").ask("who")
        await scene.primary.scale("web", 1)
        assert ["web.1", 2] == await scene.primary.ref("web").ask("who")


async def test_a_pool_that_was_empty() -> None:
    async with run_tree([pool("web", 0)]) as scene:
        await scene.primary.scale("web", 1)
        assert ["web.1", 1] == await scene.primary.ref("web").ask("who")


async def test_a_pool_of_tasks() -> None:
    async with run_tree([pool("web", 1, run="task")]) as scene:
        await scene.primary.scale("web", 3)
        answers = [await scene.primary.ref("web").ask("who") for _ in range(3)]
        assert [["web.1", 1], ["web.2", 1], ["web.3", 1]] == sorted(answers)
        await scene.primary.scale("web", 1)
        assert ["web.1", 1] == await scene.primary.ref("web").ask("who")


async def test_a_new_slot_is_supervised() -> None:
    async with run_tree([pool("web", 1)]) as scene:
        await scene.primary.scale("web", 2)
        await scene.ends("web.2")
        await scene.calm()
        assert 2 == scene.worker("web.2").incarnation


async def test_the_size_outlives_a_restart_of_the_pool() -> None:
    async with run_tree([pool("web", 1, max_restarts=0)]) as scene:
        await scene.primary.scale("web", 2)
        await scene.ends("web.1")
        await scene.calm()
        assert {"web.1": "up", "web.2": "up"} == scene.states()


async def test_a_new_one_cannot_be_started() -> None:
    """None of the new ones stays, and the pool is as it was."""
    children = [Pool("web", supervised_actors.fails_above, count=2, ready="called", args=(3,))]
    async with run_tree(children, max_restarts=0) as scene:
        with pytest.raises(WorkerStartError, match=r"worker web\.[45] ended before it was ready"):
            await scene.primary.scale("web", 5)
        assert {"web.1": "up", "web.2": "up"} == scene.states()
        await scene.primary.scale("web", 3)
        assert {"web.1": "up", "web.2": "up", "web.3": "up"} == scene.states()


async def test_a_pool_further_below() -> None:
    async with run_tree([mail()]) as scene:
        await scene.primary.start_child(pool("web", 1), "mail")
        await scene.primary.scale("mail.web", 2)
        assert "up" == scene.states()["mail.web.2"]


async def test_nobody_waits_for_it_any_more() -> None:
    """It goes on."""
    children = [Pool("web", reload_actors.waits_for_a_word, count=1, ready="called")]
    async with run_tree(children) as scene:
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(scene.primary.scale, "web", 2)
                await scene.until("online web.2")
                scope.cancel()
        assert {"web.1": "up", "web.2": "starting"} == scene.states()
        await scene.worker("web.2").send("ready")
        await scene.calm()
        assert {"web.1": "up", "web.2": "up"} == scene.states()


async def test_the_primary_closes() -> None:
    outcome: list[str] = []
    async with trio.open_nursery() as nursery:

        async def scale(primary: Any) -> None:
            with pytest.raises(trio.ClosedResourceError, match="pool web "):
                await primary.scale("web", 2)
            outcome.append("closed")

        children = [Pool("web", reload_actors.waits_for_a_word, count=1, ready="called")]
        async with run_tree(children) as scene:
            nursery.start_soon(scale, scene.primary)
            await scene.until("online web.2")
    assert ["closed"] == outcome
    with pytest.raises(trio.ClosedResourceError):
        await scene.primary.scale("web", 2)


async def test_a_pool_that_does_not_run() -> None:
    async with run_tree([pool("web", 1)]) as scene:
        await scene.primary.terminate_child("web")
        with pytest.raises(trio.ClosedResourceError, match="web is down"):
            await scene.primary.scale("web", 2)


async def test_the_pool_gives_up_meanwhile() -> None:
    children = [
        Pool(
            "web",
            reload_actors.waits_for_a_word,
            count=1,
            ready="called",
            backoff=NEVER,
            max_restarts=0,
        )
    ]
    async with run_tree(children) as scene, trio.open_nursery() as nursery:

        async def scale() -> None:
            with pytest.raises(trio.ClosedResourceError, match="pool web was stopped"):
                await scene.primary.scale("web", 2)

        nursery.start_soon(scale)
        await scene.until("online web.2")
        scene.worker("web.1").kill("SIGKILL")


@pytest.mark.parametrize(
    ("error", "count"), [(TypeError, 1.0), (TypeError, None), (TypeError, True), (ValueError, -1)]
)
async def test_wrong_counts(error: type[Exception], count: Any) -> None:
    async with run_tree([pool("web", 1)]) as scene:
        with pytest.raises(error, match="count must"):
            await scene.primary.scale("web", count)


async def test_what_is_no_pool() -> None:
    async with run_tree([puppet("a"), pool("web", 1), mail()]) as scene:
        for name in ("a", "web.1", "mail"):
            with pytest.raises(ValueError, match=f"^'{name}' is no pool$"):
                await scene.primary.scale(name, 2)
        with pytest.raises(NoSuchActor):
            await scene.primary.scale("nobody", 2)
    assert stops("mail.imap", "mail.smtp", "web.1", "a") == scene.lines
    assert [] == [line for line in comes("web.2") if line in scene.lines]
