"""Programs under ``actorcluster-run``, as workers of a real primary."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import trio

import actorcluster
from actorcluster import Actor, Primary, Worker
from tests.orphans import adopting_orphans
from tests.ports import free_port
from tests.program import running
from tests.require import require
from tests.run_wrapper import activated

SECONDS = 60
RUN = [sys.executable, "-c", "from actorcluster.cli.run_wrapper import main; main()"]
ACTIVATED = [sys.executable, activated.__file__]
NODE = """
require("http").createServer((request, response) => response.end(`${process.pid} node true`))
    .listen({fd: 3});
process.on("SIGTERM", () => process.exit(7));
"""


@pytest.fixture
async def primary() -> AsyncIterator[Primary]:
    with trio.fail_after(SECONDS):
        async with actorcluster.open_primary() as primary:
            yield primary


@pytest.fixture
def port() -> int:
    return free_port()


async def wrapped(
    primary: Primary,
    command: Sequence[str],
    *options: str,
    shutdown: float = SECONDS,
    **settings: Any,
) -> Worker:
    settings["exec"] = [*RUN, *options, "--", *command]
    return await primary.fork(settings=settings, shutdown=shutdown)


def shell(text: str) -> list[str]:
    return ["sh", "-c", text]


async def get(port: int, path: str = "/") -> list[str]:
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        await stream.send_all(f"GET {path} HTTP/1.0\r\n\r\n".encode())
        answer = b"".join([piece async for piece in stream])
    return answer.partition(b"\r\n\r\n")[2].decode().split()


async def serves(port: int) -> list[str]:
    """Wait until somebody does; a port that is bound keeps clients waiting by itself."""
    while True:
        try:
            return await get(port)
        except OSError:
            await trio.sleep(0.05)


def is_there(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False


async def gone(pid: int) -> None:
    while is_there(pid):  # noqa: ASYNC110 - another process
        await trio.sleep(0.01)


async def lines(worker: Worker, word: str) -> str:
    assert worker.stdout is not None
    said = b""
    while f"{word}".encode() not in said or not said.endswith(b"\n"):
        said += await worker.stdout.receive_some()
    return said.decode()


async def test_two_share_a_port(primary: Primary, port: int) -> None:
    """Two programs on one port; when one wrapper is killed its program goes, the other serves."""
    options = ("--listen", f"web=127.0.0.1:{port}")
    first = await wrapped(primary, [*ACTIVATED, "patient"], *options)
    pid, *rest = await serves(port)
    assert ["web", "True"] == rest
    second = await wrapped(primary, [*ACTIVATED, "patient"], *options)
    first.kill("SIGKILL")
    assert "SIGKILL" == (await first.wait()).signal
    await gone(int(pid))
    other, *rest = await serves(port)
    assert (True, ["web", "True"]) == (other != pid, rest)
    await second.disconnect()
    assert (0, "shutdown") == ((found := await second.wait()).code, found.reason)
    assert not is_there(int(other))


async def test_what_was_begun_is_finished(primary: Primary, port: int) -> None:
    worker = await wrapped(
        primary,
        [*ACTIVATED, "patient"],
        "--listen",
        f"127.0.0.1:{port}",
        stdio=("ignore", "pipe", "inherit"),
    )
    answers = []

    async def ask() -> None:
        answers.append((await get(port, "/begun"))[1:])

    await serves(port)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        await lines(worker, "begun")
        await worker.disconnect()
    assert [["unknown", "True"]] == answers
    assert 0 == (await worker.wait()).code


async def test_one_that_ignores_sigterm(primary: Primary, port: int) -> None:
    """It is killed before the primary's patience is over, with what it has started."""
    worker = await wrapped(
        primary,
        [*ACTIVATED, "deaf"],
        "--listen",
        f"127.0.0.1:{port}",
        stdio=("ignore", "pipe", "inherit"),
    )
    _, child, other = (await lines(worker, "child")).split()
    program = int((await serves(port))[0])
    assert is_there(int(child))
    assert is_there(int(other))
    await worker.disconnect(timeout=2)
    found = await worker.wait()
    assert ("SIGKILL", True) == (found.signal, found.voluntary)
    assert [] == [pid for pid in (program, int(child), int(other)) if is_there(pid)]


async def test_one_that_goes_into_the_background(
    primary: Primary, capfd: pytest.CaptureFixture[str]
) -> None:
    """Its first process is the program: when that ends all of it ends, before the worker does."""
    worker = await wrapped(primary, [*ACTIVATED, "daemon"], stdio=("ignore", "pipe", "inherit"))
    daemon = int((await lines(worker, "daemon")).split()[1])
    found = await worker.wait()
    assert (0, "normal") == (found.code, found.reason)
    assert not is_there(daemon)
    said = capfd.readouterr().err
    assert "has ended, and what it has left in the background with it" in said


