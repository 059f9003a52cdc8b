"""Refs by name are stable: what becomes of mail while its target is between two lives."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from actorcluster import (
    ActorClusterError,
    Child,
    NoSuchActor,
    PeerClosed,
    Pool,
    Supervisor,
)
from actorcluster.wire._generated import AbortCode
from tests.e2e import supervised_actors
from tests.e2e.supervised import AT_ONCE, LATER, NEVER, Scene, puppet, run_tree
from tests.worker.lines import until

SMALL = {"mailbox_size": 64 * 1024}
#: Leaves no room beside it in a small mailbox.
BIG = "x" * 60_000
SCRIPT = """
import actorcluster
async def main(actor):
    async for message in actor.mailbox:
        with message:
            await actor.send([actor.incarnation, message.body])
            if message.is_ask:
                await message.reply(message.body)
actorcluster.run_worker(main)
"""
#: For a patient messenger.
LONG = 1000


def messenger(name: str = "m") -> Child:
    return Child(name, supervised_actors.messenger)


def keeper(name: str = "b", **options: Any) -> Child:
    return Child(name, supervised_actors.keeps, **{"backoff": LATER, **options})


async def said(scene: Scene, name: str) -> Any:
    """What it tells the primary next."""
    return (await scene.worker(name).mailbox.receive()).body


async def bid(scene: Scene, how: str, to: str, body: Any, seconds: float = LONG) -> None:
    """Have the messenger send or ask."""
    await scene.worker("m").send([how, to, body, seconds])


# ---- from one life to the next --------------------------------------------------------------


async def test_from_the_primary() -> None:
    """One ref for all lives; send and ask wait in between."""
    async with run_tree([puppet("b", backoff=LATER)]) as scene:
        ref = scene.primary.ref("b")
        assert ["b", 1] == await ref.ask("who")
        await scene.ends("b")
        assert {"b": "waiting"} == scene.states()
        assert ["b", 2] == await ref.ask("who")
        await scene.ends("b")
        assert {"b": "waiting"} == scene.states()
        with pytest.raises(trio.WouldBlock):
            ref.send_nowait("hello")
        await ref.send("exit")
        assert "exit" == (await scene.until("exit b exit")).status.reason
        assert ["b", 4] == await ref.ask("who")


@pytest.mark.parametrize("is_known", [True, False])
async def test_from_worker_to_worker(is_known: bool) -> None:
    """Whether or not the sender has sent there before."""
    async with run_tree([keeper(), messenger()]) as scene:
        if is_known:
            await bid(scene, "send", "b", "early")
            assert [1, "early"] == await said(scene, "b")
            assert ["send", None] == await said(scene, "m")
        await scene.ends("b")
        assert [1, "signal"] == (await scene.primary.mailbox.receive()).body
        assert "waiting" == scene.states()["b"]
        for number in range(3):
            await bid(scene, "send", "b", number)
        for _ in range(3):
            assert ["send", None] == await said(scene, "m")
        received = [(await scene.primary.mailbox.receive()).body for _ in range(3)]
        # Who had to ask first whether there is a `b` hears of it together with the others.
        assert [[2, 0], [2, 1], [2, 2]] == (received if is_known else sorted(received))


async def test_an_ask_from_worker_to_worker() -> None:
    async with run_tree([puppet("b", backoff=LATER), messenger()]) as scene:
        await bid(scene, "ask", "b", "who")
        assert ["ask", ["b", 1]] == await said(scene, "m")
        await scene.ends("b")
        assert "waiting" == scene.states()["b"]
        await bid(scene, "ask", "b", "who")
        assert ["ask", ["b", 2]] == await said(scene, "m")


async def test_a_life_that_never_gets_online(tmp_path: Path) -> None:
    """Whoever waits goes on waiting for the next."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    answers: list[object] = []

    async def ask(scene: Scene) -> None:
        answers.append(await scene.primary.ref("b").ask("mine"))

    async with run_tree([Child("b", None, exec=str(script), backoff=LATER), messenger()]) as scene:
        script.unlink()
        scene.worker("b").kill("SIGKILL")
        await scene.until("restart b 1")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, scene)
            nursery.start_soon(scene.primary.ref("b").send, "mine")
            await bid(scene, "ask", "b", "theirs")
            await bid(scene, "send", "b", "theirs")
            await scene.until("restart b 2")
            script.write_text(SCRIPT)
            said_by_m = [await said(scene, "m") for _ in range(2)]
            assert [["ask", "theirs"], ["send", None]] == sorted(said_by_m)
        assert ["mine"] == answers
        received = [(await scene.primary.mailbox.receive()).body for _ in range(4)]
        assert [[3, "mine"], [3, "mine"], [3, "theirs"], [3, "theirs"]] == sorted(received)
    assert (2, 1) == (scene.lines.count("fork b"), scene.lines.count("online b"))


