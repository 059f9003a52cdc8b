"""Workers made by the fork server, and what becomes of them when it is killed."""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from actorcluster._worker.commands import import_path
from actorcluster._worker.forkserver import CannotFork, ForkServer
from actorcluster._worker.process import Launch
from tests.require import require
from tests.worker.helpers import finish, receive_facts, receive_line, server_for, started

pytestmark = require("clone")


def shared(entry: str) -> Iterator[ForkServer]:
    server = server_for(entry)
    trio.run(server._running, True)
    yield server
    trio.run(server.aclose)


@pytest.fixture(scope="module")
def facts_server() -> Iterator[ForkServer]:
    """For tests that do not harm it."""
    yield from shared("facts")


@pytest.fixture(scope="module")
def named_server() -> Iterator[ForkServer]:
    """Likewise; the first argument names what the worker does."""
    yield from shared("named")


async def run_to_the_end(server: ForkServer, entry: str, **launch: Any) -> int:
    """Exit code of a worker with that entry."""
    process = await server.start(Launch(**{"worker_id": 1, "args": (entry,), **launch}))
    status, usage = await process.wait()
    assert status is not None
    assert usage is not None
    await finish(process)
    return os.waitstatus_to_exitcode(status)


# ---- a forked worker -------------------------------------------------------------------------


async def test_a_worker_is_our_child_and_what_was_asked_for(
    facts_server: ForkServer, tmp_path: Path
) -> None:
    env = {"PATH": "/bin", "MINE": "ä\udc80", "ACTORCLUSTER_TOKEN": "no", "TZ": "XYZ-3"}
    process = await facts_server.start(
        Launch(worker_id=23, env=env, cwd=str(tmp_path), args=("one", "two"))
    )
    facts = await receive_facts(process)
    del env["ACTORCLUSTER_TOKEN"]
    expected = {
        "pid": process.pid,
        "parent": os.getpid(),
        "worker_id": 23,
        "env": env,
        "cwd": str(tmp_path),
        "argv": [sys.argv[0], "one", "two"],
        "path": import_path(),
        "blocked": [],
        "signals": {"SIGINT": "1", "SIGTERM": "0"},
        "threads": 1,
        "time": "XYZ",
    }
    assert expected == {name: facts[name] for name in expected}
    assert "forkserver" == process.start_method
    assert 0 == await finish(process)