ENDINGS: dict[str, tuple[list[str], tuple[int | None, str | None]]] = {
    "nothing to do": (shell("exit 0"), (0, None)),
    "failed": (shell("exit 3"), (3, None)),
    "crashed": (shell("kill -SEGV $$"), (None, "SIGSEGV")),
    "not there": (["/not/there"], (127, None)),
    "not a program": (["/dev/null"], (126, None)),
}


@pytest.mark.parametrize("how", ENDINGS)
async def test_how_it_ends(primary: Primary, how: str) -> None:
    command, expected = ENDINGS[how]
    worker = await wrapped(primary, command, stdio=("ignore", "ignore", "ignore"))
    found = await worker.wait()
    assert expected == (found.code, found.signal)


async def test_signals_are_as_a_shell_has_them(primary: Primary) -> None:
    """Those also that are ignored by what a shell has started in the background."""
    code = shell("grep -E 'Sig(Blk|Ign)' /proc/self/status; ulimit -c")
    ignored = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGQUIT)}
    for number in ignored:
        signal.signal(number, signal.SIG_IGN)
    ignored[signal.SIGHUP] = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # of who began the tests
    try:
        worker = await wrapped(primary, code, stdio=("ignore", "pipe", "inherit"))
    finally:
        for number, handler in ignored.items():
            signal.signal(number, handler)
    assert worker.stdout is not None
    said = b"".join([piece async for piece in worker.stdout]).split()
    assert [b"SigBlk:", b"0" * 16, b"SigIgn:", b"0" * 16] == said[:4]


async def test_stop_signal(primary: Primary) -> None:
    command = shell("trap 'exit 5' QUIT; echo ready; while :; do sleep 0.01; done")
    worker = await wrapped(
        primary, command, "--stop-signal", "quit", stdio=("ignore", "pipe", "inherit")
    )
    await lines(worker, "ready")
    await worker.disconnect()
    assert 5 == (await worker.wait()).code


async def test_a_port_that_cannot_be_had(
    primary: Primary, capfd: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        place = f"127.0.0.1:{sock.getsockname()[1]}"
        worker = await wrapped(primary, ["true"], "--listen", place)
        assert 1 == (await worker.wait()).code
    assert f"actorcluster-run: no port for unknown ({place}): " in capfd.readouterr().err


async def listens_twice(actor: Actor) -> None:
    """Tell the ports that a worker in Python has."""
    listeners = [(await actor.listen_tcp(0, host="127.0.0.1"))[0] for _ in "12"]
    await actor.send([list(listener.address) for listener in listeners])
    await trio.sleep_forever()


async def test_two_ports_0_are_two_ports(primary: Primary) -> None:
    """The first is the first of every worker, and so is the second."""
    options = ("--listen", "127.0.0.1:0", "--listen", "b=127.0.0.1:0")
    await wrapped(primary, shell("exec sleep 1000"), *options)
    first, second = [list(port.address) for port in primary.statistics().ports]
    assert first != second
    worker = await primary.fork(listens_twice)
    assert [first, second] == (await worker.mailbox.receive()).body


@require("node")
async def test_a_node_program(primary: Primary, port: int) -> None:
    worker = await wrapped(primary, ["node", "-e", NODE], "--listen", f"127.0.0.1:{port}")
    assert ["node", "true"] == (await serves(port))[1:]
    await worker.disconnect()
    assert 7 == (await worker.wait()).code


async def test_its_primary_is_killed(port: int) -> None:
    code = f"""
import actorcluster, trio
async def main():
    async with actorcluster.open_primary() as primary:
        await primary.fork(settings={{"exec": {[*RUN, "--listen", f"127.0.0.1:{port}", "--"]!r}
            + {[*ACTIVATED, "deaf"]!r}}})
        print("started", flush=True)
        await trio.sleep_forever()
trio.run(main)
"""
    with trio.fail_after(SECONDS):
        async with adopting_orphans(SECONDS), running("-c", code) as program:
            said = await program.says(r"child (\d+) (\d+)")
            pid = int((await serves(port))[0])
            program.process.send_signal(signal.SIGKILL)
            await gone(pid)
            await gone(int(said[1]))
            await gone(int(said[2]))


def test_no_worker() -> None:
    environ = {key: value for key, value in os.environ.items() if "ACTORCLUSTER_C" not in key}
    done = subprocess.run(
        [*RUN, "--", "true"], capture_output=True, text=True, check=False, env=environ
    )
    assert (2, "actorcluster-run: it is started by a primary, as a worker\n") == (
        done.returncode,
        done.stderr,
    )
    done = subprocess.run(
        [*RUN, "--listen", "x", "--", "true"], capture_output=True, text=True, check=False
    )
    assert (2, True) == (done.returncode, "'x' is no port" in done.stderr)