async def test_while_its_supervisor_starts_it_again() -> None:
    """However far up the restart comes from."""
    below = Supervisor("sub", max_restarts=0, children=[puppet("x"), puppet("y")])
    async with run_tree([below, messenger()]) as scene:
        await scene.ends("sub.x")
        await bid(scene, "ask", "sub.y", "who")
        assert ["sub.x", 2] == await scene.primary.ref("sub.x").ask("who")
        assert ["ask", ["sub.y", 2]] == await said(scene, "m")


async def test_while_it_stops_to_start_again() -> None:
    """With its sibling; its life takes nothing more, the next one will."""
    linger = Child("b", supervised_actors.lingers, ready="called")
    async with run_tree([puppet("a"), linger, messenger()], strategy="rest_for_one") as scene:
        await scene.ends("a")
        while (await scene.primary.mailbox.receive()).body != "draining":
            pass
        assert "stopping" == scene.states()["b"]
        assert ["b", 2] == await scene.primary.ref("b").ask("who")


async def test_it_dies_before_it_has_answered() -> None:
    """Both askers hear of it, and nobody asks the next life."""
    outcomes: list[object] = []

    async def ask(scene: Scene) -> None:
        try:
            await scene.primary.ref("b").ask("mine")
        except PeerClosed as exc:
            outcomes.append(exc.status and exc.status.reason)

    async with run_tree([keeper(), messenger()]) as scene:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, scene)
            assert [1, "mine"] == await said(scene, "b")
            await bid(scene, "ask", "b", "theirs")
            assert [1, "theirs"] == await said(scene, "b")
            scene.worker("b").kill("SIGKILL")
        assert ["signal"] == outcomes
        assert ["ask", "PeerClosed"] == await said(scene, "m")
        await scene.primary.ref("b").send("mark")
        assert [2, "mark"] == await said(scene, "b")


async def test_what_waits_for_room_when_it_dies() -> None:
    """It was not sent yet, so the next life gets it, in order; what lay in the mailbox is lost."""
    hoarder = Child("b", supervised_actors.hoards, backoff=AT_ONCE, settings=SMALL)
    async with run_tree([hoarder, messenger()]) as scene:
        for number in range(3):
            await bid(scene, "send", "b", f"{number}    {BIG}")
            assert ["send", None] == await said(scene, "m")

        def waiting() -> int:
            channel = scene.worker("b").statistics().channel
            return 0 if channel is None else channel.senders_waiting

        await until(lambda: waiting() == 2)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(scene.primary.ref("b").send, f"mine {BIG}")
            await until(lambda: waiting() == 3)
            scene.worker("b").kill("SIGKILL")
        received = [(await scene.primary.mailbox.receive()).body for _ in range(3)]
        assert [2, "mine "] in received
        received.remove([2, "mine "])
        assert [[2, "1    "], [2, "2    "]] == received


async def test_its_channel_is_over_before_its_process() -> None:
    """Who sends meanwhile waits, and lets others go on."""
    async with run_tree([puppet("b", backoff=AT_ONCE)]) as scene:
        worker = scene.worker("b")
        channel = worker._life.channel
        assert channel is not None
        # As when it breaks the protocol: from here on there is a moment in which nothing can be
        # sent, and the reader of the channel has not ended.
        channel.connection.abort(AbortCode.PROTOCOL_ERROR, "on purpose")
        worker.kill("SIGKILL")
        await scene.primary.ref("b").send("exit")
        assert 2 == (await scene.until("exit b exit")).worker.incarnation


