"""Start, be ready, stop, die: what a worker's life looks like from the primary."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

import pytest
import trio

import actorcluster
from actorcluster import ExitStatus, WorkerStartError, events
from tests.e2e import actors

Options = dict[str, Any]

METHODS = ["forkserver", "exec"]


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
        with trio.fail_after(10):
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
        with trio.fail_after(10):
            status = await worker.wait()
            stderr = await read_all(worker.stderr)
            await read_all(worker.stdout)
    assert expected == shape(status)
    assert worker.exited_after_disconnect is False
    if status.reason == "error":
        assert status.error is not None
        assert status.error.traceback is not None
        assert "in raises" in status.error.traceback
        assert status.error.type in stderr


async def read_all(stream: trio.abc.ReceiveStream | None) -> str:
    assert stream is not None
    data = b""
    async with stream:
        async for chunk in stream:
            data += chunk
    return data.decode()


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
        with trio.fail_after(5):
            await primary.wait_for(events.Online, worker)


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (actors.stubborn, (None, "SIGTERM", "killed", True)),
        (actors.deaf, (None, "SIGKILL", "killed", True)),
    ],
)
async def test_ladder(
    target: Callable[..., Any], expected: tuple[int | None, str | None, str, bool]
) -> None:
    """Who does not follow Stop gets SIGTERM, and then SIGKILL."""
    async with actorcluster.open_primary() as primary:
        worker = await primary.fork(target)
        with trio.fail_after(8):
            status = await worker.disconnect(timeout=0)
    assert expected == shape(status)


async def test_kill_by_name_and_number() -> None:
    """kill sends the signal, and the status shows it as not ours."""
    async with actorcluster.open_primary() as primary:
        first = await primary.fork(actors.idle)
        second = await primary.fork(actors.idle)
        first.kill()
        second.kill(signal.SIGKILL)
        with trio.fail_after(5):
            assert (None, "SIGTERM", "signal", False) == shape(await first.wait())
            assert (None, "SIGKILL", "signal", False) == shape(await second.wait())
        first.kill()  # nothing happens
        with pytest.raises(ValueError, match="NOSUCH"):
            first.kill("NOSUCH")


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


async def test_two_primaries_at_once() -> None:
    """Two primaries in one process do not see each other's workers."""
    async with actorcluster.open_primary() as one, actorcluster.open_primary() as two:
        first = await one.fork(actors.idle, name="same")
        second = await two.fork(actors.idle, name="same")
        assert {1: first} == dict(one.workers)
        assert {1: second} == dict(two.workers)
        assert first.pid != second.pid
