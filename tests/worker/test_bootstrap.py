"""What a worker knows of itself, and how long it lives."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys

import pytest
import trio

from actorcluster._worker import bootstrap
from actorcluster._worker.commands import python_argv
from actorcluster._worker.process import Launch, Process, start_exec

from .helpers import entry_argv, finish, killable_primary, receive_line, started

SAY = """if True:
    import os
    from actorcluster._worker import bootstrap
    def say(what):
        os.write(1, f"{what}\\n".encode())
"""


async def start(entry: str) -> Process:
    return await start_exec(Launch(worker_id=1, argv=entry_argv(entry)))


def output_of(code: str, *, pass_fds: tuple[int, ...] = (), **env: str) -> list[str]:
    """What a program says that was started with these environment variables."""
    done = subprocess.run(
        python_argv(f"exec({SAY + code!r})"),
        env={**os.environ, **env},
        pass_fds=pass_fds,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


# ---- identity --------------------------------------------------------------------------------


def test_whoever_has_no_channel_is_no_worker() -> None:
    assert not bootstrap.is_worker()
    assert bootstrap.identity() is None
    with pytest.raises(RuntimeError, match="this process is not a worker"):
        bootstrap.take_identity()


def test_the_identity_is_taken_out_of_the_environment() -> None:
    code = """
    say(bootstrap.identity())
    say(bootstrap.is_worker())
    say([name for name in os.environ if name in bootstrap.IDENTITY])
    say(os.get_inheritable(bootstrap.take_identity().channel_fd))
    try:
        bootstrap.take_identity()
    except RuntimeError as exc:
        say(exc)
    say(bootstrap.is_worker())
    """
    ours, theirs = socket.socketpair()
    with ours, theirs:
        fd = theirs.fileno()
        said = output_of(
            code,
            pass_fds=(fd,),
            ACTORCLUSTER_CHANNEL=f"fd:{fd}",
            ACTORCLUSTER_WORKER_ID="12",
            ACTORCLUSTER_TOKEN="secret",
        )
    expected = [
        f"Identity(channel_fd={fd}, worker_id=12)",
        "True",
        "[]",
        "False",
        "this worker runs, or ran, already: run_worker() can be called once",
        "True",
    ]
    assert expected == said


@pytest.mark.parametrize(
    ("channel", "number", "problem"),
    [
        ("tcp:[::1]:80", "1", "only fd:N and unix:/path are known"),
        ("unix:/tmp/x", "one", "invalid literal"),
        ("fd:x", "1", "invalid literal"),
        ("fd:0", "1", "Socket operation on non-socket"),
        ("fd:1000", "1", "Bad file descriptor"),
        ("fd:UDP", "1", "is not a stream socket of family AF_UNIX"),
        ("fd:GOOD", "one", "invalid literal"),
    ],
)
def test_a_channel_that_is_none_is_an_error_when_asked_for(
    channel: str, number: str, problem: str
) -> None:
    code = """
    for ask in (bootstrap.is_worker, bootstrap.identity, bootstrap.take_identity):
        try:
            say(ask())
        except RuntimeError as exc:
            say(exc)
    """
    ours, theirs = socket.socketpair()
    with ours, theirs, socket.socket(type=socket.SOCK_DGRAM) as udp:
        fds = {"GOOD": theirs.fileno(), "UDP": udp.fileno()}
        for name, fd in fds.items():
            channel = channel.replace(name, str(fd))
        said = output_of(
            code,
            pass_fds=tuple(fds.values()),
            ACTORCLUSTER_CHANNEL=channel,
            ACTORCLUSTER_WORKER_ID=number,
        )
    assert 3 == len(said)
    for line in said:
        assert line.startswith("this process was started as a worker, but: ")
        assert f"ACTORCLUSTER_CHANNEL={channel}" in line
        assert problem in line


async def test_main_passes_on_what_the_entry_returns() -> None:
    assert 5 << 8 == await finish(await start("forget"))


# ---- lifeline --------------------------------------------------------------------------------


async def test_a_busy_loop_ends_with_its_primary_exit_code_0() -> None:
    process = await start("spin")
    await started(process)
    assert process.poll() is None
    with trio.fail_after(60):
        assert 0 == await finish(process)


async def test_a_disarmed_lifeline_leaves_no_thread_and_does_nothing() -> None:
    process = await start("disarm")
    await started(process)
    assert 21 << 8 == await finish(process)


async def test_an_armed_lifeline_delays_no_exit() -> None:
    process = await start("forget")
    assert b"" == await receive_line(process)  # it did not keep the channel open either
    assert 5 << 8 == await finish(process)


async def test_a_forked_copy_of_the_primary_does_not_keep_workers_alive() -> None:
    # The copy holds the other end of the channel open, so there is no end of file.
    async with killable_primary("with_a_copy", "spin") as (primary, pids):
        pidfds = [os.pidfd_open(pid) for pid in pids]
        primary.kill_now()
        try:
            with trio.fail_after(60):
                await trio.lowlevel.wait_readable(pidfds[1])
        finally:
            signal.pidfd_send_signal(pidfds[0], signal.SIGKILL)
        for pidfd in pidfds:
            await trio.lowlevel.wait_readable(pidfd)
            os.close(pidfd)


def test_only_the_main_thread_prepares_signals() -> None:
    code = """
    import signal, threading
    def ignored():
        return signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # the shell of a background job ignores it
    thread = threading.Thread(target=bootstrap.prepare_signals)
    thread.start()
    thread.join()
    say(ignored())
    bootstrap.prepare_signals()
    say(ignored())
    """
    assert ["False", "True"] == output_of(code)


def test_the_interpreter_has_its_flags() -> None:
    done = subprocess.run(
        python_argv("print(sys.flags.dont_write_bytecode)"),
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"{sys.flags.dont_write_bytecode}\n" == done.stdout
