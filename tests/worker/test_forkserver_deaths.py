"""The fork server, its caller or the primary dies or gives up: no worker is lost, none outlives."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys
from pathlib import Path

import pytest
import trio
import trio.testing

from actorcluster._worker import forkprocess, forkserver
from actorcluster._worker.forkserver import ForkServer
from actorcluster._worker.process import Launch, Process, start_exec
from tests.orphans import children
from tests.require import require
from tests.worker.helpers import entry_argv, finish, killable_primary, server_for, started

pytestmark = require("clone")


# ---- the server dies -----------------------------------------------------------------------------


async def test_a_server_killed_while_idle_takes_no_worker_with_it(wait_server: ForkServer) -> None:
    before = await wait_server.start(Launch(worker_id=1))
    first = wait_server.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    after = await wait_server.start(Launch(worker_id=2))
    assert first != wait_server.pid
    assert before.send_signal(signal.SIGTERM)
    assert signal.SIGTERM == await finish(before)
    assert 0 == await finish(after)


@pytest.mark.parametrize("kills", [1, 2])
async def test_a_server_killed_while_it_starts_fifty_loses_none(
    wait_server: ForkServer, kills: int
) -> None:
    processes: list[Process] = []

    async def start(number: int) -> None:
        processes.append(await wait_server.start(Launch(worker_id=number)))

    async def kill() -> None:
        for share in range(kills):
            while len(processes) < 10 * (share + 1):
                await trio.lowlevel.checkpoint()
            if wait_server.pid is not None:
                os.kill(wait_server.pid, signal.SIGKILL)

    async with trio.open_nursery() as nursery:
        for number in range(50):
            nursery.start_soon(start, number)
        nursery.start_soon(kill)
    assert 50 == len({process.pid for process in processes})
    for process in processes:
        await started(process)
        assert b"+" == process.channel.recv(10)
    assert [0] * 50 == [await finish(process) for process in processes]


async def test_a_server_killed_at_any_moment_of_a_start_loses_nothing(
    wait_server: ForkServer,
) -> None:
    await finish(await wait_server.start(Launch(worker_id=1)))
    for delay in range(10):  # spread over the 4 ms that a start takes
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_kill_after, wait_server, delay * 0.0004)
            process = await wait_server.start(Launch(worker_id=1))
        await started(process)
        assert 0 == await finish(process)


async def _kill_after(server: ForkServer, seconds: float) -> None:
    end = trio.current_time() + seconds
    while trio.current_time() < end:
        await trio.lowlevel.checkpoint()
    if server.pid is not None:
        os.kill(server.pid, signal.SIGKILL)


async def test_a_server_that_hangs_is_replaced(
    wait_server: ForkServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forkprocess, "PATIENCE", 0.2)
    monkeypatch.setattr(forkprocess, "_BRIEF_PATIENCE", 0.2)
    await finish(await wait_server.start(Launch(worker_id=1)))
    first = wait_server.pid
    assert first is not None
    os.kill(first, signal.SIGSTOP)
    process = await wait_server.start(Launch(worker_id=1))
    assert first != wait_server.pid
    await started(process)
    assert 0 == await finish(process)


async def test_a_large_environment_and_a_server_that_hangs(
    wait_server: ForkServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    env = {**os.environ, **{f"V{number}": "x" * 100_000 for number in range(15)}}
    process = await wait_server.start(Launch(worker_id=1, env=env))
    assert 0 == await finish(process)
    monkeypatch.setattr(forkprocess, "PATIENCE", 0.2)
    monkeypatch.setattr(forkprocess, "_BRIEF_PATIENCE", 0.2)
    assert wait_server.pid is not None
    os.kill(wait_server.pid, signal.SIGSTOP)
    process = await wait_server.start(Launch(worker_id=1, env=env))
    assert 0 == await finish(process)


async def test_run_keeps_a_server_ready(wait_server: ForkServer) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait_server.run)
        while wait_server.pid is None:
            await trio.lowlevel.checkpoint()
        process = await wait_server.start(Launch(worker_id=1))
        first = wait_server.pid
        os.kill(first, signal.SIGKILL)
        while wait_server.pid in (first, None):
            await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()
    assert 0 == await finish(process)


async def test_run_goes_on_where_nothing_can_be_forked() -> None:
    """It guards; only a server that cannot run at all leaves nothing to do."""
    server = ForkServer(["no_such_module"])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.run)
        with pytest.raises(RuntimeError, match="no_such_module"):
            await server.start(Launch(worker_id=1))
        process = await start_exec(Launch(worker_id=1, argv=("/bin/sleep", "1000")))
        await server.guard(process)
        assert server.pid is not None
        nursery.cancel_scope.cancel()
    await process.destroy()
    await server.aclose()


async def test_a_server_whose_modules_cannot_be_imported_guards_on() -> None:
    """Until another one, which may find them by now, has taken over."""
    server = ForkServer(["no_such_module"])
    process = await start_exec(Launch(worker_id=1, argv=("/bin/sleep", "1000")))
    await server.guard(process)
    first = server.pid
    for expected in True, False:
        with pytest.raises(RuntimeError, match="no_such_module"):
            await server.start(Launch(worker_id=2))
        assert (first == server.pid) is expected
        assert server.pid is not None
        assert 2 <= _open_pidfds(server.pid)  # the primary's, the worker's
    await process.destroy()
    await server.aclose()


async def test_the_end_while_one_replaces_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither is left, though the end saw only the new one."""
    server = ForkServer(["no_such_module"])
    with pytest.raises(RuntimeError, match="no_such_module"):
        await server.start(Launch(worker_id=1))
    first = server._server

    async def ends_meanwhile() -> None:
        server._server = None
        await server.aclose()
        raise OSError("no room")

    monkeypatch.setattr(server, "_launch", ends_meanwhile)
    with pytest.raises(OSError, match="no room"):
        await server.start(Launch(worker_id=1))
    assert first is not None
    assert first.process.poll() is not None


