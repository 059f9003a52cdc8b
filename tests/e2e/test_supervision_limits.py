"""When it fails too often, and when the end of one is the end of all."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from actorcluster import (
    Child,
    PeerClosed,
    Pool,
    RestartLimitReached,
    RetryAfter,
    Supervisor,
    events,
)
from tests.e2e import actors
from tests.e2e.supervised import (
    AT_ONCE,
    LATER,
    comes,
    dies,
    mail,
    puppet,
    run_tree,
    stops,
)

# ---- giving up ------------------------------------------------------------------------------


async def test_too_many_restarts_end_the_block() -> None:
    """Children are stopped in reverse order, the body is cancelled, and the error says it all."""
    was_cancelled = False
    with pytest.raises(RestartLimitReached) as caught:
        async with run_tree([puppet("a"), puppet("b"), puppet("c")], max_restarts=1) as scene:
            try:
                await scene.ends("b")
                await scene.calm()
                await scene.ends("b", "exit")
                await trio.sleep_forever()
            except trio.Cancelled:
                was_cancelled = True
                raise
    assert was_cancelled
    assert ("root", 2, 30.0) == (caught.value.name, caught.value.restarts, caught.value.within)
    assert ("exit", 3) == (caught.value.last_status.reason, caught.value.last_status.code)
    assert "b: exit 3" in str(caught.value)
    assert [
        *[*dies("b", "signal"), "restart b 1", *comes("b")],
        *[*dies("b", "exit"), "gaveup root", *stops("c", "a")],
    ] == scene.lines


async def test_none_allowed() -> None:
    with pytest.raises(RestartLimitReached) as caught:
        async with run_tree([puppet("a")], name="top", max_restarts=0, within=7) as scene:
            await scene.ends("a", "raise")
            await trio.sleep_forever()
    assert ("top", 1, 7) == (caught.value.name, caught.value.restarts, caught.value.within)
    assert [*dies("a", "error"), "gaveup top"] == scene.lines


async def test_starts_that_fail_count() -> None:
    """Without a delay a child that cannot start spends it all in no time."""
    with pytest.raises(RestartLimitReached) as caught:
        async with run_tree([puppet("a", *range(2, 9))], max_restarts=2) as scene:
            await scene.ends("a")
            await trio.sleep_forever()
    assert ("normal", 3) == (caught.value.last_status.reason, caught.value.restarts)
    assert [
        *[*dies("a", "signal"), "restart a 1", *comes("a")],
        *[*dies("a", "normal"), "restart a 2", *comes("a")],
        *[*dies("a", "normal"), "gaveup root"],
    ] == scene.lines


async def test_siblings_that_are_stopped_do_not_count() -> None:
    children = [puppet(name) for name in "abcd"]
    async with run_tree(children, strategy="one_for_all", max_restarts=1) as scene:
        await scene.ends("b")
        await scene.calm()
        assert [2] * 4 == [scene.worker(name).incarnation for name in "abcd"]


async def test_what_is_older_than_the_window_does_not_count() -> None:
    async with run_tree([puppet("a")], max_restarts=1, within=0.01) as scene:
        for _ in range(3):
            await scene.ends("a")
            await scene.calm()
            await trio.sleep(0.011)  # not to wait for something: time is the subject
        assert 4 == scene.worker("a").incarnation


@pytest.mark.parametrize("when", ["while it is cancelled", "before"])
async def test_the_body_fails_and_the_tree_gives_up(when: str) -> None:
    """Both leave the block, together."""
    with pytest.RaisesGroup(
        pytest.RaisesExc(KeyError, match="mine"), RestartLimitReached
    ) as caught:
        async with run_tree([puppet("a"), puppet("b")], max_restarts=0) as scene:
            await scene.ends("a")
            try:
                if when != "before":
                    await trio.sleep_forever()
            finally:
                raise KeyError("mine")
    assert "the body failed and the tree gave up" in str(caught.value)
    assert [*dies("a", "signal"), "gaveup root", *stops("b")] == scene.lines


async def test_the_body_ends_while_the_tree_gives_up() -> None:
    """There is nothing to cancel, and the block raises all the same."""
    with pytest.raises(RestartLimitReached):
        async with run_tree([puppet("a"), puppet("b")], max_restarts=0) as scene:
            await scene.ends("a")
    assert [*dies("a", "signal"), "gaveup root", *stops("b")] == scene.lines


async def test_parked() -> None:
    """The others live; a hand brings it back, and failures from before count no more."""
    children = [puppet("a"), puppet("b"), puppet("c")]
    async with run_tree(children, max_restarts=1, on_exhausted="park") as scene:
        await scene.ends("b")
        await scene.calm()
        await scene.ends("b", "exit")
        assert {"a": "up", "b": "parked", "c": "up"} == scene.states()
        for attempt in (scene.primary.ref("b").send, scene.primary.ref("b").ask):
            with pytest.raises(PeerClosed) as caught:
                await attempt("who")
            assert caught.value.status is not None
            assert "exit" == caught.value.status.reason
        assert ["a", 1] == await scene.primary.ref("a").ask("who")
        worker = await scene.primary.restart_child("b")
        assert worker is not None
        assert (3, "b") == (worker.incarnation, worker.name)
        assert ["b", 3] == await scene.primary.ref("b").ask("who")
        await scene.ends("b")
        await scene.calm()
        assert "up" == scene.states()["b"]
        await scene.ends("b")
        assert "parked" == scene.states()["b"]
    assert [
        *[*dies("b", "signal"), "restart b 1", *comes("b")],
        *[*dies("b", "exit"), "gaveup b", *comes("b")],
        *[*dies("b", "signal"), "restart b 1", *comes("b")],
        *[*dies("b", "signal"), "gaveup b", *stops("c", "a")],
    ] == scene.lines


async def test_parked_with_those_tied_to_it() -> None:
    """Those behind it need it; they are not left running without."""
    children = [puppet("a"), puppet("b"), puppet("c")]
    options: dict[str, Any] = {"strategy": "rest_for_one", "on_exhausted": "park"}
    async with run_tree(children, max_restarts=0, **options) as scene:
        await scene.ends("b")
        await scene.calm()
        assert {"a": "up", "b": "parked", "c": "parked"} == scene.states()
        for name in "bc":
            await scene.primary.restart_child(name)
        assert {"a": "up", "b": "up", "c": "up"} == scene.states()
    assert [
        *[*dies("b", "signal"), "gaveup b", *stops("c")],
        *[*comes("b", "c"), *stops("c", "b", "a")],
    ] == scene.lines


async def test_all_parked_is_nothing_to_wait_for() -> None:
    async with run_tree([puppet("a")], max_restarts=0, on_exhausted="park") as scene:
        await scene.ends("a")
        await scene.primary.wait()


async def test_retry_after() -> None:
    """It waits, and all that was before is forgotten."""
    rule = RetryAfter(0.03)
    async with run_tree([puppet("a")], max_restarts=1, on_exhausted=rule) as scene:
        for _ in range(4):
            await scene.ends("a")
            await scene.calm()
        assert 5 == scene.worker("a").incarnation
    restarts = [event for event in scene.events if isinstance(event, events.Restart)]
    assert [0, 0.03, 0, 0.03] == [event.delay for event in restarts]
    assert [1, 2, 3, 4] == [event.attempt for event in restarts]
    assert [] == [line for line in scene.lines if line.startswith("gaveup")]


# ---- supervisors in supervisors -------------------------------------------------------------


async def test_a_supervisor_below_keeps_its_failures_to_itself() -> None:
    """Strategy, budget, and order of its own; names with a dot."""
    children = [puppet("a"), mail(strategy="one_for_all"), puppet("b")]
    async with run_tree(children, strategy="one_for_all", max_restarts=0) as scene:
        assert ["a", "mail.smtp", "mail.imap", "b"] == [
            worker.name for _, worker in sorted(scene.primary.workers.items())
        ]
        await scene.ends("mail.smtp")
        await scene.calm()
    assert [
        *[*dies("mail.smtp", "signal"), "restart mail.smtp 1", *stops("mail.imap")],
        *[*comes("mail.smtp", "mail.imap")],
        *stops("b", "mail.imap", "mail.smtp", "a"),
    ] == scene.lines


async def test_a_supervisor_below_gives_up() -> None:
    """For the one above that is the failure of one child."""
    children = [puppet("a"), mail(strategy="one_for_all", max_restarts=0), puppet("b")]
    async with run_tree(children, strategy="rest_for_one", max_restarts=1) as scene:
        await scene.ends("mail.imap")
        await scene.calm()
    assert [
        *[*dies("mail.imap", "signal"), "gaveup mail", *stops("mail.smtp")],
        *["restart mail 1", *stops("b"), *comes("mail.smtp", "mail.imap", "b")],
        *stops("b", "mail.imap", "mail.smtp", "a"),
    ] == scene.lines


async def test_giving_up_goes_all_the_way() -> None:
    """What leaves the block is about the root, and about the life that was too much."""
    two = Supervisor("two", max_restarts=0, children=[mail(strategy="one_for_all", max_restarts=0)])
    one = Supervisor("one", max_restarts=0, children=[two])
    with pytest.raises(RestartLimitReached) as caught:
        async with run_tree([one, puppet("a")], max_restarts=0) as scene:
            await scene.ends("one.two.mail.smtp", "raise")
            await trio.sleep_forever()
    assert ("root", 1) == (caught.value.name, caught.value.restarts)
    assert caught.value.last_status.error is not None
    assert "on purpose" == caught.value.last_status.error.text
    assert [
        *[*dies("one.two.mail.smtp", "error"), "gaveup one.two.mail"],
        *[*stops("one.two.mail.imap"), "gaveup one.two", "gaveup one", "gaveup root"],
        *stops("a"),
    ] == scene.lines


async def test_a_supervisor_cannot_be_started_again() -> None:
    """Its children are fresh: the first start that fails ends it, and the one above tries again."""
    children = [puppet("smtp"), puppet("imap", 2)]
    below = Supervisor("mail", max_restarts=0, children=children)
    async with run_tree([below, puppet("a")], max_restarts=2) as scene:
        await scene.ends("mail.smtp")
        await scene.calm()
        assert {"mail.smtp": "up", "mail.imap": "up", "a": "up"} == scene.states()
    assert [
        *[*dies("mail.smtp", "signal"), "gaveup mail", *stops("mail.imap"), "restart mail 1"],
        *[*comes("mail.smtp", "mail.imap"), *dies("mail.imap", "normal"), *stops("mail.smtp")],
        *["restart mail 2", *comes("mail.smtp", "mail.imap")],
        *stops("a", "mail.imap", "mail.smtp"),
    ] == scene.lines


async def test_a_temporary_child_is_back_with_its_supervisor() -> None:
    """Only that brings it."""
    children = [puppet("smtp"), puppet("once", restart="temporary")]
    below = Supervisor("mail", max_restarts=0, children=children)
    async with run_tree([below]) as scene:
        await scene.ends("mail.once", "return")
        await scene.ends("mail.smtp")
        await scene.calm()
        assert {"mail.smtp": "up", "mail.once": "up"} == scene.states()
        assert 2 == scene.worker("mail.once").incarnation


# ---- significant children -------------------------------------------------------------------


def job(name: str, restart: str = "transient", **options: Any) -> Child:
    return puppet(name, restart=restart, significant=True, **options)


@pytest.mark.parametrize(
    ("restart", "end", "reason"),
    [
        ("transient", "return", "normal"),
        ("transient", "disconnect", "shutdown"),
        ("temporary", "return", "normal"),
        ("temporary", "signal", "signal"),
    ],
)
async def test_a_significant_child_ends_the_block(restart: str, end: str, reason: str) -> None:
    """Normally: whatever comes behind it happens."""
    was_cancelled = False
    async with run_tree([puppet("a"), job("job", restart), puppet("b")]) as scene:
        try:
            await scene.ends("job", end)
            await trio.sleep_forever()
        except trio.Cancelled:
            was_cancelled = True
            raise
    assert was_cancelled
    first = stops("job") if end == "disconnect" else dies("job", reason)
    assert [*first, *stops("b", "a")] == scene.lines


async def test_a_significant_child_that_fails_comes_back() -> None:
    """Transient: only a good end is one."""
    async with run_tree([puppet("a"), job("job")]) as scene:
        await scene.ends("job")
        await scene.calm()
        assert {"a": "up", "job": "up"} == scene.states()


async def test_the_last_significant_child_ends_the_block() -> None:
    """One that waits for its restart counts as there."""
    children = [job("x"), job("y", backoff=LATER), puppet("a")]
    async with run_tree(children, auto_shutdown="all_significant") as scene:
        await scene.ends("y")
        await scene.ends("x", "return")
        await scene.calm()
        assert {"x": "finished", "y": "up", "a": "up"} == scene.states()
        await scene.ends("y", "return")
        await trio.sleep_forever()
    assert [*dies("y", "normal"), *stops("a")] == scene.lines[-5:]


async def test_what_we_stop_is_no_significant_end() -> None:
    """By hand, or because a sibling failed."""
    children = [puppet("a"), job("x"), job("y")]
    async with run_tree(children, strategy="rest_for_one") as scene:
        await scene.primary.terminate_child("x")
        await scene.worker("y").disconnect()
        assert {"a": "up", "x": "down", "y": "down"} == scene.states()
        await scene.primary.restart_child("x")
        await scene.ends("a")
        await scene.calm()
        assert {"a": "up", "x": "up", "y": "down"} == scene.states()


async def test_a_significant_child_ends_its_own_supervisor() -> None:
    """That has finished then, and does not come back with its siblings' failures alone."""
    below = Supervisor("batch", children=[puppet("helper"), job("job")])
    async with run_tree([puppet("a"), below, puppet("b")]) as scene:
        await scene.ends("batch.job", "return")
        await scene.calm()
        assert "finished" == scene.primary.which_children()[1].state
        assert {"a": "up", "b": "up"} == {
            name: state for name, state in scene.states().items() if state == "up"
        }
    assert [*dies("batch.job", "normal"), *stops("batch.helper", "b", "a")] == scene.lines


