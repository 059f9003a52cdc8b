"""Start, be ready, stop, die: what a worker's life looks like from the primary."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any, cast

import pytest
import trio
import trio.testing

import actorcluster
from actorcluster import ExitStatus, PeerClosed, WorkerStartError, events
from tests.e2e import actors
from tests.orphans import adopting_orphans
from tests.program import read_all
from tests.worker.lines import until

Options = dict[str, Any]

METHODS = ["forkserver", "exec"]


@pytest.fixture
def fast_clock() -> trio.testing.MockClock:
    """Five seconds are one; real processes have to keep up with it."""
    return trio.testing.MockClock(rate=5)


@pytest.fixture
def still_clock() -> trio.testing.MockClock:
    """Time passes when the test says so."""
    return trio.testing.MockClock()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("form", ["function", "name", "script"])
async def test_start_method_and_target_form(method: str, form: str) -> None:
    """Every target form starts by both methods, and the worker says by which."""
    script = os.path.join(os.path.dirname(__file__), "script_worker.py")
    target: Any = {
        "function": actors.tell_args,
        "name": "tests.e2e.actors:tell_args",
        "script": None,
    }[form]
    async with actorcluster.open_primary() as primary:
        primary.setup_primary(start_method=method, exec=script, args=["x", "y"])
        arguments: tuple[Any, ...] = () if form == "script" else (1, {"two": [3]})
        worker = await primary.fork(target, *arguments)
        with trio.fail_after(60):
            message = await worker.mailbox.receive()
            status = await worker.wait()
        assert method == worker.start_method
        assert worker.pid == message.body["pid"]
        assert os.getpid() == message.body["ppid"]
        assert list(arguments) == message.body["args"]
        assert ["x", "y"] == message.body["argv"][1:]
        assert (1, "worker-1", 1) == (
            message.body["id"],
            message.body["name"],
            message.body["incarnation"],
        )
        assert (0, None, "normal", False) == shape(status)


def shape(status: ExitStatus) -> tuple[int | None, str | None, str, bool]:
    return status.code, status.signal, status.reason, status.voluntary


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("ValueError", (1, None, "error", False)),
        ("group", (1, None, "error", False)),
        ("SystemExit", (7, None, "exit", False)),
        ("SystemExit()", (0, None, "normal", False)),
        ("SystemExit(text)", (1, None, "exit", False)),
        ("SystemExit in a group", (1, None, "error", False)),
        ("KeyboardInterrupt", (None, "SIGINT", "signal", False)),
        ("_exit", (9, None, "exit", False)),
        ("signal", (None, "SIGKILL", "signal", False)),
    ],
)
async def test_outcome_of_main(
    method: str, kind: str, expected: tuple[int | None, str | None, str, bool]
) -> None:
    """However main ends, the status says how."""
    async with actorcluster.open_primary(settings={"silent": True}) as primary:
        worker = primary.fork_soon(actors.raises, kind, settings={"start_method": method})
        with trio.fail_after(60):
            status = await worker.wait()
            stderr = await read_all(worker.stderr)
            await read_all(worker.stdout)
    assert expected == shape(status)
    assert worker.exited_after_disconnect is False
    if status.reason == "error":
        assert status.error is not None
        assert status.error.traceback is not None
        for text in (status.error.traceback, stderr):  # how we call it concerns nobody
            first = next(line for line in text.splitlines() if "File" in line)
            assert first.endswith("in raises")
            assert f'"{actors.__file__}"' in first
        assert status.error.type in stderr
        assert "Traceback" in stderr
    if kind == "SystemExit(text)":
        assert "some text\n" == stderr


async def test_error_is_data() -> None:
    """What main raised arrives as class name, text and traceback."""
    async with actorcluster.open_primary(settings={"stdio": ["ignore"] * 3}) as primary:
        worker = await primary.fork(actors.raises)
        status = await worker.wait()
    assert status.error is not None
    assert ("ValueError", "broken on purpose") == (status.error.type, status.error.text)
    assert "error ValueError: broken on purpose" == str(status)


async def test_events_of_one_life() -> None:
    """Fork, Online, Listening, Draining, Disconnect, Exit: each once, in this order."""
    async with actorcluster.open_primary() as primary:
        with primary.events() as everything:
            worker = await primary.fork(actors.serve_pid, ready="listening")
            assert "listening" == worker.state
            assert {worker.id: worker} == dict(primary.workers)
            status = await worker.disconnect()
            seen = []
            async for event in everything:
                seen.append(type(event))
                if isinstance(event, events.Exit):
                    assert status is event.status
                    break
        assert [
            events.Fork,
            events.Online,
            events.Listening,
            events.Draining,
            events.Disconnect,
            events.Exit,
        ] == seen
        assert {} == dict(primary.workers)
    assert (0, None, "shutdown", True) == shape(status)
    assert worker.is_dead()
    assert not worker.is_connected()
    assert worker.exited_after_disconnect is True


async def test_wait_for_sees_the_past() -> None:
    """wait_for returns what already happened, and PeerClosed for what no longer can."""
    async with actorcluster.open_primary() as primary:
        worker = await primary.fork(actors.idle)
        assert worker is (await primary.wait_for(events.Online, worker)).worker
        await worker.disconnect()
        assert worker is (await primary.wait_for(events.Exit, worker)).worker
        with pytest.raises(actorcluster.PeerClosed):
            await primary.wait_for(events.Listening, worker)


async def test_start_error_has_the_status() -> None:
    """A worker that fails first raises WorkerStartError with its status and traceback."""
    async with actorcluster.open_primary(settings={"stdio": ["ignore"] * 3}) as primary:
        with pytest.raises(WorkerStartError, match="broken on purpose") as caught:
            await primary.fork(actors.raises, ready="called")
    assert caught.value.status is not None
    assert "error" == caught.value.status.reason
    assert caught.value.timeout is None


async def test_start_timeout() -> None:
    """Silent for too long: killed, and said so."""
    async with actorcluster.open_primary() as primary:
        with pytest.raises(WorkerStartError) as caught:
            await primary.fork(actors.never_ready, ready="called", start_timeout=0.3)
    assert 0.3 == caught.value.timeout
    assert caught.value.status is not None
    assert "start_timeout" == caught.value.status.reason


async def test_ready_called() -> None:
    """fork returns when the worker calls itself ready."""
    async with actorcluster.open_primary() as primary:
        worker = primary.fork_soon(actors.ready_when_asked, ready="called")
        await worker.send("go")
        with trio.fail_after(60):
            await primary.wait_for(events.Online, worker)


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (actors.stubborn, (None, "SIGTERM", "killed", True)),
        (actors.deaf, (None, "SIGKILL", "killed", True)),
    ],
)
async def test_ladder(
    target: Callable[..., Any],
    expected: tuple[int | None, str | None, str, bool],
    fast_clock: trio.testing.MockClock,
) -> None:
    """Who does not follow Stop gets SIGTERM, and then SIGKILL."""
    async with actorcluster.open_primary() as primary:
        worker = await primary.fork(target)
        with trio.fail_after(60):
            status = await worker.disconnect(timeout=0)
    assert expected == shape(status)


async def test_kill_by_name_and_number() -> None:
    """kill sends the signal, and the status shows it as not ours."""
    async with actorcluster.open_primary() as primary:
        first = await primary.fork(actors.idle)
        second = await primary.fork(actors.idle)
        first.kill()
        second.kill(signal.SIGKILL)
        with trio.fail_after(60):
            assert (None, "SIGTERM", "signal", False) == shape(await first.wait())
            assert (None, "SIGKILL", "signal", False) == shape(await second.wait())
        first.kill()  # nothing happens
        with pytest.raises(ValueError, match="NOSUCH"):
            first.kill("NOSUCH")


@pytest.mark.parametrize("method", METHODS)
async def test_kill_where_the_primary_is_deaf_to_sigterm(method: str) -> None:
    """Workers inherit what the primary ignores or blocks, but not that."""
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    handler = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        async with actorcluster.open_primary(settings={"start_method": method}) as primary:
            worker = await primary.fork(actors.idle)
            worker.kill()
            with trio.fail_after(60):
                assert (None, "SIGTERM", "signal", False) == shape(await worker.wait())
    finally:
        signal.signal(signal.SIGTERM, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


async def test_fork_cancelled_leaves_no_process() -> None:
    """A cancelled fork is killed and reaped (the leak fixture proves it)."""
    async with actorcluster.open_primary() as primary:
        with trio.move_on_after(0.3) as scope:
            await primary.fork(actors.never_ready, ready="called")
        assert scope.cancelled_caught
        assert {} == dict(primary.workers)


async def test_names_and_incarnations() -> None:
    """A name is unique among the living and counts its lives."""
    async with actorcluster.open_primary() as primary:
        first = await primary.fork(actors.idle, name="web")
        with pytest.raises(ValueError, match="'web' is taken"):
            primary.fork_soon(actors.idle, name="web")
        await first.disconnect()
        second = await primary.fork(actors.idle, name="web")
        assert [(1, 1), (2, 2)] == [(w.id, w.incarnation) for w in (first, second)]


async def test_leaving_the_block_stops_everybody() -> None:
    """Leaving the block ends every worker gracefully."""
    async with actorcluster.open_primary() as primary:
        workers = [await primary.fork(actors.idle) for _ in range(3)]
    statuses = [await worker.wait() for worker in workers]
    assert ["shutdown"] * 3 == [status.reason for status in statuses]
    with pytest.raises(trio.ClosedResourceError):
        primary.fork_soon(actors.idle)


async def test_body_exception_leaves_unwrapped() -> None:
    """The body's own exception is the one that leaves the block."""
    with pytest.raises(KeyError, match="mine"):
        async with actorcluster.open_primary() as primary:
            await primary.fork(actors.idle)
            raise KeyError("mine")


