"""Streams of real workers: what they print hinders nobody, and further ones both ways."""

from __future__ import annotations

import errno
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

import actorcluster
from actorcluster import Child, Supervisor, Worker, WorkerStartError, events
from actorcluster._worker import settings, start, template
from actorcluster._worker.placing import start_placed
from actorcluster._worker.process import Launch
from actorcluster._worker.streams import PATIENCE, RING, Duplex, Output
from tests.e2e import actors
from tests.e2e.supervised import AT_ONCE
from tests.worker.helpers import cancel_a_start

from . import stdio_actors

METHODS = ["forkserver", "exec"]
SECONDS = 30

pytestmark = pytest.mark.no_leaks


async def body_of(worker: Worker) -> Any:
    return (await worker.mailbox.receive()).body


async def rest_of(stream: trio.abc.ReceiveStream | None) -> bytes:
    assert stream is not None
    data = b""
    async for piece in stream:
        data += piece
    return data


def numbered(first: int, last: int, step: int) -> bytes:
    return b"".join(b"%0999d\n" % number for number in range(first, last, step))


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


# ---- what it prints ---------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
async def test_nobody_reads_what_a_silent_worker_prints(method: str) -> None:
    """It goes on; the last of it is kept, and can be read after its end; the rest is counted."""
    with trio.fail_after(SECONDS):
        config = {"silent": True, "start_method": method}
        async with actorcluster.open_primary(settings=config) as primary:
            worker = await primary.fork(stdio_actors.flood, 2000)
            assert "written" == await body_of(worker)
            assert "normal" == (await worker.wait()).reason
            dropped = worker.statistics().stdio_dropped
            out, err = await rest_of(worker.stdout), await rest_of(worker.stderr)
    assert [1, 2] == [*dropped]
    assert (2_000_000, 1_000_000) == (dropped[1] + len(out), dropped[2] + len(err))
    assert out == numbered(0, 2000, 1)[-len(out) :]
    assert err == numbered(1, 2000, 2)[-len(err) :]
    assert RING <= len(out)
    assert RING <= len(err)


async def test_who_reads_gets_everything() -> None:
    """The worker is slowed down to the reader's pace, and the end is the end."""
    with trio.fail_after(SECONDS):
        async with actorcluster.open_primary(settings={"silent": True}) as primary:
            worker = await primary.fork(stdio_actors.flood, 1000)
            pieces: dict[int, bytes] = {}

            async def read(number: int, stream: trio.abc.ReceiveStream | None) -> None:
                pieces[number] = await rest_of(stream)

            async with trio.open_nursery() as nursery:
                nursery.start_soon(read, 1, worker.stdout)
                nursery.start_soon(read, 2, worker.stderr)
            assert {1: 0, 2: 0} == worker.statistics().stdio_dropped
            assert numbered(0, 1000, 1) == pieces[1]
            assert numbered(1, 1000, 2) == pieces[2]
            assert b"" == await rest_of(worker.stdout)


async def test_a_flood_hinders_nobody_else_and_closing_ends_it() -> None:
    """One that prints without end; its sibling answers; a closed stream is closed once."""
    with trio.fail_after(SECONDS):
        async with actorcluster.open_primary() as primary:
            loud = await primary.fork(
                stdio_actors.flood, 10**9, settings={"silent": True, "start_method": "forkserver"}
            )
            echo = await primary.fork(actors.echo)
            while loud.statistics().stdio_dropped[1] < 10_000_000:
                assert 1 == await echo.ask(1)
            assert loud.stdout is not None
            await loud.stdout.aclose()
            await loud.stdout.aclose()
            with pytest.raises(trio.ClosedResourceError):
                await loud.stdout.receive_some()
            status = await loud.wait()  # nobody can ever read what it writes
            assert ("error", "BrokenPipeError") == (
                status.reason,
                status.error and status.error.type,
            )
            with pytest.raises(trio.ClosedResourceError):
                await loud.stdout.receive_some()


# ---- the ring, in virtual time ------------------------------------------------------------------


class Ring:
    """A ring, and the writing end of its pipe."""

    def __init__(self) -> None:
        reader, self.writer = os.pipe()
        os.set_blocking(self.writer, False)
        self.output = Output(reader, has_ring=True)
        self.written = 0

    async def write(self, size: int) -> int:
        """Write as much as is taken at once; returns how much that was."""
        begun = self.written
        while self.written - begun < size:
            try:
                self.written += os.write(self.writer, bytes(min(16384, size)))
            except BlockingIOError:
                await trio.testing.wait_all_tasks_blocked(0.01)
                try:
                    self.written += os.write(self.writer, bytes(4096))
                except BlockingIOError:
                    break
        await trio.testing.wait_all_tasks_blocked(0.01)
        return self.written - begun

    def end(self) -> None:
        os.close(self.writer)
        self.output.ended()