# ---- it does not come back ------------------------------------------------------------------


@pytest.mark.parametrize("how", ["send", "ask"])
async def test_parked_while_somebody_waits(how: str, tmp_path: Path) -> None:
    """All who waited hear of it at once."""
    outcomes: list[str] = []

    async def attempt(scene: Scene) -> None:
        ref = scene.primary.ref("b")
        try:
            await (ref.ask("who") if how == "ask" else ref.send("who"))
        except ActorClusterError as exc:
            outcomes.append(type(exc).__name__)

    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    child = Child("b", None, exec=str(script), backoff=LATER)
    async with run_tree([child, messenger()], max_restarts=1, on_exhausted="park") as scene:
        script.unlink()  # so the next life does not even get online
        scene.worker("b").kill("SIGKILL")
        await scene.until("restart b 1")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(attempt, scene)
            await bid(scene, how, "b", "who")
            assert [how, "PeerClosed"] == await said(scene, "m")
        assert ["PeerClosed"] == outcomes
        assert "parked" == scene.states()["b"]


@pytest.mark.parametrize(
    ("restart", "end"), [("transient", "return"), ("temporary", "signal"), ("permanent", None)]
)
async def test_gone(restart: str, end: str | None) -> None:
    """It has finished, was forgotten, or somebody stopped it; deleted, it still was somebody."""
    async with run_tree([puppet("b", restart=restart), messenger()]) as scene:
        if end is None:
            await scene.primary.terminate_child("b")
            await scene.primary.delete_child("b")
        else:
            await scene.ends("b", end)
        ref = scene.primary.ref("b")
        for attempt in (ref.send, ref.ask):
            with pytest.raises(PeerClosed):
                await attempt("who")
        with pytest.raises(PeerClosed):
            ref.send_nowait("who")
        for how in ("send", "ask"):
            await bid(scene, how, "b", "who")
            assert [how, "PeerClosed"] == await said(scene, "m")


@pytest.mark.parametrize("name", ["nobody", "sub", "root", "forks", "sub.nobody", "web.3", ""])
async def test_unknown(name: str) -> None:
    """Never a place, or one that has no mailbox."""
    web = Pool("web", supervised_actors.puppet, count=2)
    async with run_tree([Supervisor("sub", children=[puppet("x")]), web, messenger()]) as scene:
        ref = scene.primary.ref(name)
        attempts: list[Any] = [ref.send, ref.ask, ref.send_nowait]
        for attempt in attempts:
            with pytest.raises(NoSuchActor):
                await attempt("who")
        await bid(scene, "ask", name, "who")
        assert ["ask", "NoSuchActor"] == await said(scene, "m")


async def test_leaving_by_itself_for_good() -> None:
    """A temporary worker that drains takes nothing more, and has no next life to wait for."""
    async with run_tree([messenger()]) as scene:
        worker = await scene.primary.fork(supervised_actors.drains_slowly, name="b")
        await worker.send("go")
        assert "draining" == (await worker.mailbox.receive()).body
        ref = scene.primary.ref("b")
        for attempt in (ref.send, ref.ask):
            with pytest.raises(PeerClosed):
                await attempt("who")
        await bid(scene, "ask", "b", "who")
        assert ["ask", "PeerClosed"] == await said(scene, "m")
        assert not worker.is_dead()
        worker.kill("SIGKILL")


async def test_the_block_is_left_while_somebody_waits() -> None:
    outcomes: list[str] = []

    async def attempt(call: Callable[[str], Any]) -> None:
        try:
            await call("who")
        except (ActorClusterError, trio.ClosedResourceError) as exc:
            outcomes.append(type(exc).__name__)

    async with trio.open_nursery() as nursery:
        async with run_tree([puppet("b", backoff=NEVER)]) as scene:
            await scene.ends("b")
            ref = scene.primary.ref("b")
            nursery.start_soon(attempt, ref.send)
            nursery.start_soon(attempt, ref.ask)
            await trio.testing.wait_all_tasks_blocked()
    assert ["ClosedResourceError", "PeerClosed"] == sorted(outcomes)