async def test_guarding_does_not_wait_for_imports(tmp_path: Path) -> None:
    """Should the primary die meanwhile, the server learns of the worker first."""
    (tmp_path / "slow_to_import.py").write_text("import time; time.sleep(1000)")
    server = ForkServer(["slow_to_import"])
    process = await start_exec(Launch(worker_id=1, argv=("/bin/sleep", "1000")))
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(tmp_path)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.start, Launch(worker_id=2))
            while server._server is None or "configure" not in server._server._answers:
                await trio.lowlevel.checkpoint()
            with trio.fail_after(60):
                await server.guard(process)
            nursery.cancel_scope.cancel()
    await process.destroy()
    await server.aclose()


async def test_run_returns_when_no_server_can_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forkprocess, "python_argv", lambda code: ("/bin/false",))
    server = ForkServer()
    await server.run()
    await server.aclose()


async def test_a_server_that_only_guards_has_imported_nothing(wait_server: ForkServer) -> None:
    """Where every worker is started by exec it costs little; the first fork finds the rest."""
    process = await start_exec(
        Launch(worker_id=1, argv=(sys.executable, "-c", "import time; time.sleep(1000)"))
    )
    await wait_server.guard(process)
    server = wait_server.pid
    assert not has_imported_trio(server)
    forked = await wait_server.start(Launch(worker_id=2))
    assert server == wait_server.pid
    assert has_imported_trio(server)
    assert 0 == await finish(forked)
    await process.destroy()


def has_imported_trio(pid: int | None) -> bool:
    """Seen from outside, by a library that Trio needs and nothing else here does."""
    return "libssl" in Path(f"/proc/{pid}/maps").read_text()


async def test_ctrl_c_does_not_reach_the_server(wait_server: ForkServer) -> None:
    process = await wait_server.start(Launch(worker_id=1))
    first = wait_server.pid
    assert first is not None
    os.kill(first, signal.SIGINT)
    process.send_signal(signal.SIGINT)
    assert 0 == await finish(await wait_server.start(Launch(worker_id=2)))
    assert first == wait_server.pid
    assert 0 == await finish(process)


async def test_another_server_takes_over(wait_server: ForkServer) -> None:
    processes = [await wait_server.start(Launch(worker_id=1))]
    new = server_for("wait")
    await new.take_over(wait_server)
    assert wait_server.pid is None
    processes.append(await new.start(Launch(worker_id=2)))
    assert [0, 0] == [await finish(process) for process in processes]
    await new.aclose()


# ---- the caller is cancelled ---------------------------------------------------------------------


async def test_a_cancelled_start_leaves_no_process(wait_server: ForkServer) -> None:
    await finish(await wait_server.start(Launch(worker_id=1)))
    before = children()
    for moment in range(20):
        process = None
        with trio.move_on_after(moment * 0.0003):
            process = await wait_server.start(Launch(worker_id=1))
        if process is not None:
            assert 0 == await finish(process)
    assert before == children()