async def test_a_reader_is_given_up_after_a_while(autojump_clock: trio.testing.MockClock) -> None:
    ring = Ring()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ring.output.run)
        assert 4 * RING <= await ring.write(4 * RING)
        assert ring.written - RING == ring.output.dropped
        before = ring.output.dropped
        assert 65536 == len(await ring.output.receive_some())
        assert 3 * RING > await ring.write(4 * RING)  # it waits for the reader
        assert before == ring.output.dropped
        await trio.sleep(2 * PATIENCE)
        assert 4 * RING <= await ring.write(4 * RING)  # it does not any more
        assert before < ring.output.dropped
        before = ring.output.dropped
        assert 7 == len(await ring.output.receive_some(7))
        assert 4 * RING > await ring.write(4 * RING)  # here he is again
        assert before == ring.output.dropped
        nursery.cancel_scope.cancel()
    ring.end()
    kept = len(await rest_of(ring.output))
    assert ring.written == kept + ring.output.dropped + 65536 + 7


async def test_a_reader_that_is_held_up_is_not_given_up(mock_clock: trio.testing.MockClock) -> None:
    """When the whole process stands still, it is not the reader who does."""
    ring = Ring()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ring.output.run)
        assert b"" != await read_first(ring)
        assert 3 * RING > await ring.write(4 * RING)
        for _ in range(5):
            mock_clock.jump(10 * PATIENCE)
            await trio.testing.wait_all_tasks_blocked()
        assert 0 == ring.output.dropped
        assert 3 * RING > await ring.write(4 * RING)
        for _ in range(5):
            mock_clock.jump(10 * PATIENCE)
            await trio.testing.wait_all_tasks_blocked()
        assert 4 * RING <= await ring.write(4 * RING)
        nursery.cancel_scope.cancel()
    ring.end()
    await ring.output.aclose()


async def read_first(ring: Ring) -> bytes:
    os.write(ring.writer, b"first")
    ring.written += 5
    return await ring.output.receive_some()


async def test_closed_and_cancelled_while_somebody_reads() -> None:
    ring = Ring()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ring.output.run)
        with trio.move_on_after(0.01) as given_up:
            await ring.output.receive_some()
        assert given_up.cancelled_caught

        async def read() -> None:
            with pytest.raises(trio.ClosedResourceError):
                await ring.output.receive_some()

        nursery.start_soon(read)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(trio.BusyResourceError):
            await ring.output.receive_some()
        await ring.output.aclose()
    with pytest.raises(BrokenPipeError):
        os.write(ring.writer, b"x")
    ring.end()


async def test_the_end_wakes_who_reads() -> None:
    """The worker's end, and that of its output alone."""
    for is_worker in (True, False):
        ring = Ring()
        async with trio.open_nursery() as nursery:
            pump = trio.CancelScope()
            got: list[bytes] = []

            async def run(ring: Ring = ring, pump: trio.CancelScope = pump) -> None:
                with pump:
                    await ring.output.run()

            async def read(ring: Ring = ring, got: list[bytes] = got) -> None:
                got.append(await rest_of(ring.output))

            nursery.start_soon(run)
            nursery.start_soon(read)
            await trio.testing.wait_all_tasks_blocked()
            if is_worker:
                pump.cancel()
                await trio.testing.wait_all_tasks_blocked()
                os.write(ring.writer, b"last words")
                ring.end()
            else:
                os.write(ring.writer, b"last words")
                os.close(ring.writer)
        assert [b"last words"] == got


# ---- further streams ----------------------------------------------------------------------------


def test_two_files_agree_on_the_numbers() -> None:
    assert settings.STDIO_MOST == template._STDIO_MOST


