"""What becomes of a task that ends, and of its siblings: line by line as of a process."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from actorcluster import Child, Pool, events
from tests.e2e.supervised import AT_ONCE, Scene, comes, dies, run_tree, stops
from tests.e2e.test_supervision import FATES, FOLLOWS, INCARNATION, STRATEGIES
from tests.tasks import actors

#: What `b` is told, and the reason of its end; in the order of `FATES`.
ENDS = {
    "return": "normal",
    "raise": "error",
    "exit": "exit",
    "SIGKILL": "signal",
    "SIGKILL, and the next start fails": "signal",
}


def puppet(name: str, *failing: int, **options: Any) -> Child:
    """A task that does as it is told; some of its lives fail."""
    options = {"ready": "called", "backoff": AT_ONCE, "args": [failing], **options}
    return Child(name, actors.puppet, run="task", **options)


async def ends(scene: Scene, name: str, how: str) -> Any:
    """Have it end, and wait for that."""
    worker = scene.worker(name)
    if how.startswith("SIG"):
        worker.kill(how)
    else:
        await worker.send(how)
    await worker.wait()
    return worker


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("restart", FATES)
@pytest.mark.parametrize("strategy", STRATEGIES)
async def test_one_of_three_ends(
    strategy: str, restart: str, end: str, autojump_clock: trio.abc.Clock
) -> None:
    """From the end of `b` to the end of the block, line by line."""
    fate = FATES[restart][list(ENDS).index(end)]
    failing = [2] if end.endswith("fails") else []
    children = [puppet("a"), puppet("b", *failing, restart=restart), puppet("c")]
    async with run_tree(children, strategy=strategy) as scene:
        first = await ends(scene, "b", end.partition(",")[0])
        await scene.calm()
        if fate == "finishes":
            expected = {"a": "up", "b": "finished", "c": "up"}
            if restart == "temporary":
                del expected["b"]
            assert expected == scene.states()
        else:
            again = scene.worker("b")
            assert INCARNATION[fate] == again.incarnation
            assert (first.id < again.id, first.pid) == (True, again.pid)
    left = ["c", "a"] if fate == "finishes" else ["c", "b", "a"]
    follows = FOLLOWS.get((strategy, fate), [])
    assert [*dies("b", ENDS[end]), *follows, *stops(*left)] == scene.lines


@pytest.mark.parametrize(
    ("how", "reason", "code", "in_words"),
    [
        ("return", "normal", 0, "normal"),
        ("raise", "error", 1, "error ValueError: on purpose"),
        ("raise group", "error", 1, "error BaseExceptionGroup: two (2 sub-exceptions)"),
        ("raise odd", "error", 1, "error tests.tasks.actors.Odd: (an exception without a text)"),
        ("raise GeneratorExit", "error", 1, "error GeneratorExit: "),
        ("raise StopAsyncIteration", "error", 1, "error StopAsyncIteration: "),
        ("exit", "exit", 3, "exit 3"),
        ("exit 0", "normal", 0, "normal"),
        ("exit text", "exit", 1, "exit 1"),
        ("SIGUSR1", "signal", None, "SIGUSR1"),
        ("cancel", "normal", 0, "normal"),
        ("disconnect", "shutdown", 0, "shutdown"),
        ("kill", "shutdown", 0, "shutdown"),
    ],
)
async def test_how_it_ended(
    how: str,
    reason: str,
    code: int | None,
    in_words: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The siblings, and the primary, notice nothing, whatever it is."""
    async with run_tree([puppet("a"), puppet("b", restart="temporary"), puppet("c")]) as scene:
        status = await (await ends(scene, "b", how)).wait()
        assert (reason, code) == (status.reason, status.code)
        assert str(status).startswith(in_words)
        assert (reason == "shutdown") is status.voluntary
        assert (reason in ("normal", "shutdown")) is (status.report is None)
        assert ["a", 1] == await scene.primary.ref("a").ask(None)
    assert [*dies("b", reason)] == [line for line in scene.about("b") if "draining" not in line]
    assert stops("c", "a") == scene.lines[-6:]
    assert ("b: a text" in caplog.text) is (how == "exit text")
    # Nobody restarts it, so this is the only trace of what happened.
    assert (f"b: {in_words}" in caplog.text) is (reason == "error")
    assert ("Traceback (most recent call last)" in caplog.text) is (reason == "error")


