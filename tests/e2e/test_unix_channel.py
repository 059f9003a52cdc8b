"""Workers that connect to a socket of their own in place of inheriting their channel."""

from __future__ import annotations

import os
import signal
import socket
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
import trio

from actorcluster import Handle, Worker, WorkerStartError, events, open_primary
from tests.e2e import connecting_actors as actors
from tests.e2e.unprivileged import NOBODY
from tests.orphans import adopting_orphans
from tests.program import running
from tests.require import require
from tests.worker.lines import until

SECONDS = 60
UNIX: dict[str, Any] = {"channel": "unix"}


def directories() -> list[str]:
    """Those of sockets that somebody may connect to."""
    names = os.listdir(tempfile.gettempdir())
    return [name for name in names if name.startswith("actorcluster-")]


@pytest.mark.parametrize("form", ["function", "script"])
async def test_a_worker_in_python(form: str) -> None:
    script = os.path.join(os.path.dirname(__file__), "script_worker.py")
    with trio.fail_after(SECONDS):
        async with open_primary(settings={**UNIX, "exec": script}) as primary:
            if form == "script":
                worker = await primary.fork()
                assert worker.pid == (await worker.mailbox.receive()).body["pid"]
                assert "normal" == (await worker.wait()).reason
                return
            worker = await primary.fork(actors.echo)
            assert "exec" == worker.start_method
            assert [] == directories()
            assert {"x": 1} == await worker.ask({"x": 1})
            large = bytes(3_000_000)
            assert large == await worker.ask(large)
            ours, theirs = socket.socketpair()
            with ours:
                answer = await worker.ask(None, theirs)
                assert isinstance(answer, Handle)
                with answer.into_socket() as back:
                    await back.send(b"through")
                    assert b"through" == ours.recv(100)
            assert "shutdown" == (await worker.disconnect()).reason


async def test_the_environment_is_clean() -> None:
    with trio.fail_after(SECONDS):
        async with open_primary(settings=UNIX) as primary:
            worker = await primary.fork(actors.tell_environment)
            assert [] == (await worker.mailbox.receive()).body


async def test_shared_ports() -> None:
    with trio.fail_after(SECONDS):
        async with open_primary(settings=UNIX) as primary:
            with primary.events(events.Listening) as listening:
                await primary.fork(actors.serve, ready="listening")
                await primary.fork(actors.serve, ready="listening", settings={"channel": "fd"})
                address = (await anext(listening)).address
                assert isinstance(address, tuple)
            said = set()
            for _ in range(2):
                async with await trio.open_tcp_stream(*address) as stream:
                    said.add(await stream.receive_some())
            assert {b"1", b"2"} == said


async def test_a_program_in_few_lines() -> None:
    """As another language would do it: it inherits nothing, and is told when to go."""
    with trio.fail_after(SECONDS):
        command = (sys.executable, "-c", actors.PLAIN)
        async with open_primary(settings={**UNIX, "exec": command}) as primary:
            worker = await primary.fork(heartbeat=0.05)
            assert "online" == worker.state
            status = await worker.disconnect()
            assert (0, "shutdown") == (status.code, status.reason)
    assert [] == directories()


async def fails(code: str, **options: Any) -> Any:
    """How a program ends that never connects as it should."""
    command = (sys.executable, "-c", code)
    async with open_primary(settings={**UNIX, "exec": command}) as primary:
        with pytest.raises(WorkerStartError) as caught:
            await primary.fork(**options)
    assert [] == directories()
    assert caught.value.status is not None
    return caught.value.status


async def test_nobody_connects() -> None:
    with trio.fail_after(SECONDS):
        status = await fails("import time; time.sleep(1e6)", start_timeout=0.3)
        assert ("SIGKILL", "start_timeout") == (status.signal, status.reason)


async def test_it_ends_before_it_connects() -> None:
    with trio.fail_after(SECONDS):
        status = await fails("raise SystemExit(3)")
        assert (3, "exit") == (status.code, status.reason)


async def test_a_program_that_is_not_there() -> None:
    with trio.fail_after(SECONDS):
        async with open_primary(settings={**UNIX, "exec": ("/no/such/program",)}) as primary:
            with pytest.raises(WorkerStartError, match="No such file"):
                await primary.fork()
            assert [] == directories()


async def test_told_to_stop_before_it_connects() -> None:
    """There is nobody to tell; it gets its signal when the time is up."""
    with trio.fail_after(SECONDS):
        command = (sys.executable, "-c", "import time; time.sleep(1e6)")
        async with open_primary(settings={**UNIX, "exec": command}) as primary:
            worker = primary.fork_soon()
            await until(lambda: worker.pid is not None)
            status = await worker.disconnect(0)
            assert ("SIGTERM", "killed") == (status.signal, status.reason)
    assert [] == directories()


async def test_a_fork_that_is_cancelled_leaves_nothing() -> None:
    with trio.fail_after(SECONDS):
        command = (sys.executable, "-c", "import time; time.sleep(1e6)")
        async with open_primary(settings={**UNIX, "exec": command}) as primary:
            with trio.move_on_after(0.3):
                await primary.fork()
            assert {} == primary.workers
            assert [] == directories()


async def test_forked_workers_have_no_need_of_it() -> None:
    async with open_primary(settings={**UNIX, "start_method": "forkserver"}) as primary:
        with pytest.raises(ValueError, match="channel='unix' is for a program that connects"):
            await primary.fork(actors.echo)


@require("other-user")
async def test_another_user() -> None:
    """The directory is that one's."""
    with trio.fail_after(SECONDS):
        settings = {**UNIX, "uid": NOBODY, "cwd": "/"}
        async with open_primary(settings=settings) as primary:
            worker: Worker = await primary.fork(actors.echo)
            assert 5 == await worker.ask(5)
            await worker.disconnect()
    assert [] == directories()


@pytest.mark.own_fork_server
async def test_a_primary_that_is_killed_meanwhile() -> None:
    """Its fork server ends the worker, and removes socket and directory."""
    async with adopting_orphans(patience=20):
        async with running("-m", "tests.e2e.connecting_actors") as program:
            said = await program.says(r"unix:(/\S+)")
            path = Path(said[1])
            assert path.is_socket()
            program.process.send_signal(signal.SIGKILL)
            assert -signal.SIGKILL == await program.ends()
    assert not path.parent.exists()