async def test_disconnect_all_and_fork_again() -> None:
    """primary.disconnect returns when every worker is gone; one may fork again."""
    async with actorcluster.open_primary() as primary:
        for _ in range(3):
            await primary.fork(actors.idle)
        await primary.disconnect()
        assert {} == dict(primary.workers)
        worker = await primary.fork(actors.idle)
        assert 4 == worker.id


# ---- leaving ----------------------------------------------------------------------------------


async def test_the_worker_leaves() -> None:
    """actor.disconnect returns once the wish is recorded; the end counts as voluntary."""
    async with actorcluster.open_primary() as primary:
        worker = await primary.fork(actors.leaves)
        with trio.fail_after(60):
            assert {"draining": True} == (await worker.mailbox.receive()).body
            assert (0, None, "shutdown", True) == shape(await worker.wait())
        assert worker.exited_after_disconnect is True


async def test_the_worker_kills_itself() -> None:
    """actor.kill flushes, and ends at once with exit code 0."""
    async with actorcluster.open_primary() as primary:
        worker = await primary.fork(actors.kills_itself)
        with trio.fail_after(60):
            assert (0, None, "shutdown", True) == shape(await worker.wait())
        assert ["last words"] == [message.body async for message in worker.mailbox]


@pytest.mark.parametrize("method", METHODS)
async def test_disconnect_before_it_is_online(method: str) -> None:
    """It is told as soon as it can hear, and leaves without having begun."""
    async with actorcluster.open_primary() as primary:
        with primary.events() as everything:
            worker = primary.fork_soon(actors.tell_args, settings={"start_method": method})
            with trio.fail_after(60):
                status = await worker.disconnect()
            assert (0, None, "shutdown", True) == shape(status)
            assert [] == [message.body async for message in worker.mailbox]
            kinds = [type(await anext(everything)) for _ in range(4)]
        assert [events.Fork, events.Draining, events.Disconnect, events.Exit] == kinds


