"""The program that a primary under test starts as its hostile worker, in C and in Python."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import Final

import pytest
import trio

from actorcluster.conform.primary import standin
from actorcluster.conform.primary.lives import Hangar, Life
from actorcluster.conform.primary.standins import SOURCE, compiled, stand_in
from tests.require import ensure

IN_PYTHON: Final = (sys.executable, "-I", "-S", standin.__file__)
FACTS: Final = {"ACTORCLUSTER_WORKER_ID": "7", "ACTORCLUSTER_TOKEN": "secret"}


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> list[Sequence[str]]:
    """Both of them."""
    ensure("gcc")
    program = trio.run(compiled, str(tmp_path_factory.mktemp("standin")))
    assert program is not None
    return [(program,), IN_PYTHON]


@contextlib.asynccontextmanager
async def open_hangar(path: Path) -> AsyncGenerator[Hangar, None]:
    async with trio.open_nursery() as nursery:
        hangar = Hangar(nursery, str(path))
        await nursery.start(hangar.run)
        yield hangar
        nursery.cancel_scope.cancel()
    path.unlink()


async def arrives(hangar: Hangar, command: Sequence[str]) -> tuple[subprocess.Popen[bytes], Life]:
    """Start a stand-in as a primary does, with a socket of which the other end says hello."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        number = theirs.fileno()
        environment = {**os.environ, **FACTS, "ACTORCLUSTER_CHANNEL": f"fd:{number}"}
        process = subprocess.Popen(command, env=environment, pass_fds=[number])
        life = await hangar.take()
        theirs.close()
        ours.send(b"\x95\xce\0\0\0\x02\xce\x06\0\0\0\xce\0\0\0\0\xc0\xc0")
        assert 2 == len((await life.hear(lambda _: True)).body)
        await life.say(b"hi")
        assert b"hi" == ours.recv(9)
    return process, life


async def left(process: subprocess.Popen[bytes], life: Life) -> int:
    await life.ended.wait()
    return await trio.to_thread.run_sync(process.wait)


async def test_both_stand_ins_say_and_do_the_same(
    tmp_path: Path, programs: list[Sequence[str]]
) -> None:
    kit = tmp_path / "kit"
    async with open_hangar(kit) as hangar:
        for program in programs:
            command = (*program, str(kit))
            process, life = await arrives(hangar, command)
            assert (process.pid, os.getpid()) == (life.pid, life.primary)
            assert (7, "secret", "") == (life.worker_id, life.token, life.path)
            await life.ignore(signal.SIGTERM)
            process.send_signal(signal.SIGTERM)
            await life.end(5)
            assert 5 == await left(process, life)

            process, life = await arrives(hangar, command)
            await life.end(signal=signal.SIGABRT)
            assert -signal.SIGABRT == await left(process, life)

            process, life = await arrives(hangar, command)
            life.forget()
            assert 0 == await left(process, life)


async def test_it_connects_to_the_path_that_it_is_told(
    tmp_path: Path, programs: list[Sequence[str]]
) -> None:
    kit, door = tmp_path / "kit", tmp_path / "door"
    environment = {**os.environ, **FACTS, "ACTORCLUSTER_CHANNEL": f"unix:{door}"}
    async with open_hangar(kit) as hangar:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(door))
            listener.listen()
            for program in programs:
                process = subprocess.Popen((*program, str(kit)), env=environment)
                life = await hangar.take()
                assert str(door) == life.path
                with listener.accept()[0] as connection:
                    await life.say(b"hi")
                    assert b"hi" == connection.recv(9)
                    await life.end()
                assert 0 == await left(process, life)
    door.unlink()


async def test_where_there_is_no_compiler_it_is_python(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for compiler in ("false", "/nowhere/cc", "true", "'"):  # one of them says that it has done it
        monkeypatch.setenv("CC", compiler)
        assert IN_PYTHON == await stand_in(str(tmp_path))


def test_no_compiler_has_anything_to_say_against_it(tmp_path: Path) -> None:
    ensure("gcc")
    words = ["-std=c99", "-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra", "-Wshadow", "-pedantic"]
    command = ["gcc", *words, "-Werror", "-o", str(tmp_path / "standin"), str(SOURCE)]
    subprocess.run(command, check=True, timeout=120)