# ---- how they are stopped -------------------------------------------------------------------


async def test_brutal_kill() -> None:
    """Nobody is told anything; the others are, as ever."""
    children = [puppet("a"), puppet("b", shutdown="brutal_kill"), puppet("c")]
    async with run_tree(children, strategy="one_for_all") as scene:
        await scene.ends("a")
        await scene.calm()
    assert [
        *[*dies("a", "signal"), "restart a 1", *stops("c"), *dies("b", "killed")],
        *[*comes("a", "b", "c"), *stops("c"), *dies("b", "killed"), *stops("a")],
    ] == scene.lines


async def test_shutdown_timeout_of_a_tree() -> None:
    """However much each was promised: when the time is up all are killed."""
    forever = float("inf")
    children = [Child(name, actors.stubborn, shutdown=forever) for name in "abc"]
    async with run_tree(children, shutdown_timeout=0.2) as scene:
        begin = trio.current_time()
    assert 0.2 <= trio.current_time() - begin
    assert "draining c" == scene.lines[0]
    assert dies("c", "killed") == scene.about("c")[1:]
    assert [dies(name, "killed") for name in "ab"] == [scene.about(name) for name in "ab"]


async def test_no_shutdown_timeout_is_as_long_as_they_need() -> None:
    """One after the other, each has all its time."""
    children = [Child(name, actors.idle, shutdown=float("inf")) for name in "ab"]
    busy = Child("c", actors.cleans_up)
    async with run_tree([*children, busy], shutdown_timeout=None) as scene:
        pass
    assert stops("c", "b", "a") == scene.lines
    assert "cleaned up" == (await scene.primary.mailbox.receive()).body


async def test_a_pool_is_stopped_in_its_turn() -> None:
    """All its slots together, when those behind it are gone."""
    pool = Pool("web", actors.idle, count=2, backoff=AT_ONCE)
    async with run_tree([puppet("a"), pool, puppet("b")]) as scene:
        pass
    assert [*stops("b"), "draining web.2", "draining web.1"] == scene.lines[:5]
    assert stops("a") == scene.lines[-3:]
    assert [stops("web.1"), stops("web.2")] == [scene.about("web.1"), scene.about("web.2")]


async def test_the_block_is_left_between_two_lives() -> None:
    """The restart that was due does not come."""
    async with run_tree([puppet("a"), puppet("b", backoff=LATER)]) as scene:
        await scene.ends("b")
    assert [*dies("b", "signal"), "restart b 1", *stops("a")] == scene.lines
