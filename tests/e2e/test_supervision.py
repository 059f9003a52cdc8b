"""What becomes of a child that ends, and of its siblings: strategies and restart types."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
import trio

from actorcluster import Backoff, PeerClosed, Supervisor, events
from tests.e2e import supervised_actors
from tests.e2e.supervised import (
    NEVER,
    Scene,
    comes,
    dies,
    pool,
    puppet,
    run_tree,
    stops,
)

STRATEGIES = ["one_for_one", "rest_for_one", "one_for_all"]

# ---- every strategy, restart type and end ---------------------------------------------------

#: What `b` is told, and the reason of its end.
ENDS = {
    "return": "normal",
    "raise": "error",
    "exit": "exit",
    "signal": "signal",
    "signal, and the next start fails": "signal",
}

#: What becomes of it; ends in the order of `ENDS`.
FATES = {
    "permanent": ["restarts", "restarts", "restarts", "restarts", "restarts twice"],
    "transient": ["finishes", "restarts", "restarts", "restarts", "restarts twice"],
    "temporary": ["finishes", "finishes", "finishes", "finishes", "finishes"],
}

#: What follows, from its restart on.
FOLLOWS = {
    ("one_for_one", "restarts"): ["restart b 1", *comes("b")],
    ("rest_for_one", "restarts"): ["restart b 1", *stops("c"), *comes("b", "c")],
    ("one_for_all", "restarts"): ["restart b 1", *stops("c", "a"), *comes("a", "b", "c")],
    ("one_for_one", "restarts twice"): [
        *["restart b 1", *comes("b"), *dies("b", "normal")],
        *["restart b 2", *comes("b")],
    ],
    ("rest_for_one", "restarts twice"): [
        *["restart b 1", *stops("c"), *comes("b"), *dies("b", "normal")],
        *["restart b 2", *comes("b", "c")],
    ],
    ("one_for_all", "restarts twice"): [
        *["restart b 1", *stops("c", "a"), *comes("a", "b"), *dies("b", "normal")],
        *["restart b 2", *stops("a"), *comes("a", "b", "c")],
    ],
}

INCARNATION = {"restarts": 2, "restarts twice": 3}


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("restart", FATES)
@pytest.mark.parametrize("strategy", STRATEGIES)
async def test_one_of_three_ends(strategy: str, restart: str, end: str) -> None:
    """From the end of `b` to the end of the block, line by line."""
    fate = FATES[restart][list(ENDS).index(end)]
    failing = [2] if end.endswith("fails") else []
    children = [puppet("a"), puppet("b", *failing, restart=restart), puppet("c")]
    async with run_tree(children, strategy=strategy) as scene:
        first = await scene.ends("b", end.partition(",")[0])
        await scene.calm()
        if fate == "finishes":
            expected = {"a": "up", "b": "finished", "c": "up"}
            if restart == "temporary":  # nobody can start it again
                del expected["b"]
            assert expected == scene.states()
        else:
            again = scene.worker("b")
            assert INCARNATION[fate] == again.incarnation
            assert first.id < again.id
            assert first.pid != again.pid
    left = ["c", "a"] if fate == "finishes" else ["c", "b", "a"]
    follows = FOLLOWS.get((strategy, fate), [])
    assert [*dies("b", ENDS[end]), *follows, *stops(*left)] == scene.lines


@pytest.mark.parametrize("strategy", STRATEGIES[1:])
async def test_who_comes_back_with_a_sibling(strategy: str) -> None:
    """One that had finished does; one that was stopped by hand does not, nor a temporary one."""
    children = [
        puppet("b"),
        puppet("temporary", restart="temporary"),
        puppet("finished", restart="transient"),
        puppet("stopped"),
    ]
    async with run_tree(children, strategy=strategy) as scene:
        await scene.ends("finished", "return")
        await scene.primary.terminate_child("stopped")
        await scene.until("exit stopped shutdown")
        begin = len(scene.lines)
        await scene.ends("b")
        await scene.calm()
        assert {"b": "up", "finished": "up", "stopped": "down"} == scene.states()
    assert [
        *dies("b", "signal"),
        "restart b 1",
        *stops("temporary"),
        *comes("b", "finished"),
        *stops("finished", "b"),
    ] == scene.lines[begin:]


async def test_one_that_cannot_be_started_again_keeps_those_behind_it_waiting() -> None:
    """In order means: not before it is ready, however often that fails."""
    children = [puppet("a", 2, 3, 4), puppet("b")]
    async with run_tree(children, strategy="rest_for_one") as scene:
        await scene.ends("a")
        await scene.calm()
    failures = [
        line for n in (1, 2, 3) for line in [f"restart a {n}", *comes("a"), *dies("a", "normal")]
    ]
    assert [
        *dies("a", "signal"),
        failures[0],
        *stops("b"),
        *failures[1:],
        "restart a 4",
        *comes("a", "b"),
        *stops("b", "a"),
    ] == scene.lines


async def test_delays_grow_and_are_kept() -> None:
    """As the events say them, and not earlier than they say."""
    backoff = Backoff(min=0.01, max=0.03, factor=2, jitter=0)
    async with run_tree([puppet("a", 2, 3, backoff=backoff)]) as scene:
        await scene.ends("a")
        begin = trio.current_time()
        await scene.calm()
        assert 0.01 + 0.02 + 0.03 <= trio.current_time() - begin
    restarts = [event for event in scene.events if isinstance(event, events.Restart)]
    assert [(0.01, 1), (0.02, 2), (0.03, 3)] == [(one.delay, one.attempt) for one in restarts]
    assert ["signal", "normal", "normal"] == [one.status.reason for one in restarts]
    assert [1, 2, 3] == [one.worker.incarnation for one in restarts]


# ---- somebody ends it -----------------------------------------------------------------------

EndCall = Callable[[Scene], Awaitable[object]]


async def kill(scene: Scene) -> None:
    worker = scene.worker("b")
    worker.kill()
    await worker.wait()


async def leave(scene: Scene) -> None:
    await scene.ends("b", "disconnect")


async def leave_at_once(scene: Scene) -> None:
    await scene.ends("b", "kill")


async def disconnect(scene: Scene) -> None:
    await scene.worker("b").disconnect()


@pytest.mark.parametrize(
    ("end", "restart", "comes_back"),
    [
        (kill, "permanent", True),
        (kill, "transient", True),
        (kill, "temporary", False),
        (leave, "permanent", True),
        (leave, "transient", False),
        (leave, "temporary", False),
        (leave_at_once, "permanent", True),
        (leave_at_once, "transient", False),
        (disconnect, "permanent", False),
        (disconnect, "transient", False),
        (disconnect, "temporary", False),
    ],
)
async def test_somebody_ends_it(end: EndCall, restart: str, comes_back: bool) -> None:
    """A signal is a failure, leaving by itself a good end; who is told by us to go stays away."""
    children = [puppet("a"), puppet("b", restart=restart)]
    async with run_tree(children, strategy="one_for_all") as scene:
        await end(scene)
        await scene.calm()
    first = dies("b", "signal") if end is kill else stops("b")
    if comes_back:
        follows = ["restart b 1", *stops("a"), *comes("a", "b"), *stops("b", "a")]
    else:
        follows = stops("a")
    assert [*first, *follows] == scene.lines


async def test_disconnected_by_us_it_waits_for_somebody() -> None:
    """Its place stays, and a hand can start it."""
    async with run_tree([puppet("a"), puppet("b")]) as scene:
        await scene.worker("b").disconnect()
        assert {"a": "up", "b": "down"} == scene.states()
        with pytest.raises(PeerClosed):
            await scene.primary.ref("b").ask("who")
        worker = await scene.primary.restart_child("b")
        assert worker is scene.worker("b")
        assert ["b", 2] == await worker.ask("who")
        await scene.ends("b")
        await scene.calm()
        assert 3 == scene.worker("b").incarnation


async def test_disconnecting_a_past_life_leaves_its_successor_alone() -> None:
    async with run_tree([puppet("a")]) as scene:
        past = await scene.ends("a")
        await scene.calm()
        status = await past.disconnect()
        assert "signal" == status.reason
        assert ["a", 2] == await scene.primary.ref("a").ask("who")
        assert {"a": "up"} == scene.states()
        await scene.ends("a")
        await scene.calm()
        assert 3 == scene.worker("a").incarnation


async def test_disconnecting_one_that_is_about_to_come_back() -> None:
    """It does not: that is what disconnect means."""
    async with run_tree([puppet("a", backoff=NEVER)]) as scene:
        past = await scene.ends("a")
        assert {"a": "waiting"} == scene.states()
        await past.disconnect()
        assert {"a": "down"} == scene.states()
        await scene.primary.wait()
        with pytest.raises(PeerClosed):
            await scene.primary.ref("a").send("hello")
    assert [*dies("a", "signal"), "restart a 1"] == scene.lines


async def test_disconnecting_all() -> None:
    """Nobody comes back; one may fork again afterwards."""
    children = [puppet("a"), Supervisor("sub", children=[puppet("b")])]
    async with run_tree(children, strategy="one_for_all") as scene:
        await scene.primary.fork(supervised_actors.puppet, name="forked", restart="permanent")
        await scene.primary.disconnect()
        assert {} == scene.primary.workers
        assert {"down"} == set(scene.states().values())
        await scene.primary.wait()
        worker = await scene.primary.fork(supervised_actors.puppet)
        assert [worker.name, 1] == await worker.ask("who")
    assert [] == [line for line in scene.lines if line.startswith("restart")]


async def test_disconnecting_all_while_one_is_about_to_come_back() -> None:
    """When this returns every one is gone, and nobody comes behind its back."""
    async with run_tree([puppet("a"), puppet("b", backoff=NEVER)]) as scene:
        await scene.ends("b")
        await scene.primary.disconnect()
        assert {"a": "down", "b": "down"} == scene.states()
        await scene.primary.wait()


# ---- it breaks the protocol -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("strategy", "restart", "follows", "left"),
    [
        ("one_for_one", "permanent", ["gaveup b"], ["c", "a"]),
        ("one_for_one", "temporary", [], ["c", "a"]),
        ("rest_for_one", "permanent", ["gaveup b", *stops("c")], ["a"]),
        ("one_for_all", "transient", ["gaveup b", *stops("c", "a")], []),
    ],
)
async def test_it_breaks_the_protocol(
    strategy: str, restart: str, follows: list[str], left: list[str]
) -> None:
    """The same program would do so again: it is parked, with those that the strategy ties to it."""
    children = [puppet("a"), puppet("b", restart=restart), puppet("c")]
    async with run_tree(children, strategy=strategy) as scene:
        await scene.ends("b", "garbage")
        await scene.calm()
        states = scene.states()
        assert left == [name for name in ("c", "a") if states[name] == "up"]
        assert states.get("b") == (None if restart == "temporary" else "parked")
        with pytest.raises(PeerClosed):
            await scene.primary.ref("b").ask("who")
    assert ["error b", *dies("b", "protocol"), *follows, *stops(*left)] == scene.lines


async def test_what_was_parked_is_started_by_hand() -> None:
    """Alone, and supervised again."""
    children = [puppet("a"), puppet("b"), puppet("c")]
    async with run_tree(children, strategy="rest_for_one") as scene:
        await scene.ends("b", "garbage")
        await scene.calm()
        assert {"a": "up", "b": "parked", "c": "parked"} == scene.states()
        await scene.primary.restart_child("b")
        assert {"a": "up", "b": "up", "c": "parked"} == scene.states()
        await scene.ends("b")
        await scene.calm()
        assert {"a": "up", "b": "up", "c": "parked"} == scene.states()
        assert 3 == scene.worker("b").incarnation


# ---- pools ----------------------------------------------------------------------------------


async def test_a_slot_of_a_pool_concerns_nobody() -> None:
    """It comes back alone, whatever the strategy around, and on the pool's own budget."""
    children = [puppet("a"), pool("web", 3), puppet("b")]
    async with run_tree(children, strategy="one_for_all", max_restarts=0) as scene:
        for _ in range(2):
            await scene.ends("web.2")
            await scene.calm()
        assert 3 == scene.worker("web.2").incarnation
    lives = scene.lines
    again = ["restart web.2 {}", *comes("web.2")]
    assert [
        *[line.format(1) for line in (*dies("web.2", "signal"), *again)],
        *[line.format(2) for line in (*dies("web.2", "signal"), *again)],
        *stops("b"),
    ] == lives[:13]
    # The slots are told together.
    assert ["draining web.3", "draining web.2", "draining web.1"] == lives[13:16]
    assert [stops(f"web.{n}")[1:] for n in (1, 2, 3)] == [
        [line for line in lives[16:22] if line.split()[1] == f"web.{n}"] for n in (1, 2, 3)
    ]
    assert stops("a") == lives[22:]