async def test_what_was_not_asked_for_is_as_in_the_primary(
    facts_server: ForkServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    await finish(
        await facts_server.start(Launch(worker_id=1))
    )  # the server runs before the changes
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CHANGED", "yes")
    monkeypatch.syspath_prepend(str(tmp_path))
    before = os.umask(0o027)
    try:
        process = await facts_server.start(Launch(worker_id=1))
    finally:
        os.umask(before)
    facts = await receive_facts(process)
    assert str(tmp_path) == facts["cwd"] == facts["path"][0]
    assert dict(os.environ) == facts["env"]
    assert 0o027 == facts["umask"]
    assert [os.getresuid(), os.getresgid(), os.getgroups()] == [
        *map(tuple, facts["ids"][:2]),
        facts["ids"][2],
    ]
    assert 0 == await finish(process)


async def test_two_workers_share_no_random_numbers_and_no_descriptors(
    facts_server: ForkServer,
) -> None:
    one, other = [await facts_server.start(Launch(worker_id=number)) for number in range(2)]
    facts = [await receive_facts(process) for process in (one, other)]
    owned = []
    for mine in facts:
        owned.append({inode for fd, inode in mine["fds"].items() if fd not in ("0", "1", "2")})
        assert 5 == len(mine["fds"])  # the channel, and what its stack is written to
        assert mine["fds"][str(mine["channel"])] in owned[-1]
        assert [0, 1, 2] == mine["inheritable"]
    assert set() == owned[0] & owned[1]
    for number, same in zip(*(mine["random"] for mine in facts), strict=True):
        assert number != same
    assert [0, 0] == [await finish(one), await finish(other)]


async def test_the_end_of_a_killed_one_is_seen_while_the_others_live(
    wait_server: ForkServer,
) -> None:
    processes = [await wait_server.start(Launch(worker_id=number)) for number in range(8)]
    for process in processes:
        await started(process)
        assert b"+" == process.channel.recv(10)
    processes[3].kill_now()
    assert b"" == await receive_line(processes[3])
    assert [0] * 7 + [signal.SIGKILL] == sorted([await finish(p) or 0 for p in processes])


async def test_standard_streams_are_those_given(named_server: ForkServer) -> None:
    pipes = [os.pipe() for _ in range(3)]
    os.write(pipes[0][1], b"text")
    os.close(pipes[0][1])
    stdio = (pipes[0][0], pipes[1][1], pipes[2][1])
    assert 0 == await run_to_the_end(named_server, "echo", stdio=stdio)
    for fd in stdio:
        os.close(fd)
    assert [b"text", b"TEXT"] == [os.read(pipes[1][0], 100), os.read(pipes[2][0], 100)]
    os.close(pipes[1][0])
    os.close(pipes[2][0])


@require("pty")
async def test_a_stream_object_buffers_as_its_descriptor_demands(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    server = server_for("facts")
    master, terminal = os.openpty()
    process = await server.start(Launch(worker_id=1, stdio=(None, terminal, None)))
    assert [True, True] == (await receive_facts(process))["buffering"]
    assert 0 == await finish(process)
    reader, writer = os.pipe()
    process = await server.start(Launch(worker_id=1, stdio=(None, writer, None)))
    assert [False, True] == (await receive_facts(process))["buffering"]
    assert 0 == await finish(process)
    for fd in (master, terminal, reader, writer):
        os.close(fd)
    await server.aclose()


async def test_a_worker_ends_as_a_program_ends(named_server: ForkServer, tmp_path: Path) -> None:
    """Threads are waited for, then atexit functions, then all that is in buffers is written."""
    reader, writer = os.pipe()
    env = {**os.environ, "FAREWELL": str(tmp_path / "file")}
    assert 7 == await run_to_the_end(named_server, "farewell", stdio=(None, writer, None), env=env)
    os.close(writer)
    with open(reader) as file:
        text = file.read()
    assert "C library\n" in text  # whose buffer may be written earlier
    assert "main\nthread\natexit\n" == text.replace("C library\n", "")
    assert "left in a buffer" == (tmp_path / "file").read_text()
    assert 9 == await run_to_the_end(named_server, "leave")


async def test_a_worker_says_what_it_cannot_write_when_it_ends(named_server: ForkServer) -> None:
    """As every interpreter does, with an exit code for that."""
    reader, writer = os.pipe()
    code = await run_to_the_end(named_server, "farewell_to_nobody", stdio=(None, None, writer))
    os.close(writer)
    with open(reader) as file:
        assert "No space left on device" in file.read()
    assert 120 == code


async def test_threads_signals_trio_and_programs_work_in_a_worker(named_server: ForkServer) -> None:
    assert 0 == await run_to_the_end(named_server, "signal_myself")
    assert 0 == await run_to_the_end(named_server, "use_trio")


async def test_a_script_is_main_and_looks_beside_itself_first(
    named_server: ForkServer, tmp_path: Path
) -> None:
    (tmp_path / "beside.py").write_text("NUMBER = 30\n")
    script = tmp_path / "script.py"
    script.write_text(
        "import sys, beside, __main__\n"
        "assert __name__ == '__main__' and __main__.beside is beside\n"
        "assert sys.argv == [__file__, 'a', 'b'], sys.argv\n"
        "sys.exit(beside.NUMBER)\n"
    )
    assert 30 == await run_to_the_end(named_server, "facts", script=str(script), args=("a", "b"))
    script.write_text("pass\n")
    assert 0 == await run_to_the_end(named_server, "facts", script=str(script))


@require("root")
async def test_user_and_group_change_and_no_other_group_is_kept(facts_server: ForkServer) -> None:
    process = await facts_server.start(Launch(worker_id=1, uid=65534, gid=65533))
    assert [[65534] * 3, [65533] * 3, []] == (await receive_facts(process))["ids"]
    assert process.send_signal(signal.SIGSTOP)
    assert process.kill_now()
    assert signal.SIGKILL == await finish(process)


# ---- what cannot be ------------------------------------------------------------------------------


async def test_a_working_directory_that_is_not_there_is_named(named_server: ForkServer) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        await named_server.start(Launch(worker_id=1, cwd="/nowhere"))
    assert "/nowhere" == caught.value.filename


@require("root")
async def test_a_user_that_cannot_be_is_named(named_server: ForkServer) -> None:
    with pytest.raises(OSError, match=r"uid=4294967295") as caught:
        await named_server.start(Launch(worker_id=1, uid=2**32 - 1))
    assert errno.EINVAL == caught.value.errno


async def test_a_closed_descriptor_is_refused(named_server: ForkServer) -> None:
    with pytest.raises(OSError) as caught:
        await named_server.start(Launch(worker_id=1, stdio=(None, 1000, None)))
    assert errno.EBADF == caught.value.errno


async def test_a_module_that_cannot_be_preloaded_is_named() -> None:
    server = ForkServer(["no_such_module"])
    for _ in range(2):
        with pytest.raises(RuntimeError, match="preloading no_such_module failed"):
            await server.start(Launch(worker_id=1))
    await server.aclose()


async def test_a_module_that_starts_threads_leaves_only_exec(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    code = "import threading, time\nthreading.Thread(target=time.sleep, args=[1000], daemon=True)"
    (tmp_path / "threads.py").write_text(f"{code}.start()\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    server = server_for("wait", preload=["threads"])
    for _ in range(2):
        with pytest.raises(CannotFork, match="cannot fork: 2 threads after preloading"):
            await server.start(Launch(worker_id=1))
    assert ["cannot fork: 2 threads after preloading"] == caplog.messages
    await server.aclose()


async def test_a_preloaded_module_is_there_before_the_fork() -> None:
    server = server_for("facts", preload=["wave"])
    process = await server.start(Launch(worker_id=1))
    assert "wave" in (await receive_facts(process))["modules"]
    assert 0 == await finish(process)
    await server.aclose()


async def test_nothing_starts_after_the_end(wait_server: ForkServer) -> None:
    process = await wait_server.start(Launch(worker_id=1))
    await wait_server.aclose()
    assert wait_server.pid is None
    with pytest.raises(trio.ClosedResourceError):
        await wait_server.start(Launch(worker_id=1))
    assert process.poll() is None  # it lives on
    assert 0 == await finish(process)
