"""Processes started by exec, and how any process is signalled and reaped."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from actorcluster._worker.commands import import_path, interpreter_flags, script_argv, worker_argv
from actorcluster._worker.placing import start_placed
from actorcluster._worker.process import Launch, Process, start_exec
from tests.require import require

from .helpers import entry_argv, finish, receive_facts, receive_line, started

SHELL = "/bin/sh"


def shell(code: str, **options: Any) -> Launch:
    return Launch(worker_id=1, argv=(SHELL, "-c", code), **options)


# ---- reaping -------------------------------------------------------------------------------


async def test_a_process_is_reaped_with_its_exit_code_and_usage() -> None:
    process = await start_exec(shell("exit 3"))
    status, usage = await process.wait()
    assert status is not None
    assert 3 == os.waitstatus_to_exitcode(status)
    assert isinstance(usage, resource.struct_rusage)
    assert (status, usage) == process.poll() == await process.wait()
    assert status == await finish(process)


async def test_poll_says_nothing_about_the_living() -> None:
    process = await start_exec(shell("exec sleep 1000"))
    assert process.poll() is None
    assert "exec" == process.start_method
    await process.destroy()


async def test_any_number_of_tasks_wait_and_a_cancelled_one_loses_nothing() -> None:
    process = await start_exec(shell("exec sleep 1000"))
    seen = []

    async def wait() -> None:
        status, _ = await process.wait()
        seen.append(status)

    async with trio.open_nursery() as nursery:
        with trio.CancelScope() as impatient:
            nursery.start_soon(wait)
            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked()
            impatient.cancel()
            await process.wait()
        process.kill_now()
    assert [signal.SIGKILL, signal.SIGKILL] == seen
    await finish(process)


async def test_the_first_of_two_waiters_is_cancelled() -> None:
    process = await start_exec(shell("exec sleep 1000"))
    seen = []

    async def wait(task_status: trio.TaskStatus[trio.CancelScope]) -> None:
        with trio.CancelScope() as scope:
            task_status.started(scope)
            status, _ = await process.wait()
            seen.append(status)

    async with trio.open_nursery() as nursery:
        first = await nursery.start(wait)
        await nursery.start(wait)
        await trio.testing.wait_all_tasks_blocked()
        first.cancel()
        await trio.testing.wait_all_tasks_blocked()
        process.kill_now()
    assert [signal.SIGKILL] == seen
    await finish(process)


async def test_signals_reach_it_until_it_is_reaped() -> None:
    process = await start_exec(shell("kill -STOP $$"))
    assert process.send_signal(signal.SIGTERM)
    assert process.send_signal(signal.SIGCONT)
    status, _ = await process.wait()
    assert signal.SIGTERM == status
    assert not process.send_signal(signal.SIGTERM)
    assert not process.kill_now()
    await finish(process)


async def test_a_process_that_somebody_else_reaped_has_no_status() -> None:
    process = await start_exec(shell("exec sleep 1000"))
    process.kill_now()
    os.waitpid(process.pid, 0)
    assert (None, None) == await process.wait()
    assert not process.kill_now()
    late = Process(process.pid, "exec", process.channel)
    assert (None, None) == late.poll()
    late.close()
    await finish(process)


async def test_a_process_number_that_is_not_our_child_is_never_signalled() -> None:
    process = await start_exec(shell("exec sleep 1000"))
    impostor = Process(os.getpid(), "exec", process.channel)
    assert (None, None) == impostor.poll()
    assert not impostor.kill_now()
    impostor.close()
    await process.destroy()


async def test_the_living_cannot_be_closed() -> None:
    process = await start_exec(shell("exec sleep 1000"))
    with pytest.raises(RuntimeError, match="must be waited for"):
        process.close()
    await process.destroy()
    process.close()


async def test_closing_ends_nobodys_wait_in_error() -> None:
    process = await start_exec(shell("exec sleep 1000"))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(process.wait)
        await trio.testing.wait_all_tasks_blocked()
        process.kill_now()
        while process.poll() is None:
            await trio.lowlevel.checkpoint()
        process.close()
    process.channel.close()


# ---- starting ------------------------------------------------------------------------------


async def test_a_program_of_any_language_finds_its_channel() -> None:
    code = 'eval "exec 9>&${ACTORCLUSTER_CHANNEL#fd:}"; echo "worker $ACTORCLUSTER_WORKER_ID" >&9'
    env = {"PATH": os.environ["PATH"], "ACTORCLUSTER_TOKEN": "somebody else's"}
    process = await start_exec(Launch(worker_id=17, argv=("bash", "-c", code), env=env))
    assert b"worker 17\n" == await receive_line(process)
    assert 0 == await finish(process)


async def test_identity_variables_of_others_are_not_passed_on() -> None:
    stale = dict.fromkeys(("ACTORCLUSTER_CHANNEL", "ACTORCLUSTER_TOKEN"), "stale")
    process = await start_exec(
        Launch(
            worker_id=5, argv=entry_argv("facts"), env={**os.environ, **stale, "MINE": "ä\udc80"}
        )
    )
    facts = await receive_facts(process)
    assert 5 == facts["worker_id"]
    assert "ä\udc80" == facts["env"]["MINE"]
    assert not [name for name in facts["env"] if name in {*stale, "ACTORCLUSTER_WORKER_ID"}]
    assert 0 == await finish(process)


@pytest.mark.parametrize(
    ("argv", "number"),
    [(("/nowhere/program",), errno.ENOENT), (("/etc/passwd",), errno.EACCES)],
)
async def test_what_cannot_be_executed_is_named(argv: tuple[str, ...], number: int) -> None:
    with pytest.raises(OSError) as caught:
        await start_exec(Launch(worker_id=1, argv=argv))
    assert (number, argv[0]) == (caught.value.errno, caught.value.filename)


async def test_a_working_directory_that_is_not_there_is_named(tmp_path: Path) -> None:
    missing = str(tmp_path / "missing")
    with pytest.raises(FileNotFoundError) as caught:
        await start_exec(shell("exit 0", cwd=missing))
    assert missing == caught.value.filename


async def test_working_directory_and_arguments(tmp_path: Path) -> None:
    argv = entry_argv("facts", "one", "two")
    process = await start_exec(Launch(worker_id=1, argv=argv, cwd=str(tmp_path)))
    facts = await receive_facts(process)
    assert str(tmp_path) == facts["cwd"]
    assert ["one", "two"] == facts["argv"][1:]
    assert import_path() == facts["path"]
    assert 0 == await finish(process)


async def test_only_its_own_channel_is_inherited() -> None:
    leaky = os.dup(0)
    os.set_inheritable(leaky, True)
    processes = [
        await start_exec(Launch(worker_id=number, argv=entry_argv("facts"))) for number in range(3)
    ]
    os.close(leaky)
    for process in processes:
        facts = await receive_facts(process)
        assert {"0", "1", "2", str(facts["channel"])} == facts["fds"].keys()
        assert facts["channel"] not in facts["inheritable"]
        assert 0 == await finish(process)


async def test_the_end_of_a_killed_one_is_seen_while_the_others_live() -> None:
    processes = [await start_exec(shell("exec sleep 1000")) for _ in range(4)]
    processes[0].kill_now()
    assert b"" == await receive_line(processes[0])
    for process in processes:
        await process.destroy()


async def test_standard_streams_are_those_given() -> None:
    pipes = [os.pipe() for _ in range(3)]
    stdio = (pipes[0][0], pipes[1][1], pipes[2][1])
    process = await start_exec(Launch(worker_id=1, argv=entry_argv("echo"), stdio=stdio))
    for fd in stdio:
        os.close(fd)
    os.write(pipes[0][1], b"text")
    os.close(pipes[0][1])
    assert 0 == await finish(process)
    assert [b"text", b"TEXT"] == [os.read(pipes[1][0], 100), os.read(pipes[2][0], 100)]
    os.close(pipes[1][0])
    os.close(pipes[2][0])


async def test_streams_may_be_exchanged() -> None:
    process = await start_exec(shell("exit 0", stdio=(None, 2, 1)))
    assert 0 == await finish(process)


async def test_sigint_is_blocked_at_first_and_ignored_later() -> None:
    reader, writer = os.pipe()
    argv = ("grep", "SigBlk", "/proc/self/status")  # not by a shell: shells lift blocks
    process = await start_exec(Launch(worker_id=1, argv=argv, stdio=(None, writer, None)))
    os.close(writer)
    await finish(process)
    with open(reader) as file:
        assert 1 << (signal.SIGINT - 1) == int(file.read().split()[1], 16)
    process = await start_exec(Launch(worker_id=1, argv=entry_argv("facts")))
    process.send_signal(signal.SIGINT)
    facts = await receive_facts(process)
    assert [] == facts["blocked"]
    assert {"SIGINT": "1", "SIGTERM": "0"} == facts["signals"]
    process.send_signal(signal.SIGINT)
    assert 0 == await finish(process)
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, [])


async def test_cancelled_before_it_began() -> None:
    with trio.CancelScope() as scope:
        scope.cancel()
        await start_exec(shell("exit 0"))
    assert scope.cancelled_caught


@require("root")
async def test_user_and_group_change_and_no_other_group_is_kept() -> None:
    reader, writer = os.pipe()
    code = "grep -E '^(Uid|Gid|Groups)' /proc/self/status"
    process = await start_placed(shell(code, uid=65534, gid=65533, stdio=(None, writer, None)))
    os.close(writer)
    assert 0 == await finish(process)
    with open(reader) as file:
        ids = dict(line.split(":") for line in file)
    assert ["65534"] * 4 == ids["Uid"].split()
    assert ["65533"] * 4 == ids["Gid"].split()
    assert [] == ids["Groups"].split()


@require("other-user")
def test_without_the_right_to_change_the_user_the_program_is_named() -> None:
    code = """if True:
        import os, sys
        sys.path[:] = PATH
        import trio
        from actorcluster._worker.process import Launch
        from actorcluster._worker.placing import start_placed
        os.setgroups([]); os.setgid(65534); os.setuid(65534)
        try:
            trio.run(start_placed, Launch(worker_id=1, argv=("/bin/true",), uid=0))
        except PermissionError as exc:
            print(exc.filename, exc.strerror)
    """.replace("PATH", repr(import_path()))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "/bin/true Operation not permitted (uid=0)\n" == done.stdout


# ---- command lines -------------------------------------------------------------------------


def test_command_lines() -> None:
    flags = interpreter_flags()
    assert (sys.executable, *flags, "a.py", "x") == script_argv("a.py", args=["x"])
    assert (sys.executable, "-B", "a.py") == script_argv("a.py", ["-B"])
    assert (sys.executable, "-O", "-c") == worker_argv(["-O"], ["x"])[:3]
    assert ("x",) == worker_argv(None, ["x"])[-1:]


def test_the_import_path_holds_in_every_directory(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "lib").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", "lib", "placeholder.of.a.hook", "/absolute.zip"])
    expected = [str(tmp_path), str(tmp_path / "lib"), "placeholder.of.a.hook", "/absolute.zip"]
    assert expected == import_path()


async def test_a_worker_whose_primary_does_not_exist_says_so() -> None:
    done = subprocess.run(worker_argv(), capture_output=True, text=True, check=False)
    assert (2, "actorcluster: only a primary starts this program\n") == (
        done.returncode,
        done.stderr,
    )


async def test_waiting_for_a_start_uses_the_channel() -> None:
    process = await start_exec(Launch(worker_id=1, argv=entry_argv("wait")))
    await started(process)
    assert b"+" == process.channel.recv(10)
    assert 0 == await finish(process)