# ---- cancelled ------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["send", "ask"])
async def test_giving_up_while_it_is_between_lives(how: str) -> None:
    """Nothing was sent, from the primary and from a worker."""
    async with run_tree([keeper(), messenger()]) as scene:
        await scene.ends("b")
        assert [1, "signal"] == (await scene.primary.mailbox.receive()).body
        await bid(scene, how, "b", "given up", 0.05)
        ref = scene.primary.ref("b")
        with trio.move_on_after(0.05) as scope:
            await (ref.ask("given up") if how == "ask" else ref.send("given up"))
        assert scope.cancelled_caught
        assert [how, "too slow"] == await said(scene, "m")
        assert "waiting" == scene.states()["b"]
        await ref.send("mark")
        assert [2, "mark"] == await said(scene, "b")


async def test_the_asker_dies_while_its_target_is_between_lives() -> None:
    async with run_tree([keeper(), messenger()]) as scene:
        await scene.ends("b")
        assert [1, "signal"] == (await scene.primary.mailbox.receive()).body
        await bid(scene, "ask", "b", "of a dead one")
        await until(lambda: "b" in scene.primary._names.sought)
        scene.worker("m").kill("SIGKILL")
        await scene.until("exit m signal")
        assert "waiting" == scene.states()["b"]
        await scene.primary.ref("b").send("mark")
        assert [2, "mark"] == await said(scene, "b")


# ---- pools ----------------------------------------------------------------------------------


def pool(**options: Any) -> Pool:
    options = {"ready": "called", "backoff": AT_ONCE, **options}
    return Pool("web", supervised_actors.puppet, count=3, **options)


async def test_a_pool_is_dealt_round() -> None:
    """From the primary and from workers, in one round; its slots have names too."""
    async with run_tree([pool(), messenger()]) as scene:
        ref = scene.primary.ref("web")
        names = [(await ref.ask("who"))[0] for _ in range(6)]
        assert ["web.1", "web.2", "web.3"] * 2 == names
        for number in (1, 2, 3):
            await bid(scene, "ask", "web", "who")
            assert ["ask", [f"web.{number}", 1]] == await said(scene, "m")
        assert ["web.2", 1] == await scene.primary.ref("web.2").ask("who")


async def test_a_slot_that_is_away_is_left_out() -> None:
    async with run_tree([pool(backoff=NEVER), messenger()]) as scene:
        await scene.ends("web.2")
        ref = scene.primary.ref("web")
        assert ["web.1", "web.3"] * 2 == [(await ref.ask("who"))[0] for _ in range(4)]
        await bid(scene, "ask", "web", "who")
        assert ["ask", ["web.1", 1]] == await said(scene, "m")


async def test_all_slots_are_away() -> None:
    """Mail waits for the first that is back."""
    async with run_tree([pool(backoff=LATER, max_restarts=9), messenger()]) as scene:
        for number in (1, 2, 3):
            await scene.ends(f"web.{number}")
        assert {"waiting"} == {
            state for name, state in scene.states().items() if name.startswith("web")
        }
        await bid(scene, "ask", "web", "who")
        assert 2 == (await scene.primary.ref("web").ask("who"))[1]
        assert 2 == (await said(scene, "m"))[1][1]


async def test_no_slot_is_left() -> None:
    async with run_tree([pool(restart="transient"), messenger()]) as scene:
        for number in (1, 2, 3):
            await scene.ends(f"web.{number}", "return")
        ref = scene.primary.ref("web")
        for attempt in (ref.send, ref.ask):
            with pytest.raises(PeerClosed):
                await attempt("who")
        await bid(scene, "ask", "web", "who")
        assert ["ask", "PeerClosed"] == await said(scene, "m")
