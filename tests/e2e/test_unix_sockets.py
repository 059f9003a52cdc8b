"""Unix sockets of real primaries: who is killed, who comes second, and what the paths mean."""

from __future__ import annotations

import errno
import os
import signal
import socket
from pathlib import Path
from typing import Any

import pytest
import trio

import actorcluster
from actorcluster import SCHED_NONE, SCHED_RR, Worker, WorkerStartError
from tests.e2e import unix_sockets
from tests.orphans import adopting_orphans
from tests.program import Program, running

SECONDS = 30


async def visit(path: Path | str) -> bytes:
    with trio.fail_after(SECONDS):
        async with await trio.open_unix_socket(str(path)) as stream:
            return await stream.receive_some()


async def body_of(worker: Worker) -> Any:
    with trio.fail_after(SECONDS):
        return (await worker.mailbox.receive()).body


@pytest.mark.parametrize("policy", [SCHED_RR, SCHED_NONE])
async def test_the_file_lives_as_long_as_the_primary(policy: str, tmp_path: Path) -> None:
    """It outlives a killed worker, so that the next one serves who came meanwhile."""
    path = tmp_path / "s"
    async with actorcluster.open_primary(scheduling_policy=policy) as primary:
        worker = await primary.fork(unix_sockets.serve, str(path), 0o660, ready="listening")
        assert b"\x01" == await visit(path)
        worker.kill("SIGKILL")
        await worker.wait()
        assert 0o660 == path.stat().st_mode & 0o777
        stream = await trio.open_unix_socket(str(path))
        await primary.fork(unix_sockets.serve, str(path), ready="listening")
        assert b"\x02" == await stream.receive_some()
        await stream.aclose()
        assert b"\x02" == await visit(path)
    assert [] == [*tmp_path.iterdir()]


async def test_all_workers_leave(tmp_path: Path) -> None:
    """Then nobody uses the ports any more, and who forks again binds them again."""
    path = tmp_path / "s"
    async with actorcluster.open_primary() as primary:
        for number in (1, 2):
            worker = await primary.fork(unix_sockets.serve, str(path), ready="listening")
            assert bytes([number]) == await visit(path)
            await worker.disconnect()
            assert path.is_socket()  # another one may come in its place
            await primary.disconnect()
            assert [] == [*tmp_path.iterdir()]
            assert () == primary.statistics().ports


async def test_a_primary_is_killed_and_comes_back(tmp_path: Path) -> None:
    """Its file stays behind; the next one replaces it, and not that of one that lives."""
    path = tmp_path / "s"
    async with adopting_orphans(patience=10):
        async with running("-m", "tests.e2e.unix_sockets", str(path)) as program:
            await program.says("worker")
            async with actorcluster.open_primary() as primary:
                with pytest.raises(WorkerStartError, match="Address already in use") as caught:
                    await primary.fork(unix_sockets.serve, str(path), ready="listening")
                assert errno.EADDRINUSE == caught.value.errno
            assert b"\x01" == await visit(path)  # it has lost nothing
            program.process.send_signal(signal.SIGKILL)
            assert -signal.SIGKILL == await program.ends()
    assert path.is_socket()
    with pytest.raises(ConnectionRefusedError):
        await visit(path)
    async with actorcluster.open_primary() as primary:
        await primary.fork(unix_sockets.serve, str(path), ready="listening")
        assert b"\x01" == await visit(path)
    assert not path.exists()


async def test_two_primaries_race(tmp_path: Path) -> None:
    """For a dead file, in processes of their own: one has it, the other is told."""
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    said: list[str] = []

    async def read(program: Program) -> None:
        match = await program.says("^worker|WorkerStartError.*Address already in use")
        said.append(match[0].split()[0])

    async with (
        running("-m", "tests.e2e.unix_sockets", str(path)) as one,
        running("-m", "tests.e2e.unix_sockets", str(path)) as other,
        trio.open_nursery() as nursery,
    ):
        async with trio.open_nursery() as readers:
            readers.start_soon(read, one)
            readers.start_soon(read, other)
        assert 1 == said.count("worker")
        assert b"\x01" == await visit(path)
        for program in (one, other):
            program.interrupt()
            nursery.start_soon(program.ends)
    assert not path.exists()


async def test_what_a_path_means(tmp_path: Path) -> None:
    """The worker's directory counts; what cannot be a path is told clearly."""
    here = tmp_path / "here"
    here.mkdir()
    long = "x" * 108
    (tmp_path / "file").write_text("precious")
    async with actorcluster.open_primary(settings={"cwd": here}) as primary:
        worker = await primary.fork(
            unix_sockets.tries,
            "s",
            "../t",
            f"{tmp_path}/{long}",
            "\0abstract",
            "../file",
            "",
            "no/s",
        )
        assert [
            [None, str(here / "s")],
            [None, str(tmp_path / "t")],
            ["ENAMETOOLONG", f"{tmp_path}/{long}"],
            ["ValueError", "path has a NUL character in it: it must name a file"],
            ["EADDRINUSE", str(tmp_path / "file")],
            ["EADDRINUSE", str(here)],
            ["ENOENT", str(here / "no" / "s")],
        ] == await body_of(worker)
        assert (here / "s").is_socket()
        await primary.fork(unix_sockets.moved, str(tmp_path), "u", ready="listening")
        assert b"\x02" == await visit(tmp_path / "u")
    assert ["file", "here"] == sorted(os.listdir(tmp_path))
    assert "precious" == (tmp_path / "file").read_text()
