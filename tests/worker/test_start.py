"""From settings to a running process: pipes, environment, and which start method applies."""

from __future__ import annotations

import errno
import functools
import logging
import os
import resource
import sys
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from actorcluster import Primary, Worker, WorkerStartError, events, open_primary
from tests.e2e import actors
from tests.program import read_all
from tests.worker.helpers import cancel_a_start
from tests.worker.lines import until

METHODS = ["forkserver", "exec"]


def descriptors() -> dict[int, str]:
    """What this process has open."""
    found = {}
    for fd in map(int, os.listdir("/proc/self/fd")):
        try:
            found[fd] = os.readlink(f"/proc/self/fd/{fd}")
        except FileNotFoundError:
            continue  # that with which the directory was read
    return found


async def body_of(worker: Worker) -> Any:
    with trio.fail_after(60):
        return (await worker.mailbox.receive()).body


# ---- standard streams ---------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
async def test_pipes(method: str) -> None:
    """Each is a stream of ours; what goes in comes out, up to the end of file."""
    settings = {"stdio": ["pipe"] * 3, "start_method": method}
    async with open_primary(settings=settings) as primary:
        worker = await primary.fork(actors.streams)
        with trio.fail_after(60):
            assert worker.stdin is not None
            async with worker.stdin:
                await worker.stdin.send_all(b"a line\n")
            assert "out: a line\n" == await read_all(worker.stdout)
            assert "err: a line\n" == await read_all(worker.stderr)
            assert "normal" == (await worker.wait()).reason


@pytest.mark.parametrize("method", METHODS)
async def test_silent_pipes_two(method: str) -> None:
    async with open_primary(settings={"silent": True, "start_method": method}) as primary:
        worker = await primary.fork(actors.streams, "given")
        assert worker.stdin is None
        assert "out: given" == await read_all(worker.stdout)
        assert "err: given" == await read_all(worker.stderr)


@pytest.mark.parametrize("method", METHODS)
async def test_ignored_and_given_streams(method: str, tmp_path: Path) -> None:
    """`ignore` reads nothing and swallows all; a descriptor or a file object is used as it is."""
    with open(tmp_path / "err", "x+") as err:
        settings = {"stdio": ["ignore", "ignore", err], "start_method": method}
        async with open_primary(settings=settings) as primary:
            worker = await primary.fork(actors.streams)
            assert "normal" == (await worker.wait()).reason
        assert [None] * 3 == [worker.stdin, worker.stdout, worker.stderr]
        err.seek(0)
        assert "err: " == err.read()


async def test_a_stream_closed_too_early_fails_the_start(tmp_path: Path) -> None:
    """Nothing is left of the pipes that were made before."""
    file = open(tmp_path / "file", "x")
    async with open_primary(settings={"stdio": ["pipe", "pipe", file]}) as primary:
        file.close()
        before = descriptors()
        with pytest.raises(WorkerStartError, match="closed file"):
            await primary.fork(actors.idle)
        assert before == descriptors()
    with pytest.raises(WorkerStartError, match="Bad file descriptor"):
        async with open_primary(settings={"stdio": ["pipe", "pipe", 999_999]}) as primary:
            await primary.fork(actors.idle)


