"""What was said is said again, to workers in several languages; their answers are compared."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import trio

from actorcluster import Handle, open_primary
from actorcluster.trace.reading import load_all
from actorcluster.trace.replay import CannotReplay, Outcome, play_again
from actorcluster.trace.tracefile import encode
from tests.program import ROOT
from tests.require import require
from tests.samples.builds import build_c
from tests.trace import actors

SECONDS = 120.0
WORKERS = ROOT / "examples/workers"
CONFORM = {"ACTORCLUSTER_CONFORMANCE": "1"}
PYTHON = [sys.executable, str(ROOT / "tests/conform/python_worker.py")]
ASYNCIO = [sys.executable, str(WORKERS / "asyncio/conformance.py")]


def as_actor(command: list[str]) -> list[str]:
    return ["env", "ACTORCLUSTER_CONFORMANCE=1", *command]


async def record(path: Path, command: list[str]) -> None:
    """A talk with the conformance actor: calls, messages, an error, a handle, a port."""
    with trio.fail_after(SECONDS):
        async with open_primary(trace=path, trace_bodies=True) as primary:
            worker = await primary.fork(
                None, exec=tuple(command), env=CONFORM, name="conformance", heartbeat=1e6
            )
            assert "hi" == await worker.ask(["echo", "hi"])
            large = "x" * 300_000
            assert large == await worker.ask(["echo", large])
            assert 2 == await worker.ask(["tell_back", [2, "b"]])
            for _ in range(2):
                with await worker.mailbox.receive():
                    pass
            with pytest.raises(Exception, match="oh"):
                await worker.ask(["fail", "oh"])
            assert 1 == len(await worker.ask(["take_handle", Handle.of(pipe_end())]))
            host, port = await worker.ask(
                [
                    "listen",
                    {"transport": "tcp", "host": "127.0.0.1", "port": 0, "modes": ["handoff"]},
                ]
            )
            for _ in range(2):
                async with await trio.open_tcp_stream(host, port) as stream:
                    assert b"1\n" == await stream.receive_some()
            assert "y" == await worker.ask(["echo", "y"])
            assert "shutdown" == (await worker.disconnect()).reason


def pipe_end() -> int:
    reader, writer = os.pipe()
    os.close(writer)
    return reader


def again(path: Path, command: list[str], **options: Any) -> str:
    outcome = play_again(load_all(str(path)), command, timeout=SECONDS / 2, **options)
    return outcome.difference and "\n".join(outcome.lines())


async def test_python_and_asyncio_and_what_is_not_the_same(tmp_path: Path) -> None:
    path = tmp_path / "t"
    await record(path, PYTHON)
    source = (WORKERS / "asyncio/conformance.py").read_text()
    assert 1 == source.count('"echo"')
    (tmp_path / "mutant.py").write_text(source.replace('"echo"', '"echoes"'))
    mutant = [
        "env",
        f"PYTHONPATH={WORKERS / 'asyncio'}",
        sys.executable,
        str(tmp_path / "mutant.py"),
    ]

    def play() -> list[str]:
        return [again(path, as_actor(one)) for one in (PYTHON, ASYNCIO, mutant)]

    same, other, different = await trio.to_thread.run_sync(play)
    assert ("", "") == (same, other)
    assert (
        "first difference: the program said ERROR(not_handled) on channel 2 where record"
        in different
    )


@require("gcc")
async def test_c(tmp_path: Path) -> None:
    place = tmp_path / "built"
    place.mkdir()
    command = [str(build_c(place, sanitized=False) / "conformance")]
    await record(tmp_path / "t", command)
    assert "" == await trio.to_thread.run_sync(again, tmp_path / "t", as_actor(command))


async def test_the_command_line(tmp_path: Path) -> None:
    path = tmp_path / "t"
    with trio.fail_after(SECONDS):
        async with open_primary(trace=path, trace_bodies=True) as primary:
            worker = await primary.fork(actors.echo)
            assert 3 == await worker.ask(3)
    program = [sys.executable, "-m", "actorcluster", "trace"]

    def run(*arguments: str) -> tuple[int, str, str]:
        done = subprocess.run([*program, *arguments], capture_output=True, text=True, check=False)
        return done.returncode, done.stdout, done.stderr

    code, out, err = run("--decode", str(path), "--json", "--worker", "1")
    forms = [json.loads(line) for line in out.splitlines()]
    assert (0, "") == (code, err)
    assert ["begin", "spawn", "frame"] == [form["record"] for form in forms[:3]]
    nobody = f"{path}: there is no worker 99 in it; there is 1\n"
    assert (2, "", nobody) == run("--decode", str(path), "--worker", "99")
    worker_program = [sys.executable, "-m", "actorcluster._worker"]
    code, out, err = run(
        "--replay", str(path), "--payloads", "--timeout", "60", "--", *worker_program
    )
    assert (0, "") == (code, err), out
    assert out.endswith("answers as in the trace\n")
    code, out, _ = run("--replay", str(path), "--", "true")
    assert (1, True) == (
        code,
        "first difference: the program's stream has ended without HELLO" in out,
    )
    (tmp_path / "cut").write_bytes(path.read_bytes()[:-3])
    code, _, err = run("--decode", str(tmp_path / "cut"))
    last = len(encode(load_all(str(path)).records[-1]))
    assert (0, f"is cut: {last - 3} bytes" in err, err) == (code, True, err)
    (tmp_path / "bad").write_bytes(path.read_bytes()[:-3] + b"abc")
    assert 1 == run("--decode", str(tmp_path / "bad"))[0]
    assert 2 == run("--decode", __file__)[0]
    assert 2 == run("--replay", str(path))[0]


def test_one_is_one() -> None:
    assert ["worker 3: 1 frame said, 2 answers as in the trace"] == Outcome(
        worker=3, said=1, answers=2
    ).lines()
    assert ["worker 3: 0 frames said, 1 answer as in the trace"] == Outcome(
        worker=3, said=0, answers=1
    ).lines()


async def test_what_cannot_be_played_again(tmp_path: Path) -> None:
    path = tmp_path / "t"
    with trio.fail_after(SECONDS):
        async with open_primary(trace=path) as primary:
            worker = await primary.fork(actors.echo)
            assert 3 == await worker.ask(3)
    trace = load_all(str(path))
    with pytest.raises(CannotReplay, match="trace_bodies=True"):
        play_again(trace, ["true"])
    with pytest.raises(CannotReplay, match="no worker 7"):
        play_again(trace, ["true"], worker=7)
