"""Programs in Python that are forked for each case: each is as if it had been started alone."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
import trio

from actorcluster.conform import process
from actorcluster.conform.forge import Forge
from actorcluster.conform.process import Program
from tests.conform.kit import tried

SOURCE: Final = """
import os, socket, sys
count = 0
def main():
    global count
    count += 1
    number = int(os.environ["ACTORCLUSTER_CHANNEL"].removeprefix("fd:"))
    end = socket.socket(fileno=number)
    said = [__name__, *sys.argv[1:], os.environ["WHO"], count, os.getsid(0) == os.getpid()]
    end.sendall(repr(said).encode())
    print("last words", flush=True)
    order = end.recv(100)
    os.abort() if order == b"abort" else sys.exit(int(order))
if __name__ == "__main__":
    main()
"""


@pytest.fixture
def script(tmp_path: Path) -> str:
    path = tmp_path / "script.py"
    path.write_text(SOURCE)
    return str(path)


@pytest.fixture
def forge(script: str) -> Iterator[Forge]:
    made = Forge([sys.executable, script, "--option"], ["asyncio", "script"])
    yield made
    made.close()


async def story(forge: Forge, script: str, who: str, order: bytes) -> tuple[object, int, str]:
    """Give what a program says, how it ends, and its last words."""
    command = [sys.executable, script, "--option"]
    program = Program(command, {"WHO": who}, forge=forge)
    try:
        assert program.end is not None
        with trio.socket.from_stdlib_socket(program.end.dup()) as end:
            said = eval(await end.recv(1000))
            assert program.status is None
            await end.send(order)
            return said, await program.wait(), program.last_words()
    finally:
        await program.close()
        assert not os.path.exists(f"/proc/{program.pid}")


async def test_each_is_a_process_of_its_own(forge: Forge, script: str) -> None:
    for who, order, status in (
        ("one", b"7", 7),
        ("two", b"0", 0),
        ("three", b"abort", -signal.SIGABRT),
    ):
        said, ended, words = await story(forge, script, who, order)
        assert ["__main__", "--option", who, 1, True] == said
        assert status == ended
        assert words.startswith("last words\n")


async def test_its_end_of_the_connection_has_the_number_that_was_asked_for(
    forge: Forge, script: str
) -> None:
    program = Program([sys.executable, script, "--option"], {"WHO": "x"}, 93, forge=forge)
    try:
        assert program.end is not None
        await trio.lowlevel.wait_readable(program.end)
        sockets = [one for one, what in program.descriptors().items() if "socket" in what]
        assert [93] == sockets
    finally:
        await program.close()


async def test_other_programs_are_started_from_nothing(forge: Forge) -> None:
    program = Program(["/bin/true"], {}, forge=forge)
    try:
        assert 0 == await program.wait()
    finally:
        await program.close()


async def test_what_writes_without_end_does_not_fill_the_disk(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(process, "_LARGEST_FILE", 1_000_000)
    program = Program(["yes"], {})
    try:
        assert -signal.SIGXFSZ == await program.wait()
        assert "y\n" * 1000 == program.last_words()
    finally:
        await program.close()


def test_what_cannot_be_preloaded_is_said() -> None:
    with pytest.raises(ValueError, match="only"):
        Forge(["/bin/true"], ["asyncio"])
    with pytest.raises(RuntimeError, match="no_such_module"):
        Forge([sys.executable, "-m", "tests.conform.broken_worker"], ["no_such_module"])


def test_outcomes_are_the_same() -> None:
    worker = (sys.executable, "-m", "tests.conform.broken_worker")
    only = ("pi.*", "tr.number")
    found = []
    for preload in ((), ("socket",)):
        report = tried(worker, only=only, preload=preload)
        found.append({one.case.id: (one.outcome, one.text) for one in report.results})
    assert found[0] == found[1]
    assert len(found[0]) > 5