async def test_kill_before_the_process_exists() -> None:
    """The signal is kept for it."""
    async with actorcluster.open_primary() as primary:
        worker = primary.fork_soon(actors.idle)
        worker.kill("SIGKILL")
        with trio.fail_after(60):
            assert (None, "SIGKILL", "signal", False) == shape(await worker.wait())


async def test_disconnect_joins() -> None:
    """A second disconnect waits for the same end, and can only shorten the time."""
    async with actorcluster.open_primary() as primary, trio.open_nursery() as nursery:
        worker = await primary.fork(actors.deaf, ready="called")
        statuses: list[ExitStatus] = []

        async def disconnect(timeout: float | None) -> None:
            statuses.append(await worker.disconnect(timeout))

        nursery.start_soon(disconnect, None)
        nursery.start_soon(disconnect, 100)
        await trio.testing.wait_all_tasks_blocked()
        worker.kill("SIGKILL")
    assert (None, "SIGKILL", "signal", True) == shape(statuses[0])
    assert statuses[0] is statuses[1]


# ---- dying ------------------------------------------------------------------------------------


async def test_last_words_of_one_that_dies() -> None:
    """All that arrived is in the mailbox before Disconnect and Exit, and readable afterwards."""
    async with actorcluster.open_primary() as primary:
        with primary.events(events.Disconnect, events.Exit) as ends:
            worker = await primary.fork(actors.dies_after, 3000)
            with trio.fail_after(60):
                assert isinstance(await anext(ends), events.Disconnect)
                waiting = worker.statistics().mailbox.messages
                assert isinstance(await anext(ends), events.Exit)
        bodies = [message.body async for message in worker.mailbox]
        assert waiting == len(bodies)
        assert list(range(waiting)) == bodies
        assert waiting > 1000  # it died with the rest in its hands