async def test_start_cancelled_while_the_server_starts(wait_server: ForkServer) -> None:
    with trio.move_on_after(0.01) as scope:
        await wait_server.start(Launch(worker_id=1))
    assert scope.cancelled_caught
    server = wait_server.pid
    assert 0 == await finish(await wait_server.start(Launch(worker_id=1)))
    assert server == wait_server.pid  # nothing was thrown away


async def test_start_cancelled_while_the_server_hangs(wait_server: ForkServer) -> None:
    before = children()
    await finish(await wait_server.start(Launch(worker_id=1)))
    assert wait_server.pid is not None
    os.kill(wait_server.pid, signal.SIGSTOP)
    began = trio.current_time()
    with trio.move_on_after(0.01) as scope:
        await wait_server.start(Launch(worker_id=1))
    assert scope.cancelled_caught
    assert trio.current_time() - began < 2
    assert before == children()


# ---- the primary dies ----------------------------------------------------------------------------


@pytest.mark.parametrize("stopped", [False, True])
async def test_nobody_outlives_a_killed_primary(stopped: bool) -> None:
    entries = ["wait", "spin", "hold_the_interpreter"]
    async with killable_primary("with_both_methods", *entries) as (primary, pids):
        assert 7 == len(pids)
        pidfds = [os.pidfd_open(pid) for pid in pids]
        if stopped:
            for pid in pids[1:]:  # the first is the fork server
                os.kill(pid, signal.SIGSTOP)
        primary.kill_now()
        with trio.fail_after(60):
            for pidfd in pidfds:
                await trio.lowlevel.wait_readable(pidfd)
                os.close(pidfd)


def _no_room(_: int) -> int:
    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


async def test_a_server_that_does_not_know_all_workers_is_replaced(
    wait_server: ForkServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else nobody would kill the others, if they are stopped, when the primary is gone."""
    first = await wait_server.start(Launch(worker_id=1))
    assert wait_server.pid is not None
    os.kill(wait_server.pid, signal.SIGKILL)
    with monkeypatch.context() as patch, pytest.raises(OSError, match="Too many open files"):
        patch.setattr(os, "dup", _no_room)
        while True:  # the first may still go to the old server, which is about to die
            await finish(await wait_server.start(Launch(worker_id=2)))
    third = await wait_server.start(Launch(worker_id=3))
    with trio.fail_after(60):
        while _open_pidfds(wait_server.pid) < 3:  # the primary's, the first's, the third's
            await trio.lowlevel.checkpoint()
    await finish(first)
    await finish(third)


async def test_a_server_is_kept_running_after_a_shortage(
    wait_server: ForkServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forkserver, "_SHORTAGE_SECONDS", 0.01)
    worker = await wait_server.start(Launch(worker_id=1))
    before = wait_server.pid
    assert before is not None
    failed = trio.Event()

    def no_room(fd: int) -> int:
        failed.set()
        return _no_room(fd)

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            with monkeypatch.context() as patch:
                patch.setattr(os, "dup", no_room)
                nursery.start_soon(wait_server.run)
                os.kill(before, signal.SIGKILL)
                await failed.wait()
            while (pid := wait_server.pid) in (None, before) or _open_pidfds(pid) < 2:
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
    await finish(worker)


async def test_a_server_that_is_told_to_end_has_nothing_to_say(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even where Python shows every warning, as with ``-X dev``."""
    monkeypatch.setattr(sys, "warnoptions", ["default"])
    server = server_for("wait")
    await finish(await server.start(Launch(worker_id=1)))
    await server.aclose()
    assert ("", "") == capfd.readouterr()


async def test_a_guarded_worker_may_end_before(wait_server: ForkServer) -> None:
    process = await start_exec(Launch(worker_id=1, argv=entry_argv("wait")))
    await wait_server.guard(process)
    server = wait_server.pid
    assert server is not None
    while _open_pidfds(server) < 2:  # the primary's and the worker's
        await trio.lowlevel.checkpoint()
    assert 0 == await finish(process)
    while _open_pidfds(server) > 1:
        await trio.lowlevel.checkpoint()
    await wait_server.guard(process)  # too late, and no harm


def _open_pidfds(pid: int) -> int:
    directory = f"/proc/{pid}/fd"
    count = 0
    for fd in os.listdir(directory):
        with contextlib.suppress(FileNotFoundError):  # the server closed it meanwhile
            count += os.readlink(f"{directory}/{fd}") == "anon_inode:[pidfd]"
    return count
