"""What is told of lives that failed: each reason, each field, and wherever there is a status."""

from __future__ import annotations

import typing
from pathlib import Path
from typing import Any, Final

import attrs
import pytest
import trio

from actorcluster import (
    Child,
    CrashReport,
    ExitStatus,
    NotHandled,
    PeerClosed,
    Worker,
    WorkerStartError,
    events,
    open_primary,
)
from actorcluster._worker.exit import Reason
from tests.e2e import actors, reported_actors
from tests.e2e.supervised import AT_ONCE, Scene, run_tree

STUCK: Final = {"heartbeat": 1.0, "hung_after": 1.0}

REFUSED: Final = {"asks_in_flight": 0}
"""A main that ends by itself leaves no ask without an answer, if only `NotHandled`."""

CASES: Final[dict[str, tuple[str, dict[str, Any], dict[str, Any]]]] = {
    "error": ("raises", {}, {**REFUSED, "ended": "error ValueError: on purpose", "code": 1}),
    "exit": ("exits", {}, {**REFUSED, "ended": "exit 3", "code": 3}),
    "signal": ("is killed by a signal", {}, {"ended": "SIGSEGV", "signal": "SIGSEGV"}),
    "protocol": ("breaks the protocol", {}, {"ended": "protocol SIGKILL", "signal": "SIGKILL"}),
    "hung": ("is stuck", STUCK, {"ended": "hung SIGKILL", "signal": "SIGKILL"}),
    "killed": (
        "is told to end",
        {"shutdown": "brutal_kill"},
        {"ended": "killed SIGKILL", "signal": "SIGKILL"},
    ),
}
"""By reason: what the second life does, options of the child, what the report says of it."""

ELSEWHERE: Final = {"start_timeout", "lost", "oom"}
WELL: Final = {"normal", "shutdown"}


def test_no_reason_is_left_out() -> None:
    assert set(typing.get_args(Reason)) == {*CASES, *ELSEWHERE, *WELL}


async def second_life(scene: Scene) -> Worker:
    """Have the first life end, and give its successor."""
    await scene.ends("a", "end")
    await scene.until("restart a 1")
    await scene.until("online a")
    await scene.calm()  # ready, too
    return scene.worker("a")


async def refusals(scene: Scene, worker: Worker, *, and_then: bool) -> list[ExitStatus | None]:
    """Ask twice, and maybe end it then; give what those heard who got no answer."""
    heard: list[ExitStatus | None] = []

    async def ask() -> None:
        try:
            await worker.ask("something")
        except PeerClosed as exc:
            heard.append(exc.status)
        except NotHandled:
            pass

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        nursery.start_soon(ask)
        if and_then:
            while worker.statistics().channel.asks_waiting < 2:  # type: ignore[union-attr]  # noqa: ASYNC110  (online; nobody tells)
                await trio.sleep(0.005)
            await scene.primary.terminate_child("a")
    return heard


@pytest.mark.parametrize("reason", CASES)
async def test_all_that_is_told(reason: str) -> None:
    how, options, expected = CASES[reason]
    child = Child(
        "a", reported_actors.ends, args=(how,), ready="called", backoff=AT_ONCE, **options
    )
    async with run_tree([child], max_restarts=1, on_exhausted="park") as scene:
        worker = await second_life(scene)
        heard = await refusals(scene, worker, and_then=reason == "killed")
        status = await worker.wait()
        await scene.calm()
    report = status.report
    assert isinstance(report, CrashReport)
    told = attrs.asdict(report, recurse=False)
    rusage, uptime, stack = told.pop("rusage"), told.pop("uptime"), told.pop("stack")
    (past,) = told.pop("history")
    error = told.pop("error")
    assert {
        "name": "a",
        "worker_id": 2,
        "incarnation": 2,
        "pid": worker.pid,
        "reason": reason,
        "code": None,
        "signal": None,
        "asks_in_flight": 2,
        "stderr": None,
        "stderr_dropped": 0,
        "stderr_unshown": 0,
        **expected,
    } == told
    assert rusage.ru_maxrss > 1000
    assert uptime > 0
    assert (1, "exit 9", True) == (past.incarnation, past.ended, past.ago > 0)
    assert (reason == "error") == (error is not None and "Traceback" in error.traceback)
    assert (stack is not None) == (reason == "hung")
    # wherever somebody hears of it
    exits = [one.status for one in scene.events if isinstance(one, events.Exit)]
    assert ["exit", reason] == [one.reason for one in exits]
    assert status.report is exits[1].report
    gave_up = [one.status for one in scene.events if isinstance(one, events.GaveUp)]
    assert ([] if reason == "killed" else [status]) == gave_up
    assert [status] * told["asks_in_flight"] == heard


@pytest.mark.parametrize(("how", "reason"), [("returns", "normal"), ("is told", "shutdown")])
async def test_who_ends_well_is_not_reported(how: str, reason: str) -> None:
    async with run_tree() as scene:
        worker = await scene.primary.fork(actors.idle if how == "is told" else actors.returns)
        status = await (worker.disconnect() if how == "is told" else worker.wait())
    assert (reason, None) == (status.reason, status.report)


async def test_a_start_that_takes_too_long() -> None:
    async with open_primary() as primary:
        with pytest.raises(WorkerStartError) as caught:
            await primary.fork(actors.never_ready, ready="called", start_timeout=1)
    assert caught.value.status is not None
    report = caught.value.status.report
    assert report is not None
    assert ("start_timeout", 0.0, (), 0) == (
        report.reason,
        report.uptime,
        report.history,
        report.asks_in_flight,
    )
    assert "worker-1 failed: start_timeout" in str(report)


async def test_there_never_was_a_process(tmp_path: Path) -> None:
    """A restart for which the directory is gone."""
    home = tmp_path / "home"
    home.mkdir()
    child = Child(
        "a",
        reported_actors.ends,
        args=("",),
        ready="called",
        backoff=AT_ONCE,
        settings={"cwd": home, "stdio": ["ignore"] * 3},
    )
    async with run_tree([child], max_restarts=1, on_exhausted="park") as scene:
        home.rmdir()
        await scene.ends("a", "end")
        status = (await scene.until("gaveup a")).status
    report = status.report
    assert ("lost", None, None, None, None, 0.0) == (
        report.reason,
        report.pid,
        report.code,
        report.signal,
        report.rusage,
        report.uptime,
    )
    assert "FileNotFoundError" == report.error.type
    assert ["exit 9"] == [past.ended for past in report.history]
    assert "a failed: lost: [Errno 2] No such file or directory" in str(report)