async def test_its_traceback_and_report(autojump_clock: trio.abc.Clock) -> None:
    """Written down when somebody reads it, of this life and not of the next one."""
    async with run_tree([puppet("a"), puppet("b")]) as scene:
        first = await ends(scene, "b", "raise")
        await scene.until("online b")
        second = await ends(scene, "b", "raise group")
        status, later = await first.wait(), await second.wait()
    assert status.error is not None
    assert status.error.traceback is not None
    lines = status.error.traceback.splitlines()
    assert "Traceback (most recent call last):" == lines[0]
    assert 'tests/tasks/actors.py", line' in lines[1]
    assert '    raise ValueError("on purpose")' in lines
    assert "ValueError: on purpose" == lines[-1]
    assert status.report is status.report
    assert status.report is not None
    assert ("b", 1, first.pid, 1) == (
        status.report.name,
        status.report.incarnation,
        status.report.pid,
        status.report.code,
    )
    assert "raise ValueError" in str(status.report)
    assert later.report is not None
    assert [(1, "error ValueError: on purpose")] == [
        (past.incarnation, past.ended) for past in later.report.history
    ]
    assert later.error is not None
    assert "sub-exceptions" in (later.error.traceback or "")
    exits = [event for event in scene.events if isinstance(event, events.Exit)]
    assert status is exits[0].status


async def test_a_pool_of_tasks(autojump_clock: trio.abc.Clock) -> None:
    pool = Pool("p", actors.puppet, count=3, run="task", ready="called", backoff=AT_ONCE)
    async with run_tree([pool]) as scene:
        assert ["p.1", "p.2", "p.3"] == [
            (await scene.primary.ref("p").ask(None))[0] for _ in range(3)
        ]
        await ends(scene, "p.2", "raise")
        await scene.calm()
        assert ["p.2", 2] == await scene.primary.ref("p.2").ask(None)
    assert ["restart p.2 1", *comes("p.2")] == scene.lines[2:5]


async def test_one_that_is_never_ready(autojump_clock: trio.abc.Clock) -> None:
    """It is cancelled then; that a restart fails for it is counted as any other."""
    child = puppet("b", start_timeout=3, args=[[], [2]])
    async with run_tree([child]) as scene:
        await ends(scene, "b", "raise")
        await scene.until("exit b start_timeout")
        await scene.calm()
        assert 3 == scene.worker("b").incarnation
    assert ["restart b 1", "restart b 2"] == [one for one in scene.lines if "restart" in one]


@pytest.mark.parametrize(
    ("main", "found"),
    [
        (actors.leaves_a_variable, "nothing"),
        (actors.leaves_a_scope, float("inf")),
    ],
)
async def test_a_life_finds_nothing_of_the_one_before(
    main: Any, found: Any, autojump_clock: trio.abc.Clock
) -> None:
    child = Child("b", main, run="task", backoff=AT_ONCE)
    async with run_tree([child], max_restarts=3, on_exhausted="park") as scene:
        assert [found] * 4 == [(await scene.primary.mailbox.receive()).body for _ in range(4)]
        await scene.until("gaveup b")


async def test_a_life_hears_nothing_that_is_meant_for_the_one_before(
    autojump_clock: trio.abc.Clock,
) -> None:
    child = Child("b", actors.ends_its_past, run="task", restart="transient", backoff=AT_ONCE)
    actors.PAST.clear()
    async with run_tree([child], max_restarts=3) as scene:
        await scene.until("exit b normal")
    assert [1, 2, 3, 4] == [past.incarnation for past in actors.PAST]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_a_nursery_that_is_left_open(
    caplog: pytest.LogCaptureFixture, autojump_clock: trio.abc.Clock
) -> None:
    """It goes with its generator; neither the next life nor anybody else is concerned."""
    child = Child("b", actors.leaves_a_nursery, run="task", backoff=AT_ONCE)
    async with run_tree([puppet("a"), child], max_restarts=2, on_exhausted="park") as scene:
        await scene.until("gaveup b")
        assert ["a", 1] == await scene.primary.ref("a").ask(None)
    assert 3 == scene.lines.count("exit b error")
    assert "has left a nursery open" in caplog.text