@pytest.mark.parametrize("method", METHODS)
async def test_further_streams(method: str, tmp_path: Path) -> None:
    """Each is at its number: pipes both ways, a file, nothing, one of ours. Programs have them."""
    before = open_files()
    reader, writer = os.pipe()
    with trio.fail_after(SECONDS), open(tmp_path / "file", "x+") as file:
        plan: list[Any] = ["inherit", "pipe", "inherit", "pipe", file, "ignore", writer, "pipe"]
        config: dict[str, Any] = {"stdio": plan, "start_method": method}
        async with actorcluster.open_primary(settings=config) as primary:
            worker = await primary.fork(stdio_actors.descriptors, list(range(3, 16)))
            kinds = await body_of(worker)
            assert {
                "3": ["socket", True],
                "4": [str(tmp_path / "file"), True],
                "5": ["/dev/null", True],
                "6": ["pipe", True],
                "7": ["socket", True],
            } == {n: kind for n, kind in kinds.items() if int(n) < 8}
            assert [] == [n for n, kind in kinds.items() if kind and kind[1] and int(n) > 7]
            expected = [None, Output, None, Duplex, None, None, None, Duplex]
            assert expected == [stream and type(stream) for stream in worker.stdio]
            assert method == worker.start_method
            worker.kill()
            await worker.wait()

            worker = await primary.fork(stdio_actors.echo, 3, 7)
            third, seventh = worker.stdio[3], worker.stdio[7]
            assert third is not None
            assert seventh is not None
            await third.send_all(b"three")
            await seventh.send_all(b"seven")
            assert (b"THREE", b"SEVEN") == (
                await third.receive_some(),
                await seventh.receive_some(5),
            )
            await third.wait_send_all_might_not_block()
            await third.send_eof()
            assert b"3 is over" == await rest_of(third)
            with pytest.raises(trio.ClosedResourceError):
                await third.send_all(b"more")
            await seventh.aclose()
            await seventh.aclose()
            with pytest.raises(trio.ClosedResourceError):
                await seventh.receive_some()
            assert "error" == (await worker.wait()).reason  # its last word went nowhere
            assert b"" == await third.receive_some()
    os.close(reader)
    os.close(writer)
    assert before == open_files()


@pytest.mark.parametrize("method", METHODS)
async def test_a_further_stream_of_a_dead_worker(method: str) -> None:
    """What it wrote is there to be read; what it did not read is an error of whoever goes on."""
    stdio = ["inherit", "inherit", "inherit", "pipe"]
    with trio.fail_after(SECONDS):
        async with actorcluster.open_primary(settings={"stdio": stdio}) as primary:
            before = open_files()
            worker = await primary.fork(
                stdio_actors.says, 3, "word" * 20_000, settings={"start_method": method}
            )
            stream = worker.stdio[3]
            assert stream is not None
            assert "said" == await body_of(worker)
            await stream.send_all(b"never read")
            await worker.send("leave")
            assert "normal" == (await worker.wait()).reason
            await primary.wait()
            assert b"word" * 20_000 == await rest_of(stream)
            with pytest.raises(trio.BrokenResourceError):
                await stream.send_all(b"x")
            assert before >= open_files()


async def test_a_program_that_the_worker_left_behind_has_the_stream() -> None:
    stdio = ["inherit", "inherit", "inherit", "pipe"]
    with trio.fail_after(SECONDS):
        async with actorcluster.open_primary(settings={"stdio": stdio}) as primary:
            worker = await primary.fork(stdio_actors.leaves_a_program, 3)
            pid = await body_of(worker)
            await worker.wait()
            stream = worker.stdio[3]
            assert stream is not None
            assert b"before the end" == await stream.receive_some()
            with trio.move_on_after(0.05) as waited:
                await stream.receive_some()
            assert waited.cancelled_caught
            os.kill(pid, signal.SIGKILL)
            assert b"" == await stream.receive_some()
            await stream.aclose()


async def test_each_life_has_streams_of_its_own() -> None:
    """A restart makes new ones; those of the dead hold no descriptors."""
    config = {"stdio": ["ignore", "pipe", "inherit", "pipe"]}
    child = Child("a", stdio_actors.echo, args=(3,), backoff=AT_ONCE, settings=config)
    tree = Supervisor(children=[child], max_restarts=100)
    lives: list[Worker] = []
    counts: list[int] = []
    with trio.fail_after(SECONDS):
        async with actorcluster.open_primary(tree) as primary:
            with primary.events(events.Online) as online:
                (first,) = primary.workers.values()
                lives.append(first)
                while len(lives) < 6:
                    stream = lives[-1].stdio[3]
                    assert stream is not None
                    await stream.send_all(b"%d" % len(lives))
                    assert b"%d" % len(lives) == await stream.receive_some()
                    counts.append(open_files())
                    await stream.send_eof()
                    lives.append((await anext(online)).worker)
            assert 6 == len({id(life.stdio[3]) for life in lives})
            assert max(counts[2:]) <= max(counts[:2])
            for life in lives[:-1]:
                stream = life.stdio[3]
                assert stream is not None
                assert b"3 is over" == await rest_of(stream)