async def test_a_failed_start_has_its_events() -> None:
    """Fork, Disconnect, Exit; and the entry is gone before the last of them."""
    async with actorcluster.open_primary(settings={"stdio": ["ignore"] * 3}) as primary:
        with primary.events() as everything:
            worker = primary.fork_soon("tests.e2e.actors:raises", "_exit", ready="called")
            kinds = []
            async for event in everything:
                if isinstance(event, events.Online):
                    continue  # it is, for a moment
                kinds.append(type(event))
                assert (worker.id in primary.workers) or isinstance(event, events.Exit)
                if isinstance(event, events.Exit):
                    break
            assert {} == dict(primary.workers)
        assert [events.Fork, events.Disconnect, events.Exit] == kinds


@pytest.mark.parametrize("method", METHODS)
async def test_the_primary_is_killed(method: str) -> None:
    """Every worker is gone soon, exit code 0, whatever it is doing."""
    async with adopting_orphans(patience=60):
        program = await trio.lowlevel.open_process(
            [sys.executable, "-m", "tests.e2e.programs.lost", method], stdout=subprocess.PIPE
        )
        assert program.stdout is not None
        pids = [int(word) for word in (await read_line(program.stdout)).split()]
        program.kill()
        await program.wait()
        statuses = {pid: await status_of(pid) for pid in pids}
        assert dict.fromkeys(pids, 0) == statuses
        await program.stdout.aclose()


async def read_line(stream: trio.abc.ReceiveStream) -> bytes:
    line = b""
    while not line.endswith(b"\n"):
        line += await stream.receive_some()
    return line


async def status_of(pid: int) -> int:
    """Wait for an adopted process, and reap it; returns its wait status."""
    pidfd = os.pidfd_open(pid)
    try:
        with trio.fail_after(60):
            await trio.lowlevel.wait_readable(pidfd)
    finally:
        os.close(pidfd)
    return os.waitpid(pid, 0)[1]