# ---- environment, arguments, directory ----------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
async def test_environment(method: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Ours, with the settings merged over it and the fork's own over that; None removes."""
    monkeypatch.setenv("KEPT", "ours")
    monkeypatch.setenv("CHANGED", "ours")
    monkeypatch.setenv("REMOVED", "ours")
    env = {"CHANGED": "settings", "REMOVED": None, "ADDED": "settings", "BACK": None}
    settings = {"env": env, "cwd": tmp_path, "start_method": method, "args": ["a", "", "ü"]}
    async with open_primary(settings=settings) as primary:
        worker = await primary.fork(actors.environment, env={"ADDED": "fork", "BACK": "fork"})
        body = await body_of(worker)
    expected = {"KEPT": "ours", "CHANGED": "settings", "ADDED": "fork", "BACK": "fork"}
    names = {*expected, "REMOVED"}
    assert expected == {name: value for name, value in body["env"].items() if name in names}
    assert [] == [name for name in body["env"] if name.startswith("ACTORCLUSTER_C")]
    assert ["a", "", "ü"] == body["argv"][1:]
    assert sys.argv[0] == body["argv"][0]
    assert str(tmp_path) == body["cwd"]


@pytest.mark.parametrize("method", METHODS)
async def test_what_cannot_be_started_says_why(method: str, tmp_path: Path) -> None:
    """As the status of a life that had no process; nothing is left open."""
    gone = tmp_path / "gone"
    async with open_primary(settings={"start_method": method}) as primary:
        await primary.fork(actors.returns)
        await primary.wait()  # only the fork server is left, and may be
        before = descriptors()
        with pytest.raises(WorkerStartError, match="No such file or directory") as caught:
            await primary.fork(actors.idle, settings={"cwd": gone, "silent": True})
        with primary.events(events.Exit) as exits:
            worker = primary.fork_soon(actors.idle, settings={"cwd": gone, "silent": True})
            event = await anext(exits)
        assert worker.pid is None
        assert before == descriptors()
    assert isinstance(event, events.Exit)
    status = event.status
    assert caught.value.status is not None
    assert (None, None, "lost") == (status.code, status.signal, status.reason)
    assert status.error is not None
    assert "FileNotFoundError" == status.error.type
    assert str(gone) in status.error.text


async def test_a_command_line_that_does_not_exist() -> None:
    async with open_primary(settings={"exec": ["/no/such/program"]}) as primary:
        before = descriptors()
        with pytest.raises(WorkerStartError, match="No such file or directory: '/no/such/program'"):
            await primary.fork()
        assert before == descriptors()


@pytest.mark.parametrize("method", METHODS)
async def test_cancelled_at_any_moment_of_a_start(method: str) -> None:
    """The process is gone, and of what is open only the pipes are left, which are the worker's."""
    settings = {"stdio": ["pipe"] * 3, "start_method": method}
    async with open_primary(settings=settings) as primary:
        close_streams(await primary.fork(actors.returns))
        await primary.wait()
        for passes in range(1, 16, 2):
            before = descriptors()
            with primary.events(events.Fork) as forks:
                await cancel_a_start(primary, actors.idle, passes)
            for event in forks._unread:
                close_streams(event.worker)
            assert before == descriptors()
            assert {} == dict(primary.workers)


def close_streams(worker: Worker) -> None:
    for stream in (worker.stdin, worker.stdout, worker.stderr):
        if isinstance(stream, trio.lowlevel.FdStream):
            stream.close()


# ---- which method -------------------------------------------------------------------------


async def started_by(primary: Primary, **settings: Any) -> str | None:
    worker = await primary.fork(actors.returns, settings=settings)
    await worker.wait()
    return worker.start_method


async def test_auto_says_once_why_it_is_exec(caplog: pytest.LogCaptureFixture) -> None:
    """Not a word when it forks, and one for each reason when it cannot."""
    caplog.set_level(logging.INFO, "actorcluster")
    async with open_primary() as primary:
        assert "forkserver" == await started_by(primary)
        assert [] == caplog.messages
        for _ in range(2):
            assert "exec" == await started_by(primary, exec_argv=["-B"])
        assert "exec" == await started_by(primary, exec_argv=["-B"], start_method="exec")
    assert [
        "starting workers by exec: exec_argv=('-B',) needs an interpreter of its own"
    ] == caplog.messages


THREADS = """
import threading
threading.Thread(target=threading.Event().wait, daemon=True).start()
"""


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory of modules to preload."""
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "ac_threads.py").write_text(THREADS)
    (tmp_path / "ac_broken.py").write_text("1 / 0\n")
    (tmp_path / "ac_one.py").write_text("")
    (tmp_path / "ac_two.py").write_text("")
    return tmp_path


@pytest.mark.own_fork_server
async def test_a_server_that_cannot_fork(modules: Path, caplog: pytest.LogCaptureFixture) -> None:
    """`auto` goes on by exec, says why once, and still forks what can be forked."""
    caplog.set_level(logging.INFO, "actorcluster.start")
    async with open_primary() as primary:
        for _ in range(2):
            assert "exec" == await started_by(primary, preload=["ac_threads"])
        assert "forkserver" == await started_by(primary)
        with pytest.raises(ValueError, match="start_method='forkserver' cannot be kept"):
            await started_by(primary, preload=["ac_threads"], start_method="forkserver")
    said = [record.getMessage() for record in caplog.records if record.name == "actorcluster.start"]
    why = "the fork server is not available: cannot fork: 2 threads after preloading"
    assert [f"starting workers by exec: {why}"] == said


async def test_a_server_that_cannot_fork_and_must(modules: Path) -> None:
    """Nobody knew before the first start: then it is the start that fails."""
    async with open_primary(settings={"start_method": "forkserver"}) as primary:
        with pytest.raises(WorkerStartError, match="start_method='forkserver' cannot be kept"):
            await started_by(primary, preload=["ac_threads"])
        assert "forkserver" == await started_by(primary)


async def test_a_module_that_cannot_be_preloaded(modules: Path) -> None:
    """Named at each start that wants it; others go on."""
    async with open_primary() as primary:
        assert "forkserver" == await started_by(primary)
        for _ in range(2):
            with pytest.raises(WorkerStartError, match="preloading ac_broken failed"):
                await started_by(primary, preload=["ac_broken"])
        assert "forkserver" == await started_by(primary)


@pytest.mark.own_fork_server
async def test_a_worker_by_exec_is_guarded_all_the_same(
    modules: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A fork server that has failed over its modules can still guard."""
    async with open_primary() as primary:
        with pytest.raises(WorkerStartError, match="preloading ac_broken failed"):
            await started_by(primary, preload=["ac_broken"])
        worker = await primary.fork(actors.idle, settings={"start_method": "exec"})
        assert "forkserver" == await started_by(primary)  # it guards by then
        assert "exec" == worker.start_method
        server = primary._seating.starter._server
        assert server is not None
        assert [worker.pid] == [process.pid for process in server._guarded if not process.poll()]
    assert [] == caplog.messages


@pytest.mark.own_fork_server
async def test_a_guard_takes_the_server_that_there_is(modules: Path) -> None:
    """Which may be another one than when it was asked for; it does not bring the old one back."""
    async with open_primary() as primary, trio.open_nursery() as nursery:
        await started_by(primary)
        starter: Any = primary._seating.starter
        async with starter._changing:
            nursery.start_soon(functools.partial(started_by, primary, preload=["ac_one"]))
            await trio.testing.wait_all_tasks_blocked()
            worker = await primary.fork(actors.idle, settings={"start_method": "exec"})
        server = starter._server
        await until(lambda: starter._server is not server and starter._server is not None)
        await until(lambda: worker.pid in [it.pid for it in starter._server._guarded])
        assert ("ac_one",) == starter._preload


@pytest.mark.own_fork_server
async def test_an_interpreter_that_cannot_fork(
    modules: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Something starts a thread in every interpreter here: then nothing is forked, but guarded."""
    (modules / "sitecustomize.py").write_text(THREADS)
    monkeypatch.setenv("PYTHONPATH", str(modules))
    async with open_primary() as primary:
        worker = await primary.fork(actors.idle, settings={"start_method": "exec"})
        assert "exec" == await started_by(primary)
        assert worker.is_connected()
        server = primary._seating.starter._server
        assert server is not None
        await until(lambda: worker.pid in [process.pid for process in server._guarded])
    assert "cannot fork: 2 threads after preloading" in caplog.text
    assert "not guarded" not in caplog.text


async def test_other_modules_need_another_server(modules: Path) -> None:
    """What is preloaded is there before the worker asks; workers of the old server live on."""
    async with open_primary() as primary:
        loaded = []
        workers = []
        for names in ([], ["ac_one"], ["ac_one", "ac_two"], []):
            primary.setup_primary(preload=names)
            workers.append(await primary.fork(actors.loaded, "ac_one", "ac_two"))
            loaded.append(await body_of(workers[-1]))
        assert [[], ["ac_one"], ["ac_one", "ac_two"], []] == loaded
        assert [True] * 4 == [worker.is_connected() for worker in workers]


@pytest.mark.parametrize("method", METHODS)
async def test_a_worker_imports_what_it_uses_and_a_forked_one_nothing(method: str) -> None:
    """The fork server has done it for all of them, the primary's side is nobody's business."""
    settings = {"start_method": method, "preload": ["tests.e2e.forks"]}
    async with open_primary(settings=settings) as primary:
        names = await body_of(await primary.fork("tests.e2e.forks:imported"))
    ours = [name for name in names if name.startswith(("actorcluster", "trio", "msgpack"))]
    assert ("actorcluster._worker.runtime" in ours) is (method == "exec")
    assert [] == [name for name in ours if name.startswith("actorcluster._cluster")]
    assert method == "exec" or [] == ours


async def test_starts_that_want_different_servers_at_once(modules: Path) -> None:
    """Each may replace the other's server under its feet; all get theirs."""
    wishes = [["ac_one"], ["ac_two"], [], ["ac_one"]]
    async with open_primary() as primary:
        workers = [
            primary.fork_soon(actors.loaded, "ac_one", "ac_two", settings={"preload": names})
            for names in wishes
        ]
        assert wishes == [await body_of(worker) for worker in workers]


@pytest.mark.parametrize("method", METHODS)
async def test_left_while_it_starts(method: str, caplog: pytest.LogCaptureFixture) -> None:
    """Neither the start nor the fork server that it needs is left half done, or complained of."""
    async with open_primary(settings={"start_method": method}) as primary:
        worker = primary.fork_soon(actors.idle)
    assert "killed" == (await worker.wait()).reason
    assert [] == caplog.messages


@pytest.mark.parametrize("method", METHODS)
async def test_no_room_for_descriptors(method: str) -> None:
    """Whichever cannot be opened, those opened before are closed again."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    settings = {"stdio": ["pipe"] * 3, "start_method": method}
    async with open_primary(settings=settings) as primary:
        close_streams(await primary.fork(actors.returns))
        await primary.wait()
        before = descriptors()
        starts = failures = 0
        for limit in range(min(set(range(1000)) - set(before)), 1000):
            try:
                resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
                worker = await primary.fork(actors.returns)
                break
            except WorkerStartError as exc:
                failures += os.strerror(errno.EMFILE) in str(exc)
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            assert before == descriptors()
            starts += 1
        assert 8 < starts == failures
        await worker.wait()
        close_streams(worker)
