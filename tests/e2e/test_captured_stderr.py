"""`stderr="capture"`: what a worker writes there is passed on, and its end is in the report."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import tty
from collections.abc import Iterator
from typing import Any

import pytest
import trio

from actorcluster import Actor, Child, CrashReport, Supervisor, Worker, events, open_primary
from actorcluster._worker.tee import _write_if_ready
from tests.worker.lines import until

PATIENCE = 60
METHODS = ["forkserver", "exec"]
CAPTURED: dict[str, Any] = {"stderr": "capture"}


async def writes(actor: Actor, text: str, end: str = "error") -> None:
    """Write a text to stderr, and fail."""
    sys.stderr.write(text)
    sys.stderr.flush()
    if end == "error":
        raise ValueError("on purpose")
    os.kill(os.getpid(), signal.SIGKILL)


async def floods(actor: Actor, size: int, at_once: int = 65536) -> None:
    """Write numbered lines to stderr, so many bytes of them, and fail; say when it has begun."""
    await actor.send("now")
    lines = [b"%09d\n" % n for n in range(size // 10)]
    for first in range(0, len(lines), at_once // 10):
        piece = b"".join(lines[first : first + at_once // 10])
        while piece:
            piece = piece[os.write(2, piece) :]
    raise SystemExit(3)


async def echoes(actor: Actor) -> None:
    async for message in actor.mailbox:
        with message:
            await message.reply(message.body)


async def leaves_a_child(actor: Actor) -> None:
    """Start a process that has our stderr and outlives us; say who it is."""
    child = subprocess.Popen(["sleep", "1000"], stdin=subprocess.DEVNULL)
    child.returncode = 0  # nobody waits for it
    await actor.send(child.pid)
    os.write(2, b"and now the end\n")
    raise SystemExit(4)


@contextlib.contextmanager
def stderr_is(fd: int) -> Iterator[None]:
    """Have our own stderr be that."""
    sys.stderr.flush()
    before = os.dup(2)
    os.dup2(fd, 2)
    try:
        yield
    finally:
        os.dup2(before, 2)
        os.close(before)


@contextlib.contextmanager
def both(ends: tuple[int, int]) -> Iterator[tuple[int, int]]:
    try:
        yield ends
    finally:
        for fd in ends:
            os.close(fd)


async def report_of(worker: Worker) -> CrashReport:
    with trio.fail_after(PATIENCE):
        report = (await worker.wait()).report
    assert report is not None
    return report


async def read_up_to(fd: int, end: bytes) -> bytes:
    """Read until the last that was read is this."""
    text = b""
    while not text.endswith(end):
        await trio.lowlevel.wait_readable(fd)
        text += os.read(fd, 1 << 20)
    return text


# ---- what is in the report --------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
async def test_the_last_lines(method: str, capfd: pytest.CaptureFixture[str]) -> None:
    """In the report, and in our stderr as ever; the traceback is among them."""
    settings = {"start_method": method}
    text = "".join(f"line {n}\n" for n in range(100)) + "\x1b]0;title\x07\xff"
    async with open_primary(settings=settings) as primary:
        worker = await primary.fork(writes, text, **CAPTURED)
        report = await report_of(worker)
    assert report.stderr is not None
    assert 50 == len(report.stderr)
    assert "ValueError: on purpose" == report.stderr[-1]
    assert "\x1b]0;title\x07\xffTraceback (most recent call last):" in report.stderr
    assert "line 99" in report.stderr
    page = str(report)
    assert 1 == page.count('raise ValueError("on purpose")')
    assert page.endswith("\n    (the traceback above)")
    err = capfd.readouterr().err
    assert text in err  # an interpreter that measures something may say so before
    assert err.splitlines()[-50:] == [*report.stderr]
    assert (len(err.splitlines()) - 50, 0) == (report.stderr_dropped, report.stderr_unshown)
    assert "\x1b" not in str(report)


async def test_killed_in_the_middle_of_a_line(capfd: pytest.CaptureFixture[str]) -> None:
    async with open_primary(settings=CAPTURED) as primary:
        report = await report_of(await primary.fork(writes, "half a li", "kill"))
    assert (("half a li",), "SIGKILL") == (report.stderr, report.signal)
    assert "half a li" == capfd.readouterr().err


async def test_not_captured(capfd: pytest.CaptureFixture[str]) -> None:
    """Unless somebody asked for it; the closest word counts."""
    async with open_primary(settings=CAPTURED) as primary:
        report = await report_of(await primary.fork(writes, "text", stderr="inherit"))
    assert report.stderr is None
    assert "  stderr: not captured" in str(report).splitlines()
    assert "text" in capfd.readouterr().err


async def test_of_a_child_of_a_tree(capfd: pytest.CaptureFixture[str]) -> None:
    """Each life has its own."""
    child = Child("a", writes, args=("hello\n", "kill"), stderr="capture", restart="transient")
    tree = Supervisor(children=[child], max_restarts=1, on_exhausted="park")
    async with open_primary(tree) as primary:
        with primary.events(events.Exit, events.GaveUp) as happened, trio.fail_after(PATIENCE):
            async for event in happened:
                if not isinstance(event, events.Exit):
                    break
                report = event.status.report
                assert report is not None
                assert ("hello",) == report.stderr
    assert {"hello"} == set(capfd.readouterr().err.split())


async def test_no_process_wrote_nothing() -> None:
    """It was captured all the same."""
    settings = {**CAPTURED, "cwd": "/nowhere", "start_method": "exec"}
    async with open_primary(settings=settings) as primary:
        report = await report_of(primary.fork_soon(echoes))
    assert ((), "lost") == (report.stderr, report.ended.partition(":")[0])


# ---- nobody is blocked ------------------------------------------------------------------------


async def test_a_flood_hinders_nobody() -> None:
    """Another worker answers meanwhile, and the loop has its turns."""
    size = 30_000_000
    with open(os.devnull, "wb") as null, stderr_is(null.fileno()):
        async with open_primary(settings=CAPTURED) as primary:
            other = await primary.fork(echoes)
            worker = await primary.fork(floods, size)
            answers = 0
            with trio.fail_after(PATIENCE):
                await worker.mailbox.receive()
                while not worker.is_dead():
                    assert answers == await other.ask(answers)
                    answers += 1
            report = await report_of(worker)
    assert report.stderr is not None
    assert tuple(f"{n:09}" for n in range(size // 10 - 50, size // 10)) == report.stderr
    assert (size // 10 - 50, 0) == (report.stderr_dropped, report.stderr_unshown)
    assert answers > 5


def ends_of(kind: str) -> tuple[int, int]:
    """A new pipe, pair of sockets, or terminal: where to read, and where to write."""
    if kind == "pipe":
        return os.pipe()
    if kind == "socket":
        one, other = socket.socketpair()
        return one.detach(), other.detach()
    reader, writer = pty.openpty()
    tty.setraw(writer)
    return reader, writer


@pytest.mark.parametrize("kind", ["pipe", "socket", "terminal"])
async def test_nobody_reads_our_stderr(kind: str) -> None:
    """The worker goes on, and so do we; what is dropped is counted, and said when there is room."""
    size = 1_000_000
    with both(ends_of(kind)) as (ours, theirs), stderr_is(theirs), trio.fail_after(PATIENCE):
        async with open_primary(settings=CAPTURED) as primary:
            report = await report_of(await primary.fork(floods, size))
            assert report.stderr is not None
            assert (50, f"{size // 10 - 1:09}") == (len(report.stderr), report.stderr[-1])
            assert os.get_blocking(theirs)
            text = b""
            async with trio.open_nursery() as nursery:
                nursery.start_soon(primary.fork, writes, "again\n", "kill")
                text = await read_up_to(ours, b"again\n")
    note = rb"\n\[actorcluster: (\d+) bytes of stderr were dropped here\]\n"
    assert report.stderr_unshown == sum(map(int, re.findall(note, text)))
    shown = re.sub(note, b"", text).removesuffix(b"again\n")
    assert size - report.stderr_unshown == len(shown)
    assert len(shown) < size / 2


async def test_somebody_reads_our_stderr_slowly() -> None:
    """He gets it all."""
    size = 1_000_000
    with both(os.pipe()) as (ours, theirs), stderr_is(theirs), trio.fail_after(PATIENCE):
        async with open_primary(settings=CAPTURED) as primary:
            worker = await primary.fork(floods, size)
            text = b""
            while len(text) < size:
                await trio.lowlevel.wait_readable(ours)
                text += os.read(ours, 50_000)
                await trio.sleep(0.005)  # not to wait for something: he is slow
            report = await report_of(worker)
    assert b"".join(b"%09d\n" % n for n in range(size // 10)) == text
    assert 0 == report.stderr_unshown


async def test_our_stderr_is_closed_at_its_other_end() -> None:
    with both(os.pipe()) as (ours, theirs), stderr_is(theirs):
        with open(os.devnull) as null:
            os.dup2(null.fileno(), ours)
        async with open_primary(settings=CAPTURED) as primary:
            report = await report_of(await primary.fork(writes, "words\n", "kill"))
    assert (("words",), 6) == (report.stderr, report.stderr_unshown)


async def test_another_file_becomes_our_stderr() -> None:
    """Workers that start from then on write there."""
    async with open_primary(settings=CAPTURED) as primary:
        for _ in range(2):
            with both(os.pipe()) as (ours, theirs), stderr_is(theirs):
                report = await report_of(await primary.fork(writes, "words\n", "kill"))
                assert b"words\n" == os.read(ours, 100)
                assert 0 == report.stderr_unshown


async def test_a_grandchild_keeps_the_pipe(capfd: pytest.CaptureFixture[str]) -> None:
    """It is not waited for."""
    async with open_primary(settings=CAPTURED) as primary:
        worker = await primary.fork(leaves_a_child)
        with trio.fail_after(PATIENCE):
            pid = (await worker.mailbox.receive()).body
        try:
            report = await report_of(worker)
        finally:
            os.kill(pid, signal.SIGKILL)
            await until(lambda: not os.path.exists(f"/proc/{pid}"))
    assert (("and now the end",), 4) == (report.stderr, report.code)
    assert "and now the end\n" == capfd.readouterr().err


# ---- our own stderr ---------------------------------------------------------------------------


async def test_where_it_cannot_be_opened_once_more() -> None:
    """A little at a time, and only what fits in."""
    with both(os.pipe()) as (ours, theirs):
        total = 0
        with pytest.raises(BlockingIOError):
            while True:
                total += _write_if_ready(theirs, memoryview(bytes(5000)))
        assert total == len(os.read(ours, 1 << 20))
        assert os.get_blocking(theirs)


async def test_a_program_without_a_stderr() -> None:
    """Nothing is shown, and the report is there."""
    code = "import tests.e2e.test_captured_stderr as it; it.without_stderr()"
    command = 'exec "$@" 2>&-'
    done = await trio.run_process(
        ["sh", "-c", command, "sh", sys.executable, "-c", code], capture_stdout=True
    )
    assert b"('words',)\n" == done.stdout


def without_stderr() -> None:
    async def main() -> None:
        async with open_primary(settings=CAPTURED) as primary:
            report = await report_of(await primary.fork(writes, "words\n", "kill"))
            print(report.stderr)

    trio.run(main)