# ---- the primary closes -----------------------------------------------------------------------


async def test_what_is_in_progress_when_the_primary_closes() -> None:
    """fork, ask and wait_for end with ClosedResourceError; processes half started are reaped."""
    outcomes: dict[str, BaseException] = {}

    async def attempt(name: str, what: Callable[[], Any]) -> None:
        try:
            await what()
        except Exception as exc:  # noqa: BLE001  (the outcome)
            outcomes[name] = exc

    async with trio.open_nursery() as nursery:
        async with actorcluster.open_primary() as primary:
            worker = await primary.fork(actors.ignores)
            half = primary.fork_soon(actors.never_ready, ready="called")
            waiting = {
                "ask": lambda: worker.ask("x"),
                "ref": lambda: primary.ref(worker.name).ask("x"),
                "fork": lambda: primary.fork(actors.never_ready, ready="called"),
                "wait_for": lambda: primary.wait_for(events.Exit, worker),
            }
            for name, what in waiting.items():
                nursery.start_soon(attempt, name, what)
            await primary.wait_for(events.Online, half)
            await until(lambda: cast("Any", worker.statistics().channel).asks_waiting == 2)
        for name, what in waiting.items():
            nursery.start_soon(attempt, f"{name}, too late", what)
    assert {trio.ClosedResourceError} == {type(outcome) for outcome in outcomes.values()}
    assert 8 == len(outcomes)
    assert "shutdown" == (await worker.wait()).reason
    assert (None, "SIGKILL", "killed") == shape(await half.wait())[:3]


async def test_mail_when_the_primary_has_closed() -> None:
    """What is there can be read, then the mailbox ends; sending is over."""
    async with actorcluster.open_primary() as primary:
        worker = await primary.fork(actors.tell_args, 1)
        await worker.wait()
    assert [[1]] == [message.body["args"] async for message in primary.mailbox]
    with pytest.raises(trio.EndOfChannel):
        primary.mailbox.receive_nowait()
    with pytest.raises(PeerClosed):
        await worker.send("x")
    with pytest.raises(trio.ClosedResourceError), primary.events():
        pass
    assert frozenset() == await primary.broadcast("x")
    await primary.disconnect()
    await primary.wait()


@pytest.mark.parametrize(
    ("limit", "passes", "expected"), [(1.0, 1.0, "SIGKILL"), (8.0, 2.0, "SIGTERM")]
)
async def test_shutdown_timeout(
    limit: float, passes: float, expected: str, still_clock: trio.testing.MockClock
) -> None:
    """It bounds the stop of everybody; the rungs that fit below it are still taken."""

    async def go_on_when_one_has_stopped() -> None:
        assert "shutdown" == (await fine.wait()).reason
        still_clock.jump(passes)

    async with trio.open_nursery() as nursery:
        async with actorcluster.open_primary(shutdown_timeout=limit) as primary:
            stubborn = await primary.fork(actors.stubborn, shutdown=0)
            fine = await primary.fork(actors.idle)
            nursery.start_soon(go_on_when_one_has_stopped)
    assert (None, expected, "killed", True) == shape(await stubborn.wait())


async def test_brutal_kill() -> None:
    """Some workers need no ladder."""
    async with actorcluster.open_primary() as primary:
        worker = await primary.fork(actors.deaf, shutdown="brutal_kill")
    assert (None, "SIGKILL", "killed", True) == shape(await worker.wait())


async def test_two_primaries_at_once() -> None:
    """Two primaries in one process do not see each other's workers."""
    async with actorcluster.open_primary() as one, actorcluster.open_primary() as two:
        first = await one.fork(actors.idle, name="same")
        second = await two.fork(actors.idle, name="same")
        assert {1: first} == dict(one.workers)
        assert {1: second} == dict(two.workers)
        assert first.pid != second.pid
