"""Workers that are another user than their primary, and cannot become it again."""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
import trio

import actorcluster
from actorcluster import Handle, Worker, WorkerStartError, events
from tests.e2e import actors, unprivileged
from tests.e2e.unprivileged import GROUP, NOBODY
from tests.orphans import adopting_orphans, children
from tests.program import ROOT, run_as_nobody, running
from tests.require import require

METHODS = ["forkserver", "exec"]
SECONDS = 30

pytestmark = require("other-user")


async def body_of(worker: Worker) -> Any:
    return (await worker.mailbox.receive()).body


def free_low_port() -> int:
    """A port that only root can bind, and nobody has."""
    for port in range(1023, 512, -1):
        with socket.socket() as sock:
            try:
                sock.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("every port is taken")


@pytest.mark.own_fork_server  # one that has the same groups as we
@pytest.mark.parametrize("method", METHODS)
async def test_another_user(method: str, tmp_path: Path) -> None:
    """It has no group, capability or way back; channel, ports, handles and signals work."""
    (tmp_path / "secret").write_text("x")
    (tmp_path / "secret").chmod(0o600)
    os.setgroups([4, 20])
    port = free_low_port()
    config: dict[str, Any] = {"uid": NOBODY, "gid": GROUP, "start_method": method}
    try:
        with trio.fail_after(SECONDS):
            async with actorcluster.open_primary(settings=config) as primary:
                worker = await primary.fork(
                    unprivileged.tell, str(tmp_path / "secret"), port, ready="listening"
                )
                assert method == worker.start_method
                facts = await body_of(worker)
                assert [[NOBODY] * 3, [GROUP] * 3, []] == facts["ids"]
                assert 0 == facts["capabilities"]
                assert {"EPERM"} == {facts["ways back"].pop(name) for name in [*WAYS]}
                assert {"memory": "EACCES"} == facts["ways back"]
                assert "EACCES" == facts["secret"]
                assert facts["own descriptors"]
                assert os.getcwd() == facts["cwd"]
                assert [errno.EACCES] == await body_of(worker)  # a listener of its own
                await worker.send("accept")
                async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
                    assert b"served" == await stream.receive_some()
                memfd = os.memfd_create("x")
                os.truncate(memfd, 77)
                assert 77 == await worker.ask("handle", Handle.of(memfd))
                other = await primary.fork(unprivileged.has_files)
                assert ["tests.e2e.forks", True] == await body_of(other)
                assert "shutdown" == (await worker.disconnect()).reason
                stopped = await primary.fork(actors.idle)
                stopped.kill("SIGSTOP")
                stopped.kill("SIGKILL")
                assert "SIGKILL" == (await stopped.wait()).signal
    finally:
        os.setgroups([])


WAYS = unprivileged.WAYS_BACK.keys() - {"memory"}


@pytest.mark.own_fork_server
async def test_only_the_user_or_only_the_group() -> None:
    """What is not named stays; other groups are dropped in any case."""
    os.setgroups([4, 20])
    try:
        with trio.fail_after(SECONDS):
            async with actorcluster.open_primary() as primary:
                for method in METHODS:
                    for ids, expected in (
                        ({"uid": NOBODY}, [[NOBODY] * 3, [0] * 3, []]),
                        ({"gid": GROUP}, [[0] * 3, [GROUP] * 3, []]),
                        ({"uid": 0}, [[0] * 3, [0] * 3, []]),
                    ):
                        config = {**ids, "start_method": method}
                        worker = await primary.fork(unprivileged.ids, settings=config)
                        assert expected == await body_of(worker)
                        worker.kill()
    finally:
        os.setgroups([])


async def test_it_is_found_to_stand_still() -> None:
    """Its stack is read by a primary that may look into it, however it was started."""
    with trio.fail_after(SECONDS):
        async with actorcluster.open_primary(settings={"uid": NOBODY, "gid": GROUP}) as primary:
            for method in METHODS:
                with primary.events(events.Hung) as hung:
                    worker = await primary.fork(
                        unprivileged.stands_still,
                        heartbeat=0.2,
                        settings={"start_method": method},
                    )
                    event = await anext(hung)
                    assert (unprivileged.__file__, True) == (event.file, event.line is not None)
                    worker.kill("SIGKILL")
                    await worker.wait()


async def test_nobody_outlives_a_killed_primary() -> None:
    """The guard is root, and kills those, too, who are stopped and somebody else."""
    async with adopting_orphans(patience=10):
        async with running("-m", "tests.e2e.unprivileged") as program:
            said = [await program.says(r"(\d+) (\d+)") for _ in range(4)]
            assert {str(NOBODY)} == {match[2] for match in said}
            pids = {int(match[1]) for match in said}
            program.process.send_signal(signal.SIGKILL)
            assert -signal.SIGKILL == await program.ends()
        assert 4 == len(pids)