async def test_a_pool_that_gives_up_is_one_failure() -> None:
    """Its slots stop, and start again together; who stands behind it follows by the strategy."""
    children = [puppet("a"), pool("web", 2, max_restarts=0), puppet("b")]
    async with run_tree(children, strategy="rest_for_one") as scene:
        await scene.ends("web.1")
        await scene.calm()
        assert ["up"] * 4 == list(scene.states().values())
    assert [*dies("web.1", "signal"), "gaveup web", *stops("web.2")] == scene.lines[:6]
    assert ["restart web 1", *stops("b")] == scene.lines[6:10]
    assert {*comes("web.1", "web.2")} == {*scene.lines[10:14]}
    assert [*comes("b"), *stops("b")] == scene.lines[14:19]
    assert stops("a") == scene.lines[-3:]
    assert [*comes("web.1"), *stops("web.1")] == scene.about("web.1")[-5:]


async def test_a_pool_parks_one_slot() -> None:
    """The others serve on."""
    async with run_tree([pool("web", 3, max_restarts=1, on_exhausted="park")]) as scene:
        for _ in range(2):
            await scene.ends("web.2")
            await scene.calm()
        assert {"web.1": "up", "web.2": "parked", "web.3": "up"} == scene.states()
        await scene.primary.restart_child("web.2")
        assert {"web.1": "up", "web.2": "up", "web.3": "up"} == scene.states()
    assert [
        *dies("web.2", "signal"),
        "restart web.2 1",
        *comes("web.2"),
        *dies("web.2", "signal"),
        "gaveup web.2",
        *comes("web.2"),
        *stops("web.2"),
    ] == scene.about("web.2")


async def test_a_pool_whose_slots_have_finished_has_finished() -> None:
    """Nothing is left to wait for."""
    async with run_tree([pool("jobs", 2, restart="transient")], max_restarts=0) as scene:
        await scene.ends("jobs.2", "return")
        assert "up" == scene.primary.which_children()[0].state
        await scene.ends("jobs.1", "return")
        assert "finished" == scene.primary.which_children()[0].state
        await scene.primary.wait()
    assert [*dies("jobs.2", "normal"), *dies("jobs.1", "normal")] == scene.lines


async def test_a_pool_of_none() -> None:
    async with run_tree([pool("web", 0), puppet("a")]) as scene:
        assert "up" == scene.primary.which_children()[0].state
        with pytest.raises(PeerClosed):
            await scene.primary.ref("web").send("hello")