# ---- what fails ---------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
async def test_streams_that_cannot_be(method: str, tmp_path: Path) -> None:
    """Named, and nothing is left."""
    config = {"start_method": method}
    async with actorcluster.open_primary(settings=config) as primary:
        await primary.fork(actors.returns)
        await primary.wait()
        before = open_files()
        plan = [*["pipe"] * 15, 999_999]
        with pytest.raises(WorkerStartError, match="Bad file descriptor") as caught:
            await primary.fork(actors.idle, settings={"stdio": plan})
        assert before == open_files()
        assert caught.value.status is not None
        assert "OSError" == (caught.value.status.error and caught.value.status.error.type)
        for where, why in ((tmp_path / "gone", "No such file"), (__file__, "Not a directory")):
            with pytest.raises(WorkerStartError, match=why):
                await primary.fork(actors.idle, settings={"stdio": ["pipe"] * 5, "cwd": where})
            assert before == open_files()


@pytest.mark.own_fork_server
async def test_a_number_that_every_interpreter_uses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody's descriptor is taken away: the start fails; other numbers can be had."""
    (tmp_path / "sitecustomize.py").write_text(
        "import os; fd = os.open('/dev/null', os.O_RDWR)\n"
        f"with open({str(tmp_path / 'number')!r}, 'w') as file: file.write(str(fd))"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    config: dict[str, Any] = {"start_method": "forkserver", "stdio": ["ignore"] * 3}
    async with actorcluster.open_primary(settings=config) as primary:
        await (await primary.fork(actors.returns)).wait()
        number = int((tmp_path / "number").read_text())
        assert 3 <= number < settings.STDIO_MOST
        worker = await primary.fork(
            stdio_actors.descriptors, [2], settings={"stdio": ["ignore"] * number}
        )
        assert {"2": ["/dev/null", True]} == await body_of(worker)
        one_more = {"stdio": ["ignore"] * (number + 1)}
        with pytest.raises(WorkerStartError, match=rf"there: 'stdio\[{number}\]'") as caught:
            await primary.fork(actors.idle, settings=one_more)
        assert errno.EBUSY == caught.value.errno


def test_what_is_to_be_inherited_is_not_there() -> None:
    with pytest.raises(OSError, match=r"Bad file descriptor: 'stdio\[999999\]'"):
        start._opened(999_999)


async def test_programs_that_cannot_be_started_with_streams(tmp_path: Path) -> None:
    """The go-between says why, and is gone; a program finds its descriptors and environment."""
    (tmp_path / "text").write_text("no program")
    stdio: list[Any] = ["ignore", "pipe", "inherit", "pipe"]
    config: dict[str, Any] = {"stdio": stdio}
    async with actorcluster.open_primary(settings=config) as primary:
        before = open_files()
        for program, number in (
            ("/no/such/program", errno.ENOENT),
            (str(tmp_path / "text"), errno.EACCES),
            ("no-such-program-anywhere", errno.ENOENT),
        ):
            with pytest.raises(WorkerStartError, match=f"{os.strerror(number)}: '{program}'"):
                await primary.fork(settings={"exec": [program]})
            assert before == open_files()
        code = "readlink /proc/self/fd/3 | cut -d: -f1 >&3; echo ${LC_CTYPE-unset} $0 $1"
        # Its own 100 seconds would be enough: it is no worker, and ends before it is one.
        worker = primary.fork_soon(
            settings={"exec": ["sh", "-c", code], "args": ["a b", "$c"], "env": {"LC_CTYPE": None}}
        )
        with trio.fail_after(SECONDS):
            await worker.wait()
        assert b"unset a b $c\n" == await rest_of(worker.stdout)
        assert b"socket\n" == await rest_of(worker.stdio[3])


async def test_a_go_between_that_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    launch = Launch(worker_id=1, argv=("/bin/true",), stdio=(None, None, None, 2))
    with pytest.raises(OSError, match="/bin/false, which was to become it, did not") as caught:
        await start_placed(launch)
    assert (errno.ENOEXEC, "/bin/true") == (caught.value.errno, caught.value.filename)
    monkeypatch.setattr(sys, "executable", "")
    with pytest.raises(OSError, match="does not name the interpreter"):
        await start_placed(launch)


async def test_cancelled_at_any_moment_of_a_start_with_streams() -> None:
    """The go-between, or what it has become, is gone."""
    config = {"stdio": ["inherit", "pipe", "inherit", "pipe"], "start_method": "exec"}
    async with actorcluster.open_primary(settings=config) as primary:
        await (await primary.fork(actors.returns)).wait()
        await primary.wait()
        before = open_files()
        for passes in (1, 3, 5, 7, 9, 50):
            await cancel_a_start(primary, actors.idle, passes)
            assert {} == dict(primary.workers)
            assert before >= open_files()
