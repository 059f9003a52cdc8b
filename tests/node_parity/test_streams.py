"""The streams of workers: piped, ignored, inherited, and further ones."""

from __future__ import annotations

import pytest
import trio

from actorcluster import Settings
from tests.node_parity import actors
from tests.node_parity.clauses import clause
from tests.node_parity.scene import scene, shape

PIPED = ["pipe", "pipe", "pipe", "ignore", "pipe"]


async def rest_of(stream: trio.abc.ReceiveStream | None) -> bytes:
    assert stream is not None
    return b"".join([piece async for piece in stream])


async def test_a_further_stream() -> None:
    async with scene(settings={"stdio": PIPED}) as stage:
        worker = await stage.worker()
        await worker.ask(["serve_descriptor", 4])
        await worker.stdio[4].send_all(b"bytes")
        with clause("ST-09.a"):
            assert b"bytes" == await worker.stdio[4].receive_some()
        await worker.ask(["print", "words"])
        with clause("ST-09.b"):
            assert worker.stdout is not None
            assert b"words\n" == await worker.stdout.receive_some()
        status = await worker.disconnect()
        with clause("ST-09.c"):
            assert (0, None, "shutdown", True) == shape(status)
        with clause("ST-09.d"), pytest.raises(ValueError, match=r"stdio\[3\] must be 'inherit'"):
            Settings(stdio=["pipe", "pipe", "pipe", "ipc"])  # type: ignore[list-item]  # wrong on purpose


async def test_one_by_one() -> None:
    text = "all of it " * 20_000
    async with scene(settings={"stdio": ["inherit", "ignore", "pipe", "inherit", "pipe"]}) as stage:
        with clause("ST-20.a"), pytest.raises(TypeError, match=r"stdio\[1\] must be 'inherit'"):
            stage.primary.fork_soon(actors.idle, settings={"stdio": ["pipe", None]})
        stage.primary.setup_primary(stdio=["inherit", "ignore", "pipe", "ignore", "pipe"])
        worker = await stage.primary.fork(actors.relays, 4, text)
        await worker.stdio[4].send_all(b"by the pipe")
        with await worker.mailbox.receive() as message:
            with clause("ST-20.b"):
                assert b"by the pipe" == message.body
        status = await worker.wait()
        with clause("ST-20.c"):
            assert (None, None) == (worker.stdout, worker.stdio[3])
        with clause("ST-20.d"):
            assert text.encode() == await rest_of(worker.stderr)
        with clause("ST-20.e"):
            assert (0, None, "normal", False) == shape(status)


async def test_in_a_word(capfd: pytest.CaptureFixture[str]) -> None:
    async with scene() as stage:
        printed, answers = [], []
        for word in ("pipe", "inherit", "ignore"):
            worker = await stage.worker(settings={"stdio": word})
            answers.append(await worker.ask(["print_and_echo", f"by {word}\n", word]))
            printed.append(worker.stdout and await worker.stdout.receive_some())
        with clause("ST-21.a"):
            assert ["pipe", "inherit", "ignore"] == answers
        with clause("ST-21.b"):
            assert [b"by pipe\n", None, None] == printed
        with clause("ST-21.c"):
            assert "by inherit\n" == capfd.readouterr().out
        with clause("ST-21.d"), pytest.raises(ValueError, match="stdio must be 'inherit', 'pipe'"):
            stage.primary.setup_primary(stdio="overlapped")


async def test_silent(capfd: pytest.CaptureFixture[str]) -> None:
    async with scene(settings={"silent": True}) as stage:
        worker = await stage.primary.fork(actors.relays, None, "to stderr")
        await worker.send("there")
        with await worker.mailbox.receive() as message:
            with clause("ST-22.a"):
                assert "there" == message.body
        await worker.wait()
        with clause("ST-22.b"):
            assert ("", "") == tuple(capfd.readouterr())
        with clause("ST-22.c"):
            assert [b"to stdout", b"to stderr"] == [
                await rest_of(worker.stdout),
                await rest_of(worker.stderr),
            ]
        with clause("ST-22.d"):
            assert (0, None) == shape(await (await stage.worker()).disconnect())[:2]
        worker = await stage.worker()
        with clause("ST-22.e"):
            assert 3_000_000 == await worker.ask(["print_much", 3_000_000])
        status = await worker.disconnect()
        kept = len(await rest_of(worker.stdout))
        with clause("ST-22.f"):
            assert 3_000_000 == kept + worker.statistics().stdio_dropped[1]
        with clause("ST-22.g"):
            assert 0 == status.code
