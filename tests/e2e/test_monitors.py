"""Monitors: told of an end exactly once, in the primary and in workers, whoever it was."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from actorcluster import Child, Down, Monitor, Ref, open_primary
from tests.e2e import supervised_actors, watching_actors
from tests.e2e.supervised import LATER, NEVER, Scene, mail, pool, puppet, run_tree
from tests.e2e.watching_actors import told

KILLED = ["signal", None, "SIGKILL", False, None]
STOPPED = ["shutdown", 0, None, True, None]


def watcher(name: str = "w") -> Child:
    return Child(name, watching_actors.watcher)


async def says(scene: Scene, name: str = "w") -> Any:
    return (await scene.worker(name).mailbox.receive()).body


async def watch(scene: Scene, target: Any, name: str = "w") -> None:
    """Have the watcher watch; what it says of that follows its MONITOR."""
    await scene.tell(name, target)
    assert "watching" == await says(scene, name)


def watches(scene: Scene) -> int:
    """How many there are in the primary."""
    return len(scene.primary._names.watching)


# ---- in the primary -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "status"),
    [
        ("return", ["normal", 0, None, False, None]),
        ("raise", ["error", 1, None, False, ["ValueError", "on purpose"]]),
        ("exit", ["exit", 3, None, False, None]),
        ("signal", KILLED),
        ("disconnect", STOPPED),
    ],
)
async def test_every_end_is_told_in_the_primary_and_in_a_worker(how: str, status: Any) -> None:
    async with run_tree([puppet("b", backoff=NEVER), watcher()]) as scene:
        ref = scene.primary.ref("b")
        await watch(scene, "b")
        async with ref.monitor() as monitor:
            assert isinstance(monitor, Monitor)
            worker = await scene.ends("b", how)
            down = await monitor.wait()
        assert isinstance(down, Down)
        assert ref is down.ref
        assert down.status is await worker.wait()
        assert ["b", *status] == told(down)
        assert ["b", *status] == await says(scene)
        assert 0 == watches(scene)


async def test_a_name_means_the_life_that_has_it_now() -> None:
    async with run_tree([puppet("b"), watcher()]) as scene:
        ref = scene.primary.ref("b")
        first = scene.worker("b")
        for _ in range(3):
            await watch(scene, "b")
            async with ref.monitor() as monitor:
                await scene.ends("b")
                assert ["b", *KILLED] == told(await monitor.wait())
            assert ["b", *KILLED] == await says(scene)
            await scene.calm()
        assert ["b", 4] == await ref.ask("who")
        # and a ref that is pinned to one life stays with that
        pinned = Ref("b", scene.primary._names, first.id << 32)
        async with pinned.monitor() as monitor:
            assert ["b", *KILLED] == told(await monitor.wait())
        await watch(scene, pinned)
        assert ["b", *KILLED] == await says(scene)


async def test_between_two_lives_the_next_one_is_meant() -> None:
    async with run_tree([puppet("b", backoff=LATER), watcher()]) as scene:
        await scene.ends("b")
        assert "waiting" == scene.states()["b"]
        async with scene.primary.ref("b").monitor() as monitor:
            await watch(scene, "b")
            assert 2 == watches(scene)
            await scene.calm()
            assert 2 == watches(scene)
            await scene.ends("b", "exit")
            assert "exit" == told(await monitor.wait())[1]
        assert "exit" == (await says(scene))[1]


@pytest.mark.parametrize("how", ["parked", "by hand", "deleted", "temporary"])
async def test_who_will_not_come_back_is_down_at_once(how: str) -> None:
    options: dict[str, Any] = {"on_exhausted": "park", "max_restarts": 0}
    if how != "parked":
        options = {}
    child = puppet("b", restart="temporary" if how == "temporary" else "permanent")
    async with run_tree([child, watcher()], **options) as scene:
        if how in ("by hand", "deleted"):
            await scene.primary.terminate_child("b")
            if how == "deleted":
                await scene.primary.delete_child("b")
        else:
            await scene.ends("b")
        expected = ["b", *(STOPPED if how in ("by hand", "deleted") else KILLED)]
        async with scene.primary.ref("b").monitor() as monitor:
            down = told(await monitor.wait())
        await watch(scene, "b")
        if how == "deleted":  # it is remembered that there was one, not always how it ended
            assert ["b", None] in (down, await says(scene)) or expected == down
        else:
            assert expected == down == await says(scene)
        assert 0 == watches(scene)


async def test_who_waits_for_a_life_that_does_not_come_any_more() -> None:
    async with run_tree([puppet("b", backoff=NEVER), watcher()]) as scene:
        await scene.ends("b")
        async with scene.primary.ref("b").monitor() as monitor:
            await watch(scene, "b")
            await scene.primary.terminate_child("b")
            assert ["b", *KILLED] == told(await monitor.wait())
        assert ["b", *KILLED] == await says(scene)


async def test_nobody_ever_had_that_name() -> None:
    async with run_tree([watcher()]) as scene:
        async with scene.primary.ref("nobody").monitor() as monitor:
            assert ["nobody", None] == told(await monitor.wait())
        await watch(scene, "nobody")
        assert ["nobody", None] == await says(scene)
        stranger = Ref("x", scene.primary._names, 999 << 32)
        async with stranger.monitor() as monitor:
            assert ["x", None] == told(await monitor.wait())
        await watch(scene, stranger)
        assert [stranger.name, None] == await says(scene)


async def test_a_forked_worker() -> None:
    async with run_tree([watcher()]) as scene:
        worker = await scene.primary.fork(supervised_actors.puppet, ready="called")
        ref = scene.primary.ref(worker.name)
        await watch(scene, worker.name)
        async with ref.monitor() as monitor:
            await worker.disconnect()
            assert [worker.name, *STOPPED] == told(await monitor.wait())
        assert [worker.name, *STOPPED] == await says(scene)
        async with ref.monitor() as monitor:
            assert [worker.name, *STOPPED] == told(await monitor.wait())


async def test_one_that_was_told_to_stop_and_has_not_ended_yet() -> None:
    child = Child("b", supervised_actors.drains_slowly, restart="temporary", shutdown=0.2)
    async with run_tree([child, watcher()]) as scene:
        worker = await scene.tell("b", "go")
        assert "draining" == (await worker.mailbox.receive()).body
        await scene.until("draining b")
        async with scene.primary.ref("b").monitor() as monitor:
            await watch(scene, "b")
            assert ["b", *STOPPED] == told(await monitor.wait())
        assert ["b", *STOPPED] == await says(scene)


# ---- groups ---------------------------------------------------------------------------------


async def test_a_pool_is_down_when_nobody_of_it_is_left() -> None:
    options: dict[str, Any] = {"max_restarts": 1, "on_exhausted": "park"}
    async with run_tree([pool("p", 2, **options), watcher()]) as scene:
        async with scene.primary.ref("p").monitor() as monitor:
            await watch(scene, "p")
            await scene.ends("p.1")
            await scene.until("online p.1")
            await scene.ends("p.2")
            await scene.until("gaveup p.2")
            assert 2 == watches(scene)
            await scene.ends("p.1", "exit")
            assert ["p", "exit"] == told(await monitor.wait())[:2]
        assert ["p", "exit"] == (await says(scene))[:2]


async def test_a_slot_of_a_pool() -> None:
    async with run_tree([pool("p", 2)]) as scene:
        async with scene.primary.ref("p.2").monitor() as monitor:
            await scene.ends("p.1")
            assert 1 == watches(scene)
            await scene.ends("p.2")
            assert ["p.2", *KILLED] == told(await monitor.wait())


async def test_a_supervisor() -> None:
    async with run_tree([mail(), watcher()]) as scene:
        async with scene.primary.ref("mail").monitor() as monitor:
            await watch(scene, "mail")
            await scene.ends("mail.smtp")
            await scene.calm()
            assert 2 == watches(scene)
            await scene.primary.terminate_child("mail")
            assert ["mail", *STOPPED] == told(await monitor.wait())
        assert ["mail", *STOPPED] == await says(scene)
        assert 0 == watches(scene)


# ---- one's own, and the primary ---------------------------------------------------------------


async def test_oneself_and_the_primary() -> None:
    """Nobody hears of his own end; the watches go with the watcher."""
    async with run_tree([watcher(), puppet("b")]) as scene:
        for target in ("w", "primary", "b"):
            await watch(scene, target)
        assert 2 == watches(scene)
        await scene.ends("w")
        assert 0 == watches(scene)
        await scene.ends("b")
        await scene.calm()
        assert 0 == watches(scene)


async def test_the_sender_and_a_ref_that_was_sent() -> None:
    async with run_tree([puppet("b", backoff=NEVER), watcher()]) as scene:
        await watch(scene, scene.primary.ref("b"))
        await watch(scene, "sender")  # the primary
        assert 1 == watches(scene)
        await scene.ends("b")
        assert ["b", *KILLED] == await says(scene)


async def test_the_primary_closes() -> None:
    downs = []

    async def wait(ref: Ref, task_status: trio.TaskStatus[None]) -> None:
        async with ref.monitor() as monitor:
            task_status.started()
            downs.append(told(await monitor.wait()))

    async with trio.open_nursery() as nursery:
        async with open_primary() as primary:
            ref = primary.ref("primary")
            await nursery.start(wait, ref)
            assert [] == downs
        await wait(ref, trio.TASK_STATUS_IGNORED)
    assert [["primary", None]] * 2 == downs


# ---- leaving ----------------------------------------------------------------------------------


async def test_leaving_the_block_ends_the_watch() -> None:
    async with run_tree([puppet("b", backoff=NEVER), watcher()]) as scene:
        await watch(scene, "b")
        await watch(scene, "nobody at all"[:6])
        async with scene.primary.ref("b").monitor() as monitor:
            with trio.move_on_after(0):
                await monitor.wait()
            assert 2 == watches(scene)
        with pytest.raises(trio.ClosedResourceError):
            await monitor.wait()
        await scene.ends("b")


async def test_a_wait_may_be_cancelled_and_begun_again() -> None:
    async with run_tree([puppet("b", backoff=NEVER)]) as scene:
        async with scene.primary.ref("b").monitor() as monitor:
            for _ in range(3):
                with trio.CancelScope() as scope:
                    scope.cancel()
                    await monitor.wait()
                assert scope.cancelled_caught
            await scene.ends("b")
            assert ["b", *KILLED] == told(await monitor.wait())
        assert ["b", *KILLED] == told(await monitor.wait())


async def test_entered_once_and_before_waiting() -> None:
    async with run_tree([]) as scene:
        monitor = scene.primary.ref("nobody").monitor()
        with pytest.raises(RuntimeError, match="enter the block first"):
            await monitor.wait()
        async with monitor:
            with pytest.raises(RuntimeError, match="entered once"):
                await monitor.__aenter__()


async def test_a_worker_takes_a_monitor_back() -> None:
    async with run_tree([puppet("b", backoff=NEVER), watcher()]) as scene:
        for _ in range(2):
            await watch(scene, "b")
        assert 2 == watches(scene)
        await scene.tell("w", "leave")
        assert "left" == await says(scene)
        assert 1 == watches(scene)
        await scene.ends("b")
        assert ["b", *KILLED] == await says(scene)
        assert 0 == watches(scene)


async def test_a_thousand() -> None:
    """Half of them are taken back, the others are told; then nothing is left of them."""
    count = 1000
    holder = Child("h", watching_actors.holds_many, args=("b", count))
    async with run_tree([puppet("b", backoff=NEVER), holder]) as scene:
        assert "watching" == await says(scene, "h")
        assert count == watches(scene)
        await scene.tell("h", "leave")
        assert "left" == await says(scene, "h")
        assert count // 2 == watches(scene)
        await scene.ends("b")
        assert [["b", *KILLED]] * (count // 2) == await says(scene, "h")
        assert 0 == watches(scene)
        seat = scene.primary._names.seat_named("h")
        assert seat is not None
        assert set() == seat.life.connection._monitors


async def test_a_life_that_is_replaced() -> None:
    """Its monitors hear of its own end; the name means the successor."""
    async with run_tree([puppet("b"), watcher()]) as scene:
        await watch(scene, "b")
        async with scene.primary.ref("b").monitor() as monitor:
            await scene.primary.reload("b")
            assert ["b", *STOPPED] == told(await monitor.wait())
        assert ["b", *STOPPED] == await says(scene)
        async with scene.primary.ref("b").monitor() as monitor:
            assert 1 == watches(scene)
            await scene.ends("b")
            assert ["b", *KILLED] == told(await monitor.wait())
