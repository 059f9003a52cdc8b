"""Unix sockets of real primaries: who is killed, who comes second, and what the paths mean."""

from __future__ import annotations

import errno
import os
import signal
import socket
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

import actorcluster
from actorcluster import (
    SCHED_NONE,
    SCHED_RR,
    Child,
    Supervisor,
    Worker,
    WorkerStartError,
    events,
)
from tests.e2e import actors, unix_sockets
from tests.e2e.supervised import LATER, NEVER
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
async def test_the_file_goes_with_the_last_user(policy: str, tmp_path: Path) -> None:
    """However that ends; others, and those who only looked on, do not count."""
    path = tmp_path / "s"
    async with actorcluster.open_primary(scheduling_policy=policy) as primary:
        await primary.fork(actors.idle)
        for end in ("SIGKILL", "disconnect"):
            first = await primary.fork(unix_sockets.serve, str(path), 0o660, ready="listening")
            second = await primary.fork(unix_sockets.serve, str(path), ready="listening")
            first.kill("SIGKILL")
            await first.wait()
            assert bytes([second.id]) == await visit(path)
            assert 0o660 == path.stat().st_mode & 0o777
            if end == "SIGKILL":
                second.kill(end)
            else:
                await second.disconnect()
            await second.wait()
            assert [] == [*tmp_path.iterdir()]
            assert () == primary.statistics().ports
        await primary.fork(unix_sockets.serve, str(path), ready="listening")
        await primary.disconnect()
        assert [] == [*tmp_path.iterdir()]
        await primary.fork(unix_sockets.serve, str(path), ready="listening")
    assert [] == [*tmp_path.iterdir()]


async def test_the_file_stays_for_one_that_comes_back(tmp_path: Path) -> None:
    """Who comes between two lives waits for the next one."""
    path = tmp_path / "s"
    child = Child(
        "a", unix_sockets.serve, args=(str(path), 0o660), ready="listening", backoff=LATER
    )
    other = attrs.evolve(child, name="b", args=(f"{path}b",), backoff=NEVER)
    async with actorcluster.open_primary(Supervisor(children=[child, other])) as primary:
        worker, waits = primary.workers.values()
        file = path.stat().st_ino
        with primary.events(events.Restart) as restarts:
            worker.kill("SIGKILL")
            await anext(restarts)
            waits.kill("SIGKILL")
            while (await anext(restarts)).name != "b":
                pass
        assert b"\x03" == await visit(path)
        assert (file, 0o660) == (path.stat().st_ino, path.stat().st_mode & 0o777)
        await primary.terminate_child("a")
        assert [Path(f"{path}b")] == [*tmp_path.iterdir()]
        await primary.terminate_child("b")  # which nobody waits for any more
        assert [] == [*tmp_path.iterdir()]
        await primary.restart_child("a")
        assert b"\x04" == await visit(path)
    assert [] == [*tmp_path.iterdir()]


async def test_a_primary_is_killed_and_comes_back(tmp_path: Path) -> None:
    """Its file goes with its last process; who comes before replaces it, not if that lives."""
    path, other = tmp_path / "s", tmp_path / "t"
    async with actorcluster.open_primary() as primary:
        async with adopting_orphans(patience=20):
            async with running("-m", "tests.e2e.unix_sockets", str(path), str(other)) as program:
                await program.says("worker")
                with pytest.raises(WorkerStartError, match="Address already in use") as caught:
                    await primary.fork(unix_sockets.serve, str(path), ready="listening")
                assert errno.EADDRINUSE == caught.value.errno
                assert b"\x01" == await visit(path)  # it has lost nothing
                program.process.send_signal(signal.SIGKILL)
                assert -signal.SIGKILL == await program.ends()
            task = await primary.fork(unix_sockets.serve, str(path), run="task", ready="listening")
        assert bytes([task.id]) == await visit(path)
        assert [path] == [*tmp_path.iterdir()]
    assert [] == [*tmp_path.iterdir()]


async def test_a_killed_primary_leaves_alone_what_is_not_its(tmp_path: Path) -> None:
    """What has taken the place of its files stays: a file, another's socket."""
    path, other = tmp_path / "s", tmp_path / "t"
    with socket.socket(socket.AF_UNIX) as taker:
        async with adopting_orphans(patience=20):
            async with running("-m", "tests.e2e.unix_sockets", str(path), str(other)) as program:
                await program.says("worker")
                path.unlink()
                path.write_text("precious")
                other.unlink()
                taker.bind(str(other))
                program.process.send_signal(signal.SIGKILL)
                assert -signal.SIGKILL == await program.ends()
        assert ("precious", True) == (path.read_text(), other.is_socket())
        other.unlink()


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