# ---- what cannot be -----------------------------------------------------------------------------


# What a primary prints that is not root.
REFUSED = f"""
import trio, actorcluster, os
from tests.e2e import actors
from tests.orphans import children

async def main():
    async with actorcluster.open_primary() as primary:
        for method in {METHODS}:
            primary.setup_primary(start_method=method)
            await (await primary.fork(actors.returns)).wait()
            before = children()
            for ids in ({{"uid": 0}}, {{"gid": 0}}, {{"uid": 1, "gid": 1}}):
                try:
                    await primary.fork(actors.idle, settings=ids)
                except actorcluster.WorkerStartError as exc:
                    print(exc.errno, exc.status.error.type, exc.status.error.text)
                assert before == children(), children()
            # It is this user already: nothing has to be changed, and nothing can be.
            own = {{"uid": os.getuid(), "gid": os.getgid()}}
            worker = await primary.fork(actors.returns, settings=own)
            print((await worker.wait()).reason)

trio.run(main)
"""


def test_without_the_right() -> None:
    """The start fails, says why, and nobody is left."""
    done = run_as_nobody("-c", REFUSED)
    assert "" == done.stderr
    lines = done.stdout.splitlines()
    assert ["normal", "normal"] == lines[3::4]
    del lines[3::4]
    assert 6 == len(lines)
    for line in lines:
        assert line.startswith(f"{errno.EPERM} PermissionError")
        assert "Operation not permitted (" in line


# A primary that drops its privileges when its fork server runs already.
LATE = f"""
import trio, actorcluster, os
from tests.e2e import unprivileged

async def main():
    async with actorcluster.open_primary() as primary:
        root = await primary.fork(unprivileged.ids)
        root.kill("SIGKILL")
        await root.wait()
        os.setgroups([]), os.setresgid(*[{GROUP}] * 3), os.setresuid(*[{NOBODY}] * 3)
        worker = await primary.fork(unprivileged.ids)
        with await worker.mailbox.receive() as message:
            print(worker.start_method, message.body)
        try:
            await primary.fork(unprivileged.ids, settings={{"start_method": "forkserver"}})
        except (actorcluster.WorkerStartError, ValueError) as exc:
            print(exc)

trio.run(main)
"""


def test_a_primary_that_drops_its_privileges_late() -> None:
    """Its fork server is still root, and makes no worker any more."""
    done = subprocess.run(
        [sys.executable, "-c", LATE], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert "" == done.stderr
    first, second = done.stdout.splitlines()
    assert f"exec {[[NOBODY] * 3, [GROUP] * 3, []]}" == first
    assert "has changed its user" in second


async def test_capabilities_that_would_lead_back() -> None:
    """A primary that may become anybody without being root could not take that from its workers."""
    code = """
        import ctypes, os, struct, sys
        PR_SET_KEEPCAPS, PR_CAP_AMBIENT, RAISE = 8, 47, 2
        SETGID, SETUID = 6, 7
        prctl = ctypes.CDLL(None).prctl
        capset = ctypes.CDLL(None).capset
        prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0)
        os.setgroups([]), os.setresgid(65532, 65532, 65532), os.setresuid(65532, 65532, 65532)
        caps = 1 << SETGID | 1 << SETUID
        header = struct.pack("Ii", 0x20080522, 0)
        assert 0 == capset(header, struct.pack("6I", caps, caps, caps, 0, 0, 0))
        for one in (SETGID, SETUID):
            assert 0 == prctl(PR_CAP_AMBIENT, RAISE, one, 0, 0)
        from actorcluster._worker.user import change_user
        try:
            change_user(65534, 65533)
        except PermissionError as exc:
            print(exc.errno, exc.strerror)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, cwd=ROOT,
        check=True,
    )  # fmt: skip
    assert f"{errno.EPERM} its capabilities would lead back\n" == done.stdout


async def test_programs_that_cannot_be_started_as_another_user(tmp_path: Path) -> None:
    """The error says why, and nobody is left, least of all as root."""
    (tmp_path / "x").write_text("#!/bin/sh\n")
    (tmp_path / "x").chmod(0o700)  # root's own
    async with actorcluster.open_primary() as primary:
        await (await primary.fork(actors.returns)).wait()
        before = children()
        for program, number in (("/no/such/program", errno.ENOENT), (tmp_path / "x", errno.EACCES)):
            with pytest.raises(WorkerStartError, match=os.strerror(number)) as caught:
                await primary.fork(settings={"exec": [str(program)], "uid": NOBODY})
            assert number == caught.value.errno
            assert before == children()
